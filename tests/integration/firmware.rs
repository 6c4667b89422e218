//! `nixflash firmware`: a card boots its old files or all of the new ones, wherever it is pulled.

use crate::boards::Closure;
use crate::common::{Tool, nixflash, run, temp};
use nixflash::board::{Board, find};
use nixflash::device::disk::Disk;
use nixflash::update::{self, ChangeKind, Config, Wanted};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

const SECTOR: usize = 512;
/// The FAT of the cards here begins at 8 MiB and has 16.
const FAT: (usize, usize) = (8 << 20, 16 << 20);

type Files = BTreeMap<String, Vec<u8>>;

/// What was done to a disk.
#[derive(Clone)]
enum Call {
    Write(usize, Vec<u8>),
    Sync,
}

/// A disk of which only the start is kept, and that remembers what is done to it; it may go away after some calls.
struct Card {
    len: u64,
    state: Mutex<(Vec<u8>, Vec<Call>)>,
    calls_left: AtomicU32,
}

impl Card {
    fn new(len: u64, start: Vec<u8>) -> Self {
        Self { len, state: Mutex::new((start, Vec::new())), calls_left: AtomicU32::new(u32::MAX) }
    }

    /// Counts a call; the last one that may be, and all after it, find no card.
    fn ensure_there(&self) -> io::Result<()> {
        let left =
            self.calls_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map(drop).map_err(|_| io::Error::from_raw_os_error(ENODEV))
    }

    fn bytes(&self) -> Vec<u8> {
        self.state.lock().unwrap().0.clone()
    }

    fn calls(&self) -> Vec<Call> {
        self.state.lock().unwrap().1.clone()
    }
}

impl Disk for Card {
    fn name(&self) -> String {
        "card".to_owned()
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.ensure_there()?;
        let (state, from) = (self.state.lock().unwrap(), offset as usize);
        for (at, byte) in (from..).zip(&mut *buf) {
            *byte = state.0.get(at).copied().unwrap_or(0);
        }
        Ok(buf.len())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.ensure_there()?;
        assert!(offset.is_multiple_of(SECTOR as u64) && bytes.len().is_multiple_of(SECTOR), "whole sectors");
        let (mut state, from) = (self.state.lock().unwrap(), offset as usize);
        assert!(from + bytes.len() <= FAT.0 + FAT.1, "nothing behind the FAT is written");
        state.0[from..from + bytes.len()].copy_from_slice(bytes);
        state.1.push(Call::Write(from, bytes.to_vec()));
        Ok(bytes.len())
    }

    fn sync(&self) -> io::Result<()> {
        self.ensure_there()?;
        self.state.lock().unwrap().1.push(Call::Sync);
        Ok(())
    }

    fn bypasses_cache(&self) -> bool {
        true
    }
}

/// `No such device`, which a disk that was pulled answers.
const ENODEV: i32 = 19;

/// A composed card for the Pi 4.
fn card(closure: &Closure) -> (u64, Vec<u8>) {
    let dir = temp();
    let path = dir.path().join("card.img");
    let done = run(closure.compose("rpi4").args(["--boot-size", "16MiB", "-o"]).arg(&path));
    assert_eq!(done.code, 0, "{}", done.err);
    let mut bytes = std::fs::read(path).unwrap();
    let len = bytes.len() as u64;
    bytes.truncate(FAT.0 + FAT.1);
    (len, bytes)
}

/// Bytes that are all different.
fn noise(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// A later release of the firmware: one file is gone, one is new, most are changed, one is the same.
fn release(closure: &Closure) -> Vec<(String, Vec<u8>)> {
    let boot = |name: &str| closure.file("raspberrypifw", &format!("share/raspberrypi/boot/{name}"));
    let mut files = vec![
        ("/bootcode.bin".to_owned(), boot("bootcode.bin")),
        ("/start4.elf".to_owned(), noise(1, 700_001)),
        ("/fixup4.dat".to_owned(), noise(2, 5_000)),
        ("/start4-new-name.elf".to_owned(), noise(3, 2_048)),
        ("/bcm2711-rpi-4-b.dtb".to_owned(), noise(4, 30_000)),
        ("/overlays/vc4-kms-v3d.dtbo".to_owned(), noise(5, 3_000)),
        ("/overlays/README".to_owned(), Vec::new()),
        ("/u-boot-rpi4.bin".to_owned(), noise(6, 600_000)),
    ];
    let board = find("rpi4").unwrap();
    files.push((
        "/config.txt".to_owned(),
        board.config_txt.unwrap().replace("arm_boost=1", "arm_boost=0").into(),
    ));
    files
}

fn wanted(board: &Board, files: Vec<(String, Vec<u8>)>, config: Config) -> Wanted<'_> {
    Wanted { board, files, packages: std::collections::BTreeMap::new(), config, epoch: 1 << 30 }
}

/// Where the table says that the first partition is.
fn partition(bytes: &[u8]) -> (usize, usize) {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize * SECTOR;
    (word(446 + 8), word(446 + 12))
}

/// All files of the first partition, by mtools, after fsck.fat found nothing wrong with it.
fn judged(bytes: &[u8], dir: &Path) -> Files {
    let (start, len) = partition(bytes);
    let volume = dir.join("volume");
    std::fs::write(&volume, &bytes[start..start + len]).unwrap();
    let (fsck, mcopy) = (Tool::find("fsck.fat").unwrap(), Tool::find("mcopy").unwrap());
    fsck.passes(&["-n", volume.to_str().unwrap()]);
    let out = dir.join("out");
    drop(std::fs::remove_dir_all(&out));
    std::fs::create_dir(&out).unwrap();
    mcopy.passes(&["-s", "-n", "-i", volume.to_str().unwrap(), "::/*", out.to_str().unwrap()]);
    let (mut files, mut open) = (Files::new(), vec![out.clone()]);
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = format!("/{}", path.strip_prefix(&out).unwrap().display());
                files.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    files
}

fn has_judges() -> bool {
    Tool::find("fsck.fat").is_some() && Tool::find("mcopy").is_some()
}

/// What the FAT holds but for what nixflash says of itself.
fn boot_files(mut files: Files) -> Files {
    for own in ["/nixflash-firmware.json", "/nixflash-home.txt"] {
        files.remove(own);
    }
    files
}

#[test]
fn a_card_that_is_pulled_anywhere_boots_all_old_files_or_all_new_ones() {
    let Some(closure) = Closure::make(&[]) else { return };
    if !has_judges() {
        return;
    }
    let (len, start) = card(&closure);
    let (dir, board) = (temp(), find("rpi4").unwrap());
    let disk = Card::new(len, start.clone());
    let plan = update::plan(&disk, wanted(&board, release(&closure), Config::Keep)).unwrap();
    assert!(disk.calls().is_empty(), "a plan writes nothing");
    let report = plan.apply(&disk, &AtomicBool::new(false), &mut |_| {}).unwrap();
    assert_eq!(report.written, plan.bytes(), "what is announced is what is written");
    let old = boot_files(judged(&start, dir.path()));
    let new = boot_files(judged(&disk.bytes(), dir.path()));
    assert_ne!(old, new);
    for (path, bytes) in release(&closure) {
        assert!(new[&path] == bytes, "{path}");
    }
    assert!(new.contains_key("/nixflash.json") && !new.contains_key("/start4x.elf"), "{:?}", new.keys());
    assert_eq!(disk.bytes()[..SECTOR], start[..SECTOR], "the table is as it was");

    let calls = disk.calls();
    let (mut now, mut flushed) = (start.clone(), start);
    let (mut cuts, mut was_new) = (0, false);
    let mut check = |bytes: &[u8], may_be_old: bool, what: &str| {
        let found = boot_files(judged(bytes, dir.path()));
        assert!((may_be_old && found == old) || found == new, "{what}: {:?}", found.keys());
        cuts += 1;
        found == new
    };
    let mut window: Vec<(usize, Vec<u8>)> = Vec::new();
    for (number, call) in calls.iter().enumerate() {
        match call {
            Call::Write(offset, bytes) => {
                // The card is pulled within the write, after some of its sectors.
                let sectors = bytes.len() / SECTOR;
                let mut cut = now.clone();
                let part = sectors / 2 * SECTOR;
                cut[*offset..*offset + part].copy_from_slice(&bytes[..part]);
                if part > 0 && number % 2 == 0 {
                    check(&cut, !was_new, &format!("within write {number}"));
                }
                now[*offset..*offset + bytes.len()].copy_from_slice(bytes);
                let is_new = check(&now, !was_new, &format!("after write {number}"));
                was_new |= is_new;
                window.extend(
                    bytes.chunks(SECTOR).zip(0..).map(|(sector, n)| (offset + n * SECTOR, sector.to_vec())),
                );
            }
            // Between two flushes a card may write in any order: some sectors are there, others not.
            Call::Sync => {
                for seed in 0..3 {
                    let mut cut = flushed.clone();
                    let chosen = noise(seed + number as u32, window.len());
                    for ((offset, sector), _) in
                        window.iter().zip(chosen).filter(|(_, chance)| *chance & 1 == 0)
                    {
                        cut[*offset..*offset + SECTOR].copy_from_slice(sector);
                    }
                    check(&cut, true, &format!("some of the writes before flush {number}"));
                }
                window.clear();
                flushed.clone_from(&now);
            }
        }
    }
    assert!(cuts > 60 && was_new, "{cuts}");
}

#[test]
fn whatever_fails_is_told_with_what_the_card_boots() {
    let Some(closure) = Closure::make(&[]) else { return };
    let (len, start) = card(&closure);
    let board = find("rpi4").unwrap();
    let run = |calls: u32| {
        let disk = Card::new(len, start.clone());
        let plan = update::plan(&disk, wanted(&board, release(&closure), Config::Keep)).unwrap();
        disk.calls_left.store(calls, Ordering::Relaxed);
        let done = plan.apply(&disk, &AtomicBool::new(false), &mut |_| {});
        (done.map_err(|error| error.to_string()), disk.calls_left.load(Ordering::Relaxed), disk.bytes())
    };
    let (done, left, _) = run(u32::MAX);
    let (calls, mut kinds) = (u32::MAX - left, BTreeMap::new());
    assert!(done.is_ok() && calls > 50, "{calls}");
    for cut in (0..calls).step_by(3) {
        let (done, _, bytes) = run(cut);
        let (text, moved) = (done.unwrap_err(), partition(&bytes) != FAT);
        let kind = match &text {
            text if text.contains("the card boots its old files or the new ones") => "either",
            text if text.ends_with("the card boots its old files") && !moved => "old",
            // Back at its first place or still on the second volume: the new files.
            text if text.contains("the card boots the new files; run the same command again") => "new",
            text => panic!("call {cut} of {calls}, moved {moved}: {text}"),
        };
        assert!(text.starts_with("cannot "), "call {cut}: {text}");
        *kinds.entry(kind).or_insert(0) += 1;
    }
    assert!(kinds["old"] > 5 && kinds["new"] > 5, "{kinds:?}");
}

#[test]
fn an_update_that_was_cut_short_is_finished_by_the_next_run() {
    let Some(closure) = Closure::make(&[]) else { return };
    if !has_judges() {
        return;
    }
    let (len, start) = card(&closure);
    let (dir, board) = (temp(), find("rpi4").unwrap());
    let disk = Card::new(len, start.clone());
    let plan = update::plan(&disk, wanted(&board, release(&closure), Config::Keep)).unwrap();
    plan.apply(&disk, &AtomicBool::new(false), &mut |_| {}).unwrap();
    let whole = judged(&disk.bytes(), dir.path());
    // Pulled after the first switch, and in the middle of the second volume.
    let calls = disk.calls();
    let switches: Vec<usize> =
        (0..calls.len()).filter(|at| matches!(calls[*at], Call::Write(0, _))).collect();
    assert_eq!(switches.len(), 2);
    for cut in [switches[0] + 1, (switches[0] + switches[1]) / 2, switches[1]] {
        let mut bytes = start.clone();
        for call in &calls[..cut] {
            if let Call::Write(offset, written) = call {
                bytes[*offset..*offset + written.len()].copy_from_slice(written);
            }
        }
        assert_ne!(partition(&bytes), FAT, "it boots from the second volume");
        let again = Card::new(len, bytes);
        let plan = update::plan(&again, wanted(&board, release(&closure), Config::Keep)).unwrap();
        assert!(plan.resumes() && !plan.is_done(), "{cut}");
        plan.apply(&again, &AtomicBool::new(false), &mut |_| {}).unwrap();
        assert_eq!(partition(&again.bytes()), FAT, "{cut}");
        assert!(judged(&again.bytes(), dir.path()) == whole, "{cut}");
        assert!(update::plan(&again, wanted(&board, release(&closure), Config::Keep)).unwrap().is_done());
    }
}

#[test]
fn what_the_owner_of_a_card_changed_stays() {
    let Some(closure) = Closure::make(&[]) else { return };
    let Some(mcopy) = Tool::find("mcopy") else { return };
    if !has_judges() {
        return;
    }
    let (len, mut start) = card(&closure);
    let (dir, board) = (temp(), find("rpi4").unwrap());
    let volume = dir.path().join("edited");
    std::fs::write(&volume, &start[FAT.0..]).unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let file = dir.path().join("file");
        std::fs::write(&file, bytes).unwrap();
        let (volume, file) = (volume.to_str().unwrap(), file.to_str().unwrap());
        mcopy.passes(&["-o", "-i", volume, file, &format!("::/{name}")]);
    };
    let config = format!("{}dtoverlay=disable-bt\n", board.config_txt.clone().unwrap());
    put("config.txt", config.as_bytes());
    put("overlays/mine.dtbo", b"my overlay");
    put("ssh", b"");
    start[FAT.0..].copy_from_slice(&std::fs::read(&volume).unwrap());
    let disk = Card::new(len, start.clone());
    let plan = update::plan(&disk, wanted(&board, release(&closure), Config::Keep)).unwrap();
    assert_eq!(plan.config().difference, ["-arm_boost=1", "+arm_boost=0", "-dtoverlay=disable-bt"]);
    let kind = |path: &str| plan.changes().iter().find(|change| change.path == path).unwrap().change;
    for (path, expected) in [
        ("/config.txt", ChangeKind::Kept),
        ("/ssh", ChangeKind::Kept),
        ("/overlays/mine.dtbo", ChangeKind::Kept),
        ("/nixflash.json", ChangeKind::Kept),
        ("/bootcode.bin", ChangeKind::Same),
        ("/start4.elf", ChangeKind::Replaced),
        ("/start4-new-name.elf", ChangeKind::Added),
        ("/start4x.elf", ChangeKind::Removed),
        ("/overlays/dwc2.dtbo", ChangeKind::Removed),
    ] {
        assert_eq!(kind(path), expected, "{path}");
    }
    plan.apply(&disk, &AtomicBool::new(false), &mut |_| {}).unwrap();
    let files = judged(&disk.bytes(), dir.path());
    assert_eq!((files["/config.txt"].as_slice(), files["/ssh"].len()), (config.as_bytes(), 0));
    assert_eq!(files["/overlays/mine.dtbo"], b"my overlay");
    // Asked to, the board's takes its place.
    let disk = Card::new(len, start);
    let plan = update::plan(&disk, wanted(&board, release(&closure), Config::Replace)).unwrap();
    plan.apply(&disk, &AtomicBool::new(false), &mut |_| {}).unwrap();
    assert!(!judged(&disk.bytes(), dir.path())["/config.txt"].ends_with(b"disable-bt\n"));
}

#[test]
fn device_trees_that_the_new_firmware_does_not_bring_stay() {
    let Some(closure) = Closure::make(&[]) else { return };
    if !has_judges() {
        return;
    }
    let (len, start) = card(&closure);
    let (dir, board) = (temp(), find("rpi4").unwrap());
    let old = judged(&start, dir.path());
    let disk = Card::new(len, start);
    let without: Vec<_> = release(&closure)
        .into_iter()
        .filter(|(path, _)| !path.contains("dtb") || path.contains("overlays"))
        .collect();
    let plan = update::plan(&disk, wanted(&board, without, Config::Keep)).unwrap();
    plan.apply(&disk, &AtomicBool::new(false), &mut |_| {}).unwrap();
    let new = judged(&disk.bytes(), dir.path());
    assert!(
        old.contains_key("/bcm2711-rpi-4-b.dtb")
            && new["/bcm2711-rpi-4-b.dtb"] == old["/bcm2711-rpi-4-b.dtb"]
    );
    assert!(!new.contains_key("/start4x.elf"), "what a rule that is at work no longer brings goes");
    let record: serde_json::Value = serde_json::from_slice(&new["/nixflash-firmware.json"]).unwrap();
    assert!(!record["removed"].to_string().contains("dtb\""), "{}", record["removed"]);
}

#[test]
fn without_room_for_both_nothing_is_written_and_the_sizes_are_named() {
    let Some(closure) = Closure::make(&[]) else { return };
    let (len, start) = card(&closure);
    let (disk, board) = (Card::new(len, start), find("rpi4").unwrap());
    let mut files = release(&closure);
    files.push(("/start4-large.elf".to_owned(), noise(9, 9 << 20)));
    let error = update::plan(&disk, wanted(&board, files, Config::Keep)).map(drop).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("no room to keep the old boot files until the new ones are whole: "), "{text}");
    assert!(
        text.contains(" MiB are needed in one free piece from byte ") && disk.calls().is_empty(),
        "{text}"
    );
    let stopped = update::plan(&disk, wanted(&board, release(&closure), Config::Keep)).unwrap();
    let error = stopped.apply(&disk, &AtomicBool::new(true), &mut |_| {}).unwrap_err().to_string();
    assert_eq!(error, "interrupted; the card boots its old files");
    assert!(disk.calls().is_empty());
}

/// Every file that the update brought is in the record with its length and digest, and what it took away by name.
fn ensure_complete(record: &serde_json::Value, files: &Files) {
    use sha2::{Digest, Sha256};
    assert_eq!(record["schema"], "nixflash-firmware/1");
    let listed: BTreeMap<String, (u64, String)> = record["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| {
            let word = |key: &str| file[key].as_str().unwrap().to_owned();
            (word("path"), (file["size"].as_u64().unwrap(), word("sha256")))
        })
        .collect();
    let found: BTreeMap<String, (u64, String)> = files
        .iter()
        .filter(|(path, _)| !path.starts_with("/nixflash"))
        .map(|(path, bytes)| {
            let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            (path.clone(), (bytes.len() as u64, digest))
        })
        .collect();
    assert_eq!(listed, found);
    let removed = record["removed"].as_array().unwrap();
    assert!(
        removed.contains(&"/start4x.elf".into()) && !removed.contains(&"/start4.elf".into()),
        "{removed:?}"
    );
}

#[test]
fn the_command_has_no_option_that_does_nothing() {
    let done = run(nixflash().args(["firmware", "--help"]));
    let help = String::from_utf8(done.out).unwrap();
    for option in [
        "--firmware",
        "--store",
        "--trusted-key",
        "--config-txt",
        "--board",
        "--channel",
        "--yes",
        "--dry-run",
    ] {
        assert!(help.contains(option), "{option}: {help}");
    }
    for option in ["--generation", "--id-seed", "--project", "--boot-size", "--threads"] {
        assert!(!help.contains(&format!("{option} ")), "{option}: {help}");
    }
    assert_eq!(run(nixflash().args(["firmware", "rpi4", "x.img", "--boot-size", "1GiB"])).code, 2);
}

#[test]
fn a_card_that_is_not_there_is_told_before_stores_are_asked() {
    let done = run(nixflash().args(["firmware", "rpi4", "/nowhere/card.img", "--store", "/nowhere/store"]));
    assert_eq!(done.code, 1, "{}", done.err);
    assert!(done.err.starts_with("error: /nowhere/card.img does not exist\n"), "{}", done.err);
}

#[test]
fn the_command_updates_an_image_and_says_what_it_did() {
    let Some(closure) = Closure::make(&[]) else { return };
    if !has_judges() {
        return;
    }
    let dir = temp();
    let image = dir.path().join("card.img");
    let done = run(closure.compose("rpi4").args(["--boot-size", "16MiB", "-o"]).arg(&image));
    assert_eq!(done.code, 0, "{}", done.err);
    let before = std::fs::read(&image).unwrap();
    // A later release of the firmware, and the same U-Boot.
    let later = dir.path().join("fw");
    for (path, bytes) in release(&closure).into_iter().filter(|(path, _)| !path.contains("u-boot")) {
        let path = later.join(&path[1..]);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let store = closure.dir.path().join("root");
    let firmware = |options: &[&str]| {
        let mut command = nixflash();
        command.args(["firmware", "rpi4"]).arg(&image).arg("--store").arg(&store);
        run(command.arg("--firmware").arg(&later).args(options))
    };
    let done = firmware(&["--dry-run"]);
    let text = String::from_utf8(done.out).unwrap();
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(
        text.contains("replace  /start4.elf (683.6 KiB)") && text.contains("remove   /start4x.elf"),
        "{text}"
    );
    assert!(std::fs::read(&image).unwrap() == before, "a dry run writes nothing");
    let done = firmware(&["--yes", "--json"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let value: serde_json::Value = serde_json::from_slice(&done.out).unwrap();
    assert_eq!(
        (&value["schema"], &value["result"]),
        (&"nixflash-firmware-update/1".into(), &"updated".into())
    );
    let after = std::fs::read(&image).unwrap();
    assert!(after[..SECTOR] == before[..SECTOR] && after[FAT.0 + FAT.1..] == before[FAT.0 + FAT.1..]);
    let files = judged(&after, dir.path());
    assert!(files["/start4.elf"] == noise(1, 700_001));
    let record: serde_json::Value = serde_json::from_slice(&files["/nixflash-firmware.json"]).unwrap();
    ensure_complete(&record, &files);
    assert_eq!(record["firmware"], value["packages"]);
    let uboot = &record["firmware"]["uboot"];
    assert!(uboot["path"].as_str().unwrap().contains("-uboot-rpi_4_") && uboot["directory"] == "", "{uboot}");
    assert!(record["firmware"]["firmware"]["narHash"].as_str().unwrap().starts_with("sha256:"), "{record}");
    let done = firmware(&["--yes"]);
    assert!(done.code == 0 && done.err.contains("its boot files are those of this firmware"), "{}", done.err);
    assert!(std::fs::read(&image).unwrap() == after, "nothing is written when nothing changes");
    // What cannot be updated at once is refused, and so is what is no card of the board.
    for (board, code, expected) in [
        ("pine64", 2, "its boot loader lies outside of all file systems"),
        ("uefi-aarch64", 2, "all are the system's"),
    ] {
        let mut command = nixflash();
        command.args(["firmware", board]).arg(&image).args(["--yes", "--store"]).arg(&store);
        let done = run(&mut command);
        assert!(done.code == code && done.err.contains(expected), "{board}: {} {}", done.code, done.err);
    }
}
