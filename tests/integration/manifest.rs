//! What a card says of itself is true: other programs read the card and find just that.

use crate::common::{Demo, Tool, cut, demo, nixflash, partitions, run, sha256, temp};
use serde_json::Value;
use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const MANIFEST: &str = "/nix/var/nixflash/manifest.json";

/// An image and its partitions, cut out of it.
struct Card {
    dir: tempfile::TempDir,
    spans: Vec<(u64, u64)>,
}

impl Card {
    fn compose(demo: &Demo, board: &str, options: &[&str]) -> Option<Self> {
        Self::of_store(demo, board, &demo.at("root"), options)
    }

    fn of_store(demo: &Demo, board: &str, store: &str, options: &[&str]) -> Option<Self> {
        let dir = temp();
        let image = dir.path().join("card.img");
        let done = run(demo.compose(board, store, &image).args(options));
        assert_eq!((done.code, done.err.trim()), (0, ""), "{board} {options:?}");
        let spans = partitions(&image)?;
        for (index, span) in spans.iter().enumerate() {
            cut(&image, *span, &dir.path().join(format!("part{}", index + 1)));
        }
        Some(Self { dir, spans })
    }

    fn part(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("part{number}"))
    }

    /// Reads a file of the root by debugfs.
    fn root_file(&self, path: &str) -> Option<PathBuf> {
        let to = self.dir.path().join("file");
        let _ = std::fs::remove_file(&to);
        let root = self.part(self.spans.len());
        Tool::find("debugfs")?.passes(&[
            "-R",
            &format!("dump \"{path}\" {}", to.display()),
            root.to_str().unwrap(),
        ]);
        Some(to)
    }

    /// Reads a file of the FAT by mtools.
    fn fat_file(&self, path: &str) -> Option<PathBuf> {
        let to = self.dir.path().join("file");
        let _ = std::fs::remove_file(&to);
        let fat = self.part(1);
        Tool::find("mcopy")?.passes(&[
            "-i",
            fat.to_str().unwrap(),
            &format!("::{path}"),
            to.to_str().unwrap(),
        ]);
        Some(to)
    }

    fn json(path: &Path) -> Value {
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }
}

#[test]
fn the_manifest_names_every_boot_file_as_other_programs_read_it() {
    let Some(demo) = demo() else { return };
    for board in ["rpi4", "uefi-aarch64"] {
        let Some(card) = Card::compose(demo, board, &[]) else { return };
        let Some(manifest) = card.root_file(MANIFEST) else { return };
        let manifest = Card::json(&manifest);
        let mut on_fat = BTreeSet::new();
        let files = manifest["bootFiles"].as_array().unwrap();
        assert!(files.len() > 3, "{board}: {files:?}");
        for file in files {
            let (path, size) = (file["path"].as_str().unwrap(), file["size"].as_u64().unwrap());
            let found = match file["partition"].as_u64().unwrap() {
                1 => {
                    on_fat.insert(path.to_owned());
                    card.fat_file(path)
                }
                2 => card.root_file(path),
                other => panic!("{board}: partition {other}"),
            };
            let Some(found) = found else { return };
            assert_eq!(found.metadata().unwrap().len(), size, "{board}: {path}");
            assert_eq!(file["sha256"], sha256(&found), "{board}: {path}");
        }
        let Some(mdir) = Tool::find("mdir") else { return };
        let listing = mdir.passes(&["-b", "-/", "-i", card.part(1).to_str().unwrap(), "::"]);
        let listed = listing.lines().filter_map(|line| line.strip_prefix("::"));
        let listed: BTreeSet<String> =
            listed.filter(|path| !path.ends_with('/')).map(str::to_owned).collect();
        on_fat.insert("/nixflash.json".to_owned());
        assert_eq!(listed, on_fat, "{board}: the FAT holds what is listed and the copy of the manifest");
        let boots_from_root = files.iter().any(|file| file["partition"] == 2);
        assert_eq!(boots_from_root, board == "rpi4", "kernels for U-Boot are on the root");
    }
}

#[test]
fn the_manifest_names_the_partitions_as_sfdisk_and_blkid_do() {
    let Some(demo) = demo() else { return };
    for (board, options) in
        [("rpi4", &["--free", "7MiB"][..]), ("uefi-aarch64", &[]), ("rpi4", &["--size", "600MiB"])]
    {
        let Some(card) = Card::compose(demo, board, options) else { return };
        let Some(manifest) = card.root_file(MANIFEST) else { return };
        let manifest = Card::json(&manifest);
        let Some(sfdisk) = Tool::find("sfdisk") else { return };
        let image = card.dir.path().join("card.img");
        let table: Value = serde_json::from_str(&sfdisk.passes(&["-J", image.to_str().unwrap()])).unwrap();
        let table = &table["partitiontable"];
        let listed = manifest["partitions"].as_array().unwrap();
        assert_eq!(listed.len(), table["partitions"].as_array().unwrap().len());
        for (ours, theirs) in listed.iter().zip(table["partitions"].as_array().unwrap()) {
            let bytes = |key: &str| theirs[key].as_u64().unwrap() * 512;
            assert_eq!(ours["start"], bytes("start"), "{board}");
            assert_eq!(ours["length"], bytes("size"), "{board}");
            let lower = |value: &Value| value.as_str().unwrap().to_lowercase();
            assert_eq!(lower(&ours["type"]).trim_start_matches('0'), lower(&theirs["type"]), "{board}");
            if table["label"] == "gpt" {
                assert_eq!(lower(&ours["partuuid"]), lower(&theirs["uuid"]), "{board}");
                assert_eq!(ours["name"].as_str().unwrap_or(""), theirs["name"].as_str().unwrap_or(""));
            }
            let Some(blkid) = Tool::find("blkid") else { return };
            let part = card.part(ours["number"].as_u64().unwrap() as usize);
            let says = |tag: &str| {
                let text = blkid.passes(&["-p", "-o", "value", "-s", tag, part.to_str().unwrap()]);
                text.trim().to_owned()
            };
            assert_eq!(ours["fileSystem"], says("TYPE"), "{board}");
            assert_eq!(ours["label"], says("LABEL"), "{board}");
            assert_eq!(ours["uuid"], says("UUID"), "{board}");
        }
    }
}

#[test]
fn the_copy_on_the_fat_says_the_same_but_for_the_store_paths() {
    let Some(demo) = demo() else { return };
    let Some(card) = Card::compose(demo, "rpi4", &[]) else { return };
    let (Some(full), Some(copy)) = (card.root_file(MANIFEST), card.fat_file("/nixflash.json")) else {
        return;
    };
    // Both readers write to the same name: the manifest is read again.
    let short = Card::json(&copy);
    assert_eq!(full, copy);
    let Some(full) = card.root_file(MANIFEST) else { return };
    let digest = sha256(&full);
    let mut full = Card::json(&full);
    assert_eq!(short["manifestSha256"], digest);
    let paths = full.as_object_mut().unwrap().remove("storePaths").unwrap();
    assert_eq!(full["closure"]["paths"], paths.as_array().unwrap().len());
    full["manifestSha256"] = digest.into();
    assert_eq!(short, full);
}

#[test]
fn a_manifest_holds_nothing_of_the_machine_and_stores_only_when_asked() {
    let Some(demo) = demo() else { return };
    let firmware = temp();
    let mut texts = Vec::new();
    let cache = format!("file://{}", demo.at("cache-none"));
    for (store, options) in [(demo.at("root"), &[][..]), (cache.clone(), &[]), (cache, &["--record-stores"])]
    {
        let Some(card) = Card::of_store(demo, "rpi4", &store, options) else { return };
        let Some(manifest) = card.root_file(MANIFEST) else { return };
        let text = std::fs::read_to_string(manifest).unwrap();
        for word in [demo.dir.path(), card.dir.path(), firmware.path()] {
            assert!(!text.contains(word.to_str().unwrap()), "{text}");
        }
        texts.push(text);
    }
    assert_eq!(texts[0], texts[1], "whatever the store");
    let asked: Value = serde_json::from_str(&texts[2]).unwrap();
    assert_eq!(asked["stores"], serde_json::json!(["local"]));
    let plain: Value = serde_json::from_str(&texts[0]).unwrap();
    assert_eq!(plain.get("stores"), None);
    assert_eq!(plain["compose"]["rootSize"], serde_json::json!({ "kind": "free", "bytes": 64 << 20 }));
    assert_eq!(plain["compose"]["profile"], Value::Null);
}

#[test]
fn a_profile_that_is_not_built_in_is_in_the_manifest() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let profile = dir.path().join("mine.toml");
    let built_in = concat!(env!("CARGO_MANIFEST_DIR"), "/boards/rpi4.toml");
    let text = std::fs::read_to_string(built_in).unwrap().replace("\"rpi4\"", "\"mine\"");
    std::fs::write(&profile, &text).unwrap();
    let image = dir.path().join("card.img");
    let mut command = nixflash();
    command.args(["-q", "compose", "--board"]).arg(&profile);
    command.args(["--system", &demo.top, "--store", &demo.at("root"), "-o"]).arg(&image);
    let done = run(&mut command);
    assert_eq!((done.code, done.err.trim()), (0, ""));
    let Some(spans) = partitions(&image) else { return };
    let root = dir.path().join("part2");
    cut(&image, spans[1], &root);
    let card = Card { dir, spans };
    let Some(manifest) = card.root_file(MANIFEST) else { return };
    let manifest = Card::json(&manifest);
    assert_eq!(manifest["board"], "mine");
    assert_eq!(manifest["compose"]["profile"], text);
}

#[test]
fn boot_loaders_outside_of_partitions_are_digested_where_they_lie() {
    use std::io::{Read, Seek};
    let dir = temp();
    let (store, image) = (dir.path().join("root"), dir.path().join("card.img"));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/make-demo");
    let Some(python) = Tool::find("python3") else { return };
    let top = python.passes(&[script, "--boards", "--root", store.to_str().unwrap()]);
    for board in ["rockpro64", "pine64"] {
        let mut command = nixflash();
        command.args(["-q", "compose", board, "--force", "--system", top.trim(), "--store"]);
        let done = run(command.arg(&store).arg("-o").arg(&image));
        assert_eq!(done.code, 0, "{board}: {}", done.err);
        let Some(spans) = partitions(&image) else { return };
        let root = dir.path().join("root.part");
        cut(&image, *spans.last().unwrap(), &root);
        let (to, from) = (dir.path().join("json"), root.to_str().unwrap());
        let Some(debugfs) = Tool::find("debugfs") else { return };
        debugfs.passes(&["-R", &format!("dump {MANIFEST} {}", to.display()), from]);
        let files = Card::json(&to)["rawFiles"].clone();
        assert!(!files.as_array().unwrap().is_empty(), "{board}");
        for file in files.as_array().unwrap() {
            let mut card = std::fs::File::open(&image).unwrap();
            card.seek(std::io::SeekFrom::Start(file["offset"].as_u64().unwrap())).unwrap();
            let copy = dir.path().join("raw");
            let mut bytes = Vec::new();
            card.take(file["size"].as_u64().unwrap()).read_to_end(&mut bytes).unwrap();
            std::fs::write(&copy, bytes).unwrap();
            assert_eq!(file["sha256"], sha256(&copy), "{board}");
        }
        judged(&image, &store, files[0]["offset"].as_u64().unwrap());
    }
}

/// A byte of a boot loader outside of partitions, and one beside it, are found by whoever looks.
fn judged(image: &Path, store: &Path, offset: u64) {
    let verify = || run(nixflash().arg("verify").arg(image));
    let again = || run(nixflash().arg("reproduce").arg(image).arg("--store").arg(store));
    let shown = String::from_utf8(run(nixflash().arg("inspect").arg(image)).out).unwrap();
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(shown.contains(&format!(" at byte {offset}, outside of partitions, SHA-256 ")), "{shown}");
    for done in [verify(), again()] {
        assert_eq!(done.code, 0, "{}", done.err);
    }
    let file = std::fs::File::options().read(true).write(true).open(image).unwrap();
    let flip = |at: u64| {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 4], at).unwrap();
    };
    flip(offset + 5);
    for done in [verify(), again()] {
        assert_eq!(done.code, 3, "{}", done.err);
        assert!(done.err.contains(&format!("boot loader at byte {offset}: ")), "{}", done.err);
    }
    flip(offset + 5);
    let gap = (8 << 20) - 512;
    for (at, expected) in [
        (gap, format!("something was written outside of all partitions, at byte {gap}")),
        (17, "there is a boot loader in the first sector".to_owned()),
    ] {
        flip(at);
        let done = verify();
        assert!(done.code == 3 && done.err.contains(&expected), "{expected}: {}", done.err);
        flip(at);
    }
    assert_eq!(verify().code, 0);
}
