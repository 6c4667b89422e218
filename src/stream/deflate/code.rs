//! Huffman codes of a limited length.

/// The lengths of the codes of symbols that occur so often; 0 for one that does not occur. At least two symbols have a
/// code, as not all readers take fewer.
pub(super) fn lengths(counts: &[u32], longest: u8) -> Vec<u8> {
    let mut lengths = vec![0; counts.len()];
    let mut used: Vec<(u32, u16)> = counts
        .iter()
        .zip(0..)
        .filter(|(count, _)| **count > 0)
        .map(|(count, symbol)| (*count, symbol))
        .collect();
    for symbol in 0..2 {
        if used.len() < 2 && used.iter().all(|(_, other)| *other != symbol) {
            used.push((1, symbol));
        }
    }
    used.sort_unstable();
    let per_length = limited(&depths(&used), longest);
    // The rarest have the longest.
    let mut rarest = used.iter();
    for (length, number) in (1..=longest).rev().zip(per_length.iter().rev()) {
        for (_, symbol) in rarest.by_ref().take(*number) {
            lengths[usize::from(*symbol)] = length;
        }
    }
    lengths
}

/// The depth of each leaf in the tree of least weight; `used` ascends by weight.
fn depths(used: &[(u32, u16)]) -> Vec<usize> {
    let leaves = used.len();
    // Nodes are made in ascending order of their weight, so that two queues give the two lightest.
    let mut weights: Vec<u32> = used.iter().map(|(count, _)| *count).collect();
    let mut parents = vec![0; 2 * leaves - 1];
    let (mut leaf, mut node) = (0, leaves);
    for parent in leaves..2 * leaves - 1 {
        let mut weight = 0;
        for _ in 0..2 {
            let is_leaf = leaf < leaves && (node >= weights.len() || weights[leaf] <= weights[node]);
            let lightest = if is_leaf { &mut leaf } else { &mut node };
            weight += weights[*lightest];
            parents[*lightest] = parent;
            *lightest += 1;
        }
        weights.push(weight);
    }
    let mut depths = vec![0; 2 * leaves - 1];
    for node in (0..2 * leaves - 2).rev() {
        depths[node] = depths[parents[node]] + 1;
    }
    depths.truncate(leaves);
    depths
}

/// How many codes there are of each length from 1 on, none longer than `longest`.
fn limited(depths: &[usize], longest: u8) -> Vec<usize> {
    let longest = usize::from(longest);
    let mut numbers = vec![0; longest];
    for depth in depths {
        numbers[(*depth).min(longest) - 1] += 1;
    }
    // In units of the longest code: how much room all codes take, and how much there is.
    let room = 1_usize << longest;
    let unit = |length: usize| 1_usize << (longest - length);
    let mut taken: usize = (1..).zip(&numbers).map(|(length, number)| number * unit(length)).sum();
    while taken > room {
        // One of the longest becomes a brother of a shorter one, which moves down to make room for both.
        let Some(shorter) = (1..longest).rev().find(|length| numbers[length - 1] > 0) else { break };
        numbers[shorter - 1] -= 1;
        numbers[shorter] += 2;
        numbers[longest - 1] -= 1;
        taken -= 1;
    }
    numbers
}

/// The codes to lengths, each with its bits turned round, as they are written.
pub(super) fn codes(lengths: &[u8]) -> Vec<u16> {
    let mut next = [0_u16; 17];
    for length in lengths.iter().filter(|length| **length > 0) {
        next[usize::from(*length) + 1] += 1;
    }
    for length in 1..17 {
        next[length] = next[length - 1].wrapping_add(next[length]) << 1;
    }
    // `next[length]` is now the first code of that length.
    lengths
        .iter()
        .map(|length| {
            if *length == 0 {
                return 0;
            }
            let code = next[usize::from(*length)];
            next[usize::from(*length)] = code.wrapping_add(1);
            code.reverse_bits() >> (16 - *length)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, proptest};

    #[test]
    fn codes_are_those_of_the_example_in_the_rfc() {
        let turned: Vec<u16> = codes(&[3, 3, 3, 3, 3, 2, 4, 4]);
        let expected = ["010", "011", "100", "101", "110", "00", "1110", "1111"];
        for (code, text) in turned.iter().zip(expected) {
            let reversed: String = text.chars().rev().collect();
            assert_eq!(*code, u16::from_str_radix(&reversed, 2).unwrap());
        }
    }

    proptest! {
        #[test]
        fn codes_of_any_counts_fill_all_room_and_are_short_enough(
            counts in proptest::collection::vec(0_u32..100_000, 2..286),
            longest in 9_u8..16,
        ) {
            // Weights that grow like powers make the deepest trees.
            let steep: Vec<u32> = counts.iter().map(|count| 1 << (count % 31)).collect();
            for counts in [&counts, &steep] {
                let counts: Vec<u32> = counts.iter().map(|count| count / counts.len() as u32).collect();
                let lengths = lengths(&counts, longest);
                let taken: u32 = lengths.iter().filter(|l| **l > 0).map(|l| 1 << (longest - l)).sum();
                prop_assert!(taken == 1 << longest, "{lengths:?}");
                prop_assert!(lengths.iter().zip(&counts).all(|(length, count)| *count == 0 || *length > 0));
            }
        }
    }
}
