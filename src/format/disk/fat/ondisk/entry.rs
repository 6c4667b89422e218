//! Slots of directories.
//!
//! ```text
//! short: name 11, attributes 1, NT case 1, created 1+2+2, accessed 2, cluster high 2, written 2+2, cluster low 2, size 4
//! long:  order 1 (0x40: last part), units 10, 0x0f 1, type 1, checksum 1, units 12, cluster 2 (0), units 4
//! ```
//! The parts of a long name come last first, directly before the short one. After the name comes a zero, then ones.

use super::name::Name;
use super::slot::{ATTR_LONG_NAME, SLOT, checksum};
use super::stamp::Stamp;

/// UTF-16 units in a slot.
pub(crate) const UNITS: usize = 13;
/// Marks the part of a long name that is its end and comes first.
pub(crate) const LAST_PART: u8 = 0x40;
const SLOT_LEN: usize = crate::num::to_usize(SLOT);

/// What a short slot says besides the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub attributes: u8,
    pub stamp: Stamp,
    pub cluster: u32,
    pub size: u32,
}

/// How many slots a name takes.
pub(crate) fn slots(name: &Name) -> u64 {
    let parts = name.long.as_ref().map_or(0, |long| long.encode_utf16().count().div_ceil(UNITS));
    crate::num::to_u64(parts) + 1
}

/// Adds the slots of a name.
pub(crate) fn push(out: &mut Vec<u8>, name: &Name, facts: &Facts) {
    if let Some(long) = &name.long {
        push_long(out, long, checksum(&name.short));
    }
    push_short(out, &name.short, facts);
}

/// Adds a short slot.
pub(crate) fn push_short(out: &mut Vec<u8>, short: &[u8; 11], facts: &Facts) {
    let [c0, c1, c2, c3] = facts.cluster.to_le_bytes();
    let [d0, d1] = facts.stamp.date.to_le_bytes();
    let [t0, t1] = facts.stamp.time.to_le_bytes();
    out.extend_from_slice(short);
    out.extend_from_slice(&[facts.attributes, 0]);
    // Created, to 10 ms; accessed; written: one time is known.
    out.extend_from_slice(&[0, t0, t1, d0, d1]);
    out.extend_from_slice(&[d0, d1]);
    out.extend_from_slice(&[c2, c3]);
    out.extend_from_slice(&[t0, t1, d0, d1]);
    out.extend_from_slice(&[c0, c1]);
    out.extend_from_slice(&facts.size.to_le_bytes());
}

fn push_long(out: &mut Vec<u8>, long: &str, sum: u8) {
    let units: Vec<u16> = long.encode_utf16().collect();
    for (at, part) in units.chunks(UNITS).enumerate().rev() {
        let mut padded = [0xffff; UNITS];
        padded[..part.len()].copy_from_slice(part);
        if let Some(end) = padded.get_mut(part.len()) {
            *end = 0;
        }
        let last = if (at + 1) * UNITS >= units.len() { LAST_PART } else { 0 };
        // cannot fail: names have at most 255 units, so 20 parts
        let order = u8::try_from(at + 1).unwrap_or(0) | last;
        let mut slot = [0; SLOT_LEN];
        slot[0] = order;
        slot[11] = ATTR_LONG_NAME;
        slot[13] = sum;
        for (to, unit) in unit_places().zip(padded) {
            slot[to..to + 2].copy_from_slice(&unit.to_le_bytes());
        }
        out.extend_from_slice(&slot);
    }
}

/// Where in a slot the units of a long name are.
pub(crate) fn unit_places() -> impl Iterator<Item = usize> {
    (1..11).chain(14..26).chain(28..32).step_by(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_as_the_specification_shows_it() {
        // fatgen103, "The quick brown.fox": two parts, the second one with a zero and ones.
        let name = Name { short: *b"THEQUI~1FOX", long: Some("The quick brown.fox".into()) };
        let stamp = Stamp { date: 0x21, time: 0x1234 };
        let mut out = Vec::new();
        push(&mut out, &name, &Facts { attributes: 0x20, stamp, cluster: 0x0123_4567, size: 0x89ab_cdef });
        assert_eq!(slots(&name), 3);
        let sum = checksum(b"THEQUI~1FOX");
        let mut expected = vec![0x42];
        expected.extend_from_slice(b"w\0n\0.\0f\0o\0\x0f\0");
        expected.push(sum);
        expected.extend_from_slice(b"x\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\0\0\xff\xff\xff\xff");
        expected.extend_from_slice(b"\x01T\0h\0e\0 \0q\0\x0f\0");
        expected.push(sum);
        expected.extend_from_slice(b"u\0i\0c\0k\0 \0b\0\0\0r\0o\0");
        expected.extend_from_slice(
            b"THEQUI~1FOX\x20\0\0\x34\x12\x21\0\x21\0\x23\x01\x34\x12\x21\0\x67\x45\xef\xcd\xab\x89",
        );
        assert_eq!(out, expected);
    }

    #[test]
    fn a_name_that_fills_its_slots_has_no_end_mark() {
        let name = Name { short: *b"THIRTE~1   ", long: Some("thirteen chrs".into()) };
        let mut out = Vec::new();
        let facts = Facts { attributes: 0, stamp: Stamp { date: 0, time: 0 }, cluster: 0, size: 0 };
        push(&mut out, &name, &facts);
        assert_eq!((out.len(), slots(&name), out[0]), (64, 2, 0x41));
        assert_eq!(&out[28..32], b"r\0s\0");
    }
}
