//! Containers of disks, judged by qemu-img: ours are read by it, and its own by us.

use crate::common::{Tool, skip, temp};
use nixflash::format::disk::container::{Kind, open, sniff, sniff_end};
use nixflash::image::container::{Disk, Form, into_file, into_sink};
use nixflash::image::{Inside, Piece, Sink, SinkError, Source};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Every form, by the format as qemu-img calls it.
const FORMS: [(&str, Form); 7] = [
    ("qcow2", Form::PlainQcow2),
    ("qcow2", Form::QCOW2),
    ("qcow2", Form::QCOW2_ZSTD),
    ("vdi", Form::Vdi),
    ("vpc", Form::Vhd),
    ("vhdx", Form::Vhdx),
    ("vmdk", Form::VMDK),
];

/// A disk in memory, and where it has something.
#[derive(Clone, Debug)]
struct Image {
    bytes: Vec<u8>,
    data: Vec<Range<u64>>,
}

impl Image {
    /// Fills each range: text that packs well, noise, or zeros that are called data.
    fn new(size: u64, ranges: &[(u64, u64, u8)]) -> Self {
        let mut image = Self { bytes: vec![0; size as usize], data: Vec::new() };
        let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
        for (from, len, kind) in ranges {
            let (from, to) = (*from, (from + len).min(size));
            if from >= to || image.data.last().is_some_and(|last| last.end > from) {
                continue;
            }
            for (at, byte) in (from..to).zip(&mut image.bytes[from as usize..to as usize]) {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *byte = match kind {
                    0 => (at / 37 % 251) as u8,
                    1 => (noise >> 56) as u8,
                    _ => 0,
                };
            }
            image.data.push(from..to);
        }
        image
    }

    /// Something of each kind, over the borders of blocks of all lengths, and at the end.
    fn usual() -> Self {
        let mib = 1 << 20;
        Self::new(
            40 * mib,
            &[
                (0, 512, 0),
                (65_000, 1_100, 0),
                (mib - 512, 3 * mib, 0),
                (7 * mib, 2 * mib + 4096, 1),
                (12 * mib, mib, 2),
                (20 * mib + 512, 512, 1),
                (40 * mib - 4096, 4096, 0),
            ],
        )
    }

    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn disk(&self) -> Disk {
        Disk { size: self.size(), data: self.data.clone(), seed: [7; 32] }
    }

    /// Moves it into a sink: pieces of odd lengths, zeros where a plan knows of them.
    fn feed(&self, mut sink: Box<dyn Sink + '_>) -> Result<(), SinkError> {
        let mut position = 0;
        for data in &self.data {
            sink.skip(data.start - position)?;
            let bytes = &self.bytes[data.start as usize..data.end as usize];
            for piece in bytes.chunks(77_777) {
                if piece.iter().all(|byte| *byte == 0) {
                    sink.zeros(piece.len() as u64)?;
                } else {
                    sink.data(piece)?;
                }
            }
            position = data.end;
        }
        sink.zeros(self.size() - position)?;
        sink.finish()
    }

    fn write(&self, form: Form, path: &Path, threads: u32) {
        let file = File::create_new(path).unwrap();
        self.feed(into_file(form, file, "test", &self.disk(), threads).unwrap()).unwrap();
    }

    fn raw(&self, path: &Path) {
        let file = File::create_new(path).unwrap();
        file.set_len(self.size()).unwrap();
        for data in &self.data {
            file.write_all_at(&self.bytes[data.start as usize..data.end as usize], data.start).unwrap();
        }
    }
}

/// A sink that keeps what it takes: a pipe.
#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<Vec<u8>>>);

impl Sink for Pipe {
    fn data(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(())
    }

    fn zeros(&mut self, len: u64) -> Result<(), SinkError> {
        let mut bytes = self.0.lock().unwrap();
        let whole = bytes.len() + len as usize;
        bytes.resize(whole, 0);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), SinkError> {
        Ok(())
    }
}

fn kind_of(file: &File) -> Kind {
    let len = file.metadata().unwrap().len();
    let mut start = vec![0; 512];
    let mut end = vec![0; 512];
    let n = file.read_at(&mut start, 0).unwrap();
    file.read_at(&mut end, len.saturating_sub(512)).unwrap();
    sniff(&start[..n]).or_else(|| sniff_end(&end)).expect("a container")
}

/// What nixflash reads out of a container.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let file = File::open(path).unwrap();
    let disk = open(kind_of(&file), file).map_err(|error| error.to_string())?;
    let mut source = Inside::new(disk);
    let mut found = Vec::new();
    while let Some(piece) = source.next().map_err(|error| error.to_string())? {
        match piece {
            Piece::Data(bytes) => found.extend_from_slice(bytes),
            Piece::Zeros(len) | Piece::Skip(len) => found.resize(found.len() + len as usize, 0),
        }
    }
    Ok(found)
}

/// qemu-img has checked, measured and compared it.
fn judged(qemu: &Tool, format: &str, container: &Path, raw: &Path) {
    let (container, raw) = (container.to_str().unwrap(), raw.to_str().unwrap());
    if !matches!(format, "vpc") {
        let said = qemu.passes(&["check", "-f", format, container]);
        assert!(said.contains("No errors"), "{container}: {said}");
    }
    let said = qemu.passes(&["compare", "-f", format, "-F", "raw", container, raw]);
    assert!(said.contains("identical"), "{container}: {said}");
}

#[test]
fn qemu_img_finds_no_fault_in_any_container_and_the_same_disk_in_all() {
    let Some(qemu) = Tool::find("qemu-img") else { return };
    let (dir, image) = (temp(), Image::usual());
    let raw = dir.path().join("raw");
    image.raw(&raw);
    for (number, (format, form)) in FORMS.into_iter().enumerate() {
        let path = dir.path().join(format!("{number}.{format}"));
        image.write(form, &path, 2);
        judged(&qemu, format, &path, &raw);
        assert!(read(&path).unwrap() == image.bytes, "{form:?} is read back as something else");
    }
}

#[test]
fn what_qemu_img_makes_is_read() {
    let Some(qemu) = Tool::find("qemu-img") else { return };
    let (dir, image) = (temp(), Image::usual());
    let raw = dir.path().join("raw");
    image.raw(&raw);
    let cases: [&[&str]; 22] = [
        &["-O", "qcow2"],
        &["-c", "-O", "qcow2"],
        &["-c", "-O", "qcow2", "-o", "compression_type=zstd"],
        &["-c", "-W", "-O", "qcow2", "-o", "cluster_size=512"],
        &["-c", "-O", "qcow2", "-o", "cluster_size=2M"],
        &["-c", "-O", "qcow2", "-o", "cluster_size=2M,compression_type=zstd"],
        &["-O", "qcow2", "-o", "cluster_size=4k"],
        &["-O", "qcow2", "-o", "compat=0.10"],
        &["-c", "-O", "qcow2", "-o", "compat=0.10"],
        &["-S", "0", "-O", "qcow2", "-o", "preallocation=metadata,lazy_refcounts=on"],
        &["-O", "qcow2", "-o", "refcount_bits=1"],
        &["-O", "vdi"],
        &["-O", "vdi", "-o", "static=on"],
        &["-O", "vpc", "-o", "force_size=on"],
        &["-O", "vpc", "-o", "subformat=fixed,force_size=on"],
        &["-O", "vhdx"],
        &["-O", "vhdx", "-o", "subformat=fixed"],
        &["-O", "vhdx", "-o", "block_size=1M"],
        &["-O", "vhdx", "-o", "block_size=16M,block_state_zero=off"],
        &["-O", "vmdk"],
        &["-O", "vmdk", "-o", "zeroed_grain=on"],
        &["-O", "vmdk", "-o", "subformat=streamOptimized"],
    ];
    for (number, case) in cases.into_iter().enumerate() {
        let path = dir.path().join(number.to_string());
        let ends = [raw.to_str().unwrap(), path.to_str().unwrap()];
        qemu.passes(&[&["convert", "-f", "raw"], case, &ends].concat());
        assert!(read(&path).as_deref() == Ok(&image.bytes[..]), "{case:?}: {:?}", read(&path).err());
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_disk_of_any_length_is_read_as_qemu_img_made_it() {
    let Some(qemu) = Tool::find("qemu-img") else { return };
    let dir = temp();
    for size in [512, 65_536 + 512, (1 << 20) + 1536, (5 << 20) - 512] {
        let image = Image::new(size, &[(0, 512, 1), (size - 512, 512, 1)]);
        let raw = dir.path().join(format!("{size}.raw"));
        image.raw(&raw);
        for (format, more) in
            [("qcow2", "-p"), ("qcow2", "-c"), ("vdi", "-p"), ("vhdx", "-p"), ("vmdk", "-p")]
        {
            let path = dir.path().join(format!("{size}{more}.{format}"));
            qemu.passes(&[
                "convert",
                "-f",
                "raw",
                more,
                "-O",
                format,
                raw.to_str().unwrap(),
                path.to_str().unwrap(),
            ]);
            let found = read(&path).unwrap();
            assert!(found.starts_with(&image.bytes), "{size} {format}: {} bytes", found.len());
            assert!(found[image.bytes.len()..].iter().all(|byte| *byte == 0), "{size} {format}");
        }
    }
}

#[test]
fn bits_depend_neither_on_threads_nor_on_where_they_go() {
    let (dir, image) = (temp(), Image::usual());
    for (number, (format, form)) in FORMS.into_iter().enumerate() {
        let of = |threads: u32| {
            let path = dir.path().join(format!("{number}.{threads}.{format}"));
            image.write(form, &path, threads);
            std::fs::read(path).unwrap()
        };
        let one = of(1);
        assert!(one == of(2) && one == of(8), "{form:?}");
        let pipe = Pipe::default();
        let piped = into_sink(form, Box::new(pipe.clone()), "pipe", &image.disk(), 2);
        match piped {
            Ok(sink) => {
                image.feed(sink).unwrap();
                assert!(*pipe.0.lock().unwrap() == one, "{form:?} in a pipe");
                assert!(form.is_stream());
            }
            Err(error) => {
                assert!(error.to_string().contains("needs a file") && !form.is_stream(), "{error}");
            }
        }
    }
}

#[test]
fn other_contents_have_other_identifiers_and_the_same_have_the_same() {
    let (dir, image) = (temp(), Image::usual());
    for (number, (_, form)) in FORMS.into_iter().enumerate() {
        let of = |seed: u8, name: &str| {
            let path = dir.path().join(format!("{number}{name}"));
            let file = File::create_new(&path).unwrap();
            let disk = Disk { seed: [seed; 32], ..image.disk() };
            image.feed(into_file(form, file, "test", &disk, 1).unwrap()).unwrap();
            std::fs::read(path).unwrap()
        };
        assert!(of(1, "a") == of(1, "b"), "{form:?}");
        let has_ids = form.kind() != Kind::Qcow2;
        assert_eq!(of(1, "c") != of(2, "d"), has_ids, "{form:?}");
    }
}

#[test]
fn a_packed_qcow2_is_as_long_as_that_of_qemu_img_to_half_a_percent() {
    let Some(qemu) = Tool::find("qemu-img") else { return };
    let dir = temp();
    // Programs, as a system has them: this test itself, which is another after each build. Which of the two is shorter
    // depends on the bytes; `benches/containers` tells for a whole closure.
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let len = program.len().min(48 << 20) as u64;
    let mut image = Image::new(64 << 20, &[(1 << 20, len, 0)]);
    let from = 1 << 20;
    image.bytes[from..from + len as usize].copy_from_slice(&program[..len as usize]);
    let raw = dir.path().join("raw");
    image.raw(&raw);
    for (form, name) in [(Form::QCOW2, "zlib"), (Form::QCOW2_ZSTD, "zstd")] {
        let (ours, theirs) =
            (dir.path().join(format!("{name}.ours")), dir.path().join(format!("{name}.theirs")));
        image.write(form, &ours, 2);
        let option = format!("compression_type={name}");
        qemu.passes(&[
            "convert",
            "-f",
            "raw",
            "-c",
            "-O",
            "qcow2",
            "-o",
            &option,
            raw.to_str().unwrap(),
            theirs.to_str().unwrap(),
        ]);
        let (ours, theirs) = (ours.metadata().unwrap().len(), theirs.metadata().unwrap().len());
        println!("{name}: {ours} bytes, qemu-img {theirs}");
        assert!(ours * 1000 <= theirs * 1005, "{name}: {ours} bytes, qemu-img {theirs}");
    }
}

#[test]
fn a_large_disk_costs_almost_nothing() {
    let Some(qemu) = Tool::find("qemu-img") else { return };
    let dir = temp();
    let (size, data) = (1 << 40, vec![0..4096, (1 << 39)..(1 << 39) + 4096, (1 << 40) - 4096..1 << 40]);
    let disk = Disk { size, data: data.clone(), seed: [1; 32] };
    for (number, (format, form)) in FORMS.into_iter().enumerate().filter(|(_, (format, _))| *format != "vpc")
    {
        let path = dir.path().join(format!("{number}.{format}"));
        let mut sink = into_file(form, File::create_new(&path).unwrap(), "test", &disk, 2).unwrap();
        let mut position = 0;
        for range in &data {
            sink.skip(range.start - position).unwrap();
            sink.data(&vec![5; (range.end - range.start) as usize]).unwrap();
            position = range.end;
        }
        sink.finish().unwrap();
        let info = qemu.passes(&["info", "-f", format, "--output=json", path.to_str().unwrap()]);
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        assert_eq!(info["virtual-size"], size, "{form:?}");
        assert!(path.metadata().unwrap().len() < 16 << 20, "{form:?}: {:?}", path.metadata().unwrap().len());
        let file = File::open(&path).unwrap();
        let disk = open(kind_of(&file), file).unwrap();
        for range in &data {
            let mut found = [0; 4096];
            disk.read_exact_at(&mut found, range.start).unwrap();
            assert_eq!(found, [5; 4096], "{form:?}");
        }
    }
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    let Some(qemu) = Tool::find("qemu-img") else { return };
    let dir = temp();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    qemu.passes(&["create", "-f", "qcow2", &at("base.qcow2"), "1M"]);
    qemu.passes(&["create", "-f", "qcow2", "-F", "qcow2", "-b", &at("base.qcow2"), &at("backed")]);
    qemu.passes(&["create", "-f", "qcow2", &at("snapshot"), "1M"]);
    qemu.passes(&["snapshot", "-c", "one", &at("snapshot")]);
    let secret = "secret,id=s,data=word";
    let luks = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10";
    qemu.passes(&["create", "--object", secret, "-f", "qcow2", "-o", luks, &at("encrypted"), "1M"]);
    let external = format!("data_file={}", at("data"));
    qemu.passes(&["create", "-f", "qcow2", "-o", &external, &at("external"), "1M"]);
    qemu.passes(&["create", "-f", "qcow2", "-o", "extended_l2=on", &at("extended"), "1M"]);
    qemu.passes(&["create", "-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse", &at("split.vmdk"), "1M"]);
    for (name, words) in [
        ("backed", "backing file"),
        ("snapshot", "with 1 snapshots inside"),
        ("encrypted", "encrypted"),
        ("external", "in another file"),
        ("extended", "extended L2"),
        ("split-s001.vmdk", "of the kind \"\" with 0 parts"),
    ] {
        let error = read(dir.path().join(name).as_path()).unwrap_err();
        assert!(error.contains(words), "{name}: {error}");
    }
}

/// Ranges of any kind on a disk of any length.
fn any_image() -> impl Strategy<Value = Image> {
    let size = prop_oneof![Just(9 << 20), (1_u64..20_000).prop_map(|sectors| sectors * 512)];
    let ranges = proptest::collection::vec((0_u64..12 << 20, 1_u64..1 << 18, any::<u8>()), 0..12);
    (size, ranges).prop_map(|(size, mut ranges)| {
        ranges.sort_unstable();
        let ranges: Vec<_> = ranges
            .iter()
            .map(|(from, len, kind)| (from / 512 * 512, len, kind % 3))
            .map(|(a, b, c)| (a, *b, c))
            .collect();
        Image::new(size, &ranges)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_map_of_data_comes_back_as_it_went(image in any_image()) {
        let Some(qemu) = Tool::find("qemu-img") else { return Ok(()) };
        let dir = temp();
        let raw = dir.path().join("raw");
        image.raw(&raw);
        for (number, (format, form)) in FORMS.into_iter().enumerate() {
            let path = dir.path().join(number.to_string());
            image.write(form, &path, 2);
            let found = read(&path).unwrap();
            assert!(found.starts_with(&image.bytes), "{form:?}");
            assert!(found[image.bytes.len()..].iter().all(|byte| *byte == 0), "{form:?}");
            judged(&qemu, format, &path, &raw);
        }
    }
}

#[test]
fn a_container_with_any_byte_changed_is_read_or_refused_and_nobody_panics() {
    let dir = temp();
    let image = Image::new(6 << 20, &[(0, 70_000, 0), (3 << 20, 70_000, 1)]);
    let mut state = 1_u64;
    let mut next = move |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for (number, (_, form)) in FORMS.into_iter().enumerate() {
        let path = dir.path().join(number.to_string());
        image.write(form, &path, 1);
        seeds.push(std::fs::read(path).unwrap());
    }
    match Tool::find("qemu-img") {
        Some(qemu) => {
            let raw = dir.path().join("raw");
            image.raw(&raw);
            for options in [&["-O", "vpc"][..], &["-O", "vmdk"], &["-O", "vhdx"], &["-c", "-O", "qcow2"]] {
                let path = dir.path().join("theirs");
                let ends = [raw.to_str().unwrap(), path.to_str().unwrap()];
                qemu.passes(&[&["convert", "-f", "raw"], options, &ends].concat());
                seeds.push(std::fs::read(&path).unwrap());
            }
        }
        None => skip("no qemu-img: only containers of our own are changed"),
    }
    for seed in seeds {
        let kind = sniff(&seed).or_else(|| sniff_end(&seed)).unwrap();
        // Where something stands: headers, tables, and what is behind them.
        let places: Vec<usize> =
            (0..seed.len()).step_by(4).filter(|at| seed[*at..].iter().take(4).any(|b| *b != 0)).collect();
        let tables: Vec<usize> =
            places.iter().copied().filter(|at| !is_content(&image, &seed, *at)).collect();
        let mut bytes = seed.clone();
        for round in 0..2000 {
            let chosen = if round % 8 == 0 || tables.is_empty() { &places } else { &tables };
            let at = chosen[next(chosen.len() as u64) as usize] + next(4) as usize;
            let len = [1, 4, 8][next(3) as usize].min(bytes.len() - at);
            let fill = [0, 0xff, next(256) as u8][next(3) as usize];
            bytes[at..at + len].fill(fill);
            let cut = if round % 50 == 0 { next(seed.len() as u64) as usize } else { bytes.len() };
            if let Ok(disk) = open(kind, &bytes[..cut]) {
                assert!(disk.size() <= 1 << 44, "{kind:?}");
                look(&*disk);
            }
            bytes[at..at + len].copy_from_slice(&seed[at..at + len]);
        }
    }
}

/// Whether a place holds what the disk does.
fn is_content(image: &Image, seed: &[u8], at: usize) -> bool {
    let end = (at + 16).min(seed.len());
    image.bytes.get(at..end) == seed.get(at..end)
}

/// Reads a little of a disk: its start, its end, and each stored run up to a number.
fn look(disk: &dyn nixflash::format::disk::container::Disk) {
    let mut at = 0;
    let mut buf = [0; 4096];
    for _ in 0..64 {
        if at >= disk.size() {
            break;
        }
        let Ok(run) = disk.run(at) else { break };
        assert!(run.len > 0);
        let len = run.len.min(4096).min(disk.size() - at) as usize;
        let _ = disk.read_exact_at(&mut buf[..len], at);
        at += run.len;
    }
    let len = disk.size().min(4096);
    let _ = disk.read_exact_at(&mut buf[..len as usize], disk.size() - len);
}

#[test]
fn tables_that_cannot_be_right_and_changes_that_wait_are_refused() {
    let dir = temp();
    let image = Image::new(64 << 20, &[(0, 70_000, 0), (3 << 20, 70_000, 1)]);
    // The map of a VDI is at 1 MiB: 64 blocks, all of them the first one of the file.
    let bomb: fn(&mut Vec<u8>) = |bytes| bytes[1 << 20..][..64 * 4].fill(0);
    // Both headers of a VHDX: a log that belongs to them, at 48, and the checksum over 4 KiB, at 4.
    let open_log: fn(&mut Vec<u8>) = |bytes| {
        for at in [64 << 10, 128 << 10] {
            let header = &mut bytes[at..at + 4096];
            header[48..64].fill(7);
            header[4..8].fill(0);
            let sum = crc32c::crc32c(header);
            header[4..8].copy_from_slice(&sum.to_le_bytes());
        }
    };
    let reserved: fn(&mut Vec<u8>) = |bytes| {
        let at = bytes.len() - 100;
        bytes[at] ^= 1;
    };
    let mut wrong = Vec::new();
    for (form, change, expected) in [
        (Form::Vdi, bomb, "have no room in a file of"),
        (Form::Vhdx, open_log, "changes wait in its log"),
        (Form::Vhd, reserved, "no footer with a right checksum"),
    ] {
        let path = dir.path().join(form.name());
        image.write(form, &path, 1);
        let mut bytes = std::fs::read(&path).unwrap();
        let kind = sniff(&bytes).or_else(|| sniff_end(&bytes)).unwrap();
        assert!(open(kind, &bytes[..]).is_ok(), "{form:?} as it was made");
        change(&mut bytes);
        match open(kind, &bytes[..]) {
            Err(error) if error.to_string().contains(expected) => {}
            other => wrong.push(format!("{}: {:?}", form.name(), other.map(|disk| disk.size()))),
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
