//! Contents that go to their place while the closure is looked through: the same bits, and the same errors.

use crate::common::{Demo, Tool, demo, nixflash, run, sha256, temp};
use crate::remote_faults::add_listings;
use nixflash::base_n::to_base16;
use nixflash::format::nix::nar::Framing;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Bytes that do not repeat soon, the same for each seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

/// What a made store path holds.
enum Kind {
    /// A file of that many bytes.
    File(usize),
    /// A directory with files of these lengths.
    Directory(Vec<usize>),
    Symlink,
}

fn nar(kind: &Kind, seed: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let file = |out: &mut Vec<u8>, seed: u64, len: usize| {
        Framing::file(out, false, len as u64);
        out.extend_from_slice(&noise(seed, len));
        Framing::file_end(out, len as u64);
    };
    Framing::start(&mut out);
    match kind {
        Kind::File(len) => file(&mut out, seed, *len),
        Kind::Symlink => Framing::symlink(&mut out, b"/nix/store/nowhere"),
        Kind::Directory(lens) => {
            Framing::directory(&mut out);
            for (n, len) in lens.iter().enumerate() {
                Framing::entry(&mut out, format!("{n:06}").as_bytes());
                file(&mut out, seed + n as u64, *len);
                Framing::close(&mut out);
            }
            Framing::close(&mut out);
        }
    }
    out
}

/// Closures of all that makes a difference to where things lie: NARs that may wait and that may not, in every order; files
/// that a superblock cuts; blocks that are filled and that are not; nothing at all.
fn kinds() -> Vec<Kind> {
    let mut kinds = vec![
        Kind::File(140 << 20),
        Kind::Symlink,
        Kind::Directory((0..3000).map(|n| n * 7919 % 9000).collect()),
        Kind::File(17 << 20),
        Kind::File(18 << 20),
        Kind::Directory(vec![]),
        Kind::Directory(vec![0, 4096, 1, 8192, 4095, 4097, 0, (20 << 20) + 5, 3]),
        Kind::File(0),
        // In whole blocks they are far larger than their NAR.
        Kind::Directory(vec![1; 9000]),
    ];
    kinds.extend((1..12).map(|n| Kind::File((n << 20) + n)));
    kinds.push(Kind::File((30 << 20) + 1));
    kinds
}

fn name(n: usize) -> String {
    // Hashes that lie among those of the demo.
    format!("{}{n:0>31}-made-{n}", b"05abcfgjkmprvxz"[n % 15] as char)
}

/// Adds made paths to a copy of the demo's cache, which its toplevel then refers to.
fn cache(demo: &Demo, to: &Path, kinds: &[Kind]) {
    let copied = run(Command::new("cp").args(["-a", &demo.at("cache-zstd")]).arg(to));
    assert_eq!(copied.code, 0, "{}", copied.err);
    for (n, kind) in kinds.iter().enumerate() {
        let (nar, name) = (nar(kind, n as u64 * 1_000_000), name(n));
        let packed = zstd::encode_all(&nar[..], 1).unwrap();
        let digest = |bytes: &[u8]| to_base16(&Sha256::digest(bytes));
        std::fs::write(to.join(format!("nar/{n}")), &packed).unwrap();
        let info = format!(
            "StorePath: /nix/store/{name}\nURL: nar/{n}\nCompression: zstd\nFileHash: sha256:{}\nFileSize: {}\nNarHash: sha256:{}\nNarSize: {}\nReferences: \n",
            digest(&packed),
            packed.len(),
            digest(&nar),
            nar.len()
        );
        std::fs::write(to.join(format!("{}.narinfo", &name[..32])), info).unwrap();
    }
    let top = to.join(format!("{}.narinfo", &demo.top["/nix/store/".len()..][..32]));
    let text = std::fs::read_to_string(&top).unwrap();
    let names: Vec<String> = (0..kinds.len()).map(name).collect();
    std::fs::write(&top, text.replace("References: ", &format!("References: {} ", names.join(" ")))).unwrap();
}

fn compose(demo: &Demo, cache: &Path, output: &Path, more: &[&str]) -> Command {
    let mut command = demo.compose("rpi4", cache.to_str().unwrap(), output);
    command.args(["--force", "--firmware", &demo.at("root")]).args(more);
    command
}

/// The same, which says more.
fn loud(demo: &Demo, cache: &Path, output: &Path, more: &[&str]) -> Command {
    let quiet = compose(demo, cache, output, more);
    let mut command = nixflash();
    command.arg("-v").args(quiet.get_args().filter(|word| *word != "-q"));
    command
}

/// How much found its place early, in bytes as they are shown: rounded.
fn landed(said: &str) -> u64 {
    let line = said.lines().find(|line| line.contains("found their place")).map_or("0 bytes", |line| line);
    let mut words = line.split(' ');
    let (whole, tenths) = words.next().map(|number| number.split_once('.').unwrap_or((number, "0"))).unwrap();
    let unit = match words.next().unwrap() {
        "GiB" => 1 << 30,
        "MiB" => 1 << 20,
        "KiB" => 1 << 10,
        _ => 1u64,
    };
    let number = |digits: &str| digits.parse::<u64>().unwrap();
    (number(whole) * 10 + number(tenths)) * unit / 10
}

fn alone(output: &Path) {
    let names: Vec<_> = std::fs::read_dir(output.parent().unwrap()).unwrap().collect();
    assert!(names.is_empty(), "{names:?}");
}

#[test]
fn what_lands_early_is_what_is_moved_later() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let (plain, listed) = (dir.path().join("plain"), dir.path().join("listed"));
    cache(demo, &plain, &kinds());
    let copied = run(Command::new("cp").arg("-al").args([&plain, &listed]));
    assert_eq!(copied.code, 0, "{}", copied.err);
    add_listings(&listed);
    let image = dir.path().join("a.img");
    // With listings nothing has to be decoded for the plan, so nothing lands early.
    let done = run(&mut loud(demo, &listed, &image, &[]));
    // But for names that JSON has no word for.
    assert!(done.code == 0 && landed(&done.err) < 100 << 10, "{}", done.err);
    let expected = sha256(&image);
    let all = 280 << 20;
    if let Some(e2fsck) = Tool::find("e2fsck") {
        let (start, len) = *crate::common::partitions(&image).unwrap().last().unwrap();
        let root = dir.path().join("root.img");
        crate::common::cut(&image, (start, len), &root);
        e2fsck.passes(&["-fn", root.to_str().unwrap()]);
    }
    for threads in ["1", "2", "3", "8"] {
        let done = run(&mut loud(demo, &plain, &image, &["--threads", threads]));
        assert_eq!((done.code, sha256(&image)), (0, expected.clone()), "{threads}: {}", done.err);
        // With more than two, some is left for later where many wait.
        let least = if ["1", "2"].contains(&threads) { all } else { 1 << 20 };
        assert!(landed(&done.err) > least, "{threads}: {}", done.err);
    }
    // Some listed, some not.
    for n in (0..kinds().len()).step_by(2) {
        std::fs::remove_file(listed.join(format!("{}.ls", &name(n)[..32]))).unwrap();
    }
    let done = run(&mut loud(demo, &listed, &image, &[]));
    assert_eq!((done.code, sha256(&image)), (0, expected.clone()), "{}", done.err);
    assert!((100 << 20..all).contains(&landed(&done.err)), "{}", done.err);
    // A stream is written in its order.
    let packed = dir.path().join("a.img.zst");
    assert_eq!(run(&mut compose(demo, &plain, &packed, &[])).code, 0);
    std::io::copy(
        &mut zstd::Decoder::new(File::open(&packed).unwrap()).unwrap(),
        &mut File::create(&image).unwrap(),
    )
    .unwrap();
    assert_eq!(sha256(&image), expected);
}

/// Blocks of a sparse file that are not zero, by their hash.
fn blocks(path: &Path) -> Vec<(u64, [u8; 32])> {
    use nix::unistd::{Whence, lseek};
    const STEP: u64 = 64 << 10;
    let file = File::open(path).unwrap();
    let (mut found, mut at) = (Vec::new(), 0);
    let mut buf = vec![0; STEP as usize];
    while let Ok(data) = lseek(&file, at, Whence::SeekData) {
        let end = lseek(&file, data, Whence::SeekHole).unwrap();
        let (data, end) = (data.cast_unsigned(), end.cast_unsigned());
        let mut offset = data / STEP * STEP;
        while offset < end {
            let len = file.read_at(&mut buf, offset).unwrap();
            if buf[..len].iter().any(|byte| *byte != 0) {
                found.push((offset, Sha256::digest(&buf[..len]).into()));
            }
            offset += STEP;
        }
        at = end.cast_signed();
    }
    found.dedup();
    found
}

/// Beyond 1 TiB descriptors take more room, and files lie elsewhere: what has landed is written anew.
#[test]
fn what_landed_at_the_wrong_place_is_written_again() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let (plain, listed) = (dir.path().join("plain"), dir.path().join("listed"));
    let kinds = [Kind::File(18 << 20), Kind::Directory(vec![5000, 1 << 20])];
    cache(demo, &plain, &kinds);
    cache(demo, &listed, &kinds);
    add_listings(&listed);
    let images = [dir.path().join("plain.img"), dir.path().join("listed.img")];
    for (store, image) in [plain, listed].iter().zip(&images) {
        let done = run(&mut compose(demo, store, image, &["--size", "1100GiB"]));
        assert_eq!(done.code, 0, "{}", done.err);
        assert_eq!(image.metadata().unwrap().len(), 1100 << 30);
    }
    let [one, two] = images.map(|image| blocks(&image));
    assert!(one.len() > 400 && one == two, "{} {}", one.len(), two.len());
}

fn set(cache: &Path, n: usize, key: &str, value: &str) {
    let info = cache.join(format!("{}.narinfo", &name(n)[..32]));
    let text = std::fs::read_to_string(&info).unwrap();
    let lines = text.lines().map(|line| match line.split_once(": ") {
        Some((found, _)) if found == key => format!("{key}: {value}\n"),
        _ => format!("{line}\n"),
    });
    std::fs::write(&info, lines.collect::<String>()).unwrap();
}

#[test]
fn the_first_that_is_wrong_is_told_and_nothing_is_left() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let good = dir.path().join("good");
    let kinds = [Kind::File(17 << 20), Kind::File(20 << 20), Kind::File(1 << 20), Kind::File(33 << 20)];
    cache(demo, &good, &kinds);
    let zeros = "0".repeat(64);
    let flip = |cache: &Path, n: usize| {
        let file = cache.join(format!("nar/{n}"));
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, bytes).unwrap();
    };
    // For more bytes than any file system has there is no place; that it has them is what is wrong.
    let boast = |cache: &Path| {
        let mut nar = Vec::new();
        Framing::start(&mut nar);
        Framing::file(&mut nar, false, 1 << 49);
        let packed = zstd::encode_all(&nar[..], 1).unwrap();
        set(cache, 0, "NarSize", &((1u64 << 49) + 1000).to_string());
        set(cache, 0, "FileSize", &packed.len().to_string());
        set(cache, 0, "FileHash", &format!("sha256:{}", to_base16(&Sha256::digest(&packed))));
        std::fs::remove_file(cache.join("nar/0")).unwrap();
        std::fs::write(cache.join("nar/0"), packed).unwrap();
    };
    type Damage<'a> = &'a dyn Fn(&Path);
    let cases: [(&str, Damage<'_>, &str); 7] = [
        ("made-0", &boast, ""),
        ("made-1", &|cache| set(cache, 1, "NarHash", &format!("sha256:{zeros}")), "its NarHash is"),
        ("made-2", &|cache| set(cache, 2, "NarHash", &format!("sha256:{zeros}")), "its NarHash is"),
        ("made-0", &|cache| set(cache, 0, "NarSize", "17825000"), "or more, expected 17825000"),
        ("made-2", &|cache| set(cache, 2, "NarSize", "99999999"), "expected 99999999"),
        ("made-3", &|cache| flip(cache, 3), ""),
        // Of several the first in the order of paths, whoever meets it first: 0..., 5..., a..., b...
        (
            "made-1",
            &|cache| {
                set(cache, 1, "NarHash", &format!("sha256:{zeros}"));
                set(cache, 2, "NarHash", &format!("sha256:{zeros}"));
                set(cache, 3, "NarHash", &format!("sha256:{zeros}"));
            },
            "its NarHash is",
        ),
    ];
    for (number, (path, damage, expected)) in cases.iter().enumerate() {
        let bad = dir.path().join(format!("bad-{number}"));
        let copied = run(Command::new("cp").arg("-a").args([&good, &bad]));
        assert_eq!(copied.code, 0, "{}", copied.err);
        damage(&bad);
        for threads in ["1", "2", "8"] {
            let out = temp();
            let image = out.path().join("a.img");
            let done = run(&mut compose(demo, &bad, &image, &["--threads", threads]));
            assert!(done.code == 6, "{number} {threads}: {} {}", done.code, done.err);
            assert!(done.err.contains(path) && done.err.contains(expected), "{number}: {}", done.err);
            alone(&image);
        }
    }
}

#[test]
fn what_is_refused_or_cannot_be_written_after_landing_leaves_nothing() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let store = dir.path().join("cache");
    cache(demo, &store, &[Kind::File(17 << 20), Kind::File(1 << 20)]);
    let out = temp();
    let image = out.path().join("a.img");
    let small = run(&mut compose(demo, &store, &image, &["--size", "138MiB"]));
    assert!(small.code == 5 && small.err.contains("bytes are needed"), "{} {}", small.code, small.err);
    alone(&image);
    let inner = compose(demo, &store, &image, &[]);
    let mut command = Command::new("bash");
    command.args(["-c", "trap '' XFSZ; ulimit -f 20; exec \"$@\"", "bash"]);
    let full = run(command.arg(inner.get_program()).args(inner.get_args()));
    assert!(full.code == 7 && full.err.contains("cannot write"), "{} {}", full.code, full.err);
    alone(&image);
    // What is there is told before any work.
    std::fs::write(&image, "precious").unwrap();
    let mut command = nixflash();
    command
        .args(["compose", "rpi4", "--system", &demo.top, "--store", "file:///nonexistent", "-o"])
        .arg(&image);
    let there = run(&mut command);
    assert!(there.code == 1 && there.err.contains("exists"), "{} {}", there.code, there.err);
}

#[test]
fn a_signal_while_contents_land_leaves_nothing() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let store = dir.path().join("cache");
    cache(demo, &store, &[Kind::File(1 << 20)]);
    // A NAR of 60 GiB that takes no room: far longer than the test waits.
    let len = 60u64 << 30;
    let mut head = Vec::new();
    Framing::start(&mut head);
    Framing::file(&mut head, false, len);
    let mut tail = Vec::new();
    Framing::file_end(&mut tail, len);
    let nar: PathBuf = store.join("nar/0");
    let file = File::create(&nar).unwrap();
    file.write_all_at(&head, 0).unwrap();
    file.write_all_at(&tail, head.len() as u64 + len).unwrap();
    let size = head.len() as u64 + len + tail.len() as u64;
    set(&store, 0, "Compression", "none");
    set(&store, 0, "NarSize", &size.to_string());
    set(&store, 0, "FileSize", &size.to_string());
    for signal in ["INT", "TERM", "HUP"] {
        let out = temp();
        let image = out.path().join("a.img");
        let mut child = compose(demo, &store, &image, &[]).stderr(Stdio::piped()).spawn().unwrap();
        let begun = || std::fs::read_dir(out.path()).unwrap().count() > 0;
        while !begun() {
            assert!(child.try_wait().unwrap().is_none());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        std::thread::sleep(std::time::Duration::from_millis(150));
        let sent =
            Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let status = child.wait().unwrap();
        assert_eq!((status.code(), status.signal()), (Some(130), None), "{signal}");
        alone(&image);
    }
}
