//! `nixflash-firmware.json` on the FAT: what `nixflash firmware` has put onto a card since it was composed.

use super::manifest::Package;
use super::{json_text, lenient};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Names the form.
pub const SCHEMA: &str = "nixflash-firmware/1";

/// The record, as `docs/manifest.md` describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FirmwareRecord {
    /// [`SCHEMA`].
    #[serde(deserialize_with = "lenient::or_default")]
    pub schema: String,
    /// The version of nixflash that wrote it.
    #[serde(deserialize_with = "lenient::or_default")]
    pub nixflash: Option<String>,
    /// The board.
    #[serde(deserialize_with = "lenient::or_default")]
    pub board: String,
    /// SHA-256 of the text of the board's profile, base 16.
    #[serde(deserialize_with = "lenient::or_default")]
    pub profile_sha256: String,
    /// The packages, by their key in the profile.
    #[serde(deserialize_with = "lenient::or_default")]
    pub firmware: BTreeMap<String, Package>,
    /// Every file that packages and board have on the FAT; absent where the text lists none.
    #[serde(deserialize_with = "lenient::some_elements")]
    pub files: Option<Vec<File>>,
    /// Paths that were put there once and may be missing.
    #[serde(deserialize_with = "lenient::elements")]
    pub removed: Vec<String>,
}

impl FirmwareRecord {
    /// The text that is written: keys in order, a newline at the end.
    #[must_use]
    pub fn text(&self) -> String {
        json_text::of(self)
    }
}

/// One file of a FAT.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// From the top of the FAT.
    pub path: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256, base 16.
    pub sha256: String,
}
