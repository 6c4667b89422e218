//! What the store database has registered, by whom it is signed, and whether the manifest agrees.

use crate::base_n;
use crate::format::disk::ext4::read as ext4_read;
use crate::format::disk::ext4::read::Ext4;
use crate::format::nix::database;
use crate::format::nix::store_path::StorePath;
use crate::format::nix::write_ahead_log;
use crate::store::{Judged, Keys};
use crate::verify::card::error::Error;
use crate::verify::card::findings::Findings;
use crate::verify::card::manifest::Manifest;
use crate::verify::card::part::{Part, gone};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

pub const DATABASE: &str = "/nix/var/nix/db/db.sqlite";
const LOG: &str = "/nix/var/nix/db/db.sqlite-wal";
const ROLLBACK: &str = "/nix/var/nix/db/db.sqlite-journal";
/// The longest database, and the longest log, in bytes.
const MAX_DATABASE: u64 = 192 << 20;
const MAX_LOG: u64 = 64 << 20;

/// One path with its hash and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// SHA-256 of the NAR.
    pub hash: [u8; 32],
    /// Its length.
    pub size: u64,
    /// Whether the database has it, and not the manifest alone.
    pub is_registered: bool,
}

/// Who has signed how many store paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signatures {
    /// Paths with a good signature, by the name of a key that is known.
    pub signed: BTreeMap<String, u64>,
    /// Paths whose signatures are only of keys that are not known, by name.
    pub unknown: BTreeMap<String, u64>,
    /// Paths that follow from their contents.
    pub content_addressed: u64,
    /// Paths that nobody signed.
    pub unsigned: u64,
}

/// What should be in the store.
#[derive(Default)]
pub struct Registry {
    /// Each path.
    pub paths: BTreeMap<StorePath, Entry>,
    /// Who signed them.
    pub signatures: Signatures,
    cover: Cover,
}

/// What a signature is over, of the manifest or of a store path.
#[derive(Default)]
struct Cover {
    /// Paths that the manifest lists with the hash that the database has.
    listed: BTreeSet<StorePath>,
    /// Paths that a trusted key has signed, but for those of the public cache, which signs everybody's systems.
    signed: BTreeSet<StorePath>,
    /// Paths that follow from their contents, or that the public cache has signed: right only where something that is
    /// covered refers to them.
    followed: BTreeSet<StorePath>,
    references: BTreeMap<StorePath, Vec<StorePath>>,
}

/// The key of the public cache.
const PUBLIC: &str = "cache.nixos.org-1";

impl Registry {
    /// Whether the database has a path.
    pub fn has(&self, path: &StorePath) -> bool {
        self.paths.get(path).is_some_and(|entry| entry.is_registered)
    }

    /// Whether a system and all that it needs are covered by signatures.
    pub fn covers(&self, toplevel: &StorePath) -> bool {
        let Cover { listed, signed, followed, references } = &self.cover;
        if !listed.contains(toplevel) && !signed.contains(toplevel) {
            return false;
        }
        let (mut seen, mut open) = (BTreeSet::from([toplevel]), vec![toplevel]);
        while let Some(path) = open.pop() {
            if ![listed, signed, followed].iter().any(|paths| paths.contains(path)) {
                return false;
            }
            open.extend(references.get(path).into_iter().flatten().filter(|path| seen.insert(path)));
        }
        true
    }
}

/// Reads the database, with its log, and compares it with the manifest.
pub fn read(
    ext4: &Ext4<Part<'_>>,
    manifest: &Manifest,
    keys: &Keys,
    findings: &mut Findings,
) -> Result<Registry, Error> {
    let mut registry = Registry::default();
    let mut signers = BTreeMap::new();
    match rows(ext4, findings) {
        Ok(rows) => {
            references(&rows, manifest, findings);
            for row in rows {
                signers.insert(row.path.clone(), names_of(&row));
                let judged = keys.judge(&row);
                registry.cover.take(&row, &judged);
                registry.signatures.take(&row, judged, findings);
                let entry = Entry { hash: row.nar_hash, size: row.nar_size, is_registered: true };
                registry.paths.insert(row.path, entry);
            }
        }
        Err(Fault::Read(error)) => findings.bad(DATABASE, &gone(error)?.to_string()),
        Err(Fault::Database(error)) => findings.bad(DATABASE, &error),
    }
    registry.compare(manifest, &signers, findings);
    Ok(registry)
}

/// What the database has registered, when it can be read.
pub fn stored(ext4: &Ext4<Part<'_>>) -> Result<BTreeMap<StorePath, ([u8; 32], u64)>, Error> {
    match rows(ext4, &mut Findings::default()) {
        Ok(rows) => Ok(rows.into_iter().map(|row| (row.path, (row.nar_hash, row.nar_size))).collect()),
        Err(Fault::Read(error)) => Err(Error::NotOurs(format!("{DATABASE}: {}", gone(error)?))),
        Err(Fault::Database(error)) => Err(Error::NotOurs(format!("{DATABASE}: {error}"))),
    }
}

/// What the store paths of the manifest refer to decides what garbage collection keeps.
fn references(rows: &[database::Row], manifest: &Manifest, findings: &mut Findings) {
    let Some(wanted) = manifest.at(&["closure", "referencesSha256"]).and_then(Value::as_str) else { return };
    let rows: BTreeMap<&StorePath, &database::Row> = rows.iter().map(|row| (&row.path, row)).collect();
    let composed: Option<Vec<&database::Row>> =
        manifest.store_paths().map(|listed| rows.get(&listed.path).copied()).collect();
    // A path that is gone is told elsewhere, and the digest says nothing then.
    let Some(composed) = composed else { return };
    let mut hasher = Sha256::new();
    composed.iter().for_each(|row| hasher.update(row.references_line()));
    if base_n::to_base16(&hasher.finalize()) != wanted {
        findings.bad(DATABASE, "what it says store paths refer to is not what was composed");
    }
}

fn names_of(row: &database::Row) -> BTreeSet<String> {
    row.signatures.iter().filter_map(|sig| Some(sig.split_once(':')?.0.to_owned())).collect()
}

enum Fault {
    Read(ext4_read::Error),
    Database(String),
}

impl From<ext4_read::Error> for Fault {
    fn from(error: ext4_read::Error) -> Self {
        Self::Read(error)
    }
}

impl From<database::Error> for Fault {
    fn from(error: database::Error) -> Self {
        Self::Database(error.to_string())
    }
}

fn rows(ext4: &Ext4<Part<'_>>, findings: &mut Findings) -> Result<Vec<database::Row>, Fault> {
    let log = match ext4.read_file(LOG, MAX_LOG) {
        Ok(log) => log,
        Err(ext4_read::Error::NotFound(_)) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    if ext4.resolve(ROLLBACK.as_bytes()).is_ok_and(|journal| journal.size > 0) {
        findings.since(format!("{DATABASE} has a change that was not completed, which Nix will roll back"));
    }
    let inode = ext4.lookup(DATABASE.as_bytes())?;
    if inode.size > MAX_DATABASE {
        return Err(Fault::Database(format!("it has {} bytes, expected at most {MAX_DATABASE}", inode.size)));
    }
    let db = if log.is_empty() {
        database::open_untrusted(ext4.open_file(&inode)?, inode.size)?
    } else {
        let mut bytes = ext4.read_inode(&inode, MAX_DATABASE)?;
        let pages = write_ahead_log::apply(&mut bytes, &log, MAX_DATABASE);
        findings.since(format!("{pages} pages of the database were in its log"));
        database::open_untrusted(&bytes[..], crate::ints::to_u64(bytes.len()))?
    };
    match database::faults(&db) {
        Ok(faults) => faults.iter().for_each(|fault| findings.bad(DATABASE, fault)),
        Err(error) => findings.bad(DATABASE, &error.to_string()),
    }
    let mut rows = Vec::new();
    for path in database::paths(&db)? {
        match database::find(&db, &path) {
            Ok(row) => rows.extend(row),
            Err(error) => findings.bad(DATABASE, &error.to_string()),
        }
    }
    Ok(rows)
}

impl Cover {
    fn take(&mut self, row: &database::Row, judged: &Judged) {
        if judged.good.iter().any(|name| name != PUBLIC) {
            self.signed.insert(row.path.clone());
        }
        if judged.content_addressed || !judged.good.is_empty() {
            self.followed.insert(row.path.clone());
        }
        self.references.insert(row.path.clone(), row.references.clone());
    }
}

impl Signatures {
    fn take(&mut self, row: &database::Row, judged: Judged, findings: &mut Findings) {
        for name in &judged.bad {
            findings.bad(&row.path.to_string(), &format!("its signature by {name} is wrong"));
        }
        if judged.content_addressed {
            self.content_addressed += 1;
        } else if let Some(name) = judged.good.first() {
            *self.signed.entry(name.clone()).or_default() += 1;
        } else if let Some(name) = judged.unknown.first() {
            *self.unknown.entry(name.clone()).or_default() += 1;
        } else {
            self.unsigned += 1;
        }
    }
}

impl Registry {
    /// What the manifest lists must be there with the same hash, whatever the database says by now.
    fn compare(
        &mut self,
        manifest: &Manifest,
        signers: &BTreeMap<StorePath, BTreeSet<String>>,
        findings: &mut Findings,
    ) {
        let none = self.paths.is_empty();
        let mut listed = BTreeSet::new();
        for known in manifest.store_paths() {
            listed.insert(known.path.clone());
            let entry = Entry { hash: known.hash, size: known.size, is_registered: false };
            let shown = known.path.to_string();
            match self.paths.get(&known.path).copied() {
                Some(found) if (found.hash, found.size) != (known.hash, known.size) => {
                    findings.bad(&shown, "its hash or length in the database is not that of the manifest");
                    self.paths.insert(known.path, Entry { is_registered: true, ..entry });
                }
                Some(_) => {
                    self.cover.listed.insert(known.path.clone());
                    let now = signers.get(&known.path);
                    let lost =
                        known.signed_by.iter().find(|name| !now.is_some_and(|now| now.contains(*name)));
                    if let Some(name) = lost {
                        findings.bad(&shown, &format!("its signature by {name} is gone from the database"));
                    }
                }
                None => {
                    if !none {
                        findings.since(format!("{shown} is not registered any more"));
                    }
                    self.paths.insert(known.path, entry);
                }
            }
        }
        let new = self.paths.iter().filter(|(path, _)| !listed.contains(*path)).count();
        if !listed.is_empty() && new > 0 {
            findings.since(format!("{new} store paths were added"));
        }
    }
}
