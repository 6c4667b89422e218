//! What an update is to bring.

use crate::board::Board;
use crate::card::manifest::Package;
use std::collections::BTreeMap;

/// What becomes of a config.txt that its owner has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Config {
    /// It stays.
    Keep,
    /// The board's takes its place.
    Replace,
}

/// The boot files that a card is to hold.
pub struct Wanted<'a> {
    /// The board.
    pub board: &'a Board,
    /// Their absolute paths on the FAT, and their contents.
    pub files: Vec<(String, Vec<u8>)>,
    /// The packages that they are from, as a manifest has them.
    pub packages: BTreeMap<String, Package>,
    /// What becomes of a changed config.txt.
    pub config: Config,
    /// The time that new files carry, seconds since 1970.
    pub epoch: u32,
}
