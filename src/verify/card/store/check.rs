//! `/nix/store`: every path that should be there hashed, on all cores, and what should not be there.

use super::nar::{Hasher, Stop};
use super::registry::{Entry, Registry};
use super::systems::PROFILES;
use crate::format::disk::ext4::ondisk::inode::ROOT_INO;
use crate::format::disk::ext4::read::{Ext4, Inode, Kind};
use crate::format::nix::store_path::{STORE_DIR, StorePath};
use crate::verify::card::error::Error;
use crate::verify::card::findings::Findings;
use crate::verify::card::manifest::Manifest;
use crate::verify::card::part::{How, Part, gone, in_store};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// The group `nixbld`, which owns `/nix/store` on NixOS.
const NIXBLD: u32 = 30_000;
/// The most names in the store.
const MAX_NAMES: usize = 1 << 20;
/// How often the progress is told.
const TICK: Duration = Duration::from_millis(100);

/// A store path to be hashed.
struct Job<'a> {
    path: &'a StorePath,
    entry: Entry,
    inode: u32,
    /// What the store's directory says that it is.
    says: u8,
}

/// What came of a job.
struct Done {
    job: usize,
    hash: Result<[u8; 32], Stop>,
    faults: Vec<(String, String)>,
}

/// Checks all of the store; gives how many paths were hashed, and the bytes of their NARs.
pub fn check(
    ext4: &Ext4<Part<'_>>,
    registry: &Registry,
    manifest: &Manifest,
    how: &How<'_>,
    findings: &mut Findings,
) -> Result<(u64, u64), Error> {
    let mut names = names(ext4, findings)?;
    let is_whole = has_generations(ext4, manifest);
    let mut jobs = Vec::new();
    for (path, entry) in &registry.paths {
        match names.remove(path.base_name().as_bytes()) {
            Some((inode, says)) => jobs.push(Job { path, entry: *entry, inode, says }),
            None if entry.is_registered => findings.bad(&path.to_string(), "it is registered, and not there"),
            // All systems that were composed are generations still, so nothing of them can have been collected.
            None if is_whole => findings.bad(&path.to_string(), "it is not there, though its generation is"),
            None => findings.since(format!("{path} was removed")),
        }
    }
    // In the order of inodes, which is that of blocks on what nixflash made; the largest first, so that none is left
    // for one core at the end.
    let total: u64 = jobs.iter().map(|job| job.entry.size).sum();
    let large = total / 32;
    jobs.sort_by_key(|job| (job.entry.size < large, job.inode));
    let mut done = hash_all(ext4, &jobs, total, how)?;
    done.sort_by_key(|done| jobs[done.job].path);
    for Done { job, hash, faults } in done {
        let Job { path, entry, .. } = &jobs[job];
        let shown = path.to_string();
        match hash {
            Ok(hash) if hash == entry.hash => {}
            Ok(_) if entry.is_registered => {
                findings.bad(&shown, "its contents are not those that were registered")
            }
            Ok(_) => findings.bad(&shown, "its contents are not those of the manifest"),
            Err(Stop::Bad(why)) => findings.bad(&shown, &why),
            Err(Stop::Interrupted) => return Err(Error::Interrupted),
            Err(Stop::Gone(source)) => return Err(Error::Read(source)),
        }
        faults.iter().for_each(|(path, how)| findings.bad(path, how));
    }
    names.keys().for_each(|name| foreign(name, manifest, findings));
    Ok((crate::ints::to_u64(jobs.len()), total))
}

/// Whether the generations that were composed are still there, and so all that they need.
fn has_generations(ext4: &Ext4<Part<'_>>, manifest: &Manifest) -> bool {
    let is_there = |number| ext4.lookup(format!("{PROFILES}/system-{number}-link").as_bytes()).is_ok();
    manifest.generations().keys().all(is_there)
}

/// Hashes all jobs, each worker the next one.
fn hash_all(ext4: &Ext4<Part<'_>>, jobs: &[Job<'_>], total: u64, how: &How<'_>) -> Result<Vec<Done>, Error> {
    let (next, bytes) = (AtomicUsize::new(0), AtomicU64::new(0));
    let threads = how.threads.clamp(1, 256).min(jobs.len().max(1));
    let readers: Vec<_> = (0..threads).map(|_| ext4.again()).collect();
    let mut all = Vec::new();
    std::thread::scope(|scope| {
        let (sender, inbox) = channel();
        for reader in readers {
            let (sender, next, bytes, stop) = (sender.clone(), &next, &bytes, how.stop);
            scope.spawn(move || work(&reader, jobs, (next, bytes), stop, &sender));
        }
        drop(sender);
        loop {
            match inbox.recv_timeout(TICK) {
                Ok(done) => all.push(done),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            (how.seen)(bytes.load(Ordering::Relaxed), total);
        }
    });
    how.interrupted()?;
    Ok(all)
}

fn work(
    ext4: &Ext4<Part<'_>>,
    jobs: &[Job<'_>],
    (next, bytes): (&AtomicUsize, &AtomicU64),
    stop: &std::sync::atomic::AtomicBool,
    sender: &Sender<Done>,
) {
    let mut hasher = Hasher::new(ext4, stop);
    loop {
        let at = next.fetch_add(1, Ordering::Relaxed);
        let Some(job) = jobs.get(at) else { return };
        let hash = hasher.hash(job.path.base_name().as_bytes(), (job.inode, job.says), job.entry.size);
        bytes.fetch_add(job.entry.size, Ordering::Relaxed);
        let is_end = matches!(hash, Err(Stop::Gone(_) | Stop::Interrupted));
        let done = Done { job: at, hash, faults: std::mem::take(&mut hasher.faults) };
        if sender.send(done).is_err() || is_end {
            return;
        }
    }
}

/// The names in the store with their inodes.
fn names(ext4: &Ext4<Part<'_>>, findings: &mut Findings) -> Result<BTreeMap<Vec<u8>, (u32, u8)>, Error> {
    let mut names = BTreeMap::new();
    let store = match ext4.lookup(STORE_DIR.as_bytes()) {
        Ok(store) => store,
        Err(error) => {
            findings.bad(STORE_DIR, &gone(error)?.to_string());
            return Ok(names);
        }
    };
    directory(&store, findings);
    let parent = ext4.lookup(b"/nix").map_or(ROOT_INO, |nix| nix.number);
    if let Err(error) = ext4.check_directory(&store, parent) {
        findings.bad(STORE_DIR, &gone(error)?.to_string());
    }
    let entries = match ext4.read_dir(&store) {
        Ok(entries) => entries,
        Err(error) => {
            findings.bad(STORE_DIR, &gone(error)?.to_string());
            return Ok(names);
        }
    };
    for entry in entries {
        if names.len() == MAX_NAMES {
            findings.bad(STORE_DIR, &format!("it has more than {MAX_NAMES} entries; the rest is not judged"));
            break;
        }
        match entry {
            Ok(entry) => {
                if let Some(first) = names.insert(entry.name.clone(), (entry.inode, entry.says)) {
                    names.insert(entry.name.clone(), first);
                    findings.bad(&in_store(&entry.name), "it is there twice");
                }
            }
            Err(error) => findings.bad(STORE_DIR, &gone(error)?.to_string()),
        }
    }
    Ok(names)
}

fn directory(store: &Inode, findings: &mut Findings) {
    if store.kind != Kind::Directory {
        return findings.bad(STORE_DIR, "it is no directory");
    }
    if (store.mode, store.uid, store.gid) != (0o1775, 0, NIXBLD) {
        let how = format!(
            "its mode is {:04o} and its owner {}:{}, expected 1775 and 0:{NIXBLD}",
            store.mode, store.uid, store.gid
        );
        findings.bad(STORE_DIR, &how);
    }
}

/// Judges a name that nothing has registered.
fn foreign(name: &[u8], manifest: &Manifest, findings: &mut Findings) {
    let shown = in_store(name);
    let text = String::from_utf8_lossy(name);
    let base = text.trim_end_matches(".lock").trim_end_matches(".chroot");
    if text == ".links" && findings.is_used {
        return;
    }
    if StorePath::from_base_name(base).is_ok() || (text.starts_with(".tmp-") || text.starts_with("tmp-")) {
        if manifest.is_ours() || !findings.is_used {
            findings.since(format!("{shown} is not registered"));
        }
        return;
    }
    findings.bad(&shown, "it is nothing that Nix puts there");
}
