//! Boot files as a manifest or the record of an update has them.

use serde_json::Value;
use std::collections::BTreeMap;

/// A file as the manifest, or the record of an update, has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its length in bytes.
    pub size: u64,
    /// SHA-256, base 16.
    pub sha256: String,
}

impl Known {
    /// Length and digest out of an entry.
    pub fn of(value: &Value) -> Option<Self> {
        let sha256 = value.get("sha256")?.as_str()?.to_ascii_lowercase();
        Some(Self { size: value.get("size")?.as_u64()?, sha256 })
    }

    /// Whether it is the file with a digest, in base 16.
    pub fn is(&self, sha256: &str) -> bool {
        self.sha256 == sha256
    }
}

/// All known files by partition and folded path.
pub type Files = BTreeMap<(u32, String), Known>;

/// A path with one slash at its beginning; on a FAT, case does not matter.
pub fn fold(path: &str, is_root: bool) -> String {
    let path = format!("/{}", path.trim_start_matches('/'));
    if is_root { path } else { path.to_lowercase() }
}
