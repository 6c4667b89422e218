//! Nix's formats, judged by real data: archives that Nix refuses, narinfos of cache.nixos.org, `nix-store --dump`.

use crate::common::{Tool, demo, run, skip, temp};
use nixflash::format::boot::bootspec;
use nixflash::format::nix::nar;
use nixflash::format::nix::nar::{Reader, Room};
use nixflash::format::nix::narinfo::NarInfo;
use nixflash::format::nix::registration;
use nixflash::store::{Keys, PathInfo};
use std::path::{Path, PathBuf};

/// The directory of real data, which is not in the repository.
fn fixtures() -> Option<PathBuf> {
    let named = std::env::var_os("NIXFLASH_FIXTURES").map(PathBuf::from);
    let path = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures"));
    if path.is_dir() {
        return Some(path);
    }
    // Real data are a help to those who have them; CI without them must still pass.
    println!("skipped: no fixtures at {}", path.display());
    None
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    files.sort();
    files
}

#[test]
fn archives_get_the_verdict_that_nix_gives() {
    let Some(fixtures) = fixtures() else { return };
    const GOOD: [&str; 6] = [
        "case.nar",
        "case-collision.nar",
        "empty-dir.nar",
        "empty-subdir.nar",
        "simple.nar",
        "regular-one-byte-zero-padding.nar",
    ];
    let mut seen = 0;
    for dir in ["nars-nix-fuzz", "nars-nix-libutil"] {
        for path in files(&fixtures.join(dir), "nar") {
            let bytes = std::fs::read(&path).unwrap();
            let verdict = nar::tree(&mut Reader::new(&bytes[..]), &Room::default());
            let name = path.file_name().unwrap().to_str().unwrap();
            assert_eq!(verdict.is_ok(), GOOD.contains(&name), "{name}: {verdict:?}");
            seen += 1;
        }
    }
    for dir in ["nars-nix-nar", "nars-harmonia", "nars-tvix"] {
        for path in files(&fixtures.join(dir), "nar") {
            let bytes = std::fs::read(&path).unwrap();
            nar::tree(&mut Reader::new(&bytes[..]), &Room::default())
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            seen += 1;
        }
    }
    assert!(seen > 35, "only {seen} archives");
}

#[test]
fn every_narinfo_of_the_public_cache_parses_and_its_signature_verifies() {
    let Some(fixtures) = fixtures() else { return };
    let packed = std::fs::read(fixtures.join("narinfo/tvix-narinfo-sample.zst")).unwrap();
    let text = String::from_utf8(zstd::decode_all(&packed[..]).unwrap()).unwrap();
    let keys = Keys::nixos();
    let records: Vec<&str> = text.split("\n\n").filter(|record| !record.trim().is_empty()).collect();
    for record in &records {
        let record = format!("{}\n", record.trim_end());
        let info = NarInfo::parse(&record).unwrap_or_else(|error| panic!("{error}:\n{record}"));
        let mut facts = PathInfo {
            path: info.path,
            nar_hash: info.nar_hash,
            nar_size: info.nar_size,
            references: info.references,
            deriver: info.deriver,
            signatures: info.signatures,
            content_address: None,
        };
        assert!(keys.trust(&facts), "{}", facts.path);
        facts.nar_size += 1;
        assert!(!keys.trust(&facts), "{}", facts.path);
    }
    assert_eq!(records.len(), 978);
    for path in files(&fixtures.join("narinfo"), "narinfo") {
        NarInfo::parse(&std::fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

#[test]
fn boot_specifications_of_real_systems_parse() {
    let Some(fixtures) = fixtures() else { return };
    let mut seen = 0;
    for path in
        files(&fixtures.join("bootspec"), "json").into_iter().filter(|path| !path.ends_with("schema.json"))
    {
        let bytes = std::fs::read(&path).unwrap();
        if !String::from_utf8_lossy(&bytes).contains("org.nixos.bootspec.v1") {
            continue;
        }
        bootspec::parse(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        seen += 1;
    }
    assert!(seen >= 10, "only {seen}");
}

#[test]
fn registrations_of_real_nix_parse() {
    let Some(fixtures) = fixtures() else { return };
    let text = std::fs::read_to_string(fixtures.join("synthetic/registration")).unwrap();
    assert_eq!(registration::parse(&text).unwrap().len(), 3);
}

#[test]
fn a_closure_signed_by_real_nix_keeps_its_signatures_and_references() {
    let Some(fixtures) = fixtures() else { return };
    for kind in ["none", "xz", "zstd", "bzip2", "gzip", "br"] {
        let store = nixflash::store::open(
            &format!("file://{}", fixtures.join(format!("synthetic/cache-{kind}")).display()),
            None,
            &remote(),
        )
        .unwrap();
        let names = store.names().unwrap();
        assert_eq!(names.len(), 3, "{kind}");
        for name in &names {
            let info = store.path_info(name).unwrap().unwrap();
            assert!(info.signatures.iter().any(|signature| signature.starts_with("test-cache-1:")), "{kind}");
            nixflash::store::index(&*store, &info, &Room::default()).unwrap();
        }
        let stores = [store];
        assert_eq!(nixflash::store::closure(&stores, &names).unwrap().paths.len(), 3);
    }
}

#[test]
fn the_archive_of_a_directory_is_that_of_nix_store_dump() {
    let (Some(demo), Some(_)) = (demo(), Tool::find("nix-store")) else { return };
    let dir = temp();
    for entry in std::fs::read_dir(demo.at("root/nix/store")).unwrap() {
        let path = entry.unwrap().path();
        let dumped =
            run(std::process::Command::new("nix-store").arg("--dump").arg(&path).env("HOME", dir.path()));
        if dumped.code != 0 {
            skip(&format!("nix-store --dump: {}", dumped.err));
            return;
        }
        let mut ours = Vec::new();
        std::io::copy(&mut nixflash::store::open_directory_nar(&path).unwrap(), &mut ours).unwrap();
        assert!(ours == dumped.out, "{}", path.display());
    }
}

mod reader {
    //! Our own ext4 reader, on file systems of mke2fs and on damaged ones.
    use crate::common::{Tool, temp};
    use nixflash::format::disk::ext4::read::{Ext4, Kind};

    fn made_by_mke2fs(options: &[&str]) -> Option<Vec<u8>> {
        let mke2fs = Tool::find("mke2fs")?;
        let dir = temp();
        let tree = dir.path().join("tree");
        std::fs::create_dir_all(tree.join("a/b")).unwrap();
        std::fs::write(tree.join("a/b/file"), vec![7; 300_000]).unwrap();
        for n in 0..400 {
            std::fs::write(tree.join(format!("a/entry-with-a-long-name-{n}")), format!("{n}")).unwrap();
        }
        std::os::unix::fs::symlink("b/file", tree.join("a/short")).unwrap();
        std::os::unix::fs::symlink("x".repeat(200), tree.join("a/long")).unwrap();
        let image = dir.path().join("image");
        let mut arguments = vec!["-q", "-F", "-d", tree.to_str().unwrap()];
        arguments.extend_from_slice(options);
        arguments.extend_from_slice(&[image.to_str().unwrap(), "16M"]);
        mke2fs.passes(&arguments);
        Some(std::fs::read(image).unwrap())
    }

    #[test]
    fn file_systems_of_mke2fs_are_read() {
        for options in [
            &["-t", "ext4"][..],
            &["-t", "ext4", "-O", "64bit,metadata_csum_seed,orphan_file"],
            &["-t", "ext4", "-b", "1024"],
            &["-t", "ext4", "-b", "4096", "-O", "^metadata_csum,^resize_inode,meta_bg"],
            &["-t", "ext3", "-b", "1024"],
            &["-t", "ext2", "-b", "4096"],
        ] {
            // An older mke2fs does not know every feature.
            if options.contains(&"64bit,metadata_csum_seed,orphan_file")
                && Tool::find("mke2fs")
                    .is_some_and(|tool| !tool.run(&["-V"]).stderr.starts_with(b"mke2fs 1.47"))
            {
                continue;
            }
            let Some(bytes) = made_by_mke2fs(options) else { return };
            let fs = Ext4::open(&bytes[..]).unwrap_or_else(|error| panic!("{options:?}: {error}"));
            assert_eq!(fs.read_file("/a/short", 1 << 20).unwrap(), vec![7; 300_000], "{options:?}");
            assert_eq!(fs.read_file("/a/entry-with-a-long-name-399", 10).unwrap(), b"399", "{options:?}");
            let long = fs.lookup(b"/a/long").unwrap();
            assert_eq!((long.kind, fs.read_link(&long).unwrap().len()), (Kind::Symlink, 200), "{options:?}");
            assert_eq!(fs.read_dir(&fs.resolve(b"/a").unwrap()).unwrap().count(), 403, "{options:?}");
            assert!(fs.read_file("/a/b/file", 1000).is_err() && fs.resolve(b"/a/none").is_err());
        }
    }

    #[test]
    fn damaged_file_systems_end_in_an_error_or_an_answer() {
        for options in [&["-t", "ext4"][..], &["-t", "ext2", "-b", "1024"]] {
            let Some(good) = made_by_mke2fs(options) else { return };
            let mut seed = 1u64;
            let mut random = move || {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                seed >> 33
            };
            for _ in 0..3000 {
                let mut bytes = good.clone();
                for _ in 0..1 + random() % 6 {
                    // The first megabytes hold all metadata.
                    let at = (1024 + random() % 1_500_000) as usize;
                    bytes[at] = random() as u8;
                }
                let Ok(fs) = Ext4::open(&bytes[..]) else { continue };
                for path in ["/a/short", "/a/b/file", "/a/entry-with-a-long-name-7", "/a/long", "/lost+found"]
                {
                    drop(fs.read_file(path, 1 << 20));
                }
                drop(fs.resolve(b"/a").and_then(|inode| fs.read_dir(&inode)?.collect::<Result<Vec<_>, _>>()));
            }
        }
    }
}

/// Nothing is fetched here.
fn remote() -> nixflash::store::Remote {
    nixflash::store::Remote {
        client: nixflash::net::Client::new(&std::sync::Arc::default(), nixflash::net::Settings::default()),
        kept: std::env::temp_dir(),
        most: 1 << 30,
        keys: None,
        fetched: std::sync::Arc::default(),
        ssh: std::sync::Arc::new(NoSsh),
    }
}

/// Nobody goes anywhere.
pub struct NoSsh;

impl nixflash::store::Ssh for NoSsh {
    fn run(&self, _builder: &nixflash::store::Builder) -> std::io::Result<Box<dyn nixflash::store::Line>> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}
