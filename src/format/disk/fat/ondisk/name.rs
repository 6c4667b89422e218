//! Long names and the short names that go with them.
//!
//! A name that is upper case 8.3 is its own short name and needs no more. Every other name is written as a long name
//! and gets a short one that is unique in the directory, against long names too, since readers look in both. Short
//! names are ASCII, so the first byte is never 0xe5, the mark of a deleted slot.

use super::case::fold;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What a short name may hold besides letters and digits (fatgen103, "Short Directory Entries").
pub(crate) const SPECIAL: &[u8] = b"!#$%&'()-@^_`{}~";
/// What no name may hold, besides control characters.
const FORBIDDEN: &[char] = &['"', '*', '/', ':', '<', '>', '?', '\\', '|', '\u{ffff}'];
/// The longest name in UTF-16 units.
pub(crate) const MAX_UNITS: usize = 255;
/// Attempts at `~N`; there are never more names in a directory than slots.
const MAX_TAIL: u32 = 999_999;

/// Why FAT does not hold a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not text.
    NotUtf8,
    /// It has no characters, or only dots.
    Empty,
    /// It is too long.
    TooLong,
    /// It holds a character that it must not.
    Forbidden(char),
    /// Readers would not see its first or last character.
    Edge,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 => f.write_str("is not UTF-8"),
            Self::Empty => f.write_str("is empty"),
            Self::TooLong => write!(f, "has more than {MAX_UNITS} UTF-16 units"),
            Self::Forbidden(c) => write!(f, "holds {c:?}, which FAT forbids"),
            Self::Edge => f.write_str("begins or ends with a space or ends with a dot, which FAT drops"),
        }
    }
}

/// A name of a directory as FAT has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// The short name, padded with spaces.
    pub short: [u8; 11],
    /// The long name, if there must be one.
    pub long: Option<Box<str>>,
}

/// Checks a name by itself.
pub(crate) fn check(name: &[u8]) -> Result<&str, Fault> {
    let name = std::str::from_utf8(name).map_err(|_| Fault::NotUtf8)?;
    if name.is_empty() {
        return Err(Fault::Empty);
    }
    if let Some(bad) = name.chars().find(|c| is_forbidden(*c)) {
        return Err(Fault::Forbidden(bad));
    }
    if name.starts_with(' ') || name.ends_with([' ', '.']) {
        return Err(Fault::Edge);
    }
    if name.encode_utf16().count() > MAX_UNITS {
        return Err(Fault::TooLong);
    }
    Ok(name)
}

/// Whether no name may hold the character.
pub(crate) fn is_forbidden(c: char) -> bool {
    c < ' ' || c == '\x7f' || FORBIDDEN.contains(&c)
}

/// Gives each name of a directory its short name; or gives back two that differ only in case.
pub(crate) fn assign<'a>(names: &[&'a str]) -> Result<Vec<Name>, (&'a str, &'a str)> {
    let mut longs: BTreeMap<String, &str> = BTreeMap::new();
    for name in names {
        if let Some(other) = longs.insert(fold(name), name) {
            return Err((other, name));
        }
    }
    // Names that are their own short name come first: they have no other choice.
    let mut shorts: BTreeSet<[u8; 11]> = names.iter().filter_map(|name| exact(name)).collect();
    let mut tails: BTreeMap<(Vec<u8>, Vec<u8>), u32> = BTreeMap::new();
    let assigned = names.iter().map(|name| {
        if let Some(short) = exact(name) {
            return Name { short, long: None };
        }
        let is_free = |short: &[u8; 11]| {
            !shorts.contains(short) && longs.get(&text(short)).is_none_or(|owner| owner == name)
        };
        let basis = Basis::of(name);
        let short = basis.unique(is_free, &mut tails);
        shorts.insert(short);
        Name { short, long: Some((*name).into()) }
    });
    Ok(assigned.collect())
}

/// A short name as a reader shows it: `NAME.EXT`.
fn text(short: &[u8; 11]) -> String {
    let (base, extension) = short.split_at(8);
    let base = base.trim_ascii_end().iter().map(|b| char::from(*b));
    let extension = extension.trim_ascii_end();
    let dot = (!extension.is_empty()).then_some('.');
    base.chain(dot).chain(extension.iter().map(|b| char::from(*b))).collect()
}

/// The short name of a name that needs no long one.
fn exact(name: &str) -> Option<[u8; 11]> {
    let plain = |part: &str| {
        part.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || SPECIAL.contains(&b))
    };
    let (base, extension) = match name.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (name, ""),
    };
    let fits = (1..=8).contains(&base.len()) && extension.len() <= 3;
    (fits && plain(base) && plain(extension)).then(|| pad(base.as_bytes(), extension.as_bytes()))
}

/// Puts the parts of a short name at their places; what is too long is cut.
fn pad(base: &[u8], extension: &[u8]) -> [u8; 11] {
    let mut short = [b' '; 11];
    let (front, back) = short.split_at_mut(8);
    for (part, bytes) in [(front, base), (back, extension)] {
        for (to, from) in part.iter_mut().zip(bytes) {
            *to = *from;
        }
    }
    short
}

/// What a short name is made of when the name does not fit.
struct Basis {
    base: Vec<u8>,
    extension: Vec<u8>,
    /// Whether only the case was changed.
    faithful: bool,
}

impl Basis {
    fn of(name: &str) -> Self {
        let stripped = name.trim_start_matches(['.', ' ']);
        let (base, extension) = stripped.rsplit_once('.').unwrap_or((stripped, ""));
        let mut faithful = stripped.len() == name.len();
        let mut convert = |part: &str, len: usize| {
            let kept = part.chars().filter(|c| !['.', ' '].contains(c));
            let mut bytes: Vec<u8> =
                kept.map(|c| u8::try_from(c).ok().filter(|b| is_short(*b)).unwrap_or(b'_')).collect();
            faithful &= bytes.eq_ignore_ascii_case(part.as_bytes()) && bytes.len() <= len;
            bytes.truncate(len);
            bytes.make_ascii_uppercase();
            bytes
        };
        let (mut base, extension) = (convert(base, 8), convert(extension, 3));
        if base.is_empty() {
            base.push(b'_');
            faithful = false;
        }
        Self { base, extension, faithful }
    }

    /// The first short name of this basis that is free; `tails` remembers where the last search ended, so that many
    /// alike names cost no more than others.
    fn unique(
        &self,
        is_free: impl Fn(&[u8; 11]) -> bool,
        tails: &mut BTreeMap<(Vec<u8>, Vec<u8>), u32>,
    ) -> [u8; 11] {
        let plain = pad(&self.base, &self.extension);
        if self.faithful && is_free(&plain) {
            return plain;
        }
        let next =
            tails.entry((self.base.iter().copied().take(6).collect(), self.extension.clone())).or_insert(1);
        loop {
            let tail = format!("~{next}");
            let keep = self.base.len().min(8 - tail.len());
            let short = pad(&[&self.base[..keep], tail.as_bytes()].concat(), &self.extension);
            *next += 1;
            // The bound is never reached: a directory has at most 65,536 slots, so fewer names than tails are taken.
            if is_free(&short) || *next > MAX_TAIL {
                return short;
            }
        }
    }
}

fn is_short(b: u8) -> bool {
    b.is_ascii_alphanumeric() || SPECIAL.contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    fn shorts(names: &[&str]) -> Vec<String> {
        assign(names)
            .unwrap()
            .iter()
            .map(|name| text(&name.short) + if name.long.is_some() { " +" } else { "" })
            .collect()
    }

    #[test]
    fn only_upper_case_short_names_need_no_long_one() {
        let names = [
            "A",
            "KERNEL8.IMG",
            "a",
            "Config.txt",
            "START4.ELF",
            "A.B.C",
            "TOOLONGNAME",
            "X.LONG",
            "$A-B_~1.'{}",
        ];
        let names: Vec<&str> = names.into_iter().filter(|name| *name != "a").collect();
        let expected = [
            "A",
            "KERNEL8.IMG",
            "CONFIG.TXT +",
            "START4.ELF",
            "AB~1.C +",
            "TOOLON~1 +",
            "X~1.LON +",
            "$A-B_~1.'{}",
        ];
        assert_eq!(shorts(&names), expected);
    }

    #[test]
    fn short_names_are_unique_against_long_ones_too() {
        assert_eq!(
            shorts(&[
                "FOOBAR~1.TXT",
                "foobar~2.txt",
                "foobar name.txt",
                "foobar other.txt",
                "foobar~3.txt.gz"
            ]),
            ["FOOBAR~1.TXT", "FOOBAR~2.TXT +", "FOOBAR~3.TXT +", "FOOBAR~4.TXT +", "FOOBAR~1.GZ +"],
        );
        assert_eq!(
            shorts(&[".hidden", "äöü中.txt", "+plus,semi;eq=.txt", "a b", "中"]),
            ["HIDDEN~1 +", "____~1.TXT +", "_PLUS_~1.TXT +", "AB~1 +", "_~1 +"]
        );
    }

    #[test]
    fn many_alike_names_get_short_names_in_no_time() {
        let names: Vec<String> =
            (0..20_000).map(|n| format!("overlay with a long name {n:05}.dtbo")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let assigned = assign(&names).unwrap();
        assert_eq!(text(&assigned[19_999].short), "OV~20000.DTB");
    }

    #[test]
    fn names_that_differ_in_case_only_are_given_back() {
        assert_eq!(assign(&["B", "readme", "README"]), Err(("readme", "README")));
        assert_eq!(assign(&["Ä.txt", "ä.TXT"]), Err(("Ä.txt", "ä.TXT")));
    }

    #[test]
    fn what_fat_does_not_hold_is_refused_with_a_reason() {
        let long = "ä".repeat(256);
        for (name, fault) in [
            (&b"\xff"[..], Fault::NotUtf8),
            (b"", Fault::Empty),
            (b"a:b", Fault::Forbidden(':')),
            (b"a\tb", Fault::Forbidden('\t')),
            (b"a\\b", Fault::Forbidden('\\')),
            (b"a/b", Fault::Forbidden('/')),
            (b"a\x7f", Fault::Forbidden('\x7f')),
            ("\u{ffff}".as_bytes(), Fault::Forbidden('\u{ffff}')),
            (b"a.", Fault::Edge),
            (b"..", Fault::Edge),
            (b"a ", Fault::Edge),
            (b" a", Fault::Edge),
            (long.as_bytes(), Fault::TooLong),
        ] {
            assert_eq!(check(name), Err(fault));
        }
        assert!(check("ä".repeat(255).as_bytes()).is_ok());
        assert!(check(b".hidden +,;=[] name.d").is_ok());
    }

    proptest! {
        #[test]
        fn short_names_never_collide(names in proptest::collection::btree_set("[a-cA-C~1. é]{1,9}", 1..60)) {
            let mut folded = BTreeSet::new();
            let names: Vec<&str> =
                names.iter().filter(|n| check(n.as_bytes()).is_ok() && folded.insert(fold(n))).map(String::as_str).collect();
            let assigned = assign(&names).unwrap();
            let shorts: BTreeSet<String> = assigned.iter().map(|name| text(&name.short)).collect();
            prop_assert_eq!(shorts.len(), names.len());
            for (name, given) in names.iter().zip(&assigned) {
                let short = text(&given.short);
                prop_assert_eq!(exact(&short), Some(given.short), "{:?} is a valid short name", &short);
                prop_assert!(names.iter().all(|other| other == name || fold(other) != short));
            }
        }
    }
}
