//! Names as `fatfs` reads them, so that what was checked is what it finds.

use crate::format::disk::fat::ondisk::name::MAX_UNITS;
use crate::format::disk::fat::ondisk::slot::{
    DELETED, DIR_NT_RES, KANJI_E5, LAST_PART, LDIR_CHKSUM, LDIR_ORD, LOWER_BASE, LOWER_EXTENSION,
    PART_NUMBER, SLOT_LEN, UNITS, checksum, unit_fields,
};

/// Characters 0x80 to 0xff of code page 437, which Linux assumes as well.
const HIGH: &str = concat!(
    "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»",
    "░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀",
    "αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}",
);

/// The code page of short names.
pub(crate) static CODE_PAGE: CodePage = CodePage;

/// Code page 437. No two bytes give the same character, unlike what `fatfs` does when left alone.
#[derive(Debug)]
pub(crate) struct CodePage;

impl CodePage {
    /// The character of a byte.
    pub fn char_of(&self, byte: u8) -> char {
        if byte.is_ascii() {
            char::from(byte)
        } else {
            HIGH.chars().nth(usize::from(byte - 0x80)).unwrap_or('\u{fffd}')
        }
    }
}

impl fatfs::OemCpConverter for CodePage {
    fn decode(&self, oem_char: u8) -> char {
        self.char_of(oem_char)
    }

    fn encode(&self, _: char) -> Option<u8> {
        // Only writing needs it.
        None
    }
}

/// The text of a label field.
pub(crate) fn label_text(field: &[u8]) -> String {
    let text: String = field.iter().map(|b| CodePage.char_of(unescaped(*b))).collect();
    text.trim_end_matches([' ', '\0']).to_owned()
}

/// A short name as readers show it: `NAME.EXT`, a part in lower case where the NT bits say so.
pub(crate) fn short_text(slot: &[u8; SLOT_LEN], case: ShortCase) -> String {
    let (lower_base, lower_extension) = match case {
        ShortCase::AsStored => (false, false),
        ShortCase::AsShown => {
            let bits = DIR_NT_RES.get(slot);
            (bits & LOWER_BASE != 0, bits & LOWER_EXTENSION != 0)
        }
    };
    let first = unescaped(slot[0]);
    let part = |bytes: &[u8], lower: bool| -> String {
        let bytes = &bytes[..bytes.iter().rposition(|b| *b != b' ').map_or(0, |last| last + 1)];
        let shown = |b: &u8| CodePage.char_of(if lower { b.to_ascii_lowercase() } else { *b });
        bytes.iter().map(shown).collect()
    };
    let mut base = *slot;
    base[0] = first;
    let (mut text, extension) = (part(&base[..8], lower_base), part(&slot[8..11], lower_extension));
    if !extension.is_empty() {
        text.push('.');
        text.push_str(&extension);
    }
    text
}

/// The byte of a name that another stands for, because it would mark the slot as deleted.
const fn unescaped(byte: u8) -> u8 {
    if byte == KANJI_E5 { DELETED } else { byte }
}

/// Which form of a short name is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShortCase {
    /// As it is on disk.
    AsStored,
    /// As it is shown when there is no long name.
    AsShown,
}

/// Collects the slots of a long name; those that do not belong together are dropped, as all readers do.
#[derive(Default)]
pub(crate) struct LongName {
    units: Vec<u16>,
    /// The order of the slot before; 0: nothing is collected.
    order: u8,
    sum: u8,
}

impl LongName {
    /// Drops what was collected.
    pub fn clear(&mut self) {
        self.units.clear();
        self.order = 0;
    }

    /// Takes a slot.
    pub fn take(&mut self, slot: &[u8; SLOT_LEN]) {
        let (order, sum) = (LDIR_ORD.get(slot) & PART_NUMBER, LDIR_CHKSUM.get(slot));
        if LDIR_ORD.get(slot) & LAST_PART != 0 && order != 0 {
            self.units = vec![0; usize::from(order) * UNITS];
            self.sum = sum;
        } else if order == 0 || self.order == 0 || order != self.order - 1 || sum != self.sum {
            return self.clear();
        }
        self.order = order;
        let from = (usize::from(order) - 1) * UNITS;
        for (unit, field) in self.units[from..from + UNITS].iter_mut().zip(unit_fields()) {
            *unit = field.get(slot);
        }
    }

    /// The long name that belongs to a short one, if it is complete; then begins anew.
    pub fn finish(&mut self, short: &[u8; 11]) -> Result<Option<String>, &'static str> {
        let complete = self.order == 1 && self.sum == checksum(short);
        let units = std::mem::take(&mut self.units);
        self.order = 0;
        let len = units.iter().rposition(|unit| ![0, 0xffff].contains(unit)).map_or(0, |last| last + 1);
        if !complete || len == 0 {
            return Ok(None);
        }
        if len > MAX_UNITS {
            return Err("has a long name of more than 255 units");
        }
        String::from_utf16(&units[..len]).map(Some).map_err(|_| "has a long name that is not UTF-16")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_byte_has_its_own_character() {
        let all: BTreeSet<char> = (0..=255).map(|b| CodePage.char_of(b)).collect();
        assert_eq!((all.len(), CodePage.char_of(0x81), CodePage.char_of(0xe1)), (256, 'ü', 'ß'));
        assert!(!all.contains(&'\u{fffd}'));
    }

    #[test]
    fn nt_case_bits_lower_a_part() {
        let mut slot = [0; 32];
        slot[..11].copy_from_slice(b"CONFIG  TXT");
        slot[12] = 0x08;
        assert_eq!(short_text(&slot, ShortCase::AsShown), "config.TXT");
        slot[12] = 0x18;
        assert_eq!(short_text(&slot, ShortCase::AsShown), "config.txt");
        assert_eq!(short_text(&slot, ShortCase::AsStored), "CONFIG.TXT");
    }
}
