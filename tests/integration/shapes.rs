//! One system in every container: composed, looked at, compared, composed again, and written to a card.

use crate::common::{Demo, Tool, demo, nixflash, run, sha256, temp};
use std::path::{Path, PathBuf};

/// Names of files and what qemu-img calls their formats.
const SHAPES: [(&str, &str, &[&str]); 8] = [
    ("vm.qcow2", "qcow2", &[]),
    ("zstd.qcow2", "qcow2", &["--format", "qcow2-zstd", "--level", "5"]),
    ("plain.qcow2", "qcow2", &["--format", "qcow2-plain"]),
    ("vm.vdi", "vdi", &[]),
    ("vm.vhd", "vpc", &[]),
    ("vm.vhdx", "vhdx", &[]),
    ("vm.vmdk", "vmdk", &[]),
    ("vm.img", "raw", &[]),
];

fn compose(demo: &Demo, to: &Path, options: &[&str]) {
    let done = run(demo.compose("uefi-aarch64", &demo.at("root"), to).args(options));
    assert_eq!(done.code, 0, "{}: {}", to.display(), done.err);
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn every_container_of_a_system_is_read_like_its_raw_image() {
    let (Some(demo), Some(qemu)) = (demo(), Tool::find("qemu-img")) else { return };
    let dir = temp();
    let at = |name: &str| dir.path().join(name);
    let raw = at("vm.img");
    let small = ["--size", "1GiB", "--boot-size", "128MiB"];
    compose(demo, &raw, &small);
    let looked = |path: &Path| {
        let done = run(nixflash().args(["inspect", "--json"]).arg(path));
        assert_eq!(done.code, 0, "{}", done.err);
        done.out
    };
    for (name, format, options) in SHAPES {
        let path = at(name);
        if format != "raw" {
            compose(demo, &path, &[&small, options].concat());
        }
        let said = qemu.passes(&["compare", "-f", format, "-F", "raw", &text(&path), &text(&raw)]);
        assert!(said.contains("identical"), "{name}: {said}");
        assert!(looked(&path) == looked(&raw), "{name}");
        let same = run(nixflash().arg("diff").args([&path, &raw]));
        assert_eq!(same.code, 0, "{name}: {}", same.err);
        let whole = run(nixflash().arg("verify").arg(&path));
        assert_eq!(whole.code, 0, "{name}: {}", whole.err);
        let again = run(nixflash().arg("reproduce").arg(&path).args(["--store", &demo.at("root")]));
        assert_eq!(again.code, 0, "{name}: {}", again.err);
        let card = at("card");
        std::fs::File::create(&card).unwrap().set_len(1 << 30).unwrap();
        let written = run(nixflash().args(["write", "-y"]).args([&path, &card]));
        assert_eq!(written.code, 0, "{name}: {}", written.err);
        assert_eq!(sha256(&card), sha256(&raw), "{name}");
    }
}

#[test]
fn a_container_of_qemu_img_is_written_to_a_card_and_verified() {
    let (Some(demo), Some(qemu)) = (demo(), Tool::find("qemu-img")) else { return };
    let dir = temp();
    let at = |name: &str| dir.path().join(name);
    let raw = at("vm.img");
    compose(demo, &raw, &["--size", "768MiB", "--boot-size", "128MiB"]);
    for (number, options) in [
        &["-c", "-O", "qcow2"][..],
        &["-c", "-O", "qcow2", "-o", "compression_type=zstd"],
        &["-O", "vmdk", "-o", "subformat=streamOptimized"],
        &["-O", "vpc", "-o", "force_size=on"],
        &["-O", "vhdx"],
        &["-O", "vdi"],
    ]
    .into_iter()
    .enumerate()
    {
        let (theirs, card) = (at(&number.to_string()), at("card"));
        qemu.passes(&[&["convert", "-f", "raw"], options, &[&text(&raw), &text(&theirs)]].concat());
        std::fs::File::create(&card).unwrap().set_len(768 << 20).unwrap();
        // With its sum, all of it is hashed before the card is touched.
        let sum = sha256(&theirs);
        let written = run(nixflash().args(["write", "-y", "--sha256", &sum]).args([&theirs, &card]));
        assert_eq!(written.code, 0, "{options:?}: {}", written.err);
        assert_eq!(sha256(&card), sha256(&raw), "{options:?}");
        let wrong = run(nixflash().args(["write", "-y", "--sha256", &"0".repeat(64)]).args([&theirs, &card]));
        assert!(wrong.code == 6 && wrong.err.contains("SHA-256"), "{options:?}: {}", wrong.err);
        // Packed once more it can be looked at, but not written: a card is no place to sort it out.
        let zstd = Tool::find("zstd").unwrap();
        zstd.passes(&["-qf", &text(&theirs)]);
        let packed = PathBuf::from(format!("{}.zst", text(&theirs)));
        let looked = run(nixflash().arg("verify").arg(&packed));
        assert_eq!(looked.code, 0, "{options:?}: {}", looked.err);
        let refused = run(nixflash().args(["write", "-y"]).args([&packed, &card]));
        let is_fixed = options.contains(&"raw");
        assert!(
            is_fixed || refused.code == 6 && refused.err.contains("unpack it"),
            "{options:?}: {}",
            refused.err
        );
    }
}

#[test]
fn a_final_size_costs_almost_nothing() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    for (name, most) in [("vm.qcow2", 8 << 20), ("vm.vmdk", 8 << 20), ("plain.qcow2", 64 << 20)] {
        let path = dir.path().join(name);
        let format = if name.starts_with("plain") { &["--format", "qcow2-plain"][..] } else { &[] };
        compose(demo, &path, &[&["--size", "20GiB"], format].concat());
        let len = path.metadata().unwrap().len();
        println!("{name} of 20 GiB: {len} bytes");
        assert!(len < most, "{name}: {len} bytes");
    }
}

#[test]
fn the_same_system_has_the_same_bits_from_every_store_and_number_of_threads() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    for (name, _, options) in SHAPES {
        let mut sums = Vec::new();
        for (number, (store, threads)) in
            [("root", "1"), ("root", "8"), ("cache-xz", "2"), ("cache-zstd", "3")].into_iter().enumerate()
        {
            let path = dir.path().join(format!("{number}.{name}"));
            let store = if store == "root" {
                demo.at(store)
            } else {
                format!("file://{}?trusted=true", demo.at(store))
            };
            let mut command = demo.compose("uefi-aarch64", &store, &path);
            let done = run(command.args(["--boot-size", "128MiB", "--threads", threads]).args(options));
            assert_eq!(done.code, 0, "{name}: {}", done.err);
            sums.push(sha256(&path));
            std::fs::remove_file(path).unwrap();
        }
        assert!(sums.iter().all(|sum| *sum == sums[0]), "{name}: {sums:?}");
    }
}

#[test]
fn a_sum_beside_a_container_is_that_of_the_file() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    for (name, _, options) in SHAPES {
        let path = dir.path().join(name);
        compose(demo, &path, &[&["--sha256", "--boot-size", "128MiB"], options].concat());
        let beside = std::fs::read_to_string(dir.path().join(format!("{name}.sha256"))).unwrap();
        assert_eq!(beside, format!("{}  {name}\n", sha256(&path)), "{name}");
    }
}

#[test]
fn a_container_that_can_be_a_stream_goes_to_standard_output_and_the_other_is_refused() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    for format in ["qcow2-plain", "vdi", "vhd", "vhdx", "vmdk"] {
        let path = dir.path().join(format);
        compose(demo, &path, &["--boot-size", "128MiB", "--format", format]);
        let mut command = demo.compose("uefi-aarch64", &demo.at("root"), Path::new("-"));
        let done = run(command.args(["--boot-size", "128MiB", "--format", format]));
        assert!(done.code == 0 && done.out == std::fs::read(&path).unwrap(), "{format}: {}", done.err);
    }
    for format in ["qcow2", "qcow2-zstd"] {
        let mut command = demo.compose("uefi-aarch64", &demo.at("root"), Path::new("-"));
        let done = run(command.args(["--format", format]));
        assert!(done.code == 2 && done.err.contains("qcow2-plain"), "{format}: {}", done.err);
    }
}

#[test]
fn an_ending_that_is_not_offered_is_never_written_raw() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    for name in ["vm.bz2", "vm.img.zip", "vm.qcow2.xz", "vm.ova", "vm.tar.gz", "vm.7z", "vm.iso"] {
        let path = dir.path().join(name);
        let done = run(&mut demo.compose("uefi-aarch64", &demo.at("root"), &path));
        assert!(done.code == 2 && done.err.contains("no image is made as"), "{name}: {}", done.err);
        assert!(!path.exists(), "{name}");
    }
    for (options, words) in [
        (&["--format", "vdi", "--level", "3"][..], "is not compressed"),
        (&["--format", "qcow2", "--level", "12"], "expected 1 to 9"),
        (&["--format", "vhdx", "--bmap"], "a container of one"),
        (&["--format", "vdi", "--incus"], "as qcow2 only"),
        (&["--format", "vhd", "--size", "1048577KiB"], "a multiple of 1048576"),
    ] {
        let path = dir.path().join("vm");
        let done = run(demo.compose("uefi-aarch64", &demo.at("root"), &path).args(options));
        assert!(done.code == 2 && done.err.contains(words), "{options:?}: {}", done.err);
        assert!(!path.exists(), "{options:?}");
    }
}

#[test]
fn incus_gets_its_metadata_in_a_tar_beside_the_disk() {
    let (Some(demo), Some(tar)) = (demo(), Tool::find("tar")) else { return };
    let dir = temp();
    let path = dir.path().join("vm.qcow2");
    compose(demo, &path, &["--boot-size", "128MiB", "--incus"]);
    let beside = dir.path().join("vm.incus.tar.xz");
    // Incus wants this file first, under this name, and unpacks it by number.
    let listed = tar.passes(&["-tvf", &text(&beside), "--numeric-owner"]);
    assert!(listed.lines().count() == 1 && listed.trim_end().ends_with(" metadata.yaml"), "{listed}");
    assert!(listed.starts_with("-rw-r--r-- 0/0"), "{listed}");
    let metadata = tar.passes(&["-xOf", &text(&beside), "metadata.yaml"]);
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    assert_eq!(metadata["architecture"], "aarch64");
    assert!(metadata["creation_date"].as_u64().unwrap() > 0);
    for key in ["os", "release", "variant", "architecture", "description"] {
        assert!(metadata["properties"][key].as_str().is_some_and(|value| !value.is_empty()), "{key}");
    }
    assert_eq!(metadata["properties"]["requirements.secureboot"], "false");
    let before = sha256(&beside);
    let kept = run(demo.compose("uefi-aarch64", &demo.at("root"), &path).arg("--incus"));
    assert!(kept.code == 1 && kept.err.contains("exists"), "{}", kept.err);
    compose(demo, &path, &["--boot-size", "128MiB", "--incus", "--force"]);
    assert_eq!(sha256(&beside), before);
    let card = dir.path().join("card.qcow2");
    let refused = run(demo.compose("rpi4", &demo.at("root"), &card).arg("--incus"));
    assert!(refused.code == 2 && refused.err.contains("has no ESP"), "{}", refused.err);
    assert!(!card.exists());
}

#[test]
fn a_container_that_cannot_be_read_is_named_and_no_card_is_touched() {
    let (Some(demo), Some(qemu)) = (demo(), Tool::find("qemu-img")) else { return };
    let dir = temp();
    let at = |name: &str| dir.path().join(name);
    let base = at("vm.qcow2");
    compose(demo, &base, &["--boot-size", "128MiB"]);
    let backed = at("backed.qcow2");
    qemu.passes(&["create", "-f", "qcow2", "-F", "qcow2", "-b", &text(&base), &text(&backed)]);
    let cut = at("cut.qcow2");
    let bytes = std::fs::read(&base).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let card = at("card");
    std::fs::write(&card, vec![7; 1 << 20]).unwrap();
    for (path, words) in [(&backed, "backing file"), (&cut, "damaged or truncated qcow2")] {
        for command in [&["inspect"][..], &["verify"]] {
            let done = run(nixflash().args(command).arg(path));
            assert!(done.code == 6 && done.err.contains(words), "{command:?}: {}", done.err);
        }
        let done = run(nixflash().args(["write", "-y"]).args([path, &card]));
        assert!(done.code == 6 && done.err.contains(words), "{}", done.err);
    }
    let stdin = std::fs::File::open(&base).unwrap();
    let piped = run(nixflash().args(["write", "-y", "-"]).arg(&card).stdin(stdin));
    assert!(piped.code == 6 && piped.err.contains("in a stream"), "{}", piped.err);
    assert!(std::fs::read(&card).unwrap() == vec![7; 1 << 20]);
}
