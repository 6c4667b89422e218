//! What a card says of itself: `/nix/var/nixflash/manifest.json` on the root, `nixflash.json` on the FAT.

use super::firmware::Places;
use super::forest::Forest;
use super::identifiers::Identifiers;
use super::toplevel::Toplevel;
use crate::board::Board;
use crate::format::nar_hash;
use crate::num;
use serde_json::{Value, json};

/// Names the form of the manifest.
pub const SCHEMA: &str = "nixflash-manifest/1";

/// What a manifest tells of.
pub struct Composition<'a> {
    /// The board.
    pub board: &'a Board,
    /// The toplevel.
    pub toplevel: &'a Toplevel,
    /// The identifiers.
    pub ids: &'a Identifiers,
    /// How many sources of the forest are the closure.
    pub closure: usize,
    /// The sources.
    pub forest: &'a Forest,
    /// The firmware.
    pub places: &'a Places,
}

/// The manifest of a composition, with the closure and the firmware.
pub fn manifest(composition: &Composition<'_>) -> Value {
    let Composition { board, toplevel, ids, closure, forest, places } = *composition;
    let mut manifest = summary(board, toplevel, ids);
    let paths: Vec<Value> = forest.sources[..closure]
        .iter()
        .map(|packed| {
            let info = &packed.info;
            let keys: Vec<&str> = info.signatures.iter().filter_map(|sig| Some(sig.split_once(':')?.0)).collect();
            json!({ "path": info.path.to_string(), "narHash": nar_hash::show(&info.nar_hash), "narSize": info.nar_size, "signedBy": keys })
        })
        .collect();
    let firmware: serde_json::Map<String, Value> = places
        .iter()
        .map(|(key, place)| {
            let info = &forest.sources[num::to_usize(u64::from(place.source))].info;
            let value = json!({ "path": info.path.to_string(), "narHash": nar_hash::show(&info.nar_hash), "directory": place.directory });
            (key.clone(), value)
        })
        .collect();
    manifest["firmware"] = Value::Object(firmware);
    manifest["storePaths"] = Value::Array(paths);
    manifest
}

/// The same without the lists, for the FAT.
pub fn summary(board: &Board, toplevel: &Toplevel, ids: &Identifiers) -> Value {
    json!({
        "schema": SCHEMA,
        "nixflash": env!("CARGO_PKG_VERSION"),
        "board": board.name,
        "profileSha256": num::to_base16(&board.digest),
        "toplevel": toplevel.path.to_string(),
        "system": toplevel.system,
        "nixosVersion": toplevel.version,
        "identifiers": ids,
    })
}

/// The text of a manifest: indented, keys in order, a newline at the end.
pub fn text(manifest: &Value) -> String {
    format!("{manifest:#}\n")
}
