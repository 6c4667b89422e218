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
        assert!(done.err.contains("each with its registered hash, and "), "{}", done.err);
        assert!(done.err.contains(" boot files; composed for rpi4"), "{}", done.err);
        assert!(report["bootFiles"].as_u64().unwrap() > 5, "{}", done.err);
        assert_eq!(report["signatures"]["unsigned"], 10, "{}", done.err);
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
    assert_eq!((done.code, &report["verdict"]), (0, &"intact, changed since".into()), "{}", done.err);
    assert!(done.err.contains("partition 2 was grown from "), "{}", done.err);
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
    assert_eq!((done.code, &report["verdict"]), (3, &"damaged".into()), "{}", done.err);
    assert_eq!(report["damaged"][0]["path"], "a card that no system has mounted");
    debugfs.passes(&["-w", "-R", "set_super_value mnt_count 2", at]);
    let (done, report) = verify(&root);
    assert_eq!((done.code, &report["verdict"]), (0, &"intact, changed since".into()), "{}", done.err);
    assert!(report["changed"].to_string().contains(&format!("{name} is not registered")), "{}", done.err);
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

/// Has debugfs run several requests.
fn script(debugfs: &Tool, requests: &[&str], at: &Path) {
    let file = at.with_extension("requests");
    std::fs::write(&file, requests.join("\n")).unwrap();
    debugfs.passes(&["-w", "-f", file.to_str().unwrap(), at.to_str().unwrap()]);
}

#[test]
fn a_new_generation_with_its_entry_is_a_change_and_no_damage() {
    let (Some(demo), Some(debugfs)) = (demo(), Tool::find("debugfs")) else { return };
    let dir = temp();
    let image = dir.path().join("pi.img");
    assert_eq!(run(&mut demo.compose("rpi4", &demo.at("root"), &image)).code, 0);
    let root = root(&image);
    let (conf, file) = ("/boot/extlinux/extlinux.conf", dir.path().join("conf"));
    debugfs.passes(&["-R", &format!("dump {conf} {}", file.display()), root.to_str().unwrap()]);
    let text = std::fs::read_to_string(&file).unwrap();
    let more = text.split("LABEL nixos-1-default").nth(1).unwrap();
    std::fs::write(&file, format!("{text}\nLABEL nixos-2-default{more}")).unwrap();
    let profiles = "/nix/var/nix/profiles";
    let requests = [
        "set_super_value mnt_count 2".to_owned(),
        format!("symlink {profiles}/system-2-link {}", demo.top),
        format!("rm {profiles}/system"),
        format!("symlink {profiles}/system system-2-link"),
        format!("rm {conf}"),
        format!("write {} {conf}", file.display()),
        "mkdir /var/log".to_owned(),
        format!("write {} /var/log/messages", file.display()),
        // No boot loader looks here, whatever it is called.
        "mkdir /nixos".to_owned(),
        format!("write {} /nixos/flake.nix", file.display()),
    ];
    script(&debugfs, &requests.iter().map(String::as_str).collect::<Vec<_>>(), &root);
    let (done, report) = verify(&root);
    assert_eq!((done.code, &report["verdict"]), (0, &"intact, changed since".into()), "{}", done.err);
    for expected in [
        "generation 2 was added",
        "its system is generation 2 now",
        "extlinux.conf was changed: NixOS wrote it for generation 1",
        "1 file was added in /var/log",
        "1 file was added in /nixos",
    ] {
        assert!(report["changed"].to_string().contains(expected), "{expected}: {}", done.err);
    }
}

#[test]
fn what_a_journal_holds_counts_as_it_will_once_the_kernel_has_replayed_it() {
    let (Some(demo), Some(debugfs)) = (demo(), Tool::find("debugfs")) else { return };
    let Some(e2fsck) = Tool::find("e2fsck") else { return };
    let dir = temp();
    let image = dir.path().join("pi.img");
    assert_eq!(run(&mut demo.compose("rpi4", &demo.at("root"), &image)).code, 0);
    let base = root(&image);
    let at = base.to_str().unwrap();
    let blocks = debugfs.passes(&["-R", &format!("blocks {}/nixos-version", demo.top), at]);
    let block: u64 = blocks.lines().find_map(|line| line.split_whitespace().next()?.parse().ok()).unwrap();
    let mut right = vec![0; 4096];
    File::open(&base).unwrap().read_exact_at(&mut right, block * 4096).unwrap();
    let mut wrong = right.clone();
    wrong[0] ^= 1;
    let content = dir.path().join("block");
    for open in ["jo", "jo -c -v 2", "jo -c -v 3"] {
        for (on_disk, in_journal, revoked) in
            [(&right, &wrong, false), (&wrong, &right, false), (&wrong, &right, true), (&right, &wrong, true)]
        {
            let card = dir.path().join("card");
            std::fs::copy(&base, &card).unwrap();
            File::options().write(true).open(&card).unwrap().write_all_at(on_disk, block * 4096).unwrap();
            std::fs::write(&content, in_journal).unwrap();
            let write = format!("jw -b {block} {}", content.display());
            let revoke = format!("jw -r {block}");
            let mut requests = vec!["set_super_value mnt_count 2", open, &*write];
            if revoked {
                requests.push(&revoke);
            }
            requests.push("jc");
            script(&debugfs, &requests, &card);
            let is_right = (if revoked { on_disk } else { in_journal }) == &right;
            let expected = if is_right { (0, "intact, changed since") } else { (3, "damaged") };
            let (done, report) = verify(&card);
            let found = (done.code, report["verdict"].as_str().unwrap());
            assert_eq!(found, expected, "{open} {revoked}: {}", done.err);
            assert!(
                report["changed"].to_string().contains("its journal was replayed in memory"),
                "{}",
                done.err
            );
            // The judge replays it for good.
            e2fsck.run(&["-fy", card.to_str().unwrap()]);
            let (done, report) = verify(&card);
            let found = (done.code, report["verdict"].as_str().unwrap());
            assert_eq!(found, expected, "{open} {revoked}: after e2fsck: {}", done.err);
            assert!(!report["changed"].to_string().contains("its journal"), "{}", done.err);
        }
    }
}

#[test]
fn firmware_that_nixflash_replaced_is_judged_by_its_record_and_told() {
    let (Some(demo), Some(mcopy), Some(mdel)) = (demo(), Tool::find("mcopy"), Tool::find("mdel")) else {
        return;
    };
    let dir = temp();
    let (image, later) = (dir.path().join("pi.img"), dir.path().join("fw"));
    let mut compose = demo.compose("rpi4", &demo.at("root"), &image);
    assert_eq!(run(compose.args(["--boot-size", "64MiB"])).code, 0);
    let fat = format!("{}@@{}", image.display(), 8 << 20);
    let put = |name: &str, bytes: &[u8]| {
        let from = dir.path().join("from");
        std::fs::write(&from, bytes).unwrap();
        mcopy.passes(&["-o", "-i", &fat, from.to_str().unwrap(), &format!("::{name}")]);
    };
    // A later release: the files of the card, one of them changed, one of them new; another is gone.
    std::fs::create_dir(&later).unwrap();
    mcopy.passes(&["-s", "-i", &fat, "::*", later.to_str().unwrap()]);
    for name in ["nixflash.json", "config.txt", "u-boot-rpi4.bin", "start4x.elf"] {
        let _ = std::fs::remove_file(later.join(name));
    }
    std::fs::write(later.join("start4.elf"), b"a later one").unwrap();
    std::fs::write(later.join("start4-new.elf"), b"a new one").unwrap();
    let mut update = nixflash();
    update.args(["firmware", "rpi4"]).arg(&image).args(["--yes", "--store", &demo.at("root"), "--firmware"]);
    let done = run(update.arg(&later));
    assert_eq!(done.code, 0, "{}", done.err);
    let (done, report) = verify(&image);
    assert_eq!((done.code, &report["verdict"]), (0, &"intact, changed since".into()), "{}", done.err);
    let said = report["changed"].to_string();
    assert!(said.contains(": 1 files replaced, 1 added, 1 removed, "), "{said}");
    assert!(said.contains("from firmware sha256:"), "{said}");
    assert_eq!(report["changed"].as_array().unwrap().len(), 1, "{said}");
    let updated = std::fs::read(&image).unwrap();
    let damaged = |expected: &str| {
        let (done, report) = verify(&image);
        assert_eq!((done.code, &report["verdict"]), (3, &"damaged".into()), "{expected}: {}", done.err);
        assert!(done.err.contains(expected), "{expected}: {}", done.err);
        std::fs::write(&image, &updated).unwrap();
    };
    put("start4.elf", b"another one");
    damaged("/start4.elf: it is not what was written");
    put("recovery.bin", b"evil");
    damaged("/recovery.bin: it was added");
    mdel.passes(&["-i", &fat, "::start4-new.elf"]);
    damaged("/start4-new.elf: it is missing");
    mdel.passes(&["-i", &fat, "::config.txt"]);
    damaged("/config.txt: it is missing");
    put("nixflash-firmware.json", b"{}");
    damaged("/nixflash-firmware.json: it is no record");
    let record = r#"{"schema": "nixflash-firmware/1", "files": [{"path": "/loader/entries/x.conf", "size": 1, "sha256": "00"}]}"#;
    put("nixflash-firmware.json", record.as_bytes());
    damaged("/nixflash-firmware.json: it names /loader/entries/x.conf, which no update of firmware writes");
}
