//! Names and what is known of them, as slots.

use super::name::Name;
use super::slot::{
    ATTR_LONG_NAME, DIR_ATTR, DIR_CRT_DATE, DIR_CRT_TIME, DIR_FILE_SIZE, DIR_FST_CLUS_HI, DIR_FST_CLUS_LO,
    DIR_LST_ACC_DATE, DIR_NAME, DIR_WRT_DATE, DIR_WRT_TIME, LAST_PART, LDIR_ATTR, LDIR_CHKSUM, LDIR_ORD,
    SLOT_LEN, UNITS, checksum, unit_fields,
};
use super::stamp::Stamp;
use crate::ints;

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
    ints::to_u64(parts) + 1
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
    let mut slot = [0; SLOT_LEN];
    DIR_NAME.put(&mut slot, short);
    DIR_ATTR.put(&mut slot, facts.attributes);
    // Created, accessed, written: one time is known.
    for date in [DIR_CRT_DATE, DIR_LST_ACC_DATE, DIR_WRT_DATE] {
        date.put(&mut slot, facts.stamp.date);
    }
    for time in [DIR_CRT_TIME, DIR_WRT_TIME] {
        time.put(&mut slot, facts.stamp.time);
    }
    DIR_FST_CLUS_HI.put_low(&mut slot, u64::from(facts.cluster) >> 16);
    DIR_FST_CLUS_LO.put_low(&mut slot, facts.cluster.into());
    DIR_FILE_SIZE.put(&mut slot, facts.size);
    out.extend_from_slice(&slot);
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
        LDIR_ORD.put(&mut slot, order);
        LDIR_ATTR.put(&mut slot, ATTR_LONG_NAME);
        LDIR_CHKSUM.put(&mut slot, sum);
        for (field, unit) in unit_fields().zip(padded) {
            field.put(&mut slot, unit);
        }
        out.extend_from_slice(&slot);
    }
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
