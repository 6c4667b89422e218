//! The write-ahead log of an SQLite database: what was committed and is not in the database yet.
//!
//! ```text
//! log    magic 377f0682 or 83 | version | page size | number | salt 1, 2 | sums 1, 2       all big-endian, 32 bits
//! frame  page | pages of the database after a commit, or 0 | salt 1, 2 | sums 1, 2 | the page
//! ```
//! Source: SQLite, "WAL-mode File Format".

use crate::bytes::{Be32, Raw};
use crate::ints;

/// The magic of a log whose sums take words as little-endian; one more where they are big-endian.
const LITTLE_ENDIAN: u32 = 0x377f_0682;
/// Bytes of the header of a log, and of that of a frame.
const HEADER: usize = 32;
const FRAME: usize = 24;

const MAGIC: Be32 = Be32(0);
const PAGE_SIZE: Be32 = Be32(8);
const SALT: Raw<8> = Raw(16);
const HEADER_SUMS: [Be32; 2] = [Be32(24), Be32(28)];

const FRAME_PAGE: Be32 = Be32(0);
const FRAME_COMMIT: Be32 = Be32(4);
const SALT_OF_FRAME: Raw<8> = Raw(8);
const FRAME_SUMS: [Be32; 2] = [Be32(16), Be32(20)];

fn sums([first, second]: [Be32; 2], bytes: &[u8]) -> (u32, u32) {
    (first.get(bytes), second.get(bytes))
}

/// Applies what a log holds of committed changes, as SQLite does when it opens the database, and says how many pages
/// that were. A frame that does not belong to the log ends it, and so does a database of more than `limit` bytes.
pub fn apply(database: &mut Vec<u8>, log: &[u8], limit: u64) -> u32 {
    let Some(head) = log.get(..HEADER).filter(|head| MAGIC.get(head) & !1 == LITTLE_ENDIAN) else { return 0 };
    let (is_big, page) = (MAGIC.get(head) & 1 == 1, ints::to_usize(u64::from(PAGE_SIZE.get(head))));
    if !page.is_power_of_two() || !(512..=65536).contains(&page) {
        return 0;
    }
    let sum = |(mut a, mut b): (u32, u32), bytes: &[u8]| {
        for pair in bytes.chunks_exact(8) {
            let (x, y) = (Be32(0).get(pair), Be32(4).get(pair));
            let (x, y) = if is_big { (x, y) } else { (x.swap_bytes(), y.swap_bytes()) };
            a = a.wrapping_add(x).wrapping_add(b);
            b = b.wrapping_add(y).wrapping_add(a);
        }
        (a, b)
    };
    let mut state = sum((0, 0), &head[..HEADER_SUMS[0].0]);
    if state != sums(HEADER_SUMS, head) {
        return 0;
    }
    let (mut open, mut applied) = (Vec::new(), 0);
    for frame in log[HEADER..].chunks_exact(FRAME + page) {
        let (number, commit) = (FRAME_PAGE.get(frame), FRAME_COMMIT.get(frame));
        state = sum(sum(state, &frame[..SALT_OF_FRAME.0]), &frame[FRAME..]);
        let offset = u64::from(number).saturating_sub(1) * ints::to_u64(page);
        let is_of_it = SALT_OF_FRAME.get(frame) == SALT.get(head) && state == sums(FRAME_SUMS, frame);
        if number == 0 || !is_of_it || offset + ints::to_u64(page) > limit {
            break;
        }
        open.push((ints::to_usize(offset), &frame[FRAME..]));
        if commit == 0 {
            continue;
        }
        let len = u64::from(commit) * ints::to_u64(page);
        if len > limit {
            break;
        }
        for (at, bytes) in open.drain(..) {
            if database.len() < at + page {
                database.resize(at + page, 0);
            }
            database[at..at + page].copy_from_slice(bytes);
            applied += 1;
        }
        database.resize(ints::to_usize(len), 0);
    }
    applied
}
