//! What a board's boot FAT holds besides what a system puts there: for cards that exist.

use super::closure::Forest;
use super::content::Content;
use super::error::Error;
use super::firmware::find;
use super::request::channels::{Channels, Pin};
use super::request::given::Given;
use super::root::manifest_text;
use crate::board::Board;
use crate::card::manifest::Package;
use crate::store::Store;
use crate::tree::Kind;
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
    /// The channel that firmware is taken from.
    pub channels: Option<Channels>,
}

/// The boot files of a board.
pub struct BootSet {
    /// Their absolute paths on the FAT, and their contents.
    pub files: Vec<(String, Vec<u8>)>,
    /// The packages that they are from, as a manifest has them.
    pub packages: BTreeMap<String, Package>,
    /// What was taken from the channel.
    pub pins: Vec<Pin>,
}

/// Finds the firmware of a board and reads it; every byte is checked against its hash.
pub fn boot_set(request: BootRequest) -> Result<BootSet, Error> {
    let BootRequest { board, stores, firmware, channels } = request;
    let mut forest = Forest::empty(stores);
    let (places, pins) = find::find(&board, &firmware, channels.as_ref(), &mut forest)?;
    // Device trees that the package has not came from the system, and stay on the card.
    let mut lenient = board.clone();
    lenient.files.iter_mut().for_each(|rule| rule.required &= rule.or_device_trees.is_empty());
    let copies = find::files(&lenient, &places, None, &forest)?;
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
    Ok(BootSet { files, packages: manifest_text::packages(&places, &forest), pins })
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
