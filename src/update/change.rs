//! What happens to each file.

use super::content::Tree;
use crate::card::paths::FIRMWARE_RECORD;

/// What happens to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It has other contents.
    Replaced,
    /// It goes: the new firmware does not have it.
    Removed,
    /// It is there as it should be.
    Same,
    /// It is not of the firmware, or changed by its owner, and stays.
    Kept,
}

/// A file, and what happens to it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// Its absolute path.
    pub path: String,
    /// What happens.
    pub change: ChangeKind,
    /// Its length in bytes afterwards; that of now for one that goes.
    pub len: u64,
}

/// What becomes of config.txt, and where it differs from the board's.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigChange {
    /// Whether that of its owner stays.
    pub kept: bool,
    /// Lines as in a unified diff, from that on the card to the board's; empty where they do not differ.
    pub difference: Vec<String>,
}

/// All changes.
pub struct Changes {
    pub list: Vec<Change>,
    pub config: ConfigChange,
    /// New files: their paths as they are written, and their contents.
    pub new: Vec<(String, Vec<u8>)>,
    /// The paths of files that stay.
    pub kept: Vec<String>,
    /// What the volume is going to hold.
    pub tree: Tree,
    pub epoch: u32,
}

impl Changes {
    /// Whether every file is as it should be; a record that is missing is no reason to write.
    pub fn is_empty(&self) -> bool {
        let real = |change: &&Change| change.path != FIRMWARE_RECORD;
        self.list.iter().filter(real).all(|c| matches!(c.change, ChangeKind::Same | ChangeKind::Kept))
    }
}
