//! What is packed, flate2 unpacks, with a window of 12 bits.

use super::{Deflate, MAX_BLOCK};
use flate2::{Decompress, FlushDecompress, Status};
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_oneof, proptest};

/// Unpacks through a small buffer, so that the window is the decoder's own.
fn unpack(packed: &[u8]) -> Result<Vec<u8>, String> {
    let mut decoder = Decompress::new_with_window_bits(false, 12);
    let (mut found, mut buf) = (Vec::new(), [0; 512]);
    loop {
        let (read, written) = (decoder.total_in() as usize, decoder.total_out());
        let status = decoder
            .decompress(&packed[read..], &mut buf, FlushDecompress::None)
            .map_err(|e| e.to_string())?;
        let now = (decoder.total_out() - written) as usize;
        found.extend_from_slice(&buf[..now]);
        match status {
            Status::StreamEnd if decoder.total_in() as usize == packed.len() => return Ok(found),
            Status::StreamEnd => return Err("bytes are left".into()),
            _ if now == 0 && decoder.total_in() as usize == read => return Err("it does not end".into()),
            _ => {}
        }
    }
}

fn packed(level: u32, block: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Deflate::new(level).pack(block, usize::MAX, &mut out);
    out
}

/// Bytes without any order, the same each time.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn blocks_of_every_kind_come_back() {
    let noise = noise(MAX_BLOCK);
    let text: Vec<u8> = "claims are names, names are claims; ".bytes().cycle().take(MAX_BLOCK).collect();
    let mut mixed = noise.clone();
    mixed[20_000..40_000].copy_from_slice(&text[..20_000]);
    mixed[50_000..].fill(0);
    let far: Vec<u8> = noise[..4096].iter().chain(&noise[..4096]).chain(&noise[..4097]).copied().collect();
    for block in
        [&noise[..], &text, &mixed, &far, &[0; MAX_BLOCK], &[], &[7], b"ab", b"abc", b"aaaa", b"abcabcabc"]
    {
        for level in 1..=9 {
            let found = unpack(&packed(level, block));
            assert!(
                found.as_deref() == Ok(block),
                "{} bytes at level {level}: {:?}",
                block.len(),
                found.err()
            );
        }
    }
    assert!(packed(6, &far).len() < 4096 + 200, "what lies 4096 bytes back is found");
}

#[test]
fn one_packer_gives_the_same_for_the_same_whatever_came_before() {
    let mut deflate = Deflate::new(6);
    let (mut first, mut again) = (Vec::new(), Vec::new());
    deflate.pack(b"one two one two three", usize::MAX, &mut first);
    deflate.pack(&[9; 5000], usize::MAX, &mut Vec::new());
    deflate.pack(b"one two one two three", usize::MAX, &mut again);
    assert_eq!(first, again);
    let noise = noise(60_000);
    deflate.pack(&noise, noise.len() / 2, &mut again);
    assert_eq!(first, again, "what has no room is not written");
}

/// Pieces of an alphabet of any size, and repeats of what was before.
fn any_block() -> impl Strategy<Value = Vec<u8>> {
    let piece =
        (any::<u8>(), prop_oneof![Just(1_u8), Just(4), Just(64), Just(255)], 1_usize..3000, 1_usize..5000);
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| {
        let mut block: Vec<u8> = Vec::new();
        let mut state = 1_u32;
        for (seed, size, len, back) in pieces {
            for _ in 0..len {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223 + u32::from(seed));
                let repeats = seed % 3 == 0 && back <= block.len();
                block.push(if repeats { block[block.len() - back] } else { (state >> 24) as u8 % size });
            }
        }
        block.truncate(MAX_BLOCK);
        block
    })
}

proptest! {
    #[test]
    fn any_block_comes_back(block in any_block(), level in 1_u32..10) {
        let found = unpack(&packed(level, &block));
        prop_assert!(found.as_deref() == Ok(&block[..]), "{:?}", found.err());
    }
}
