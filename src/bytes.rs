//! Fields at offsets: a number in a header is an offset with a width, an order of bytes and, as a constant, a name.
//!
//! ```
//! use nixflash::bytes::Le32;
//! const S_BLOCKS_COUNT_LO: Le32 = Le32(0x04);
//! let mut superblock = [0; 1024];
//! S_BLOCKS_COUNT_LO.put(&mut superblock, 8192);
//! assert_eq!(S_BLOCKS_COUNT_LO.get(&superblock), 8192);
//! ```
//! What is read may come from anybody, so reading never fails: bytes beyond the end count as zeros, and whoever needs
//! to know that a header is whole compares its length or its checksum. What is written is our own: a field beyond the
//! end is a fault of the program, and panics.

/// Defines the field of a number.
macro_rules! number {
    ($name:ident, $number:ty, $from:ident, $to:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name(pub usize);

        impl $name {
            /// Bytes that it takes.
            pub const LEN: usize = size_of::<$number>();

            /// Reads it; bytes beyond the end count as zeros.
            #[must_use]
            pub fn get(self, bytes: &[u8]) -> $number {
                <$number>::$from(Raw::<{ Self::LEN }>(self.0).get(bytes))
            }

            /// Writes it.
            ///
            /// # Panics
            /// If it lies beyond the end.
            pub fn put(self, bytes: &mut [u8], value: $number) {
                bytes[self.0..self.0 + Self::LEN].copy_from_slice(&value.$to());
            }

            /// The same field of a structure that begins `base` bytes further on.
            #[must_use]
            pub const fn from(self, base: usize) -> Self {
                Self(base + self.0)
            }
        }
    };
}

number!(U8, u8, from_le_bytes, to_le_bytes, "A number of 8 bits at an offset.");
number!(Le16, u16, from_le_bytes, to_le_bytes, "A little-endian number of 16 bits at an offset.");
number!(Le32, u32, from_le_bytes, to_le_bytes, "A little-endian number of 32 bits at an offset.");
number!(Le64, u64, from_le_bytes, to_le_bytes, "A little-endian number of 64 bits at an offset.");
number!(Be16, u16, from_be_bytes, to_be_bytes, "A big-endian number of 16 bits at an offset.");
number!(Be32, u32, from_be_bytes, to_be_bytes, "A big-endian number of 32 bits at an offset.");
number!(Be64, u64, from_be_bytes, to_be_bytes, "A big-endian number of 64 bits at an offset.");

impl Le16 {
    /// Writes the low 16 bits of a number.
    ///
    /// # Panics
    /// If the field lies beyond the end.
    pub fn put_low(self, bytes: &mut [u8], value: u64) {
        let [a, b, ..] = value.to_le_bytes();
        self.put(bytes, u16::from_le_bytes([a, b]));
    }
}

impl Le32 {
    /// Writes the low 32 bits of a number.
    ///
    /// # Panics
    /// If the field lies beyond the end.
    pub fn put_low(self, bytes: &mut [u8], value: u64) {
        let [a, b, c, d, ..] = value.to_le_bytes();
        self.put(bytes, u32::from_le_bytes([a, b, c, d]));
    }
}

/// `N` bytes at an offset that are no number: a magic word, a UUID, a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<const N: usize>(pub usize);

impl<const N: usize> Raw<N> {
    /// How many there are.
    #[must_use]
    pub const fn len(self) -> usize {
        N
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        N == 0
    }

    /// Reads them; what is beyond the end counts as zeros.
    #[must_use]
    pub fn get(self, bytes: &[u8]) -> [u8; N] {
        let rest = bytes.get(self.0..).unwrap_or_default();
        if let Some(whole) = rest.first_chunk() {
            return *whole;
        }
        let mut cut = [0; N];
        cut[..rest.len()].copy_from_slice(rest);
        cut
    }

    /// Writes them.
    ///
    /// # Panics
    /// If they lie beyond the end.
    pub fn put(self, bytes: &mut [u8], value: &[u8; N]) {
        self.slice_mut(bytes).copy_from_slice(value);
    }

    /// The bytes themselves, to be filled.
    ///
    /// # Panics
    /// If they lie beyond the end.
    pub fn slice_mut(self, bytes: &mut [u8]) -> &mut [u8] {
        &mut bytes[self.0..self.0 + N]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    #[test]
    fn a_field_is_where_and_in_the_order_that_its_type_says() {
        let bytes: Vec<u8> = (0x10..0x20).collect();
        assert_eq!(U8(3).get(&bytes), 0x13);
        assert_eq!((Le16(1).get(&bytes), Be16(1).get(&bytes)), (0x1211, 0x1112));
        assert_eq!((Le32(1).get(&bytes), Be32(1).get(&bytes)), (0x1413_1211, 0x1112_1314));
        assert_eq!(Le64(8).get(&bytes), 0x1f1e_1d1c_1b1a_1918);
        assert_eq!(Be64(8).get(&bytes), 0x1819_1a1b_1c1d_1e1f);
        assert_eq!(Le16(1).from(4).get(&bytes), 0x1615);
        let mut out = [0; 12];
        Le32(4).put_low(&mut out, 0xaabb_ccdd_0102_0304);
        Le16(1).put_low(&mut out, 0xcc_0506);
        Be16(10).put(&mut out, 0x0708);
        Raw::<2>(8).put(&mut out, b"ab");
        assert_eq!(out, [0, 6, 5, 0, 4, 3, 2, 1, b'a', b'b', 7, 8]);
    }

    proptest! {
        #[test]
        fn what_is_cut_off_reads_as_zeros(bytes in proptest::collection::vec(any::<u8>(), 0..24), at in 0usize..40) {
            let mut padded = bytes.clone();
            padded.resize(64, 0);
            prop_assert_eq!(Le64(at).get(&bytes), Le64(at).get(&padded));
            prop_assert_eq!(Be16(at).get(&bytes), Be16(at).get(&padded));
            prop_assert_eq!(Le32(usize::MAX).get(&bytes), 0);
        }
    }
}
