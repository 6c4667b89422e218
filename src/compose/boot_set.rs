//! What a board's boot FAT holds besides what a system puts there: for cards that exist.

use super::firmware::{self, Given, Places};
use super::forest::Forest;
use super::provenance;
use super::{Content, Error};
use crate::board::Board;
use crate::num;
use crate::store::Store;
use crate::tree::Kind;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The most bytes that all boot files together may have: they are kept in memory.
const MOST: u64 = 512 << 20;

/// Where boot files come from.
pub struct BootRequest {
    /// The board.
    pub board: Board,
    /// Stores, asked in this order.
    pub stores: Vec<Box<dyn Store>>,
    /// Where firmware packages are, asked in this order.
    pub firmware: Vec<Given>,
}

/// The boot files of a board.
pub struct BootSet {
    /// Their absolute paths on the FAT, and their contents.
    pub files: Vec<(String, Vec<u8>)>,
    /// The packages that they are from: key and path.
    pub packages: Vec<(String, String)>,
    /// The same as a card says it: without names of the composing machine.
    pub firmware: Map<String, Value>,
}

/// Finds the firmware of a board and reads it; every byte is checked against its hash.
pub fn boot_set(request: BootRequest) -> Result<BootSet, Error> {
    let BootRequest { board, stores, firmware } = request;
    let mut forest = Forest::empty(stores);
    let (places, _) = firmware::find(&board, &firmware, None, &mut forest)?;
    let copies = firmware::files(&board, &places, None, &forest)?;
    let mut wanted: BTreeMap<u32, BTreeMap<u32, Vec<String>>> = BTreeMap::new();
    let mut total = 0u64;
    for (path, node) in copies {
        let Kind::File { len, content: Content::Packed { source, file } } = node.kind else { continue };
        total = total.saturating_add(len);
        wanted.entry(source).or_default().entry(file).or_default().push(path);
    }
    if total > MOST {
        let message = format!("its boot files have {total} bytes, expected at most {MOST}");
        return Err(Error::Toplevel { path: board.name, message });
    }
    let mut files = Vec::new();
    for (source, wanted) in &wanted {
        read(&forest, *source, wanted, &mut files)?;
    }
    if let Some(text) = &board.config_txt {
        files.push(("/config.txt".to_owned(), text.as_bytes().to_vec()));
    }
    files.sort_by(|a, b| a.0.cmp(&b.0));
    let (packages, firmware) = (packages(&places, &forest), provenance::firmware(&places, &forest));
    Ok(BootSet { files, packages, firmware })
}

fn packages(places: &Places, forest: &Forest) -> Vec<(String, String)> {
    let path = |source: u32| forest.sources[num::to_usize(u64::from(source))].info.path.to_string();
    places.iter().map(|(key, place)| (key.clone(), path(place.source))).collect()
}

/// Reads files of one source, in the order in which it has them.
fn read(
    forest: &Forest,
    source: u32,
    wanted: &BTreeMap<u32, Vec<String>>,
    files: &mut Vec<(String, Vec<u8>)>,
) -> Result<(), Error> {
    let mut payload = forest.open(source)?;
    let mut number = 0;
    while payload.next_file()?.is_some() {
        if let Some(paths) = wanted.get(&number) {
            let mut bytes = Vec::new();
            loop {
                let chunk = payload.chunk()?;
                let len = chunk.len();
                if len == 0 {
                    break;
                }
                bytes.extend_from_slice(chunk);
                payload.consume(len);
            }
            files.extend(paths.iter().map(|path| (path.clone(), bytes.clone())));
        }
        number += 1;
    }
    payload.finish()?;
    Ok(())
}
