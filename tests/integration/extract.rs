//! What is taken off a card is what debugfs and mtools take off it, and goes where it should and nowhere else.

use crate::common::{Run, Tool, demo, nixflash, run, temp};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A card with a tree in `/etc/nixos`, written there by debugfs.
fn card(dir: &Path) -> Option<(PathBuf, String)> {
    let (demo, debugfs) = (demo()?, Tool::find("debugfs")?);
    let image = dir.join("pi.img");
    assert_eq!(run(&mut demo.compose("rpi4", &demo.at("root"), &image)).code, 0);
    let lock = r#"{"nodes": {"root": {"inputs": {"nixpkgs": "nixpkgs"}}, "nixpkgs": {"locked": {"type": "github",
        "owner": "NixOS", "repo": "nixpkgs", "rev": "abc123", "lastModified": 1700000000}}}, "root": "root", "version": 7}"#;
    let (conf, flake) = (dir.join("conf"), dir.join("lock"));
    std::fs::write(&conf, "{ }\n").unwrap();
    std::fs::write(&flake, lock).unwrap();
    let requests = [
        "mkdir /etc/nixos/hosts".to_owned(),
        format!("write {} /etc/nixos/configuration.nix", conf.display()),
        format!("write {} /etc/nixos/hosts/pi.nix", conf.display()),
        format!("write {} /etc/nixos/flake.lock", flake.display()),
        "symlink /etc/nixos/here hosts/pi.nix".to_owned(),
        "symlink /etc/nixos/out /etc/passwd".to_owned(),
        "symlink /etc/nixos/hosts/up ../../../x".to_owned(),
    ];
    let file = dir.join("requests");
    std::fs::write(&file, requests.join("\n")).unwrap();
    let at = format!("{}?offset={}", image.display(), 136 << 20);
    debugfs.passes(&["-w", "-f", file.to_str().unwrap(), &at]);
    Some((image, at))
}

fn inspect(image: &Path, arguments: &[&str]) -> Run {
    run(nixflash().arg("inspect").arg(image).args(arguments))
}

#[test]
fn the_configuration_comes_off_whole_and_stays_in_its_directory() {
    let dir = temp();
    let Some((image, _)) = card(dir.path()) else { return };
    let to = dir.path().join("out");
    let words = ["--extract-config", to.to_str().unwrap()];
    let done = inspect(&image, &words);
    assert_eq!(done.code, 0, "{}", done.err);
    for file in ["configuration.nix", "hosts/pi.nix", "here"] {
        assert_eq!(std::fs::read_to_string(to.join(file)).unwrap(), "{ }\n", "{file}");
    }
    assert_eq!(std::fs::read_link(to.join("here")).unwrap(), Path::new("hosts/pi.nix"));
    for outside in ["out", "hosts/up"] {
        assert!(std::fs::symlink_metadata(to.join(outside)).is_err(), "{outside}");
        assert!(done.err.contains("outside of the directory"), "{}", done.err);
    }
    // What is there is kept, unless it is said otherwise.
    std::fs::write(to.join("configuration.nix"), "mine").unwrap();
    let done = inspect(&image, &words);
    assert!(done.code == 4 && done.err.contains("it is there already"), "{}", done.err);
    assert_eq!(std::fs::read_to_string(to.join("configuration.nix")).unwrap(), "mine");
    // A symlink that somebody put there is not followed.
    let elsewhere = dir.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::write(elsewhere.join("kept"), "kept").unwrap();
    std::fs::remove_file(to.join("configuration.nix")).unwrap();
    symlink(elsewhere.join("kept"), to.join("configuration.nix")).unwrap();
    assert_eq!(inspect(&image, &[&words[..], &["--force"]].concat()).code, 0);
    assert_eq!(std::fs::read_to_string(elsewhere.join("kept")).unwrap(), "kept");
    assert_eq!(std::fs::read_to_string(to.join("configuration.nix")).unwrap(), "{ }\n");
    std::fs::remove_dir_all(to.join("hosts")).unwrap();
    symlink(&elsewhere, to.join("hosts")).unwrap();
    let done = inspect(&image, &[&words[..], &["--force"]].concat());
    assert!(done.code == 4 && done.err.contains("no directory"), "{}", done.err);
    assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 1);
}

#[test]
fn a_card_without_a_configuration_has_none_to_take() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let (image, to) = (dir.path().join("a.img"), dir.path().join("out"));
    assert_eq!(run(&mut demo.compose("rpi4", &demo.at("root"), &image)).code, 0);
    let done = inspect(&image, &["--extract-config", to.to_str().unwrap()]);
    assert!(done.code == 6 && done.err.contains("carries no configuration: its /etc/nixos"), "{}", done.err);
    assert!(!to.exists());
}

#[test]
fn a_file_of_any_partition_is_that_which_others_read() {
    let (Some(demo), Some(debugfs), Some(mtype)) = (demo(), Tool::find("debugfs"), Tool::find("mtype"))
    else {
        return;
    };
    let dir = temp();
    let Some((image, at)) = card(dir.path()) else { return };
    let path = format!("{}/nixos-version", demo.top);
    let done = inspect(&image, &["--extract", &path]);
    assert_eq!(done.code, 0, "{}", done.err);
    let theirs = dir.path().join("theirs");
    debugfs.passes(&["-R", &format!("dump {path} {}", theirs.display()), &at]);
    assert_eq!(done.out, std::fs::read(&theirs).unwrap());
    let done = inspect(&image, &["--extract", "1:/CONFIG.TXT"]);
    let fat = format!("{}@@{}", image.display(), 8 << 20);
    assert_eq!((done.code, done.out), (0, mtype.run(&["-i", &fat, "::config.txt"]).stdout), "{}", done.err);
    // Over the profile's symlinks, into a file; and what is not there.
    let to = dir.path().join("version");
    let through = ["--extract", "/nix/var/nix/profiles/system/nixos-version", "-o", to.to_str().unwrap()];
    assert_eq!(inspect(&image, &through).code, 0);
    assert_eq!(std::fs::read(&to).unwrap(), std::fs::read(&theirs).unwrap());
    assert_eq!(inspect(&image, &through).code, 4);
    for (words, code) in [("/nowhere", 6), ("9:/config.txt", 6), ("/etc/nixos", 6)] {
        let done = inspect(&image, &["--extract", words]);
        assert_eq!(done.code, code, "{words}: {}", done.err);
    }
}

#[test]
fn inputs_and_revisions_are_shown() {
    let dir = temp();
    let Some((image, _)) = card(dir.path()) else { return };
    let done = inspect(&image, &["--json"]);
    let report: serde_json::Value = serde_json::from_slice(&done.out).unwrap();
    assert_eq!(report["inputs"][0]["name"], "nixpkgs", "{report:#}");
    assert_eq!(report["inputs"][0]["revision"], "abc123");
    assert_eq!(report["inputs"][0]["url"], "github:NixOS/nixpkgs");
    let text = String::from_utf8(inspect(&image, &[]).out).unwrap();
    assert!(text.contains("input        nixpkgs: abc123 github:NixOS/nixpkgs"), "{text}");
    // This machine may be no NixOS; then that is said.
    let done = inspect(Path::new("/"), &[]);
    let is_nixos = Path::new("/nix/store").exists() || Path::new("/nix/var/nixflash/manifest.json").exists();
    assert_eq!(done.code, if is_nixos { 0 } else { 6 }, "{}", done.err);
}
