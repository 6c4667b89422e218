//! The configuration that a system carries in its own closure, and what it says of its revision.
//!
//! Nobody asked for these to be embedded: what is not certain, or cannot be, is left out.

use super::secrets::Scanner;
use super::toplevel::Toplevel;
use crate::compose::closure::Forest;
use crate::compose::error::Error;
use crate::compose::request::configuration::{Configuration, Entry, MAX_BYTES, MAX_FILES, Revision};
use crate::format::file::json;
use crate::format::nix::store_path::StorePath;
use crate::tree::{Kind, Node};
use serde_json::Value;

/// The revision that a system says it is of, read from its `nixos-version` without running it.
pub fn revision(toplevel: &Toplevel, forest: &Forest) -> Result<Option<String>, Error> {
    let Some(script) = forest.read(&format!("{}/sw/bin/nixos-version", toplevel.path))? else {
        return Ok(None);
    };
    let lines = script.split(|byte| *byte == b'\n').filter(|line| line.trim_ascii_start().starts_with(b"{"));
    let mut objects = lines.filter_map(|line| json::parse::<Value>(line).ok());
    let said = objects.find(|object| object["nixosVersion"].is_string()).unwrap_or_default();
    Ok(said["configurationRevision"].as_str().filter(|revision| !revision.is_empty()).map(str::to_owned))
}

/// The configuration in a closure: the file of `system.copySystemConfiguration`, or the flake that the system's registry
/// names with the very revision that the system is of. One that holds a secret is left out with a warning.
pub fn configuration(
    toplevel: &Toplevel,
    forest: &Forest,
    revision: Option<&str>,
    warnings: &mut Vec<String>,
) -> Result<Option<Configuration>, Error> {
    if forest.resolve(&format!("{}/etc/nixos", toplevel.path)).is_some() {
        return Ok(None);
    }
    let file = format!("{}/configuration.nix", toplevel.path);
    let (path, found) = match forest.read(&file)? {
        Some(bytes) => {
            let mut configuration = Configuration::default();
            configuration.add("configuration.nix", Entry::File { executable: false, bytes })?;
            (file, configuration)
        }
        None => match flake(toplevel, forest, revision)? {
            Some(found) => found,
            None => return Ok(None),
        },
    };
    let scanner = Scanner::default();
    for (name, entry) in found.entries() {
        let Entry::File { bytes, .. } = entry else { continue };
        if let Some(secret) = scanner.scan(name, bytes).first() {
            let (line, kind) = (secret.line, secret.kind);
            warnings.push(format!("{path} is not put into /etc/nixos: {name}:{line}: {kind}"));
            return Ok(None);
        }
    }
    Ok(Some(found))
}

/// The flake in the closure that the system was made of, and its store path.
fn flake(
    toplevel: &Toplevel,
    forest: &Forest,
    revision: Option<&str>,
) -> Result<Option<(String, Configuration)>, Error> {
    let Some(revision) = revision else { return Ok(None) };
    let Some(registry) = forest.read(&format!("{}/etc/nix/registry.json", toplevel.path))? else {
        return Ok(None);
    };
    let registry: Value = json::parse(&registry).unwrap_or_default();
    let entries = registry["flakes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let own =
        entries.iter().map(|entry| &entry["to"]).find(|to| to["type"] == "path" && to["rev"] == revision);
    let Some(path) = own.and_then(|to| StorePath::from_absolute(to["path"].as_str()?).ok()) else {
        return Ok(None);
    };
    let Some(source) = forest.source(&path) else { return Ok(None) };
    let tree = forest.tree(source);
    if tree.at([&b"flake.nix"[..]]).is_none() {
        return Ok(None);
    }
    let Some(mut found) = contents(tree, source, forest)? else { return Ok(None) };
    found.revision = Some(Revision { name: revision.to_owned(), is_dirty: false });
    Ok(Some((path.to_string(), found)))
}

/// A tree of a store path as a configuration; `None` when it cannot be one.
fn contents<C>(tree: &Node<C>, source: u32, forest: &Forest) -> Result<Option<Configuration>, Error> {
    let Some(files) = list(tree) else { return Ok(None) };
    let mut found = Configuration::default();
    let mut payload = forest.open(source)?;
    for (path, node) in files {
        let entry = match &node.kind {
            Kind::Directory(_) => continue,
            // cannot fail: only targets of UTF-8 are listed
            Kind::Symlink(target) => Entry::Symlink(String::from_utf8_lossy(target).into_owned()),
            Kind::File { .. } => {
                let mut bytes = Vec::new();
                payload.next_file()?;
                loop {
                    let chunk = payload.chunk()?;
                    let len = chunk.len();
                    if len == 0 {
                        break;
                    }
                    bytes.extend_from_slice(chunk);
                    payload.consume(len);
                }
                Entry::File { executable: node.is_executable(), bytes }
            }
        };
        if found.add(&path, entry).is_err() {
            return Ok(None);
        }
    }
    Ok(found.ensure_closed().is_ok().then_some(found))
}

/// Every node below a directory with its path, in the order of a NAR; `None` when it is too much, or not text.
fn list<C>(tree: &Node<C>) -> Option<Vec<(String, &Node<C>)>> {
    let (mut listed, mut open, mut bytes) = (Vec::new(), vec![(String::new(), tree)], 0u64);
    while let Some((path, node)) = open.pop() {
        match &node.kind {
            Kind::Directory(directory) => {
                for (name, child) in directory.iter().rev() {
                    let name = std::str::from_utf8(name).ok()?;
                    let path = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
                    open.push((path, child));
                }
            }
            Kind::File { len, .. } => {
                bytes = bytes.checked_add(*len)?;
                listed.push((path, node));
            }
            Kind::Symlink(target) => {
                std::str::from_utf8(target).ok()?;
                listed.push((path, node));
            }
        }
        if bytes > MAX_BYTES || listed.len() + open.len() > MAX_FILES {
            return None;
        }
    }
    Some(listed)
}
