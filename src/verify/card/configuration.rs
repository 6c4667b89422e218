//! The configuration that was embedded: whether it is the one of the manifest still, file by file.
//!
//! It is the user's to edit: on a card that a system has mounted a difference is a change, on any other it is damage.

use super::error::Error;
use super::findings::Findings;
use super::manifest::Manifest;
use super::part::{How, Part, gone};
use super::place::digest_of;
use crate::base_n;
use crate::format::disk::ext4::read as ext4_read;
use crate::format::disk::ext4::read::{Ext4, Found, Inode, Kind};
use crate::format::nix::{nar, nar_hash};
use crate::tree;
use crate::tree::{Attrs, Directory, Node};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// The most files that are read: more than may be embedded.
const MAX_FILES: usize = 25_000;
/// The most bytes of all files.
const MAX_BYTES: u64 = 80 << 20;
/// How many files that differ are told one by one.
const TOLD: usize = 100;
/// Bytes read at a time.
const CHUNK: usize = 64 << 10;

/// What a file is: the mode as git writes it, and the SHA-256 of contents or target.
type Digests = BTreeMap<String, (String, String)>;

/// Compares the configuration with what the manifest says of it.
pub fn check(
    ext4: &Ext4<Part<'_>>,
    manifest: &Manifest,
    how: &How<'_>,
    findings: &mut Findings,
) -> Result<(), Error> {
    let Some(configuration) = manifest.at(&["configuration"]) else { return Ok(()) };
    let path = configuration["path"].as_str().unwrap_or_default();
    let wanted = configuration["narHash"].as_str().and_then(nar_hash::parse);
    let Some(wanted) = wanted.filter(|_| path.starts_with('/')) else {
        findings
            .bad(super::manifest::ROOT, "it does not say where the configuration is, or which hash it has");
        return Ok(());
    };
    let Some(tree) = read(ext4, path, how, findings)? else { return Ok(()) };
    attributes(path, &tree, configuration["private"] == true, findings);
    match hash(ext4, &tree, how)? {
        Ok(hash) if hash == wanted => {}
        Ok(_) => differs(ext4, path, &tree, listed(configuration), findings),
        Err(why) => findings.bad(path, &why),
    }
    Ok(())
}

/// What the manifest lists of it; nothing where it lists no files.
fn listed(configuration: &Value) -> Option<Digests> {
    let lines = configuration.get("list")?.as_array()?;
    let one = |line: &Value| {
        let mut words = line.as_str()?.splitn(3, ' ');
        let (mode, sha256, path) = (words.next()?, words.next()?, words.next()?);
        Some((path.to_owned(), (mode.to_owned(), sha256.to_owned())))
    };
    Some(lines.iter().filter_map(one).collect())
}

/// The tree as it is; `None`, having said so, where it is gone, cannot be read, or is more than could be embedded.
fn read(
    ext4: &Ext4<Part<'_>>,
    path: &str,
    how: &How<'_>,
    findings: &mut Findings,
) -> Result<Option<Node<Inode>>, Error> {
    let top = match ext4.lookup(path.as_bytes()) {
        Ok(top) if top.kind == Kind::Directory => top,
        Ok(_) => {
            findings.edited(path, "it is no directory any more");
            return Ok(None);
        }
        Err(ext4_read::Error::NotFound(_)) => {
            findings.edited(path, "the configuration that was embedded is gone");
            return Ok(None);
        }
        Err(error) => {
            findings.bad(path, &gone(error)?.to_string());
            return Ok(None);
        }
    };
    let (mut files, mut bytes) = (0, 0u64);
    let mut tree = Node { attrs: attrs(&top), kind: tree::Kind::Directory(Directory::default()) };
    for found in ext4.walk(&top) {
        how.interrupted()?;
        let added = match found {
            Ok(found) => {
                files += 1;
                bytes =
                    bytes.saturating_add(if found.inode.kind == Kind::File { found.inode.size } else { 0 });
                let is_more = bytes > MAX_BYTES || files > MAX_FILES;
                if is_more {
                    Some("it has grown to more than can be embedded")
                } else {
                    put(ext4, &mut tree, found)?
                }
            }
            Err(error) => {
                findings.bad(path, &gone(error)?.to_string());
                return Ok(None);
            }
        };
        if let Some(why) = added {
            findings.edited(path, why);
            return Ok(None);
        }
    }
    Ok(Some(tree))
}

fn attrs(inode: &Inode) -> Attrs {
    Attrs { mode: inode.mode, uid: inode.uid, gid: inode.gid, mtime: 0 }
}

/// Puts into the tree what a walk has found, which gives directories before what is in them; says what cannot be there.
fn put(ext4: &Ext4<Part<'_>>, tree: &mut Node<Inode>, found: Found) -> Result<Option<&'static str>, Error> {
    let Found { path, inode } = found;
    let kind = match inode.kind {
        Kind::Directory => tree::Kind::Directory(Directory::default()),
        Kind::File => tree::Kind::File { len: inode.size, content: inode.clone() },
        Kind::Symlink => match ext4.read_link(&inode) {
            Ok(target) => tree::Kind::Symlink(target.into()),
            Err(error) => {
                gone(error)?;
                return Ok(Some("a symlink in it cannot be read"));
            }
        },
        Kind::Other => return Ok(Some("it holds what is neither file, directory nor symlink")),
    };
    let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    if names.len() >= nar::MAX_DEPTH {
        return Ok(Some("it is deeper than what can be embedded"));
    }
    let Some((base, parents)) = names.split_last() else { return Ok(None) };
    let mut here = tree;
    for name in parents {
        let tree::Kind::Directory(directory) = &mut here.kind else { return Ok(Some("it is no tree")) };
        let Some(next) = directory.get_mut(name) else { return Ok(Some("it is no tree")) };
        here = next;
    }
    let tree::Kind::Directory(directory) = &mut here.kind else { return Ok(Some("it is no tree")) };
    let taken = directory.insert(base, Node { attrs: attrs(&inode), kind }).is_err();
    Ok(taken.then_some("a name is there twice"))
}

/// The NAR hash of the tree, or why it cannot be told.
fn hash(ext4: &Ext4<Part<'_>>, tree: &Node<Inode>, how: &How<'_>) -> Result<Result<[u8; 32], String>, Error> {
    let (mut hasher, mut out, mut wrong) = (Sha256::new(), Vec::new(), None);
    let mut contents = |inode: &Inode, out: &mut Vec<u8>| {
        // Never empty when the next node begins: the end of this file is written first.
        hasher.update(&*out);
        out.clear();
        if wrong.is_none() && how.interrupted().is_ok() {
            wrong = feed(ext4, inode, &mut hasher).err();
        }
    };
    nar::write(tree, &mut contents, &mut out);
    how.interrupted()?;
    if let Some(error) = wrong {
        return Ok(Err(gone(error)?.to_string()));
    }
    hasher.update(&out);
    Ok(Ok(hasher.finalize().into()))
}

fn feed(ext4: &Ext4<Part<'_>>, inode: &Inode, hasher: &mut Sha256) -> Result<(), ext4_read::Error> {
    let mut contents = ext4.open_file(inode)?;
    let mut buffer = vec![0; CHUNK];
    loop {
        match contents.read_into(&mut buffer)? {
            0 => return Ok(()),
            len => hasher.update(&buffer[..len]),
        }
    }
}

/// All nodes below the top with their paths.
fn nodes(tree: &Node<Inode>) -> Vec<(String, &Node<Inode>)> {
    let (mut all, mut open) = (Vec::new(), vec![(String::new(), tree)]);
    while let Some((path, node)) = open.pop() {
        let tree::Kind::Directory(directory) = &node.kind else { continue };
        for (name, child) in directory.iter() {
            let name = String::from_utf8_lossy(name);
            let path = if path.is_empty() { name.into_owned() } else { format!("{path}/{name}") };
            all.push((path.clone(), child));
            open.push((path, child));
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// Names every file that differs.
fn differs(
    ext4: &Ext4<Part<'_>>,
    base: &str,
    tree: &Node<Inode>,
    listed: Option<Digests>,
    findings: &mut Findings,
) {
    let Some(mut listed) = listed else {
        return findings.edited(base, "it is not the configuration that was embedded");
    };
    let ancestors = |path: &String| -> Vec<String> {
        path.match_indices('/').map(|(at, _)| path[..at].to_owned()).collect()
    };
    let parents: BTreeSet<String> = listed.keys().flat_map(ancestors).collect();
    let mut told = Vec::new();
    for (path, node) in nodes(tree) {
        let how = if matches!(node.kind, tree::Kind::Directory(_)) {
            let is_new = !parents.contains(&path);
            is_new.then(|| "it is a directory that was not embedded".to_owned())
        } else {
            file(ext4, node, listed.remove(&path))
        };
        told.extend(how.map(|how| (path, how)));
    }
    told.extend(listed.into_keys().map(|path| (path, "it is missing".to_owned())));
    if told.is_empty() {
        findings.bad(base, "its hash in the manifest is not that of the files which the manifest lists");
    }
    told.iter().take(TOLD).for_each(|(path, how)| findings.edited(&format!("{base}/{path}"), how));
    if told.len() > TOLD {
        findings.edited(base, &format!("{} more of its files differ", told.len() - TOLD));
    }
}

/// How a file or symlink differs from what was embedded.
fn file(ext4: &Ext4<Part<'_>>, node: &Node<Inode>, wanted: Option<(String, String)>) -> Option<String> {
    let Some(wanted) = wanted else { return Some("it was added to the configuration".to_owned()) };
    let found = match digest(ext4, node) {
        Ok(found) => found,
        Err(why) => return Some(why),
    };
    if found.0 != wanted.0 {
        return Some(format!("it is {}, and was embedded as {}", of_mode(&found.0), of_mode(&wanted.0)));
    }
    (found != wanted).then(|| "it is not what was embedded".to_owned())
}

fn of_mode(mode: &str) -> &str {
    match mode {
        "100755" => "executable",
        "120000" => "a symlink",
        _ => "a file that is not executable",
    }
}

/// The mode of a file as git writes it, and its digest.
fn digest(ext4: &Ext4<Part<'_>>, node: &Node<Inode>) -> Result<(String, String), String> {
    match &node.kind {
        tree::Kind::File { content, .. } => {
            let mode = if node.is_executable() { "100755" } else { "100644" };
            let digest = digest_of(ext4.open_file(content).map_err(|error| error.to_string())?)?;
            Ok((mode.to_owned(), base_n::to_base16(&digest)))
        }
        tree::Kind::Symlink(target) => Ok(("120000".to_owned(), base_n::to_base16(&Sha256::digest(target)))),
        tree::Kind::Directory(_) => Err("it is a directory".to_owned()),
    }
}

/// Owner and modes are those that nixflash gives; a NAR keeps neither.
fn attributes(base: &str, tree: &Node<Inode>, is_private: bool, findings: &mut Findings) {
    let mask = if is_private { 0o700 } else { 0o755 };
    let below = nodes(tree).into_iter().map(|(path, node)| (format!("{base}/{path}"), node));
    for (path, node) in below.chain([(base.to_owned(), tree)]) {
        let Attrs { mode, uid, gid, .. } = node.attrs;
        if (uid, gid) != (0, 0) {
            findings.edited(&path, &format!("it is owned by {uid}:{gid}, expected 0:0"));
        }
        let expected: &[u16] = match &node.kind {
            tree::Kind::Symlink(_) => continue,
            tree::Kind::Directory(_) => &[0o755],
            tree::Kind::File { .. } => &[0o644, 0o755],
        };
        if !expected.iter().any(|right| right & mask == mode) {
            findings.edited(&path, &format!("its mode is {mode:04o}, which nixflash does not give"));
        }
    }
}
