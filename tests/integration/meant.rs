//! What is written is what was meant: packed in layers, half downloaded, no image at all, the wrong way round.

use crate::common::{Tool, nixflash, run, temp};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

const MIB: usize = 1 << 20;

/// An image with a partition of 4 MiB behind the first.
fn image() -> Vec<u8> {
    let mut bytes: Vec<u8> =
        (0..6 * MIB as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    bytes[..MIB].fill(0);
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

/// A tar archive of files, with a header as POSIX has it.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, bytes) in files {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..136].copy_from_slice(format!("{:011o}\0", bytes.len()).as_bytes());
        header[156] = if name.ends_with('/') { b'5' } else { b'0' };
        header[257..263].copy_from_slice(b"ustar\0");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend(header);
        out.extend(*bytes);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

fn put(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn write(image: &Path, target: &Path) -> Command {
    let mut command = nixflash();
    command.arg("write").arg(image).arg(target).arg("--yes");
    command
}

#[test]
fn an_image_is_found_below_every_layer_and_written_whole() {
    let dir = temp();
    let bytes = image();
    let archive = tar(&[
        ("out/", b""),
        ("out/README.md", b"hello"),
        ("out/pi.img", &bytes),
        ("out/pi.img.sha256", b"x"),
    ]);
    for (what, packed) in [
        ("gzip in xz", xz(&gz(&bytes))),
        ("tar", archive.clone()),
        ("tar in gzip", gz(&archive)),
        ("tar in xz", xz(&archive)),
        ("gzip in tar", tar(&[("pi.img.gz", &gz(&bytes))])),
        ("gzip with zeros behind it", [gz(&bytes), vec![0; 700]].concat()),
        (
            "gzip with what OpenWrt appends",
            [gz(&bytes), b"{\"supported\":[]}FWx0123456789abc".to_vec()].concat(),
        ),
    ] {
        let source = put(dir.path(), "image", &packed);
        let target = dir.path().join("target.img");
        let done = run(&mut write(&source, &target));
        assert!([0, 9].contains(&done.code), "{what}: {}", done.err);
        assert!(std::fs::read(&target).unwrap() == bytes, "{what}");
        let inspected = run(nixflash().arg("inspect").arg(&source));
        assert_eq!(inspected.code, 0, "{what}: inspect sees the same: {}", inspected.err);
        std::fs::remove_file(&target).unwrap();
    }
}

#[test]
fn what_is_no_image_is_refused_in_every_layer_before_the_target_is_touched() {
    let dir = temp();
    let bytes = image();
    let two = tar(&[("a.img", &bytes), ("b.img", &bytes)]);
    for (what, source, expected) in [
        ("qcow2 in gzip", gz(b"QFI\xfb\0\0\0\x03........"), "qcow2"),
        ("a page in xz in gzip", gz(&xz(b"<!DOCTYPE html><title>Sign in")), "HTML"),
        ("two images in tar in gzip", gz(&two), "more than one file: a.img and b.img"),
        ("legacy LZ4", b"\x02\x21\x4c\x18\x05\0\0\0abcde".to_vec(), "lz4 -d"),
        ("compress", b"\x1f\x9d\x90abcdefgh".to_vec(), "compress"),
        ("gzip of an unknown method", b"\x1f\x8b\x09abcdefghijklmnop".to_vec(), "gzip"),
        ("a PDF", b"%PDF-1.7 and more".to_vec(), "--raw-anyway"),
        ("half an image", bytes[..3 * MIB].to_vec(), "--partial"),
        (
            "a zip behind a program",
            [b"MZ".to_vec(), vec![1; 100], b"PK\x05\x06".to_vec(), vec![0; 18]].concat(),
            "zip",
        ),
    ] {
        let source = put(dir.path(), "image", &source);
        let target = put(dir.path(), "target", b"precious");
        let done = run(&mut write(&source, &target));
        assert!(done.code == 6 && done.err.contains(expected), "{what}: {} {}", done.code, done.err);
        assert_eq!(std::fs::read(&target).unwrap(), b"precious", "{what}");
    }
}

#[test]
fn what_somebody_means_is_written_all_the_same() {
    let dir = temp();
    let half = &image()[..3 * MIB];
    for (bytes, option) in [(half, "--partial"), (&b"%PDF-1.7 and more"[..], "--raw-anyway")] {
        let source = put(dir.path(), "image", bytes);
        let target = dir.path().join("target.img");
        let done = run(write(&source, &target).arg(option));
        assert!([0, 9].contains(&done.code), "{option}: {}", done.err);
        assert!(std::fs::read(&target).unwrap() == bytes, "{option}");
        std::fs::remove_file(&target).unwrap();
    }
}

#[test]
fn a_half_image_in_a_packer_that_hides_its_length_leaves_no_file() {
    let dir = temp();
    let source = put(dir.path(), "image.gz", &gz(&image()[..3 * MIB]));
    let target = dir.path().join("target.img");
    let done = run(&mut write(&source, &target));
    assert!(done.code == 6 && done.err.contains("it is incomplete"), "{} {}", done.code, done.err);
    assert!(!target.exists(), "what a failed run made goes away: {}", done.err);
}

#[test]
fn a_word_that_is_no_device_is_no_file_either_unless_it_is_meant() {
    let dir = temp();
    put(dir.path(), "pi.img", &image());
    let at = |arguments: &[&str]| run(nixflash().arg("write").args(arguments).current_dir(dir.path()));
    for word in ["mmcblk0", "sdz", "LABEL=X", "dev/sdz"] {
        let done = at(&["pi.img", word, "--yes"]);
        assert!(
            done.code == 4 && done.err.contains("neither a device nor a file"),
            "{word}: {} {}",
            done.code,
            done.err
        );
        assert!(!dir.path().join(word).exists());
    }
    assert!([0, 9].contains(&at(&["pi.img", "./mmcblk0"]).code));
    put(dir.path(), "other.img", &image());
    let done = at(&["pi.img", "other.img", "--yes"]);
    assert!(done.code == 4 && done.err.contains("is an image itself"), "{} {}", done.code, done.err);
    let dry = at(&["pi.img", "new", "--dry-run", "--json"]);
    assert_eq!(dry.code, 0, "{}", dry.err);
    let plan: serde_json::Value = serde_json::from_slice(&dry.out).unwrap();
    assert_eq!((&plan["schema"], &plan["packed"]), (&"nixflash-write-plan/1".into(), &"raw".into()));
    assert!(!dir.path().join("new").exists());
}

#[test]
fn a_zip_of_every_style_is_read_and_its_companions_are_left_out() {
    let Some(python) = Tool::find("python3") else { return };
    let dir = temp();
    let bytes = image();
    put(dir.path(), "pi.img", &bytes);
    let zip = dir.path().join("a.zip").display().to_string();
    let script = "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1], 'w', zipfile.ZIP_DEFLATED)\n\
                  z.writestr('out/', b'')\nz.writestr('out/README.txt', b'hello')\nz.write(sys.argv[2], 'out/pi.img')\n\
                  z.writestr('__MACOSX/out/._pi.img', b'x' * 100)\nz.close()\n";
    python.passes(&["-c", script, &zip, &dir.path().join("pi.img").display().to_string()]);
    let target = dir.path().join("target.img");
    let done = run(&mut write(Path::new(&zip), &target));
    assert!([0, 9].contains(&done.code), "{}", done.err);
    assert!(std::fs::read(&target).unwrap() == bytes);
}

#[test]
fn a_sum_with_a_byte_order_mark_is_read() {
    let dir = temp();
    let source = put(dir.path(), "pi.img", &image());
    let sum = crate::common::sha256(&source);
    let line = format!("{sum}  pi.img\r\n");
    let wide: Vec<u8> = [0xfeff].into_iter().chain(line.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    for text in [format!("\u{feff}{line}").into_bytes(), wide] {
        put(dir.path(), "pi.img.sha256", &text);
        let target = dir.path().join("target.img");
        let done = run(write(&source, &target).arg("-v"));
        assert!([0, 9].contains(&done.code) && done.err.contains("checked with SHA-256"), "{}", done.err);
        std::fs::remove_file(&target).unwrap();
    }
}

#[test]
fn a_zst_whose_first_frame_is_shorter_than_the_image_is_written_whole() {
    let dir = temp();
    let bytes = image();
    let (first, second) = bytes.split_at(2 * MIB);
    let pack = |bytes: &[u8]| zstd::bulk::compress(bytes, 1).unwrap();
    let frames = [pack(first), pack(second)].concat();
    let target = dir.path().join("target.img");
    let done = run(&mut write(&put(dir.path(), "two.zst", &frames), &target));
    assert!([0, 9].contains(&done.code), "{} {}", done.code, done.err);
    assert!(std::fs::read(&target).unwrap() == bytes);
    // Half of it is half an image, whatever its frame says.
    let done = run(&mut write(&put(dir.path(), "one.zst", &pack(first)), &dir.path().join("none.img")));
    assert!(done.code == 6 && done.err.contains("it is incomplete"), "{} {}", done.code, done.err);
    assert!(!dir.path().join("none.img").exists());
}

/// Answers each question with a yes, after the file that it is about became a link to another; prints the questions.
const SWAP: &str = r#"
import os, pty, sys
program, image, card, victim = sys.argv[1:]
child, terminal = pty.fork()
if child == 0:
    os.execv(program, [program, "write", image, card])
said, asked = b"", 0
while True:
    try:
        more = os.read(terminal, 4096)
    except OSError:
        break
    if not more:
        break
    said += more
    if said.count(b"[y/N]") > asked:
        asked = said.count(b"[y/N]")
        if not os.path.islink(card):
            os.unlink(card)
            os.symlink(victim, card)
        os.write(terminal, b"y\n")
print(asked, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(said.decode())
"#;

#[test]
fn bytes_that_look_like_no_image_are_asked_about_once_and_what_was_asked_about_is_written() {
    let Some(python) = Tool::find("python3") else { return };
    let dir = temp();
    let image = put(dir.path(), "notes", &vec![b'x'; 70_000]);
    let (card, victim) = (put(dir.path(), "card", b"old"), put(dir.path(), "victim", b"precious"));
    let program = env!("CARGO_BIN_EXE_nixflash");
    let at = |path: &Path| path.display().to_string();
    let said = python.passes(&["-c", SWAP, program, &at(&image), &at(&card), &at(&victim)]);
    assert!(said.starts_with("1 ") && !said.starts_with("1 0"), "one question, and it fails: {said}");
    assert!(said.contains("neither a partition table nor a file system"), "{said}");
    assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
}
