//! Wrong and hostile closures: a clear error, the right status, nothing left.

use crate::common::{demo, nixflash, run, temp};
use std::path::{Path, PathBuf};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The narinfo of the path whose name ends so.
fn narinfo(cache: &Path, name: &str) -> PathBuf {
    let mut files = std::fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path());
    let is = |path: &PathBuf| {
        path.extension().is_some_and(|e| e == "narinfo")
            && std::fs::read_to_string(path).unwrap().lines().next().unwrap().ends_with(name)
    };
    files.find(is).unwrap()
}

fn field(info: &Path, key: &str) -> String {
    let text = std::fs::read_to_string(info).unwrap();
    text.lines().find_map(|line| line.strip_prefix(&format!("{key}: "))).unwrap().to_owned()
}

fn set(info: &Path, key: &str, value: &str) {
    let text = std::fs::read_to_string(info).unwrap();
    let lines = text.lines().map(|line| {
        if line.starts_with(&format!("{key}: ")) { format!("{key}: {value}\n") } else { format!("{line}\n") }
    });
    std::fs::write(info, lines.collect::<String>()).unwrap();
}

/// Damages a copy of a cache and composes from it: status 6, a message with all of `expected`, nothing left.
fn refused(kind: &str, expected: &[&str], damage: impl Fn(&Path)) {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let cache = dir.path().join("cache");
    copy(Path::new(&demo.at(&format!("cache-{kind}"))), &cache);
    damage(&cache);
    for output in ["a.img", "a.img.zst"] {
        let out = temp();
        let done = run(&mut demo.compose("rpi4", cache.to_str().unwrap(), &out.path().join(output)));
        assert_eq!(done.code, 6, "{output}: {}", done.err);
        assert!(expected.iter().all(|part| done.err.contains(part)), "{expected:?}: {}", done.err);
        assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0, "{output}: something was left");
    }
}

#[test]
fn a_flipped_bit_in_a_nar_is_found() {
    refused("none", &["glibc", "NarHash"], |cache| {
        let file = cache.join(field(&narinfo(cache, "-glibc-2.40-66"), "URL"));
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&file, bytes).unwrap();
    });
    for kind in ["xz", "zstd", "bzip2"] {
        refused(kind, &[], |cache| {
            let file = cache.join(field(&narinfo(cache, "-glibc-2.40-66"), "URL"));
            let mut bytes = std::fs::read(&file).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&file, bytes).unwrap();
        });
    }
}

#[test]
fn a_swapped_nar_is_found_even_when_its_file_hash_is_right() {
    refused("none", &["NarHash"], |cache| {
        let (ours, theirs) = (narinfo(cache, "-quirks"), narinfo(cache, "-bash-5.3p3"));
        for key in ["URL", "FileHash", "FileSize", "NarSize"] {
            set(&ours, key, &field(&theirs, key));
        }
    });
}

#[test]
fn a_truncated_nar_is_found() {
    for kind in ["none", "xz", "zstd", "bzip2"] {
        refused(kind, &["-quirks"], |cache| {
            let file = cache.join(field(&narinfo(cache, "-quirks"), "URL"));
            let bytes = std::fs::read(&file).unwrap();
            std::fs::write(&file, &bytes[..bytes.len() - 20]).unwrap();
        });
        refused(kind, &["-quirks"], |cache| {
            let info = narinfo(cache, "-quirks");
            let file = cache.join(field(&info, "URL"));
            let bytes = std::fs::read(&file).unwrap();
            std::fs::write(&file, &bytes[..bytes.len() - 20]).unwrap();
            // A cache may leave these two out; then only the NAR itself can tell.
            let text = std::fs::read_to_string(&info).unwrap();
            let lines = text.split_inclusive('\n').filter(|line| !line.starts_with("File"));
            std::fs::write(&info, lines.collect::<String>()).unwrap();
        });
    }
}

#[test]
fn narinfos_that_lie_are_refused() {
    refused("none", &["NarSize", "-quirks"], |cache| {
        set(&narinfo(cache, "-quirks"), "NarSize", "1099511627776")
    });
    refused("none", &["NarSize"], |cache| set(&narinfo(cache, "-quirks"), "NarSize", "18446744073709551615"));
    refused("none", &["StorePath"], |cache| {
        set(&narinfo(cache, "-quirks"), "StorePath", "/nix/store/00000000000000000000000000000000-quirks")
    });
    refused("none", &["URL", "../../etc/passwd"], |cache| {
        set(&narinfo(cache, "-quirks"), "URL", "../../etc/passwd")
    });
    refused("none", &["URL", "/etc/passwd"], |cache| set(&narinfo(cache, "-quirks"), "URL", "/etc/passwd"));
    refused("none", &["compression", "lzip"], |cache| set(&narinfo(cache, "-quirks"), "Compression", "lzip"));
    refused("none", &["References"], |cache| set(&narinfo(cache, "-quirks"), "References", "../../etc"));
    refused("none", &["line 1"], |cache| {
        std::fs::write(narinfo(cache, "-quirks"), "<html>404</html>\n").unwrap()
    });
    refused("none", &["is not text"], |cache| {
        std::fs::write(narinfo(cache, "-quirks"), [0xff; 100]).unwrap()
    });
    refused("none", &["StoreDir"], |cache| {
        std::fs::write(cache.join("nix-cache-info"), "StoreDir: /gnu/store\n").unwrap()
    });
}

#[test]
fn a_missing_path_is_named_with_who_refers_to_it() {
    refused("none", &["-glibc-2.40-66 is in none of the stores", "refers to it"], |cache| {
        std::fs::remove_file(narinfo(cache, "-glibc-2.40-66")).unwrap();
    });
}

#[test]
fn references_that_go_in_a_circle_are_named() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let cache = dir.path().join("cache");
    copy(Path::new(&demo.at("cache-none")), &cache);
    let top = demo.top.rsplit('/').next().unwrap();
    set(&narinfo(&cache, "-glibc-2.40-66"), "References", top);
    let done = run(&mut demo.compose("rpi4", cache.to_str().unwrap(), &dir.path().join("a.img")));
    assert_eq!(done.code, 6, "{}", done.err);
    assert!(done.err.contains("references that go in a circle: "), "{}", done.err);
    assert!(done.err.contains("-glibc-2.40-66 -> ") && done.err.contains(top), "{}", done.err);
}

#[test]
fn missing_firmware_is_said_with_the_command_that_makes_it() {
    refused(
        "none",
        &["rpi4 needs uboot", "u-boot.bin", "hint: make it with `nix build", "name it with --firmware"],
        |cache| {
            std::fs::remove_file(narinfo(cache, "-uboot-rpi_4_defconfig-2025.10")).unwrap();
        },
    );
}

#[test]
fn a_store_file_that_changed_is_found() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let store = dir.path().join("store");
    let copied =
        std::process::Command::new("cp").args(["-a", &demo.at("root")]).arg(&store).status().unwrap();
    assert!(copied.success());
    let find = |name: &str| {
        let mut entries =
            std::fs::read_dir(store.join("nix/store")).unwrap().map(|entry| entry.unwrap().path());
        entries.find(|path| path.to_string_lossy().ends_with(name)).unwrap()
    };
    let file = find("-quirks").join("size-4096");
    let compose = || run(&mut demo.compose("rpi4", store.to_str().unwrap(), &dir.path().join("a.img")));
    let chmod = |mode: &str| {
        assert!(
            std::process::Command::new("chmod")
                .args([mode, "-R"])
                .arg(find("-quirks"))
                .status()
                .unwrap()
                .success()
        )
    };
    chmod("u+w");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[5] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let done = compose();
    assert!(done.code == 6 && done.err.contains("-quirks") && done.err.contains("NarHash"), "{}", done.err);
    std::fs::write(&file, &bytes[..100]).unwrap();
    let done = compose();
    assert!(done.code == 6 && done.err.contains("-quirks"), "{}", done.err);
    std::fs::remove_file(&file).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
    let done = compose();
    assert!(done.code == 6 && done.err.contains("neither a regular file"), "{}", done.err);
    assert!(!dir.path().join("a.img").exists());
}

#[test]
fn a_system_for_another_machine_is_refused() {
    let Some(demo) = demo() else { return };
    let done = run(nixflash().args([
        "compose",
        "rpi4",
        "--system",
        &demo.top,
        "--store",
        "/nowhere",
        "-o",
        "/tmp/never.img",
    ]));
    assert!(done.code == 1 && done.err.contains("/nowhere"), "{}", done.err);
    let glibc = field(&narinfo(Path::new(&demo.at("cache-none")), "-glibc-2.40-66"), "StorePath");
    let done = run(nixflash().args([
        "compose",
        "rpi4",
        "--system",
        &glibc,
        "--store",
        &demo.at("root"),
        "-o",
        "/tmp/never.img",
    ]));
    assert!(done.code == 6 && done.err.contains("is not a NixOS system"), "{}", done.err);
}

#[test]
fn an_image_that_is_too_small_is_refused_with_what_is_needed() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    for (size, expected) in [("100MiB", "no room for the root"), ("138MiB", "bytes are needed")] {
        let done =
            run(demo.compose("rpi4", &demo.at("root"), &dir.path().join("a.img")).args(["--size", size]));
        assert!(done.code == 5 && done.err.contains(expected), "{size}: {} {}", done.code, done.err);
    }
    let path = dir.path().join("b.img");
    let done = run(demo.compose("uefi-aarch64", &demo.at("root"), &path).args(["--size", "1GiB"]));
    assert_eq!((done.code, path.metadata().unwrap().len()), (0, 1 << 30), "{}", done.err);
}

#[test]
fn a_full_disk_leaves_nothing() {
    let Some(demo) = demo() else { return };
    for name in ["a.img", "a.img.zst"] {
        let dir = temp();
        let inner = demo.compose("rpi4", &demo.at("root"), &dir.path().join(name));
        // No file longer than 20 KiB may be written; a signal for that is off, so that writing fails.
        let mut command = std::process::Command::new("bash");
        command
            .args(["-c", "trap '' XFSZ; ulimit -f 20; exec \"$@\"", "bash"])
            .arg(inner.get_program())
            .args(inner.get_args());
        let done = run(&mut command);
        assert_eq!(done.code, 7, "{name}: {}", done.err);
        assert!(done.err.contains("cannot write"), "{name}: {}", done.err);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{name}");
    }
}
