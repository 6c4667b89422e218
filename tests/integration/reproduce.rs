//! A card that is composed again from its own manifest, and two cards compared.

use crate::common::{Run, Tool, demo, nixflash, run, temp};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

fn reproduce(image: &Path, store: &str) -> (Run, serde_json::Value) {
    let done = run(nixflash().arg("reproduce").arg(image).args(["--store", store, "--json"]));
    let report = serde_json::from_slice(&done.out).unwrap_or_default();
    (done, report)
}

#[test]
fn a_card_is_composed_again_out_of_any_store_and_what_differs_is_named() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    for (board, name, options) in [
        ("rpi4", "pi.img", &["--free", "32MiB"][..]),
        ("uefi-aarch64", "efi.img.zst", &["--size", "1GiB", "--boot-size", "128MiB"]),
    ] {
        let image = dir.path().join(name);
        let mut compose = demo.compose(board, &demo.at("root"), &image);
        compose.args(options).env("SOURCE_DATE_EPOCH", "1700000000");
        assert_eq!(run(&mut compose).code, 0);
        for store in [demo.at("root"), format!("file://{}", demo.at("cache-xz"))] {
            let (done, report) = reproduce(&image, &store);
            assert_eq!((done.code, &report["identical"]), (0, &true.into()), "{name} {store}: {}", done.err);
        }
    }
    let image = dir.path().join("pi.img");
    let bytes = std::fs::read(&image).unwrap();
    let at = (0..bytes.len()).step_by(4096).find(|at| bytes[*at..].starts_with(b"25.11.demo")).unwrap();
    let file = File::options().write(true).open(&image).unwrap();
    file.write_all_at(b"X", at as u64).unwrap();
    file.write_all_at(b"X", 100).unwrap();
    let (done, report) = reproduce(&image, &demo.at("root"));
    assert_eq!((done.code, &report["differingBytes"]), (3, &4608.into()), "{}", done.err);
    let said = report["differs"].to_string();
    assert!(said.contains(&format!("partition 2: {}/nixos-version", demo.top)), "{said}");
    assert!(said.contains("partition table"), "{said}");
    // Out of a store that has not the closure, or of no card.
    let (done, _) = reproduce(&image, &dir.path().display().to_string());
    assert!([1, 6].contains(&done.code), "{}", done.err);
    std::fs::write(dir.path().join("none"), vec![0; 1 << 20]).unwrap();
    let (done, _) = reproduce(&dir.path().join("none"), &demo.at("root"));
    assert!(done.code == 6 && done.err.contains("no manifest"), "{}", done.err);
}

#[test]
fn another_version_is_said_and_not_compared() {
    let (Some(demo), Some(debugfs)) = (demo(), Tool::find("debugfs")) else { return };
    let dir = temp();
    let image = dir.path().join("pi.img");
    assert_eq!(run(&mut demo.compose("rpi4", &demo.at("root"), &image)).code, 0);
    let manifest = dir.path().join("manifest");
    let at = format!("{}?offset={}", image.display(), 136 << 20);
    let path = "/nix/var/nixflash/manifest.json";
    debugfs.passes(&["-R", &format!("dump {path} {}", manifest.display()), &at]);
    let text = std::fs::read_to_string(&manifest).unwrap();
    let version = format!("\"nixflash\": \"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(text.contains(&version));
    std::fs::write(&manifest, text.replace(&version, "\"nixflash\": \"9.9.9\"")).unwrap();
    debugfs.passes(&["-w", "-R", &format!("rm {path}"), &at]);
    debugfs.passes(&["-w", "-R", &format!("write {} {path}", manifest.display()), &at]);
    let (done, _) = reproduce(&image, &demo.at("root"));
    assert_eq!(done.code, 1, "{}", done.err);
    assert!(done.err.contains("composed by nixflash 9.9.9"), "{}", done.err);
}

fn diff(a: &str, b: &str, more: &[&str]) -> (Run, serde_json::Value) {
    let done = run(nixflash().args(["diff", a, b, "--json"]).args(more));
    let report = serde_json::from_slice(&done.out).unwrap_or_default();
    (done, report)
}

#[test]
fn two_cards_manifests_and_systems_are_compared() {
    let (Some(demo), Some(debugfs)) = (demo(), Tool::find("debugfs")) else { return };
    let dir = temp();
    let (a, b) = (dir.path().join("a.img"), dir.path().join("b.img.zst"));
    assert_eq!(run(&mut demo.compose("rpi4", &demo.at("root"), &a)).code, 0);
    assert_eq!(run(&mut demo.compose("rpi4", &demo.at("root"), &b)).code, 0);
    let (a, b) = (a.display().to_string(), b.display().to_string());
    let (done, report) = diff(&a, &b, &[]);
    assert_eq!((done.code, &report["equal"]), (0, &true.into()), "{} {report:#}", done.err);
    // The manifest says the same as the card, and so does the closure.
    let manifest = dir.path().join("manifest.json").display().to_string();
    let at = format!("{a}?offset={}", 136 << 20);
    debugfs.passes(&["-R", &format!("dump /nix/var/nixflash/manifest.json {manifest}"), &at]);
    let (done, report) = diff(&manifest, &b, &[]);
    assert_eq!((done.code, &report["equal"]), (0, &true.into()), "{} {report:#}", done.err);
    let (done, report) = diff(&a, &demo.top, &["--store", &demo.at("root")]);
    assert_eq!((done.code, &report["equal"]), (0, &true.into()), "{} {report:#}", done.err);
    // A path less, a label changed, a boot file changed.
    debugfs.passes(&["-w", "-R", "set_super_value volume_name OTHER", &at]);
    debugfs.passes(&["-w", "-R", "rm /boot/extlinux/extlinux.conf", &at]);
    let (done, report) = diff(&a, &b, &[]);
    assert_eq!((done.code, &report["equal"]), (3, &false.into()), "{}", done.err);
    assert_eq!(report["identifiers"][0]["name"], "rootLabel");
    assert_eq!(report["bootFiles"][0]["name"], "2:/boot/extlinux/extlinux.conf");
    assert_eq!(report["bootFiles"][0]["before"], serde_json::Value::Null);
    let other = std::fs::read_to_string(&manifest).unwrap().replacen(
        "narHash\": \"sha256:0",
        "narHash\": \"sha256:1",
        1,
    );
    std::fs::write(&manifest, &other).unwrap();
    let (done, _) = diff(&manifest, &manifest, &[]);
    assert_eq!(done.code, 0, "{}", done.err);
    std::fs::write(dir.path().join("x.json"), "{}").unwrap();
    let (done, _) = diff(&dir.path().join("x.json").display().to_string(), &b, &[]);
    assert!(done.code == 6 && done.err.contains("no manifest of nixflash"), "{}", done.err);
}
