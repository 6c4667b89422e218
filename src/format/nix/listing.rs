//! `<hash>.ls`: the tree of a store path without its contents, as a binary cache may tell it.
//!
//! ```text
//! {"version":1,"root":NODE}
//! NODE = {"type":"directory","entries":{NAME:NODE,...}} | {"type":"symlink","target":TEXT}
//!      | {"type":"regular","size":N,"executable":true}       executable may be absent, other keys are ignored
//! ```
//! Source: Nix `src/libutil/nar-listing.cc`. Nobody signs a listing, so it says what to expect, never what is true: the
//! length of the archive that it describes must be the NarSize, and the NAR itself decides when its contents move.

use super::nar;
use super::nar::{MAX_DEPTH, MAX_NAME, MAX_TARGET, Room};
use crate::ints;
use crate::tree::{Directory, Kind, Node};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use std::fmt;

/// The longest listing that is read, in bytes: 500,000 files.
const MAX_LEN: u64 = 64 << 20;

/// The longest listing that an archive of `nar_size` bytes can have, as far as listings are read. Names of control
/// characters, which take six bytes each, make it four times as long as its archive at most.
#[must_use]
pub fn longest(nar_size: u64) -> u64 {
    nar_size.saturating_mul(4).saturating_add(4096).min(MAX_LEN)
}

/// Reads the listing of an archive of `nar_size` bytes; its tree takes some of the room.
pub fn parse(json: &[u8], nar_size: u64, room: &Room) -> Result<Node<()>, String> {
    let mut parser = serde_json::Deserializer::from_slice(json);
    let root = Document(room).deserialize(&mut parser).map_err(|error| error.to_string())?;
    parser.end().map_err(|error| error.to_string())?;
    match nar::len(&root) {
        Some(len) if len == nar_size => Ok(root),
        Some(len) => Err(format!("it describes an archive of {len} bytes, NarSize is {nar_size}")),
        None => Err("it describes an archive of 2^64 bytes and more".to_owned()),
    }
}

/// Writes a listing; `None` where JSON has no word for a name.
pub fn encode<C>(root: &Node<C>) -> Option<String> {
    let mut out = String::from("{\"version\":1,\"root\":");
    encode_node(root, &mut out)?;
    out.push('}');
    Some(out)
}

fn quoted(bytes: &[u8], out: &mut String) -> Option<()> {
    out.push_str(&serde_json::to_string(std::str::from_utf8(bytes).ok()?).ok()?);
    Some(())
}

/// Recursive: archives have at most [`MAX_DEPTH`] levels.
fn encode_node<C>(node: &Node<C>, out: &mut String) -> Option<()> {
    match &node.kind {
        Kind::File { len, .. } => {
            let executable = if node.is_executable() { ",\"executable\":true" } else { "" };
            out.push_str(&format!("{{\"type\":\"regular\",\"size\":{len}{executable}}}"));
        }
        Kind::Symlink(target) => {
            out.push_str("{\"type\":\"symlink\",\"target\":");
            quoted(target, out)?;
            out.push('}');
        }
        Kind::Directory(directory) => {
            out.push_str("{\"type\":\"directory\",\"entries\":{");
            for (at, (name, child)) in directory.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                quoted(name, out)?;
                out.push(':');
                encode_node(child, out)?;
            }
            out.push_str("}}");
        }
    }
    Some(())
}

struct Document<'a>(&'a Room);

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = Node<()>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = Node<()>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a listing")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut version, mut root) = (None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "version" => version = Some(map.next_value::<u64>()?),
                "root" if root.is_none() => {
                    root = Some(map.next_value_seed(Seed { room: self.0, level: 0 })?)
                }
                "root" => return Err(A::Error::custom("it has two roots")),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        match version {
            Some(1) => root.ok_or_else(|| A::Error::missing_field("root")),
            _ => Err(A::Error::custom(format!("version is {version:?}, expected 1"))),
        }
    }
}

/// Reads one node.
#[derive(Clone, Copy)]
struct Seed<'a> {
    room: &'a Room,
    level: usize,
}

/// Reads the entries of a directory.
struct Entries<'a>(Seed<'a>);

/// What a node says of itself, in any order.
#[derive(Default)]
struct Fields {
    kind: Option<String>,
    size: Option<u64>,
    executable: bool,
    target: Option<String>,
    entries: Option<Directory<()>>,
}

impl Fields {
    fn node(self, room: &Room) -> Result<Node<()>, String> {
        room.node()?;
        match (self.kind.as_deref(), self.size, self.target, self.entries) {
            (Some("regular"), Some(size), None, None) => Ok(Node::store_file(self.executable, size, ())),
            (Some("symlink"), None, Some(target), None) => {
                check_text(&target, MAX_TARGET, "a target")?;
                room.text(target.as_bytes())?;
                Ok(Node::store_symlink(target.into_bytes()))
            }
            (Some("directory"), None, None, Some(entries)) => Ok(Node::store_directory(entries)),
            (kind, ..) => Err(format!("a node of type {kind:?} with other fields than that has")),
        }
    }
}

/// U+FFFD is what a writer puts where a name is not Unicode: what the name is, only the archive knows.
fn check_text(text: &str, most: u64, what: &str) -> Result<(), String> {
    let len = ints::to_u64(text.len());
    if len == 0 || len > most || text.contains(['\0', '\u{fffd}']) {
        return Err(format!("{what} that cannot be one: {:?}", text.chars().take(80).collect::<String>()));
    }
    Ok(())
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node<()>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node<()>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a file, a directory or a symlink")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "type" => fields.kind = Some(map.next_value()?),
                "size" => fields.size = Some(map.next_value()?),
                "executable" => fields.executable = map.next_value()?,
                "target" => fields.target = Some(map.next_value()?),
                "entries" if fields.entries.is_some() => return Err(A::Error::duplicate_field("entries")),
                "entries" => fields.entries = Some(map.next_value_seed(Entries(self))?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        fields.node(self.room).map_err(A::Error::custom)
    }
}

impl<'de> DeserializeSeed<'de> for Entries<'_> {
    type Value = Directory<()>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = Directory<()>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the entries of a directory")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Self(Seed { room, level }) = self;
        // cannot overflow: each level is checked
        let inner = Seed { room, level: level + 1 };
        if inner.level > MAX_DEPTH {
            return Err(A::Error::custom(format!("more than {MAX_DEPTH} levels of directories")));
        }
        let mut entries = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            check_text(&name, MAX_NAME, "a name").map_err(A::Error::custom)?;
            if name == "." || name == ".." || name.contains('/') {
                return Err(A::Error::custom(format!("{name:?} cannot be a file name")));
            }
            room.text(name.as_bytes()).map_err(A::Error::custom)?;
            let node = map.next_value_seed(inner)?;
            entries.push((name.into_bytes().into_boxed_slice(), node));
        }
        Directory::from_entries(entries).map_err(|_| A::Error::custom("a name occurs twice in a directory"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"version":1,"root":{"entries":{"b":{"size":6,"type":"regular","narOffset":1},
        "a":{"type":"directory","entries":{}},"l":{"target":"../x","type":"symlink"},
        "run":{"type":"regular","executable":true,"size":9}},"type":"directory"}}"#;

    fn read(json: &str, nar_size: u64) -> Result<Node<()>, String> {
        parse(json.as_bytes(), nar_size, &Room::default())
    }

    fn archive(tree: &Node<()>) -> Vec<u8> {
        let lens = std::cell::RefCell::new(vec![9, 6]);
        let mut out = Vec::new();
        nar::write(tree, &mut |(), out| out.extend(vec![7; lens.borrow_mut().pop().unwrap()]), &mut out);
        out
    }

    #[test]
    fn a_listing_is_the_tree_of_its_archive() {
        let error = read(GOOD, 1).unwrap_err();
        let size = error.split(' ').nth(5).unwrap().parse().unwrap();
        let tree = read(GOOD, size).unwrap();
        let bytes = archive(&tree);
        assert_eq!(bytes.len() as u64, size, "the length is that of the real archive");
        assert_eq!(nar::tree(&mut nar::Reader::new(&bytes[..]), &Room::default()).unwrap(), tree);
        let text = encode(&tree).unwrap();
        assert_eq!(read(&text, size).unwrap(), tree);
        assert_eq!(encode(&Node::<()>::store_symlink(&b"\xff"[..])), None);
    }

    #[test]
    fn what_no_archive_can_have_is_refused() {
        for (from, to, part) in [
            ("\"b\"", "\"a\"", "twice"),
            ("\"b\"", "\"..\"", "cannot be a file name"),
            ("\"b\"", "\"x/y\"", "cannot be a file name"),
            ("\"b\"", "\"\"", "cannot be one"),
            ("\"b\"", "\"\\ufffd\"", "cannot be one"),
            ("\"b\"", "\"\\u0000\"", "cannot be one"),
            ("../x", "", "cannot be one"),
            ("\"size\":6,", "", "other fields"),
            ("\"size\":6", "\"size\":-6", "invalid value"),
            ("\"size\":6", "\"size\":18446744073709551615", "2^64"),
            ("\"size\":6", "\"size\":7,\"target\":\"x\"", "other fields"),
            ("\"version\":1", "\"version\":2", "expected 1"),
            ("\"regular\"", "\"device\"", "other fields"),
        ] {
            let error = read(&GOOD.replacen(from, to, 1), 1).unwrap_err();
            assert!(error.contains(part), "{error}, expected {part}");
        }
        let deep = |levels: usize| {
            let open = r#"{"type":"directory","entries":{"a":"#.repeat(levels);
            format!(
                r#"{{"version":1,"root":{open}{{"type":"symlink","target":"x"}}{}}}"#,
                "}}".repeat(levels)
            )
        };
        assert!(read(&deep(62), 1).is_err_and(|error| error.contains("NarSize")));
        assert!(read(&deep(64), 1).is_err_and(|error| !error.contains("NarSize")));
        assert!(read(&deep(100_000), 1).is_err());
        assert!(read("", 1).is_err() && read("<html>", 1).is_err() && read("[]", 1).is_err());
    }
}
