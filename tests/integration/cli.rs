//! The command line: what it prints, where, with which exit status.

use crate::common::{demo, nixflash, run, temp};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

#[test]
fn wrong_words_end_with_status_2_and_say_what_is_wrong() {
    for (arguments, expected) in [
        (&[][..], "Usage"),
        (&["frobnicate"], "unrecognized subcommand"),
        (&["compose", "rpi4", "-o", "x.img"], "--system"),
        (
            &["compose", "rpi9", "--system", "/nix/store/3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-x", "-o", "x.img"],
            "no board is called \"rpi9\"; did you mean \"rpi3\"? there are: ",
        ),
        (
            &["compose", "rpi4", "--system", "/nix/store/nonsense", "-o", "x.img"],
            "does not begin with 32 characters",
        ),
        (
            &[
                "compose",
                "rpi4",
                "--system",
                "/nix/store/3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-x/init",
                "-o",
                "x.img",
            ],
            "without /init",
        ),
        (
            &[
                "compose",
                "rpi4",
                "--system",
                "/nix/store/3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-x",
                "--size",
                "8 parsecs",
                "-o",
                "x.img",
            ],
            "expected a length",
        ),
        (&["boards", "toaster"], "no board is called"),
    ] {
        let done = run(nixflash().args(arguments));
        assert_eq!(done.code, 2, "{arguments:?}: {}", done.err);
        assert!(done.err.contains(expected), "{arguments:?}: {}", done.err);
        assert_eq!(done.out, b"", "{arguments:?}");
    }
}

#[test]
fn help_fits_80_columns_and_names_the_exit_statuses() {
    for words in [&[][..], &["compose"], &["write"], &["verify"], &["inspect"], &["boards"], &["cache"]] {
        let done = run(nixflash().args(words).arg("--help"));
        assert_eq!(done.code, 0);
        let text = String::from_utf8(done.out).unwrap();
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{words:?}: {line}");
        }
    }
    let text = String::from_utf8(run(nixflash().arg("--help")).out).unwrap();
    assert!(text.contains("6 source bad") && text.contains("130 interrupted"), "{text}");
}

#[test]
fn boards_are_listed_and_shown() {
    let text = String::from_utf8(run(nixflash().arg("boards")).out).unwrap();
    assert!(["rpi3", "rpi4", "rpi-zero2w", "uefi-aarch64"].iter().all(|name| text.contains(name)), "{text}");
    let done = run(nixflash().args(["boards", "rpi4", "--json"]));
    let value: serde_json::Value = serde_json::from_slice(&done.out).unwrap();
    assert_eq!(
        (&value["boards"][0]["name"], &value["boards"][0]["partitions"][1]["active"]),
        (&"rpi4".into(), &true.into())
    );
    let full = String::from_utf8(run(nixflash().args(["boards", "rpi4"])).out).unwrap();
    assert!(full.contains("nixpkgs#raspberrypifw") && full.contains("enable_uart=1"), "{full}");
}

#[test]
fn a_dry_run_prints_the_plan_and_writes_nothing() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let mut command = nixflash();
    command
        .args(["compose", "rpi4", "--system", &demo.top, "--store", &demo.at("root"), "--dry-run", "--json"])
        .current_dir(dir.path());
    let done = run(&mut command);
    assert_eq!(done.code, 0, "{}", done.err);
    let plan: serde_json::Value = serde_json::from_slice(&done.out).unwrap();
    assert_eq!((&plan["schema"], &plan["storePaths"]), (&"nixflash-plan/1".into(), &10.into()));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    // The plan's numbers are those of the image.
    let path = dir.path().join("a.img");
    assert_eq!(run(&mut demo.compose("rpi4", &demo.at("root"), &path)).code, 0);
    assert_eq!(plan["imageBytes"].as_u64().unwrap(), path.metadata().unwrap().len());
}

#[test]
fn inspect_says_what_compose_made_packed_or_not() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let report = |name: &str| {
        let path = dir.path().join(name);
        let done = run(demo.compose("rpi4", &demo.at("root"), &path).args(["--boot-size", "32MiB"]));
        assert_eq!(done.code, 0, "{}", done.err);
        let done = run(nixflash().args(["inspect", "--json"]).arg(&path));
        assert_eq!(done.code, 0, "{}", done.err);
        serde_json::from_slice::<serde_json::Value>(&done.out).unwrap()
    };
    let raw = report("a.img");
    assert_eq!(
        (&raw["problems"], &raw["nixos"]["toplevel"]),
        (&serde_json::json!([]), &demo.top.clone().into())
    );
    assert_eq!((&raw["nixos"]["version"], &raw["nixos"]["storePaths"]), (&"25.11.demo".into(), &10.into()));
    assert_eq!(
        (&raw["provenance"]["board"], &raw["partitions"][0]["fileSystem"]["kind"]),
        (&"rpi4".into(), &"FAT16".into())
    );
    let default =
        raw["bootEntries"].as_array().unwrap().iter().find(|entry| entry["isDefault"] == true).unwrap();
    assert_eq!(default["file"], "/boot/extlinux/extlinux.conf");
    for name in ["a.img.zst", "a.img.xz", "a.img.gz"] {
        assert_eq!(report(name), raw, "{name}");
    }
    let text = String::from_utf8(run(nixflash().arg("inspect").arg(dir.path().join("a.img"))).out).unwrap();
    assert!(text.contains("Linux, active") && text.contains("made by      nixflash"), "{text}");
}

#[test]
fn inspect_refuses_what_is_no_image() {
    let dir = temp();
    let path = dir.path().join("x");
    let check = |bytes: &[u8], code: i32, expected: &str| {
        std::fs::write(&path, bytes).unwrap();
        let done = run(nixflash().arg("inspect").arg(&path));
        let all = format!("{}{}", String::from_utf8_lossy(&done.out), done.err);
        assert_eq!(done.code, code, "{all}");
        assert!(all.contains(expected), "{all}");
    };
    check(b"<!DOCTYPE html><title>404</title>", 6, "an HTML page");
    check(b"QFI\xfb\0\0\0\x03", 6, "qcow2");
    check(b"PK\x03\x04", 6, "zip");
    check(b"\x28\xb5\x2f\xfdgarbage", 6, "damaged or truncated Zstandard");
    check(b"\xfd7zXZ\0cut", 6, "damaged or truncated xz");
    check(b"", 0, "neither a partition table nor a file system");
    check(&[0; 4096], 0, "neither a partition table nor a file system");
    let done = run(nixflash().args(["inspect", "/nowhere/at/all"]));
    assert!(done.code == 1 && done.err.contains("/nowhere/at/all"), "{}", done.err);
}

#[test]
fn outputs_are_never_replaced_by_a_slip() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let path = dir.path().join("a.img");
    std::fs::write(&path, "precious").unwrap();
    let done = run(&mut demo.compose("rpi4", &demo.at("root"), &path));
    assert!(done.code == 1 && done.err.contains("exists") && done.err.contains("--force"), "{}", done.err);
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    assert_eq!(run(demo.compose("rpi4", &demo.at("root"), &path).arg("--force")).code, 0);
    for (target, expected) in [(dir.path().to_path_buf(), "a directory"), ("/dev/sdzz9".into(), "below /dev")]
    {
        let done = run(&mut demo.compose("rpi4", &demo.at("root"), &target));
        assert!(done.code == 2 && done.err.contains(expected), "{}", done.err);
    }
    let link = dir.path().join("link.img");
    std::os::unix::fs::symlink(dir.path().join("elsewhere"), &link).unwrap();
    let done = run(&mut demo.compose("rpi4", &demo.at("root"), &link));
    assert!(done.code == 2 && done.err.contains("a symlink"), "{}", done.err);
    assert!(!Path::new("/dev/sdzz9").exists() && !dir.path().join("elsewhere").exists());
}

#[test]
fn an_interrupted_run_leaves_nothing_and_says_so() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    for signal in ["INT", "TERM", "HUP"] {
        let path = dir.path().join("a.img.xz");
        // Gigabytes of zeros: far longer than the test waits.
        let mut command = demo.compose("rpi4", &demo.at("root"), &path);
        let mut child = command
            .args(["--level", "9", "--free", "60GiB"])
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(600));
        let sent = std::process::Command::new("kill")
            .args([&format!("-{signal}"), &child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
        let status = child.wait().unwrap();
        assert_eq!((status.code(), status.signal()), (Some(130), None), "{signal}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{signal}");
    }
}

#[test]
fn progress_can_be_read_by_programs() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let path = dir.path().join("a.img.zst");
    let mut command = nixflash();
    command
        .args([
            "--progress",
            "json",
            "compose",
            "rpi4",
            "--system",
            &demo.top,
            "--store",
            &demo.at("root"),
            "-o",
        ])
        .arg(&path);
    let done = run(&mut command);
    let lines: Vec<&str> = done.err.lines().filter(|line| line.starts_with('{')).collect();
    let last: serde_json::Value = serde_json::from_str(lines.last().unwrap()).unwrap();
    assert_eq!(
        (&last["schema"], &last["phase"], &last["bytes"]),
        (&"nixflash-progress/1".into(), &"compose".into(), &last["total"])
    );
}
