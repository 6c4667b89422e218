//! What a card says of itself, without its image.

use crate::common::{Loop, Run, Tool, demo, nixflash, run, temp};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

fn verify(target: &Path) -> (Run, serde_json::Value) {
    let done = run(nixflash().arg("verify").arg(target).arg("--json"));
    let report = serde_json::from_slice(&done.out).unwrap_or_default();
    (done, report)
}

/// Where bytes are in a file.
fn find(path: &Path, wanted: &[u8]) -> u64 {
    let bytes = std::fs::read(path).unwrap();
    bytes.windows(wanted.len()).position(|window| window == wanted).unwrap() as u64
}

/// The root partition of an image of the rpi4 board, in a file of its own.
fn root(image: &Path) -> PathBuf {
    let bytes = std::fs::read(image).unwrap();
    let path = image.with_extension("root");
    std::fs::write(&path, &bytes[136 << 20..]).unwrap();
    path
}

#[test]
fn an_image_a_card_and_a_root_alone_are_intact() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    for name in ["pi.img", "pi.img.zst"] {
        let path = dir.path().join(name);
        assert_eq!(run(&mut demo.compose("rpi4", &demo.at("root"), &path)).code, 0);
        let (done, report) = verify(&path);
        assert_eq!(
            (done.code, &report["verdict"], &report["storePaths"]),
            (0, &"intact".into(), &10.into()),
            "{}",
            done.err
        );
        assert_eq!(report["toplevel"], demo.top);
        assert!(done.err.contains("each with its registered hash; composed for rpi4"), "{}", done.err);
    }
    let (done, _) = verify(&root(&dir.path().join("pi.img")));
    assert_eq!(done.code, 0, "{}", done.err);
    let backing = dir.path().join("card");
    File::create(&backing).unwrap().set_len(400 << 20).unwrap();
    let Some(attached) = Loop::attach(&backing, &[]) else { return };
    let mut write = nixflash();
    write.arg("write").arg(dir.path().join("pi.img.zst")).arg(&attached.path).args([
        "--yes",
        "--allow-fixed",
        "--grow",
    ]);
    assert_eq!(run(&mut write).code, 0);
    let (done, report) = verify(&attached.path);
    assert_eq!((done.code, &report["verdict"]), (0, &"intact".into()), "{}", done.err);
}

#[test]
fn damage_is_told_with_the_store_path_and_nothing_else_is() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let path = dir.path().join("pi.img");
    assert_eq!(run(&mut demo.compose("rpi4", &demo.at("root"), &path)).code, 0);
    let whole = std::fs::read(&path).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    // A byte of a file: the version of the system, which is in the toplevel.
    let at = find(&path, b"25.11.demo");
    let places: Vec<u64> = (0..whole.len() as u64 - 10)
        .step_by(4096)
        .filter(|at| whole[*at as usize..].starts_with(b"25.11.demo"))
        .collect();
    assert!(!places.is_empty(), "{at}");
    file.write_all_at(b"X", places[0]).unwrap();
    let (done, report) = verify(&path);
    assert_eq!((done.code, &report["verdict"]), (3, &"damaged".into()), "{}", done.err);
    let damaged = report["damaged"].as_array().unwrap();
    assert_eq!(damaged.len(), 1, "{}", done.err);
    assert!(damaged[0]["problem"].as_str().unwrap().contains("not those that were registered"));
    file.write_all_at(&whole[places[0] as usize..][..1], places[0]).unwrap();
    assert_eq!(verify(&path).0.code, 0);
    // What is no card of NixOS.
    std::fs::write(dir.path().join("none"), vec![0; 4 << 20]).unwrap();
    let (done, _) = verify(&dir.path().join("none"));
    assert!(done.code == 3 && done.err.contains("there is no NixOS on it"), "{}", done.err);
}

#[test]
fn what_a_running_system_changes_is_no_damage_and_what_it_loses_is() {
    let (Some(demo), Some(debugfs)) = (demo(), Tool::find("debugfs")) else { return };
    let dir = temp();
    let image = dir.path().join("pi.img");
    assert_eq!(run(&mut demo.compose("rpi4", &demo.at("root"), &image)).code, 0);
    let root = root(&image);
    let at = root.to_str().unwrap();
    let name = "3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-new";
    debugfs.passes(&["-w", "-R", &format!("mkdir /nix/store/{name}"), at]);
    let (done, report) = verify(&root);
    assert_eq!((done.code, &report["verdict"]), (0, &"intact, changed since".into()), "{}", done.err);
    assert!(report["changed"][0].as_str().unwrap().contains(&format!("{name} is not registered")));
    // A file of the closure is gone.
    debugfs.passes(&["-w", "-R", &format!("rm {}/nixos-version", demo.top), at]);
    let (done, report) = verify(&root);
    assert_eq!((done.code, &report["verdict"]), (3, &"damaged".into()), "{}", done.err);
    assert_eq!(report["damaged"][0]["path"], demo.top);
}

#[test]
fn a_cut_or_mutated_image_ends_without_a_panic() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let image = dir.path().join("pi.img");
    assert_eq!(run(&mut demo.compose("rpi4", &demo.at("root"), &image)).code, 0);
    let root = root(&image);
    let whole = std::fs::read(&root).unwrap();
    let cut = dir.path().join("cut");
    for seed in 0..60u64 {
        let mut bytes = whole.clone();
        // Metadata are at the start; a few bytes of them each time.
        for n in 0..4 {
            let at = (seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(n * 1_442_695_040_888_963)
                >> 20) as usize;
            let at = at % (2 << 20);
            bytes[at] ^= 1 << (seed % 8);
        }
        if seed % 5 == 0 {
            bytes.truncate(whole.len() / 2);
        }
        std::fs::write(&cut, &bytes).unwrap();
        let done = run(nixflash().arg("verify").arg(&cut));
        assert!([0, 3, 7].contains(&done.code), "{seed}: {} {}", done.code, done.err);
    }
}
