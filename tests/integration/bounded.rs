//! What hostile input may cost: each run has a limit on its memory, beyond which the kernel gives it none, and says what
//! it took. `cargo test bounded -- --nocapture | grep peak` prints the figures of `docs/measured.md`.

use crate::common::{Tool, demo, nixflash, temp};
use nixflash::format::nix::nar::Framing;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const MIB: u64 = 1 << 20;
/// What `inspect` may take for an image that is not compressed.
const INSPECT: u64 = 64 * MIB;
/// What `verify` may take for one.
const VERIFY: u64 = 96 * MIB;
/// What it may take for the largest documents and databases that it reads.
const LARGEST: u64 = 256 * MIB;
/// What a decoder with the largest window adds.
const DECODE: u64 = 192 * MIB;
/// What `compose` may take when it refuses a closure.
const COMPOSE: u64 = 320 * MIB;

/// Runs a command with a limit on its memory, and prints the most that it took.
const PYTHON: &str = "
import resource, subprocess, sys
limit = int(sys.argv[1])
run = subprocess.run(sys.argv[2:], preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)), capture_output=True)
sys.stdout.buffer.write(run.stdout)
sys.stderr.buffer.write(run.stderr)
print('\\n%d %d' % (run.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss), file=sys.stderr)
";

/// Runs within a limit and demands an exit status and a part of what is said.
fn ends(what: &str, command: &Command, limit: u64, code: i32, expected: &str) {
    let Some(python) = Tool::find("python3") else { return };
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let words: Vec<String> = words.map(|word| word.to_str().unwrap().to_owned()).collect();
    let limit_text = limit.to_string();
    let mut arguments = vec!["-S", "-c", PYTHON, &limit_text];
    arguments.extend(words.iter().map(String::as_str));
    let output = python.run(&arguments);
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let last = said.lines().last().unwrap();
    let (status, peak) = last.split_once(' ').unwrap_or_else(|| panic!("{what}: {said}"));
    let peak: u64 = peak.parse().unwrap();
    println!("peak {:4} MiB of {:3}: {what}", peak.div_ceil(1024), limit / MIB);
    // Long values are broken at spaces.
    let joined = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(status, code.to_string(), "{what}: {said}");
    assert!(joined.contains(expected), "{what}: expected {expected}: {said}");
    assert!(peak * 1024 <= limit, "{what}: {peak} KiB, expected at most {}", limit / 1024);
}

fn inspects(what: &str, image: &Path, expected: &str) {
    ends(what, nixflash().arg("inspect").arg(image), INSPECT, 0, expected);
    // None of these is a card of ours, or whole.
    let verdict = "error: ";
    ends(&format!("verify: {what}"), nixflash().arg("verify").arg(image), VERIFY, 3, verdict);
}

/// Writes a file and the directories above it.
fn put(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// An ext4 without checksums, which would be in the way, that holds what looks like a NixOS, and more.
fn ext4(work: &Path, size: &str, more: impl FnOnce(&Path)) -> Option<PathBuf> {
    let mke2fs = Tool::find("mke2fs")?;
    let (tree, image) = (work.join("tree"), work.join("image"));
    put(&tree, "nix/store/3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-nixos/init", b"");
    fs::create_dir_all(tree.join("nix/var/nix/profiles")).unwrap();
    symlink("/nix/store/3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-nixos", tree.join("nix/var/nix/profiles/system"))
        .unwrap();
    more(&tree);
    let (tree, file) = (tree.to_str().unwrap(), image.to_str().unwrap());
    let options = ["-q", "-F", "-t", "ext4", "-O", "^metadata_csum", "-d", tree, file, size];
    mke2fs.passes(&options);
    Some(image)
}

/// Objects of one key, which take a hundred times their text in memory.
fn objects(bytes: usize) -> Vec<u8> {
    [&b"["[..], &b"{\"\":0},".repeat(bytes / 7), b"0]"].concat()
}

#[test]
fn a_superblock_with_the_largest_counts_is_not_believed() {
    let work = temp();
    let Some(image) = ext4(work.path(), "8M", |_| {}) else { return };
    let file = fs::File::options().write(true).open(&image).unwrap();
    let set = |at: u64, value: u32| file.write_all_at(&value.to_le_bytes(), 1024 + at).unwrap();
    for (at, value) in [(0, u32::MAX), (4, u32::MAX), (0x28, 32768)] {
        set(at, value);
    }
    inspects("ext4 that claims 2^32 blocks on 8 MiB", &image, "it claims 4294967295 blocks");
    // Now with room for them, all of it a hole. The kernel under the test may have no files so long.
    if file.set_len(8 << 40).is_err() {
        return crate::common::skip("no file of 8 TiB here");
    }
    for (at, value) in [(0, 1 << 31), (4, 1 << 31), (0x18, 2), (0x14, 0), (0x20, 32768)] {
        set(at, value);
    }
    inspects("ext4 of 8 TiB with 2^31 inodes", &image, "the inode table of group 0");
}

#[test]
fn loops_in_extents_and_directories_end() {
    let Some(debugfs) = Tool::find("debugfs") else { return };
    let work = temp();
    let version = "nix/store/3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-nixos/nixos-version";
    // More pieces than the inode has room for, so that there is a node of the extent tree.
    let image = ext4(work.path(), "8M", |tree| {
        put(tree, version, b"");
        let file = fs::File::options().write(true).open(tree.join(version)).unwrap();
        (0..20).for_each(|n| file.write_all_at(b"piece", n * 65536).unwrap());
    });
    let Some(image) = image else { return };
    let path = image.to_str().unwrap();
    let stat = debugfs.passes(&["-R", &format!("stat /{version}"), path]);
    let node = stat.split("(ETB0):").nth(1).unwrap().split(|c: char| !c.is_ascii_digit()).next().unwrap();
    let node: u64 = node.parse().unwrap();
    // The node becomes an index of one entry, which names itself. Blocks have 1 KiB.
    let block = u32::try_from(node).unwrap();
    let mut index = vec![0x0a, 0xf3, 1, 0, 84, 0, 1, 0];
    index.extend([0; 4]);
    index.extend(0u32.to_le_bytes());
    index.extend(block.to_le_bytes());
    index.extend([0; 4]);
    let file = fs::File::options().write(true).open(&image).unwrap();
    file.write_all_at(&index, node * 1024).unwrap();
    inspects("an extent node of another depth", &image, "which cannot be");
    // The depth that the inode promises becomes 2, so that the node's is right.
    debugfs.passes(&["-w", "-R", &format!("set_inode_field /{version} block[1] 0x00020004"), path]);
    inspects("an extent node that names itself", &image, &format!("is mapped by block {node} twice"));
    debugfs.passes(&["-w", "-R", "link <2> /nix/store/loop", path]);
    inspects("a directory that is above itself", &image, "NixOS");
}

/// A card whose GPT names one partition 8192 times.
fn same_partition_8192_times(part: &[u8], to: &Path) {
    let (start, sectors) = (4096u64, part.len() as u64 / 512);
    let total = start + sectors + 4096;
    let mut entries = Vec::new();
    for number in 1u64..=8192 {
        entries.extend(0xebd0_a0a2_b9e5_4433_u64.to_le_bytes());
        entries.extend([7; 8]);
        entries.extend(number.to_le_bytes());
        entries.extend([7; 8]);
        entries.extend(start.to_le_bytes());
        entries.extend((start + sectors - 1).to_le_bytes());
        entries.extend([0; 80]);
    }
    let header = |own: u64, other: u64, at: u64| {
        let mut header = b"EFI PART\0\0\x01\0\x5c\0\0\0\0\0\0\0\0\0\0\0".to_vec();
        for number in [own, other, 2100, total - 2100, 1, 2, at] {
            header.extend(number.to_le_bytes());
        }
        for number in [8192, 128, crc32fast::hash(&entries)] {
            header.extend(u32::to_le_bytes(number));
        }
        let sum = crc32fast::hash(&header);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        header
    };
    let file = fs::File::create(to).unwrap();
    file.set_len(total * 512).unwrap();
    let put = |lba: u64, bytes: &[u8]| file.write_all_at(bytes, lba * 512).unwrap();
    let mut mbr = [0; 512];
    mbr[446 + 4] = 0xee;
    mbr[446 + 8] = 1;
    mbr[446 + 12..446 + 16].copy_from_slice(&u32::try_from(total - 1).unwrap().to_le_bytes());
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    put(0, &mbr);
    put(1, &header(1, total - 1, 2));
    put(2, &entries);
    put(start, part);
    put(total - 2049, &entries);
    put(total - 1, &header(total - 1, 1, total - 2049));
}

#[test]
fn a_table_that_names_one_file_system_8192_times_is_read_in_part() {
    let (Some(mkfs), Some(mcopy)) = (Tool::find("mkfs.fat"), Tool::find("mcopy")) else { return };
    let work = temp();
    let (files, fat, image) = (work.path().join("files"), work.path().join("fat"), work.path().join("image"));
    for n in 0..2000 {
        put(&files, &format!("{n:04} has a name that is rather long for a file on a FAT"), b"");
    }
    fs::File::create(&fat).unwrap().set_len(32 * MIB).unwrap();
    let path = fat.to_str().unwrap();
    mkfs.passes(&["-F", "16", "-s", "4", path]);
    mcopy.passes(&["-s", "-i", path, files.to_str().unwrap(), "::"]);
    same_partition_8192_times(&fs::read(&fat).unwrap(), &image);
    inspects(
        "a GPT that names a FAT 8192 times",
        &image,
        "partition 17 and those after it are not looked into",
    );
    let manifest = |tree: &Path| put(tree, "nix/var/nixflash/manifest.json", &objects(1_700_000));
    let Some(part) = ext4(work.path(), "16M", manifest) else { return };
    let part = fs::read(part).unwrap();
    same_partition_8192_times(&part, &image);
    inspects("a GPT that names an ext4 with a manifest 8192 times", &image, "partition 17 and those after");
}

/// Makes the store database of a tree by statements.
fn database(tree: &Path, sql: &str) {
    put(tree, "nix/var/nix/db/db.sqlite", b"");
    let db = rusqlite::Connection::open(tree.join("nix/var/nix/db/db.sqlite")).unwrap();
    db.execute_batch(sql).unwrap();
}

#[test]
fn documents_and_databases_that_grow_in_memory_are_refused() {
    let toplevel = "nix/store/3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-nixos";
    for (what, path, bytes) in [
        ("a manifest of 15 MiB of objects", "nix/var/nixflash/manifest.json".to_owned(), 15 << 20),
        ("a boot.json of 3 MiB of objects", format!("{toplevel}/boot.json"), 3 << 20),
    ] {
        let work = temp();
        let Some(image) = ext4(work.path(), "32M", |tree| put(tree, &path, &objects(bytes))) else { return };
        inspects(what, &image, "values, expected at most 262144");
    }
    let work = temp();
    let most = objects(131_070 * 7);
    let Some(image) = ext4(work.path(), "32M", |tree| put(tree, "nix/var/nixflash/manifest.json", &most))
    else {
        return;
    };
    let mut json = nixflash();
    ends(
        "the manifest of most values, as JSON",
        json.arg("inspect").arg("--json").arg(image),
        LARGEST,
        0,
        "{",
    );
    let large = "create table ValidPaths (path, narSize);
        with recursive n(x) as (select 1 union all select x + 1 from n where x < 180)
        insert into ValidPaths select hex(zeroblob(500000)), 1 from n";
    let work = temp();
    let Some(image) = ext4(work.path(), "256M", |tree| database(tree, large)) else { return };
    ends("a database of 180 MB", nixflash().arg("inspect").arg(image), LARGEST, 0, "closure 180 store paths");
    for (what, sql, expected) in [
        (
            "a database with a column of 800 MB",
            "create table ValidPaths (id, narSize as (length(hex(zeroblob(400000000)))));
             insert into ValidPaths (id) values (1)",
            "string or blob too big",
        ),
        (
            "a database with an endless view",
            "create view ValidPaths as with recursive n(narSize) as (select 1 union all select 1 from n) select narSize from n",
            "it has 0 tables ValidPaths",
        ),
    ] {
        let work = temp();
        let Some(image) = ext4(work.path(), "8M", |tree| database(tree, sql)) else { return };
        inspects(what, &image, expected);
    }
}

#[test]
fn a_decoder_gets_no_more_memory_than_a_usual_image_needs() {
    let work = temp();
    let image = work.path().join("image");
    let decode = |what: &str, code: i32, expected: &str| {
        ends(what, nixflash().arg("inspect").arg(&image), DECODE, code, expected);
    };
    // One frame: magic, descriptor with no length, window of 2 GiB, a last block that is empty.
    fs::write(&image, [0x28, 0xb5, 0x2f, 0xfd, 0, (31 - 10) << 3, 1, 0, 0]).unwrap();
    decode("a zst that asks for a window of 2 GiB", 6, "at most 134217728 are given");
    let mut encoder = zstd::Encoder::new(fs::File::create(&image).unwrap(), 1).unwrap();
    encoder.window_log(27).unwrap();
    let zeros = vec![0; 1 << 20];
    (0..1024).for_each(|_| encoder.write_all(&zeros).unwrap());
    encoder.finish().unwrap();
    decode("a zst of 1 GiB of zeros, window of 128 MiB", 0, "1 GiB");
    let mut packed = Vec::new();
    let mut encoder = liblzma::write::XzEncoder::new(&mut packed, 1);
    encoder.write_all(b"text").unwrap();
    encoder.finish().unwrap();
    // Behind the header of the stream: length of the block's header, flags, LZMA2, one byte of properties, the
    // dictionary: 4 GiB. At the end a sum.
    let end = 12 + 4 * (usize::from(packed[12]) + 1) - 4;
    packed[16] = 40;
    let sum = crc32fast::hash(&packed[12..end]).to_le_bytes();
    packed[end..end + 4].copy_from_slice(&sum);
    fs::write(&image, &packed).unwrap();
    decode("an xz that asks for a dictionary of 4 GiB", 6, "xz stream");
}

/// A narinfo of the demo cache, with other values for some keys.
fn change(cache: &Path, name: &str, values: &[(&str, &str)]) {
    let infos = fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path());
    let mut infos = infos.filter(|path| path.extension().is_some_and(|extension| extension == "narinfo"));
    let is = |path: &PathBuf| fs::read_to_string(path).unwrap().lines().next().unwrap().ends_with(name);
    let info = infos.find(is).unwrap();
    let text = fs::read_to_string(&info).unwrap();
    let left = text.lines().filter(|line| !line.starts_with("File"));
    let lines = left.map(|line| {
        let (key, value) = line.split_once(": ").unwrap();
        let value = values.iter().find(|(changed, _)| *changed == key).map_or(value, |(_, value)| value);
        format!("{key}: {value}\n")
    });
    fs::write(&info, lines.collect::<String>()).unwrap();
}

#[test]
fn caches_that_claim_or_pack_too_much_are_refused() {
    let (Some(demo), Some(cp)) = (demo(), Tool::find("cp")) else { return };
    let work = temp();
    let out = work.path().join("out.img");
    let refused = |what: &str, expected: &str, damage: &dyn Fn(&Path)| {
        let cache = work.path().join("cache");
        cp.passes(&["-r", &demo.at("cache-none"), cache.to_str().unwrap()]);
        damage(&cache);
        ends(what, &demo.compose("rpi4", cache.to_str().unwrap(), &out), COMPOSE, 6, expected);
        assert!(!out.exists(), "{what}");
        fs::remove_dir_all(cache).unwrap();
    };
    refused("a narinfo that claims a NAR of 2^62 bytes", "NarSize", &|cache| {
        change(cache, "-quirks", &[("NarSize", "4611686018427387904")]);
    });
    refused("a NAR with a file of 2^49 bytes", "-quirks", &|cache| {
        let mut nar = Vec::new();
        Framing::start(&mut nar);
        Framing::file(&mut nar, false, 1 << 49);
        put(cache, "nar/long", &nar);
        change(cache, "-quirks", &[("URL", "nar/long"), ("NarSize", "1125899906842624")]);
    });
    refused("a NAR of 40,000 symlinks of 4095 bytes", "names and symlinks of the closure", &|cache| {
        let file = fs::File::create(cache.join("nar/links")).unwrap();
        let mut packed = zstd::Encoder::new(file, 1).unwrap();
        let mut nar = Vec::new();
        Framing::start(&mut nar);
        Framing::directory(&mut nar);
        for n in 0..40_000 {
            Framing::entry(&mut nar, format!("{n:05}").as_bytes());
            Framing::symlink(&mut nar, &[b'x'; 4095]);
            Framing::close(&mut nar);
            packed.write_all(&nar).unwrap();
            nar.clear();
        }
        packed.finish().unwrap();
        let changes = [("URL", "nar/links"), ("Compression", "zstd"), ("NarSize", "1099511627776")];
        change(cache, "-quirks", &changes);
    });
    for (what, file) in [("a nix-cache-info of 64 GiB", "nix-cache-info"), ("a narinfo of 64 GiB", "narinfo")]
    {
        refused(what, "is longer than", &|cache| {
            let path = match file {
                "narinfo" => {
                    let hash = demo.top.rsplit('/').next().unwrap().split('-').next().unwrap();
                    cache.join(format!("{hash}.narinfo"))
                }
                file => cache.join(file),
            };
            fs::File::create(path).unwrap().set_len(64 << 30).unwrap();
        });
    }
}
