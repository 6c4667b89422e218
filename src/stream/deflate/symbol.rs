//! What a block is made of: literals, and copies of what came before.

/// A literal, or a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Symbol {
    /// A byte.
    Literal(u8),
    /// 3 to 258 bytes from so far back; their number less 3.
    Copy(u8, u16),
}

/// Codes for literals, the end of a block and lengths; and for distances.
pub(super) const LITERALS: usize = 286;
pub(super) const DISTANCES: usize = 30;
/// The end of a block.
pub(super) const END: usize = 256;

/// The code of each length less 3, how many more bits it has, and what they hold.
pub(super) const LENGTHS: [(u16, u8, u8); 256] = lengths();

const fn lengths() -> [(u16, u8, u8); 256] {
    let mut table = [(0, 0, 0); 256];
    let (mut code, mut bits, mut base, mut length) = (257_u16, 0_u8, 0_u16, 0_usize);
    let mut in_code = 0_u8;
    while length < 255 {
        if length >= (base as usize) + (1 << bits) {
            base += 1 << bits;
            code += 1;
            in_code += 1;
            // Eight codes without more bits, then four with each number of them.
            bits = if in_code < 8 { 0 } else { in_code / 4 - 1 };
        }
        #[expect(clippy::cast_possible_truncation, reason = "lengths less 3 are below 256")]
        let more = (length as u16 - base) as u8;
        table[length] = (code, bits, more);
        length += 1;
    }
    // The longest has a code of its own.
    table[255] = (285, 0, 0);
    table
}

/// The code of a distance from 1 on, how many more bits it has, and what they hold.
pub(super) const fn distance(distance: u16) -> (u16, u8, u16) {
    let distance = distance - 1;
    if distance < 4 {
        return (distance, 0, 0);
    }
    let high = 15 - distance.leading_zeros();
    #[expect(clippy::cast_possible_truncation, reason = "a bit of 16")]
    let bits = (high - 1) as u8;
    let code = 2 * bits as u16 + 2 + ((distance >> bits) & 1);
    (code, bits, distance & ((1 << bits) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_rfc() {
        let length = |length: usize| LENGTHS[length - 3];
        for (of, expected) in [
            (3, (257, 0, 0)),
            (10, (264, 0, 0)),
            (11, (265, 1, 0)),
            (12, (265, 1, 1)),
            (18, (268, 1, 1)),
            (19, (269, 2, 0)),
            (114, (279, 4, 15)),
            (115, (280, 4, 0)),
            (131, (281, 5, 0)),
            (257, (284, 5, 30)),
            (258, (285, 0, 0)),
        ] {
            assert_eq!(length(of), expected, "{of}");
        }
        for (of, expected) in [
            (1, (0, 0, 0)),
            (4, (3, 0, 0)),
            (5, (4, 1, 0)),
            (7, (5, 1, 0)),
            (9, (6, 2, 0)),
            (13, (7, 2, 0)),
            (2049, (22, 10, 0)),
            (4096, (23, 10, 1023)),
        ] {
            assert_eq!(distance(of), expected, "{of}");
        }
    }
}
