//! Images onto cards: from every packing and place, onto files and loop devices, and what is said when it goes wrong.

use crate::common::{Loop, Run, Tool, demo, nixflash, run, sha256, temp};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;

/// An image with a table, a partition, zeros and noise.
fn image() -> Vec<u8> {
    let mut bytes: Vec<u8> =
        (0..6 * MIB as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    bytes[..MIB].fill(0);
    bytes[3 * MIB..4 * MIB].fill(0);
    bytes[446..462].copy_from_slice(&[0, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 32, 0, 0]);
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    bytes
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bz2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn lz4(bytes: &[u8]) -> Vec<u8> {
    let info = lz4_flex::frame::FrameInfo::new().content_checksum(true);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zst(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// Each packing, in one stream and in two with something skippable between them.
fn packed(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let (one, two) = bytes.split_at(2 * MIB + 77);
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    vec![
        ("raw", bytes.to_vec()),
        ("zst", zst(bytes)),
        ("two frames of zst", [&skippable[..], &zst(one), &skippable, &zst(two), &skippable].concat()),
        ("gz", gz(bytes)),
        ("two members of gz", [gz(one), gz(two)].concat()),
        ("xz", xz(bytes)),
        ("two streams of xz", [&xz(one)[..], &[0; 4], &xz(two)].concat()),
        ("bz2", bz2(bytes)),
        ("two streams of bz2", [bz2(one), bz2(two)].concat()),
        ("lz4", lz4(bytes)),
        ("two frames of lz4", [&lz4(one)[..], &skippable, &lz4(two)].concat()),
    ]
}

fn write(image: &Path, target: &Path) -> Command {
    let mut command = nixflash();
    command.arg("write").arg(image).arg(target).args(["--yes", "--allow-fixed", "--force"]);
    command
}

/// The start of a card that does not look like one.
fn has_no_table(path: &Path) -> bool {
    let mut start = [0; 1024];
    File::open(path).unwrap().read_exact_at(&mut start, 0).unwrap();
    start[510..512] != [0x55, 0xaa] && !start[512..].starts_with(b"EFI PART")
}

fn put(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// A card of 16 MiB full of other bytes.
fn card(directory: &Path) -> PathBuf {
    put(directory, "card", &vec![0xaa; 16 * MIB])
}

fn holds(card: &Path, bytes: &[u8]) -> bool {
    let mut held = vec![0; bytes.len()];
    File::open(card).unwrap().read_exact_at(&mut held, 0).unwrap();
    held == bytes
}

#[test]
fn every_packing_is_recognised_by_its_bytes_and_written_to_its_end() {
    let dir = temp();
    let bytes = image();
    for (what, packed) in packed(&bytes) {
        // The name tells nothing, or lies.
        let source = put(dir.path(), "image.xz", &packed);
        let target = dir.path().join("target.img");
        let done = run(&mut write(&source, &target));
        // A temporary directory may be on tmpfs, which has no direct I/O.
        assert!([0, 9].contains(&done.code), "{what}: {}", done.err);
        assert!(std::fs::read(&target).unwrap() == bytes, "{what}");
        let mut verify = nixflash();
        verify.arg("verify").arg(&target).arg("--image").arg(&source);
        assert!([0, 9].contains(&run(&mut verify).code), "{what}");
        std::fs::remove_file(&target).unwrap();
    }
}

#[test]
fn a_zip_with_one_image_is_read_from_a_pipe_too() {
    let Some(python) = Tool::find("python3") else { return };
    let dir = temp();
    let bytes = image();
    put(dir.path(), "pi.img", &bytes);
    put(dir.path(), "other.img", b"x");
    let at = |name: &str| dir.path().join(name).display().to_string();
    python.passes(&["-m", "zipfile", "-c", &at("one.zip"), &at("pi.img")]);
    python.passes(&["-m", "zipfile", "-c", &at("two.zip"), &at("pi.img"), &at("other.img")]);
    let target = dir.path().join("target");
    let mut command = nixflash();
    command.args(["write", "-"]).arg(&target).stdin(File::open(at("one.zip")).unwrap());
    let done = run(&mut command);
    assert!([0, 9].contains(&done.code), "{}", done.err);
    assert!(std::fs::read(&target).unwrap() == bytes);
    let done = run(&mut write(Path::new(&at("two.zip")), &dir.path().join("none")));
    assert!(done.code == 6 && done.err.contains("more than one file: pi.img and other.img"), "{}", done.err);
}

#[test]
fn truncated_damaged_and_trailing_bytes_leave_a_card_that_does_not_boot() {
    let dir = temp();
    let bytes = image();
    let Some(attached) = Loop::attach(&card(dir.path()), &[]) else { return };
    for (what, packed) in packed(&bytes).into_iter().filter(|(what, _)| *what != "raw") {
        let cut = &packed[..packed.len() - 1];
        let half = &packed[..packed.len() / 2];
        let trailing = [&packed[..], b"garbage!"].concat();
        for (how, bytes) in [("cut by one byte", cut), ("cut in half", half), ("trailing bytes", &trailing)] {
            let source = put(dir.path(), "image", bytes);
            let done = run(&mut write(&source, &attached.path));
            assert!(done.code == 6, "{what}, {how}: {} {}", done.code, done.err);
            assert!(has_no_table(&attached.path), "{what}, {how}");
            assert!(
                ["nothing was written", "no partition table now", "damaged or truncated"]
                    .iter()
                    .any(|part| done.err.contains(part)),
                "{}",
                done.err
            );
        }
    }
}

#[test]
fn what_is_no_image_is_named() {
    let dir = temp();
    let mut dmg = vec![7; 4096];
    dmg[4096 - 512..4096 - 508].copy_from_slice(b"koly");
    for (bytes, expected) in [
        (&b"QFI\xfb\0\0\0\x03"[..], "qcow2"),
        (b"KDMV\x01\0\0\0", "vmdk"),
        (&dmg, "dmg"),
        (b"<!doctype html><html><head><title>404 Not Found", "HTML"),
        (b"", "the image is empty"),
    ] {
        let source = put(dir.path(), "image", bytes);
        let target = put(dir.path(), "target", b"precious");
        let done = run(&mut write(&source, &target));
        assert!(done.code == 6 && done.err.contains(expected), "{expected}: {} {}", done.code, done.err);
        if expected != "the image is empty" {
            assert_eq!(std::fs::read(&target).unwrap(), b"precious");
        }
    }
}

#[test]
fn what_stands_beside_an_image_is_used() {
    let dir = temp();
    let bytes = image();
    let source = put(dir.path(), "pi.img.zst", &zst(&bytes));
    let target = dir.path().join("target");
    let sum = sha256(&source);
    let attempt = |options: &[&str]| {
        std::fs::remove_file(&target).ok();
        run(nixflash().arg("write").arg(&source).arg(&target).args(options))
    };
    put(dir.path(), "pi.img.zst.sha256", format!("{sum}  pi.img.zst\n").as_bytes());
    assert!([0, 9].contains(&attempt(&[]).code));
    put(dir.path(), "pi.img.zst.sha256", format!("{}  pi.img.zst\n", "0".repeat(64)).as_bytes());
    let done = attempt(&[]);
    assert!(
        done.code == 6 && done.err.contains(&sum) && done.err.contains("pi.img.zst.sha256 says 0000"),
        "{}",
        done.err
    );
    assert!([0, 9].contains(&attempt(&["--no-sidecars"]).code));
    assert!([0, 9].contains(&attempt(&["--sha256", &sum]).code), "an option is stronger");
    let done = attempt(&["--no-sidecars", "--sha256", &"1".repeat(64)]);
    assert!(done.code == 6 && done.err.contains("--sha256 says 1111"), "{}", done.err);
    assert_eq!(attempt(&["--sha256", "12"]).code, 2);
    std::fs::remove_file(dir.path().join("pi.img.zst.sha256")).unwrap();
    let map = |ranges: &str, len: usize| {
        let text = format!(
            "<bmap version=\"2.0\"><ImageSize>{len}</ImageSize><BlockSize>4096</BlockSize><BlockMap>{ranges}</BlockMap></bmap>"
        );
        put(dir.path(), "pi.img.bmap", text.as_bytes());
    };
    map("<Range>0-511</Range>", bytes.len());
    assert!([0, 9].contains(&attempt(&[]).code));
    let held = std::fs::read(&target).unwrap();
    assert!(
        held[..2 * MIB] == bytes[..2 * MIB]
            && held[2 * MIB..].iter().all(|byte| *byte == 0)
            && held.len() == bytes.len()
    );
    map("<Range>0-511</Range>", bytes.len() + 4096);
    let done = attempt(&[]);
    assert!(done.code == 6 && done.err.contains("its block map is for"), "{}", done.err);
    map("<Range chksum=\"00\">0-511</Range>", bytes.len());
    assert!([0, 9].contains(&attempt(&[]).code), "a hash of a kind that is not named is not compared");
    let other = put(dir.path(), "just.bmap", b"<?xml version=\"1.0\"?><bmap version=\"2.0\"></bmap>");
    let done = run(&mut write(&other, &target));
    assert!(done.code == 6 && done.err.contains("a block map, not the image"), "{}", done.err);
}

#[test]
fn a_bmap_of_bmaptool_says_what_is_written() {
    let Some(bmaptool) = Tool::find("bmaptool") else { return };
    let dir = temp();
    let source = dir.path().join("pi.img");
    let file = File::create(&source).unwrap();
    let bytes = image();
    for at in [0, 2 * MIB, 5 * MIB] {
        file.write_all_at(&bytes[at..at + MIB / 2], at as u64).unwrap();
    }
    file.set_len(6 * MIB as u64).unwrap();
    drop(file);
    let at = source.to_str().unwrap();
    bmaptool.passes(&["create", "-o", &format!("{at}.bmap"), at]);
    let Some(attached) = Loop::attach(&card(dir.path()), &[]) else { return };
    let done = run(write(&source, &attached.path).arg("-v"));
    assert!(done.code == 0 && done.err.contains("checked with block map"), "{}", done.err);
    let mut held = vec![0; 6 * MIB];
    File::open(&attached.path).unwrap().read_exact_at(&mut held, 0).unwrap();
    for at in [0, 2 * MIB, 5 * MIB] {
        assert!(held[at..at + MIB / 2] == bytes[at..at + MIB / 2]);
    }
    assert!(
        held[4 * MIB + 4096..5 * MIB].iter().all(|byte| *byte == 0xaa),
        "what is not mapped is not written"
    );
}

#[test]
fn a_dirty_card_gets_sound_file_systems_though_free_blocks_are_not_written() {
    let (Some(demo), Some(e2fsck), Some(fsck)) = (demo(), Tool::find("e2fsck"), Tool::find("fsck.fat"))
    else {
        return;
    };
    let dir = temp();
    let source = dir.path().join("pi.img");
    assert_eq!(run(&mut demo.compose("rpi4", &demo.at("root"), &source)).code, 0);
    let len = source.metadata().unwrap().len() as usize;
    let backing = put(dir.path(), "card", &vec![0xaa; len + MIB]);
    let Some(attached) = Loop::attach(&backing, &[]) else { return };
    let done = run(write(&source, &attached.path).arg("--json"));
    assert_eq!(done.code, 0, "{}", done.err);
    let report: serde_json::Value = serde_json::from_slice(&done.out).unwrap();
    let verified = report["cards"][0]["verified"].as_u64().unwrap();
    assert!(verified < len as u64 / 3, "{verified} of {len} bytes");
    let held = std::fs::read(&attached.path).unwrap();
    assert!(
        held[16 * MIB..].windows(MIB).step_by(MIB).any(|w| w.iter().all(|b| *b == 0xaa)),
        "free blocks stay"
    );
    // The partitions of the rpi4 board: 8 MiB, 128 MiB.
    let fat = put(dir.path(), "fat", &held[8 * MIB..136 * MIB]);
    let ext4 = put(dir.path(), "ext4", &held[136 * MIB..len]);
    fsck.passes(&["-n", fat.to_str().unwrap()]);
    e2fsck.passes(&["-fn", ext4.to_str().unwrap()]);
    // Raw, packed, and by another name of the same card, it is what was written.
    for packed in ["pi.img", "pi.img.zst"] {
        if packed == "pi.img.zst" {
            assert_eq!(run(&mut demo.compose("rpi4", &demo.at("root"), &dir.path().join(packed))).code, 0);
        }
        let done =
            run(nixflash().arg("verify").arg(&attached.path).arg("--image").arg(dir.path().join(packed)));
        assert_eq!(done.code, 0, "{}", done.err);
    }
    // One byte of a file is changed: the place is told.
    let file = File::options().write(true).open(&attached.path).unwrap();
    let at = 8 * MIB + 4096 * 3;
    file.write_all_at(&[held[at] ^ 1], at as u64).unwrap();
    file.sync_all().unwrap();
    let done = run(nixflash().arg("verify").arg(&attached.path).arg("--image").arg(&source));
    assert!(done.code == 3 && done.err.contains("partition 1, byte 12288"), "{} {}", done.code, done.err);
    assert!(done.err.contains("512 bytes in 1 place"), "{}", done.err);
}

#[test]
fn a_composed_card_fills_the_device_and_passes_the_judges() {
    let (Some(demo), Some(e2fsck), Some(sfdisk)) = (demo(), Tool::find("e2fsck"), Tool::find("sfdisk"))
    else {
        return;
    };
    let dir = temp();
    for (board, len) in [("rpi4", 600 * MIB + 512 * 7), ("uefi-aarch64", 700 * MIB)] {
        let backing = dir.path().join("card");
        File::create(&backing).unwrap().set_len(len as u64).unwrap();
        let Some(attached) = Loop::attach(&backing, &[]) else { return };
        let mut command = nixflash();
        command.arg("write").arg(board).arg(&attached.path).args([
            "--system",
            &demo.top,
            "--store",
            &demo.at("root"),
        ]);
        let done = run(command.args(["--yes", "--allow-fixed", "--firmware", &demo.at("root")]));
        assert!(
            done.code == 0 && done.err.contains("written and verified"),
            "{board}: {} {}",
            done.code,
            done.err
        );
        let listed = sfdisk.passes(&["--json", attached.path.to_str().unwrap()]);
        let table: serde_json::Value = serde_json::from_str(&listed).unwrap();
        let root = table["partitiontable"]["partitions"].as_array().unwrap().last().unwrap().clone();
        let (start, size) = (root["start"].as_u64().unwrap() * 512, root["size"].as_u64().unwrap() * 512);
        assert!(
            start + size + (2 * MIB as u64) > len as u64,
            "{board}: the root ends at {} of {len}",
            start + size
        );
        sfdisk.passes(&["--verify", attached.path.to_str().unwrap()]);
        let offset = start.to_string();
        let Some(part) = Loop::attach(&backing, &["--offset", &offset, "--sizelimit", &size.to_string()])
        else {
            return;
        };
        e2fsck.passes(&["-fn", part.path.to_str().unwrap()]);
        // The same card again, as an image on it: nothing has changed, so nothing is written but the table.
        drop(part);
        let mut command = nixflash();
        command.arg("write").arg(board).arg(&attached.path).args([
            "--system",
            &demo.top,
            "--store",
            &demo.at("root"),
        ]);
        command.args([
            "--yes",
            "--allow-fixed",
            "--firmware",
            &demo.at("root"),
            "--minimize-writes",
            "--json",
        ]);
        let done = run(&mut command);
        let report: serde_json::Value = serde_json::from_slice(&done.out).unwrap();
        let written = report["cards"][0]["written"].as_u64().unwrap();
        assert!(done.code == 0 && written < 5 * MIB as u64, "{board}: {written} {}", done.err);
    }
}

#[test]
fn a_gpt_image_gets_its_backup_at_the_end_of_the_card() {
    let (Some(demo), Some(sgdisk)) = (demo(), Tool::find("sgdisk")) else { return };
    let dir = temp();
    let source = dir.path().join("efi.img");
    let composed =
        run(demo.compose("uefi-aarch64", &demo.at("root"), &source).args(["--firmware", &demo.at("root")]));
    assert_eq!(composed.code, 0, "{}", composed.err);
    let len = source.metadata().unwrap().len();
    let backing = dir.path().join("card");
    File::create(&backing).unwrap().set_len(len + 100 * MIB as u64 + 512).unwrap();
    let Some(attached) = Loop::attach(&backing, &[]) else { return };
    let done = run(&mut write(&source, &attached.path));
    assert!(done.code == 0 && done.err.contains("backup of the partition table moved"), "{}", done.err);
    let text = sgdisk.passes(&["-v", attached.path.to_str().unwrap()]);
    assert!(text.contains("No problems found"), "{text}");
    let done = run(nixflash().arg("verify").arg(&attached.path).arg("--image").arg(&source));
    assert_eq!(done.code, 0, "{}", done.err);
}

#[test]
fn an_image_grows_to_the_end_of_the_card_with_its_file_system() {
    let (Some(demo), Some(e2fsck), Some(sfdisk)) = (demo(), Tool::find("e2fsck"), Tool::find("sfdisk"))
    else {
        return;
    };
    let dir = temp();
    for board in ["rpi4", "uefi-aarch64"] {
        let source = dir.path().join(format!("{board}.img.zst"));
        let composed =
            run(demo.compose(board, &demo.at("root"), &source).args(["--firmware", &demo.at("root")]));
        assert_eq!(composed.code, 0, "{}", composed.err);
        let backing = dir.path().join("card");
        File::create(&backing).unwrap().set_len(3 << 30).unwrap();
        let Some(attached) = Loop::attach(&backing, &[]) else { return };
        let done = run(write(&source, &attached.path).arg("--grow"));
        assert!(
            done.code == 0 && done.err.contains("grown to") && !done.err.contains("as it was"),
            "{}",
            done.err
        );
        let listed = sfdisk.passes(&["--json", attached.path.to_str().unwrap()]);
        sfdisk.passes(&["--verify", attached.path.to_str().unwrap()]);
        let table: serde_json::Value = serde_json::from_str(&listed).unwrap();
        let root = table["partitiontable"]["partitions"].as_array().unwrap().last().unwrap().clone();
        let (start, size) = (root["start"].as_u64().unwrap() * 512, root["size"].as_u64().unwrap() * 512);
        assert!(start + size > (3 << 30) - (3 << 20), "{board}: {start} {size}");
        let (offset, limit) = (start.to_string(), size.to_string());
        let Some(part) = Loop::attach(&backing, &["--offset", &offset, "--sizelimit", &limit]) else {
            return;
        };
        let text = e2fsck.passes(&["-fn", part.path.to_str().unwrap()]);
        let blocks: u64 =
            text.rsplit('/').next().and_then(|rest| rest.split(' ').next()?.parse().ok()).unwrap();
        assert!(blocks * 4096 > size - (130 << 20), "{text}");
    }
}

#[test]
fn targets_are_refused_with_the_code_and_a_way_out() {
    let dir = temp();
    let source = put(dir.path(), "image", &image());
    let check = |mut command: Command, code: i32, expected: &str| {
        let done: Run = run(&mut command);
        assert!(
            done.code == code && done.err.contains(expected),
            "{} {}, expected {code} {expected}",
            done.code,
            done.err
        );
    };
    check(write(&source, Path::new("/dev/sdzz9")), 4, "does not exist, and no file is made below /dev");
    check(write(&source, Path::new("/dev/null")), 4, "a character device");
    check(write(&source, dir.path()), 4, "a directory");
    check(write(&source, &source), 4, "holds what is to be written");
    check(write(&dir.path().join("none"), Path::new("/dev/null")), 1, "No such file");
    check(write(Path::new("rpi4"), Path::new("/dev/null")), 2, "--system ./result");
    let mut alone = nixflash();
    alone.arg("write").arg(&source);
    check(alone, 2, "nixflash devices");
    let mut asked = nixflash();
    asked.arg("write").arg(&source).arg(put(dir.path(), "old", b"precious"));
    check(asked, 4, "add --yes");
    let mut twice = write(&source, &dir.path().join("new"));
    twice.arg(dir.path().join("new"));
    check(twice, 2, "named twice");
    assert!(!Path::new("/dev/sdzz9").exists());
    assert_eq!(std::fs::read(dir.path().join("old")).unwrap(), b"precious");
    let small = put(dir.path(), "small", &vec![0; 4 * MIB]);
    let Some(attached) = Loop::attach(&small, &[]) else { return };
    check(write(&source, &attached.path), 5, "the image needs 6291456");
    drop(attached);
    let Some(attached) = Loop::attach(&card(dir.path()), &[]) else { return };
    let mut careful = nixflash();
    careful.arg("write").arg(&source).arg(&attached.path).arg("--yes");
    check(careful, 4, "--identity");
    drop(attached);
    let Some(attached) = Loop::attach(&card(dir.path()), &["--sector-size", "4096"]) else { return };
    check(write(&source, &attached.path), 4, "sectors of 4096 bytes");
    drop(attached);
    let Some(attached) = Loop::attach(&card(dir.path()), &["--read-only"]) else { return };
    check(write(&source, &attached.path), 4, "read-only");
    // Longer than the card, which shows only at the end of a stream that does not say its length.
    drop(attached);
    let Some(attached) = Loop::attach(&small, &[]) else { return };
    let packed = put(dir.path(), "image.gz", &gz(&image()));
    check(write(&packed, &attached.path), 5, "longer than the target");
    assert!(has_no_table(&attached.path));
}

#[test]
fn several_cards_are_written_at_once_and_each_has_its_line() {
    let dir = temp();
    let bytes = image();
    let source = put(dir.path(), "image", &gz(&bytes));
    let cards: Vec<PathBuf> =
        ["a", "b"].iter().map(|name| put(dir.path(), name, &vec![0xaa; 16 * MIB])).collect();
    let small = put(dir.path(), "c", &vec![0xaa; 4 * MIB]);
    let loops: Option<Vec<Loop>> = cards.iter().chain([&small]).map(|card| Loop::attach(card, &[])).collect();
    let Some(loops) = loops else { return };
    let mut command = write(&source, &loops[0].path);
    command.arg(&loops[1].path).arg(&loops[2].path).arg("--json");
    let done = run(&mut command);
    assert!(done.code == 5 && done.err.contains("1 of 3 targets failed"), "{} {}", done.code, done.err);
    let report: serde_json::Value = serde_json::from_slice(&done.out).unwrap();
    let results: Vec<_> =
        report["cards"].as_array().unwrap().iter().map(|card| card["result"].as_str().unwrap()).collect();
    assert_eq!(results, ["verified", "verified", "failed"]);
    assert!(holds(&loops[0].path, &bytes) && holds(&loops[1].path, &bytes) && has_no_table(&loops[2].path));
    assert_eq!(done.err.matches("written and verified").count(), 2, "{}", done.err);
}

#[test]
fn a_signal_leaves_a_card_without_a_table_and_a_rerun_works() {
    let dir = temp();
    let bytes = image();
    let Some(attached) = Loop::attach(&card(dir.path()), &[]) else { return };
    for signal in ["INT", "TERM", "HUP", "KILL"] {
        let mut child = nixflash()
            .args(["write", "-"])
            .arg(&attached.path)
            .args(["--yes", "--allow-fixed"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        pipe.write_all(&bytes[..5 * MIB]).unwrap();
        // The card is being written when its old start is gone.
        let began = Instant::now();
        while holds(&attached.path, &[0xaa; 512]) || holds(&attached.path, &bytes[..512]) {
            assert!(began.elapsed() < Duration::from_secs(20), "it never began");
            std::thread::sleep(Duration::from_millis(20));
        }
        Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
        let mut err = String::new();
        let status = child.wait().unwrap();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        if signal == "KILL" {
            assert_eq!(status.signal(), Some(9));
        } else {
            assert!(status.code() == Some(130) && err.contains("interrupted"), "{signal}: {status} {err}");
            assert!(err.contains("no partition table now"), "{err}");
        }
        assert!(has_no_table(&attached.path), "{signal}");
        drop(pipe);
        let source = put(dir.path(), "image", &bytes);
        let done = run(&mut write(&source, &attached.path));
        assert!(done.code == 0 && holds(&attached.path, &bytes), "{signal}: {}", done.err);
    }
}

/// A server of one file that breaks each connection after some bytes.
struct Server {
    address: String,
    requests: Arc<AtomicUsize>,
}

/// How a server behaves.
#[derive(Clone, Copy)]
struct Manner {
    /// After how many bytes it hangs up.
    breaks: usize,
    /// Whether it gives the rest when asked.
    ranges: bool,
    /// Whether the file becomes another one after the first answer.
    changes: bool,
    status: &'static str,
}

impl Server {
    fn start(body: Vec<u8>, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/pi.img", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let number = count.fetch_add(1, Ordering::SeqCst);
                // Who hangs up in the middle is what is tested.
                drop(answer(&mut stream.unwrap(), &body, manner, number));
            }
        });
        Self { address, requests }
    }

    fn get(&self, target: &Path) -> Run {
        run(write(Path::new(&self.address), target).env("NO_PROXY", "127.0.0.1"))
    }
}

fn answer(stream: &mut TcpStream, body: &[u8], manner: Manner, number: usize) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    let request = String::from_utf8_lossy(&request).to_lowercase();
    let tag = if manner.changes && number > 0 { "\"two\"" } else { "\"one\"" };
    let header = |name: &str| {
        let line = request.lines().find(|line| line.starts_with(&format!("{name}: ")))?;
        Some(line.split_once(": ")?.1.to_owned())
    };
    let from =
        header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let same = header("if-range").is_none_or(|given| given == tag);
    let (status, from) = match from {
        Some(from) if manner.ranges && same => ("206 Partial Content", from),
        _ => (manner.status, 0),
    };
    let part = &body[from..];
    let range = format!("Content-Range: bytes {from}-{}/{}\r\n", body.len() - 1, body.len());
    let range = if status.starts_with("206") { &range } else { "" };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{range}ETag: {tag}\r\nConnection: close\r\n\r\n",
        part.len()
    )?;
    stream.write_all(&part[..part.len().min(manner.breaks)])
}

#[test]
fn an_image_streams_from_a_server_and_goes_on_when_the_connection_breaks() {
    let dir = temp();
    let bytes = image();
    let target = dir.path().join("target");
    let fine = Manner { breaks: usize::MAX, ranges: true, changes: false, status: "200 OK" };
    for (what, packed) in [("raw", bytes.clone()), ("zst", zst(&bytes))] {
        let server = Server::start(packed.clone(), Manner { breaks: packed.len() / 3 + 1, ..fine });
        let done = server.get(&target);
        assert!([0, 9].contains(&done.code), "{what}: {}", done.err);
        assert!(std::fs::read(&target).unwrap() == bytes, "{what}");
        assert_eq!(server.requests.load(Ordering::SeqCst), 3, "{what}");
    }
    for (manner, expected) in [
        (Manner { breaks: MIB, changes: true, ..fine }, "the file has changed"),
        (Manner { breaks: MIB, ranges: false, ..fine }, "the file has changed"),
        (Manner { status: "404 Not Found", ..fine }, "the server answers 404"),
    ] {
        let done = Server::start(bytes.clone(), manner).get(&target);
        assert!(done.code == 6 && done.err.contains(expected), "{} {}", done.code, done.err);
    }
    let done = Server::start(b"<!DOCTYPE html><title>Log in".to_vec(), fine).get(&target);
    assert!(done.code == 6 && done.err.contains("an HTML page"), "{}", done.err);
    let done = run(&mut write(Path::new("http://127.0.0.1:9/pi.img"), &target));
    assert!(done.code == 6 && done.err.contains("http://127.0.0.1:9/pi.img"), "{} {}", done.code, done.err);
}

#[test]
fn devices_are_listed_with_the_reason_why_not() {
    let dir = temp();
    let Some(attached) = Loop::attach(&card(dir.path()), &[]) else { return };
    let path = attached.path.display().to_string();
    let list = |options: &[&str]| {
        let done = run(nixflash().arg("devices").args(options));
        assert_eq!(done.code, 0, "{}", done.err);
        String::from_utf8(done.out).unwrap()
    };
    assert!(!list(&[]).contains(&format!("{path} ")));
    let all = list(&["--all"]);
    assert!(all.contains(&path) && all.contains("it is a loop device"), "{all}");
    let value: serde_json::Value = serde_json::from_str(&list(&["--all", "--json"])).unwrap();
    let device = value["devices"].as_array().unwrap().iter().find(|device| device["path"] == path).unwrap();
    assert_eq!(
        (&device["size"], &device["bus"], &device["candidate"]),
        (&(16 * MIB).into(), &"loop".into(), &false.into())
    );
}

#[test]
fn relative_paths_name_what_they_name_in_a_shell() {
    let dir = temp();
    let bytes = image();
    put(dir.path(), "image", &zst(&bytes));
    let at = |arguments: &[&str]| run(nixflash().args(arguments).current_dir(dir.path()));
    let done = at(&["write", "image", "card"]);
    assert!(done.code == 4 && done.err.contains("give ./card"), "{}", done.err);
    assert!([0, 9].contains(&at(&["write", "image", "./card"]).code));
    let done = at(&["write", "image", "./card", "--yes"]);
    assert!(done.code == 4 && done.err.contains("add --force"), "{}", done.err);
    let done = at(&["write", "image", "./card", "--force"]);
    assert!(done.code == 4 && done.err.contains("all that is on it will be lost"), "{}", done.err);
    assert!([0, 9].contains(&at(&["write", "image", "card", "--yes", "--force"]).code));
    assert!([0, 9].contains(&at(&["verify", "card", "--image", "image"]).code));
    let done = at(&["write", "image", "image", "--yes"]);
    assert!(done.code == 4 && done.err.contains("holds what is to be written"), "{}", done.err);
    let mut below = nixflash();
    below.args(["write", dir.path().join("image").to_str().unwrap(), "null", "--yes"]).current_dir("/dev");
    let done = run(&mut below);
    assert!(done.code == 4 && done.err.contains("a character device"), "{}", done.err);
}

#[test]
fn a_dry_run_says_what_would_be_written_and_writes_nothing() {
    let dir = temp();
    let source = put(dir.path(), "image", &zst(&image()));
    let Some(attached) = Loop::attach(&card(dir.path()), &[]) else { return };
    let done = run(write(&source, &attached.path).arg("--dry-run"));
    let text = String::from_utf8(done.out).unwrap();
    assert!(
        done.code == 0 && text.contains("packed as Zstandard") && text.contains("loop of"),
        "{text} {}",
        done.err
    );
    assert!(holds(&attached.path, &[0xaa; 4096]));
}
