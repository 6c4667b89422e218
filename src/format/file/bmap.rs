//! Block maps as bmaptool writes them: which blocks of an image are mapped, and a hash for each run of them.
//!
//! Source: bmap-tools `bmaptool/BmapCreate.py` and its format description (versions 1.2 to 2.0): `ImageSize`,
//! `BlockSize`, `BlocksCount`, `MappedBlocksCount`, `ChecksumType`, `BmapFileChecksum`, `BlockMap/Range` with
//! `chksum` (before 1.4, `sha1`). The checksum of the file is taken with its own digits replaced by `0`.

use crate::base_n::to_base16;
use sha2::{Digest, Sha256};

/// The longest block map that is read, in bytes.
pub const MAX_LEN: u64 = 64 << 20;

/// A block map cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is no XML.
    #[error("it is no XML: {0}")]
    Xml(String),
    /// It is another document.
    #[error("it is no block map: the document is <{0}>")]
    Other(String),
    /// It is of a version that may mean anything.
    #[error("it is of version {0}, expected 1.x or 2.x")]
    Version(String),
    /// Something is not there or cannot be understood.
    #[error("{name} is {found:?}, expected {expected}")]
    Value {
        /// The element or attribute.
        name: &'static str,
        /// What is there.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// It was changed after it was made.
    #[error("its own checksum is {found}, expected {expected}")]
    Checksum {
        /// What it says.
        expected: String,
        /// What it has.
        found: String,
    },
}

/// A run of mapped blocks, in bytes of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first byte.
    pub from: u64,
    /// The byte behind the last; the end of the image where its last block is not whole.
    pub to: u64,
    /// The SHA-256 of the run, in base 16, where it is known.
    pub sha256: Option<String>,
}

/// A block map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockMap {
    /// The length of the image in bytes.
    pub image_len: u64,
    /// Bytes of a block, in which ranges begin.
    pub block_len: u64,
    /// Ascending, without overlaps.
    pub ranges: Vec<Range>,
}

impl BlockMap {
    /// Parses a block map and checks its own checksum.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let document = roxmltree::Document::parse(text).map_err(|error| Error::Xml(error.to_string()))?;
        let root = document.root_element();
        if root.tag_name().name() != "bmap" {
            return Err(Error::Other(root.tag_name().name().to_owned()));
        }
        let version = root.attribute("version").unwrap_or_default();
        if !version.starts_with("1.") && !version.starts_with("2.") {
            return Err(Error::Version(version.to_owned()));
        }
        let value = |name: &'static str| {
            let node = root.children().find(|node| node.tag_name().name() == name);
            node.and_then(|node| node.text()).unwrap_or_default().trim()
        };
        let number = |name: &'static str| number(name, value(name));
        let (image_len, block) = (number("ImageSize")?, number("BlockSize")?);
        if block == 0 || block > 1 << 30 {
            let found = block.to_string();
            return Err(Error::Value { name: "BlockSize", found, expected: "1 to 1073741824" });
        }
        check(text, value("BmapFileChecksum"))?;
        let kind = value("ChecksumType");
        let is_sha256 = kind == "sha256" || (kind.is_empty() && version.starts_with("1.3"));
        let map = root.children().find(|node| node.tag_name().name() == "BlockMap");
        let nodes = map.into_iter().flat_map(|map| map.children());
        let mut ranges: Vec<Range> = Vec::new();
        for node in nodes.filter(|node| node.tag_name().name() == "Range") {
            let words = node.text().unwrap_or_default().trim();
            let (first, last) = words.split_once('-').unwrap_or((words, words));
            let (first, last) = (self::number("Range", first)?, self::number("Range", last)?);
            let bytes = |blocks: u64| blocks.checked_mul(block);
            let ends = last.checked_add(1).and_then(bytes).map(|end| end.min(image_len));
            let after = ranges.last().map_or(0, |range| range.to);
            let (Some(from), Some(to)) = (bytes(first), ends) else {
                return Err(range(words));
            };
            if from < after || from >= to {
                return Err(range(words));
            }
            let sha256 = node.attribute("chksum").filter(|_| is_sha256).map(str::to_ascii_lowercase);
            ranges.push(Range { from, to, sha256 });
        }
        Ok(Self { image_len, block_len: block, ranges })
    }

    /// The map as bmaptool reads it: XML, version 2.0.
    #[must_use]
    pub fn text(&self) -> String {
        let block = self.block_len;
        let blocks = self.image_len.div_ceil(block);
        let mapped: u64 = self.ranges.iter().map(|range| range.to.div_ceil(block) - range.from / block).sum();
        let none = "0".repeat(64);
        let mut text = format!(
            "<?xml version=\"1.0\" ?>\n<bmap version=\"2.0\">\n  <ImageSize> {} </ImageSize>\n  <BlockSize> {block} </BlockSize>\n  \
             <BlocksCount> {blocks} </BlocksCount>\n  <MappedBlocksCount> {mapped} </MappedBlocksCount>\n  \
             <ChecksumType> sha256 </ChecksumType>\n  <BmapFileChecksum> {none} </BmapFileChecksum>\n  <BlockMap>\n",
            self.image_len
        );
        for range in &self.ranges {
            let (first, last) = (range.from / block, range.to.div_ceil(block) - 1);
            let words = if first == last { first.to_string() } else { format!("{first}-{last}") };
            let sum = range.sha256.as_ref().map_or_else(String::new, |sum| format!(" chksum=\"{sum}\""));
            text.push_str(&format!("    <Range{sum}> {words} </Range>\n"));
        }
        text.push_str("  </BlockMap>\n</bmap>\n");
        // The checksum is that of the file with zeros in its place.
        let sum = to_base16(&Sha256::digest(text.as_bytes()));
        text.replacen(&none, &sum, 1)
    }
}

fn number(name: &'static str, text: &str) -> Result<u64, Error> {
    let found = || text.to_owned();
    text.trim().parse().map_err(|_| Error::Value { name, found: found(), expected: "a number" })
}

fn range(words: &str) -> Error {
    Error::Value { name: "Range", found: words.to_owned(), expected: "ascending blocks within the image" }
}

/// Compares the file with its own checksum, where it has one of a kind that is known by its length.
fn check(text: &str, expected: &str) -> Result<(), Error> {
    if expected.len() != 64 || text.matches(expected).count() != 1 {
        return Ok(());
    }
    let found = to_base16(&Sha256::digest(text.replacen(expected, &"0".repeat(64), 1)));
    let expected = expected.to_ascii_lowercase();
    if found == expected { Ok(()) } else { Err(Error::Checksum { expected, found }) }
}

#[cfg(test)]
pub(crate) mod testing {
    use crate::base_n::to_base16;
    use sha2::{Digest, Sha256};

    /// The text of a map in blocks of 4096 bytes, with its checksum.
    pub fn map(ranges: &str, len: u64) -> String {
        let text = format!(
            "<?xml version=\"1.0\" ?>\n<bmap version=\"2.0\"><ImageSize> {len} </ImageSize><BlockSize> 4096 </BlockSize>\
             <ChecksumType> sha256 </ChecksumType><BmapFileChecksum> {} </BmapFileChecksum>\
             <BlockMap>{ranges}</BlockMap></bmap>",
            "0".repeat(64)
        );
        let sum = to_base16(&Sha256::digest(&text));
        text.replacen(&"0".repeat(64), &sum, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::testing::map;
    use super::*;

    #[test]
    fn a_map_is_read_as_it_was_written() {
        let sum = || Some("0".repeat(63) + "1");
        let range = |from, to| Range { from, to, sha256: sum() };
        let ranges = vec![range(0, 4096), range(8192, 5 * 4096), range(9 * 4096, 9 * 4096 + 100)];
        let map = BlockMap { image_len: 9 * 4096 + 100, block_len: 4096, ranges };
        let text = map.text();
        assert!(text.contains("<MappedBlocksCount> 5 </MappedBlocksCount>"), "{text}");
        assert!(text.contains("> 2-4 </Range>") && text.contains("> 9 </Range>"), "{text}");
        assert_eq!(BlockMap::parse(&text).unwrap(), map);
    }

    #[test]
    fn a_map_that_cannot_be_right_is_refused() {
        for (ranges, len) in [
            ("<Range>4-2</Range>", 40960),
            ("<Range>1-2</Range><Range>2</Range>", 40960),
            ("<Range>10</Range>", 40960),
            ("<Range>x</Range>", 40960),
            ("<Range>0-99999999999999999999</Range>", 40960),
            ("<Range>18446744073709551615</Range>", 40960),
        ] {
            assert!(
                matches!(BlockMap::parse(&map(ranges, len)), Err(Error::Value { name: "Range", .. })),
                "{ranges}"
            );
        }
        assert!(matches!(BlockMap::parse("<html/>"), Err(Error::Other(_))));
        assert!(matches!(BlockMap::parse("no"), Err(Error::Xml(_))));
        assert!(matches!(BlockMap::parse("<bmap version=\"3.0\"/>"), Err(Error::Version(_))));
        let changed = map("<Range>1</Range>", 40960).replace("<Range>1<", "<Range>2<");
        assert!(matches!(BlockMap::parse(&changed), Err(Error::Checksum { .. })));
    }
}
