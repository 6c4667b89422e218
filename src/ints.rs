//! Conversions between integer types that cannot fail on the 64-bit targets nixflash is built for.

/// Turns a count of bytes in memory into a `u64`.
#[must_use]
pub const fn to_u64(n: usize) -> u64 {
    n as u64
}

/// Turns a count of bytes into a `usize`; the crate refuses to build where the two differ in width.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    reason = "lib.rs refuses targets on which usize is not 64 bits wide"
)]
pub const fn to_usize(n: u64) -> usize {
    n as usize
}

/// Rounds `n` up to a multiple of `unit`, or `None` when that does not fit into 64 bits.
#[must_use]
pub const fn round_up(n: u64, unit: u64) -> Option<u64> {
    n.checked_next_multiple_of(unit)
}
