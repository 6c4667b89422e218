//! What an update changes: files that are new, replaced, removed; and what becomes of config.txt.

use super::content::{Content, Tree};
use super::error::Error;
use super::home::HOME;
use super::request::{Config, Wanted};
use super::volume::{Current, Entry, fold};
use crate::base_n;
use crate::board::{Board, FileRule};
use crate::card::firmware_record::{self, FirmwareRecord};
use crate::card::manifest::Manifest;
use crate::card::paths::{FIRMWARE_RECORD, MANIFEST_ON_FAT};
use crate::format::disk::fat::read::Error as VolumeError;
use crate::ints;
use crate::tree::{Attrs, Directory, Kind, Node};
use crate::update::change::Change;
use crate::update::change::ChangeKind;
use crate::update::change::Changes;
use crate::update::change::ConfigChange;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

const CONFIG: &str = "/config.txt";
/// More lines are not compared one by one.
const MAX_LINES: usize = 1000;

/// A file of the volume to be.
struct File {
    path: String,
    mtime: u32,
    len: u64,
    content: Content,
}

/// Compares what a card has with what is wanted.
pub fn decide(current: &Current<'_>, wanted: Wanted<'_>) -> Result<Changes, Error> {
    let Wanted { board, mut files, packages, config, epoch } = wanted;
    let recorded = recorded(current)?;
    let config = decide_config(current, &mut files, config, &recorded)?;
    let rules = at_work(board, &files);
    let gone = gone(current, &rules, &files, &recorded)?;
    let record = FirmwareRecord {
        schema: firmware_record::SCHEMA.to_owned(),
        nixflash: Some(env!("CARGO_PKG_VERSION").to_owned()),
        board: board.name.clone(),
        profile_sha256: base_n::to_base16(&board.digest),
        firmware: packages,
        files: Some(listed(&files)),
        removed: gone,
    };
    files.push((FIRMWARE_RECORD.to_owned(), record.text().into_bytes()));
    let mut all: BTreeMap<String, File> = BTreeMap::new();
    let (mut list, mut kept, mut new) = (Vec::new(), Vec::new(), Vec::new());
    let wanted: BTreeMap<String, usize> =
        files.iter().zip(0..).map(|((path, _), at)| (fold(path), at)).collect();
    // Of no other volume than the second one.
    let home = fold(&format!("/{HOME}"));
    for (folded, entry) in &current.entries {
        let Some(len) = entry.len.filter(|_| *folded != home) else { continue };
        let same = match wanted.get(folded) {
            Some(at) if current.holds(&entry.path, &files[*at].1)? => true,
            Some(_) => continue,
            None => false,
        };
        let change = match same {
            true => ChangeKind::Same,
            false if is_of_firmware(&rules, entry, &recorded) => ChangeKind::Removed,
            false => ChangeKind::Kept,
        };
        list.push(Change { path: entry.path.clone(), change, len });
        if change == ChangeKind::Removed {
            continue;
        }
        let content = Content::Kept(index(kept.len()));
        kept.push(entry.path.clone());
        all.insert(folded.clone(), File { path: entry.path.clone(), mtime: entry.mtime, len, content });
    }
    for (path, bytes) in files {
        let folded = fold(&path);
        if all.contains_key(&folded) {
            continue;
        }
        let there = current.entries.get(&folded);
        let change = if there.is_some() { ChangeKind::Replaced } else { ChangeKind::Added };
        // The name stays as it is written on the card, in its case.
        let path = there.map_or(path, |entry| entry.path.clone());
        let (len, content) = (ints::to_u64(bytes.len()), Content::New(index(new.len())));
        list.push(Change { path: path.clone(), change, len });
        all.insert(folded, File { path: path.clone(), mtime: epoch, len, content });
        new.push((path, bytes));
    }
    if config.kept {
        ensure_started(current, &all)?;
    }
    list.sort_by(|a, b| a.path.cmp(&b.path));
    let tree = tree(&all, current, epoch)?;
    Ok(Changes { list, config, new, kept, tree, epoch })
}

fn index(len: usize) -> u32 {
    // cannot fail: a volume that is read has at most 2^18 files, a firmware far fewer
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// The digests of boot files that nixflash put on the FAT, by folded path; empty on cards that others made.
fn recorded(current: &Current<'_>) -> Result<BTreeMap<String, String>, Error> {
    if let Some(files) = record(current)?.files {
        return Ok(files.into_iter().map(|file| (fold(&file.path), file.sha256)).collect());
    }
    let Some(bytes) = current.small(MANIFEST_ON_FAT)? else { return Ok(BTreeMap::new()) };
    let composed = Manifest::read(&bytes).unwrap_or_default();
    // Those of the root are not meant.
    let of_fat = composed.boot_files.into_iter().filter(|file| file.partition == 1);
    Ok(of_fat.map(|file| (fold(&file.path), file.sha256)).collect())
}

/// What updates before this one have left; an empty record where there is none that can be read.
fn record(current: &Current<'_>) -> Result<FirmwareRecord, Error> {
    let bytes = current.small(FIRMWARE_RECORD)?.unwrap_or_default();
    Ok(serde_json::from_slice(&bytes).unwrap_or_default())
}

/// What nixflash puts on the FAT, for the next update and for whoever verifies the card.
fn listed(files: &[(String, Vec<u8>)]) -> Vec<firmware_record::File> {
    let mut files: Vec<_> = files.iter().collect();
    files.sort_by(|a, b| a.0.cmp(&b.0));
    let entry = |(path, bytes): &(String, Vec<u8>)| firmware_record::File {
        path: path.clone(),
        size: ints::to_u64(bytes.len()),
        sha256: base_n::to_base16(&Sha256::digest(bytes)),
    };
    files.into_iter().map(entry).collect()
}

/// What nixflash once put on the FAT and this update, or one before it, takes away: the manifest still lists it.
fn gone(
    current: &Current<'_>,
    rules: &[&FileRule],
    files: &[(String, Vec<u8>)],
    recorded: &BTreeMap<String, String>,
) -> Result<Vec<String>, Error> {
    let is_wanted = |folded: &str| files.iter().any(|(path, _)| fold(path) == folded);
    let goes = |entry: &&Entry| entry.len.is_some() && is_of_firmware(rules, entry, recorded);
    let mut gone: BTreeMap<String, String> = BTreeMap::new();
    for path in record(current)?.removed {
        gone.insert(fold(&path), path);
    }
    for entry in current.entries.values().filter(goes) {
        gone.insert(fold(&entry.path), entry.path.clone());
    }
    gone.retain(|folded, _| !is_wanted(folded));
    Ok(gone.into_values().collect())
}

/// Whether a file was part of the firmware: by the record, else by a pattern of the profile that is more than a star.
fn is_of_firmware(rules: &[&FileRule], entry: &Entry, recorded: &BTreeMap<String, String>) -> bool {
    let folded = fold(&entry.path);
    if [fold(FIRMWARE_RECORD), fold(MANIFEST_ON_FAT), fold(CONFIG)].contains(&folded) {
        return false;
    }
    if !recorded.is_empty() {
        // What the boot loader of the system put there is its own: only what a rule could have put.
        return recorded.contains_key(&folded) && could_put(rules, &folded, |_| true);
    }
    could_put(rules, &folded, |base| base != "*")
}

/// Whether one of the rules could have put a file there.
fn could_put(rules: &[&FileRule], folded: &str, counts: impl Fn(&str) -> bool) -> bool {
    rules.iter().any(|rule| rule.could_put(folded, &counts))
}

/// The rules that bring something this time. What any other one put there stays: device trees that came from the system,
/// a package that is optional and was not found.
fn at_work<'a>(board: &'a Board, files: &[(String, Vec<u8>)]) -> Vec<&'a FileRule> {
    let brings = |rule: &&FileRule| files.iter().any(|(path, _)| rule.could_put(&fold(path), |_| true));
    board.files.iter().filter(brings).collect()
}

/// Decides about config.txt, and takes the board's out of the files where that on the card stays.
fn decide_config(
    current: &Current<'_>,
    files: &mut Vec<(String, Vec<u8>)>,
    config: Config,
    recorded: &BTreeMap<String, String>,
) -> Result<ConfigChange, Error> {
    let Some(old) = current.small(CONFIG)? else { return Ok(ConfigChange::default()) };
    let Some(at) = files.iter().position(|(path, _)| path == CONFIG) else {
        return Ok(ConfigChange { kept: true, difference: Vec::new() });
    };
    let untouched =
        recorded.get(&fold(CONFIG)).is_some_and(|sum| *sum == base_n::to_base16(&Sha256::digest(&old)));
    let kept = old != files[at].1 && !untouched && config == Config::Keep;
    let difference = difference(&old, &files[at].1);
    if kept {
        files.remove(at);
    }
    Ok(ConfigChange { kept, difference })
}

/// Refuses a config.txt that stays and starts a file that goes.
fn ensure_started(current: &Current<'_>, all: &BTreeMap<String, File>) -> Result<(), Error> {
    let text = current.small(CONFIG)?.unwrap_or_default();
    for line in String::from_utf8_lossy(&text).lines() {
        let Some((word, name)) = line.split_once('=') else { continue };
        let folded = fold(&format!("/{}", name.trim()));
        let named = ["kernel", "armstub", "start_file", "fixup_file"].contains(&word.trim());
        if named && current.has(&folded) && !all.contains_key(&folded) {
            return Err(Error::Config { line: line.to_owned() });
        }
    }
    Ok(())
}

/// The lines that differ, marked with a minus or a plus.
fn difference(old: &[u8], new: &[u8]) -> Vec<String> {
    let (old, new) = (String::from_utf8_lossy(old), String::from_utf8_lossy(new));
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    if old == new {
        return Vec::new();
    }
    if old.len().max(new.len()) > MAX_LINES {
        return vec![format!("{} lines there, {} lines of the board", old.len(), new.len())];
    }
    // The longest common subsequence, by the lengths of those of all ends.
    let width = new.len() + 1;
    let mut common = vec![0usize; (old.len() + 1) * width];
    for (a, one) in old.iter().enumerate().rev() {
        for (b, two) in new.iter().enumerate().rev() {
            common[a * width + b] = if one == two {
                common[(a + 1) * width + b + 1] + 1
            } else {
                common[(a + 1) * width + b].max(common[a * width + b + 1])
            };
        }
    }
    let (mut a, mut b, mut lines) = (0, 0, Vec::new());
    while a < old.len() || b < new.len() {
        if a < old.len() && b < new.len() && old[a] == new[b] {
            (a, b) = (a + 1, b + 1);
        } else if b == new.len()
            || (a < old.len() && common[(a + 1) * width + b] >= common[a * width + b + 1])
        {
            lines.push(format!("-{}", old[a]));
            a += 1;
        } else {
            lines.push(format!("+{}", new[b]));
            b += 1;
        }
    }
    lines
}

/// A directory that is being built, by the folded names in it.
#[derive(Default)]
struct Building {
    mtime: Option<u32>,
    directories: BTreeMap<String, (String, Building)>,
    files: Vec<(String, Node<Content>)>,
}

/// The tree of all files, and of directories that the card has, empty ones too.
fn tree(all: &BTreeMap<String, File>, current: &Current<'_>, epoch: u32) -> Result<Tree, Error> {
    let mut root = Building::default();
    for entry in current.entries.values().filter(|entry| entry.len.is_none()) {
        root.directory(&entry.path).mtime = Some(entry.mtime);
    }
    for file in all.values() {
        let (parent, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
        let attrs = Attrs { mode: 0o644, uid: 0, gid: 0, mtime: file.mtime };
        let node = Node { attrs, kind: Kind::File { len: file.len, content: file.content } };
        root.directory(parent).files.push((name.to_owned(), node));
    }
    Ok(root.finish(epoch)?)
}

impl Building {
    fn directory(&mut self, path: &str) -> &mut Self {
        let mut here = self;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            here = &mut here
                .directories
                .entry(fold(name))
                .or_insert_with(|| (name.to_owned(), Self::default()))
                .1;
        }
        here
    }

    /// The depth is bounded by that of a volume that can be read.
    fn finish(self, epoch: u32) -> Result<Tree, VolumeError> {
        let mut entries: Vec<(Box<[u8]>, Tree)> = Vec::new();
        for (name, below) in self.directories.into_values() {
            entries.push((name.as_bytes().into(), below.finish(epoch)?));
        }
        entries.extend(self.files.into_iter().map(|(name, node)| (name.as_bytes().into(), node)));
        let twice = |name: Box<[u8]>| VolumeError::Directory {
            path: String::from_utf8_lossy(&name).into_owned(),
            message: "would be a file and a directory",
        };
        let directory = Directory::from_entries(entries).map_err(twice)?;
        let attrs = Attrs { mode: 0o755, uid: 0, gid: 0, mtime: self.mtime.unwrap_or(epoch) };
        Ok(Node { attrs, kind: Kind::Directory(directory) })
    }
}
