//! An image cut into aligned blocks with digests: what a disk is written from and compared with.

use crate::device::buffer::{Buffer, Pool};
use crate::device::disk::ALIGN;
use crate::image::{Sink, SinkError};
use crate::ints;
use std::io;
use std::sync::Arc;

/// The longest block: what flash memory erases at a time is a divisor of it on every card known.
pub const BLOCK: usize = 4 << 20;
/// The first bytes of a disk, which are written last.
pub const HEAD: u64 = 1 << 20;
/// What one digest covers, and so how exactly a bad place is known.
pub const CELL: usize = 64 << 10;
/// Shorter runs of zeros and holes are filled rather than splitting a write.
const SHORT: u64 = 64 << 10;
const ALIGN_U64: u64 = ints::to_u64(ALIGN);

/// A digest of at most [`CELL`] bytes: CRC-32C and CRC-32 side by side.
///
/// Together they are a CRC of 64 bits (the polynomials have no common factor): a medium that changes bytes is missed
/// once in 2^64 times, and never if the change is within 64 bits. A medium has no interest in colliding, and one that
/// had could answer the reads of this program rightly and later ones wrongly. Both are hardware instructions on every
/// machine that flashes cards, five times faster than SHA-256 where that is one too.
#[must_use]
pub fn digest(bytes: &[u8]) -> u64 {
    u64::from(crc32c::crc32c(bytes)) << 32 | u64::from(crc32fast::hash(bytes))
}

/// The digests of a run of bytes, one for each cell.
#[must_use]
pub fn digests(bytes: &[u8]) -> Arc<[u64]> {
    bytes.chunks(CELL).map(digest).collect()
}

/// Bytes for one place, aligned, with their digests.
pub struct Block {
    /// Where they go.
    pub offset: u64,
    /// One for each cell, from the start of the block; none where nobody wants them.
    pub digests: Arc<[u64]>,
    buffer: Buffer,
    len: usize,
}

impl Block {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

/// A part of an image, in ascending order. Between parts nothing matters.
#[derive(Clone)]
pub enum Part {
    /// Bytes. The same block goes to several cards.
    Data(Arc<Block>),
    /// Zeros that a reader may rely on.
    Zeros {
        /// Where they begin.
        offset: u64,
        /// How many.
        len: u64,
    },
}

/// Takes parts; `false` when nobody wants more.
pub type Emit<'a> = dyn FnMut(Part) -> bool + 'a;

/// Cuts what it takes into parts. Offsets are multiples of [`ALIGN`]; so are lengths, as far as it does not matter what
/// follows.
pub struct Cutter<'a> {
    pool: &'a Pool,
    stop: &'a dyn Fn() -> bool,
    emit: &'a mut Emit<'a>,
    open: Option<Open>,
    position: u64,
    digest: bool,
}

struct Open {
    offset: u64,
    buffer: Buffer,
    len: usize,
}

/// Bytes, or as many zeros.
#[derive(Clone, Copy)]
enum Run<'a> {
    Bytes(&'a [u8]),
    Zeros(u64),
}

impl<'a> Cutter<'a> {
    /// Cuts into buffers of `pool`, of [`BLOCK`] bytes each, until `stop` says so.
    pub fn new(pool: &'a Pool, stop: &'a dyn Fn() -> bool, emit: &'a mut Emit<'a>) -> Self {
        Self { pool, stop, emit, open: None, position: 0, digest: true }
    }

    /// Takes no digests: for who compares the bytes themselves.
    #[must_use]
    pub fn without_digests(self) -> Self {
        Self { digest: false, ..self }
    }

    fn push(&mut self, run: Run<'_>) -> Result<(), SinkError> {
        let len = match run {
            Run::Bytes(bytes) => ints::to_u64(bytes.len()),
            Run::Zeros(len) => len,
        };
        let mut done = 0;
        while done < len {
            let mut open = match self.open.take() {
                Some(open) => open,
                None => self.start()?,
            };
            let room = end_of_block(open.offset) - self.position;
            let step = room.min(len - done);
            let (from, n) = (ints::to_usize(done), ints::to_usize(step));
            let out = &mut open.buffer[open.len..open.len + n];
            match run {
                Run::Bytes(bytes) => out.copy_from_slice(&bytes[from..from + n]),
                Run::Zeros(_) => out.fill(0),
            }
            open.len += n;
            done += step;
            self.position = self.position.checked_add(step).ok_or_else(too_long)?;
            self.open = Some(open);
            if step == room {
                self.close()?;
            }
        }
        Ok(())
    }

    /// Opens a block at the page of the position; what is before it in the page does not matter.
    fn start(&mut self) -> Result<Open, SinkError> {
        let offset = self.position - self.position % ALIGN_U64;
        let mut buffer = self.pool.take(self.stop).ok_or_else(stopped)?;
        let len = ints::to_usize(self.position - offset);
        buffer[..len].fill(0);
        Ok(Open { offset, buffer, len })
    }

    /// Hands out the open block, if any, with zeros up to the end of its last page.
    fn close(&mut self) -> Result<(), SinkError> {
        let Some(Open { offset, mut buffer, len }) = self.open.take() else { return Ok(()) };
        let padded = len.next_multiple_of(ALIGN);
        buffer[len..padded].fill(0);
        let digests = if self.digest { digests(&buffer[..padded]) } else { Arc::default() };
        self.hand(Part::Data(Arc::new(Block { offset, digests, buffer, len: padded })))
    }

    fn hand(&mut self, part: Part) -> Result<(), SinkError> {
        if (self.emit)(part) { Ok(()) } else { Err(stopped()) }
    }
}

impl Sink for Cutter<'_> {
    fn data(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.push(Run::Bytes(bytes))
    }

    fn zeros(&mut self, len: u64) -> Result<(), SinkError> {
        if len < SHORT {
            return self.push(Run::Zeros(len));
        }
        let before = self.position.next_multiple_of(ALIGN_U64) - self.position;
        self.push(Run::Zeros(before))?;
        self.close()?;
        let whole = (len - before) / ALIGN_U64 * ALIGN_U64;
        let offset = self.position;
        self.position = offset.checked_add(whole).ok_or_else(too_long)?;
        self.hand(Part::Zeros { offset, len: whole })?;
        self.push(Run::Zeros(len - before - whole))
    }

    fn skip(&mut self, len: u64) -> Result<(), SinkError> {
        if len < SHORT && self.open.is_some() {
            return self.push(Run::Zeros(len));
        }
        // The padding of the closed block lies within what is skipped.
        self.close()?;
        self.position = self.position.checked_add(len).ok_or_else(too_long)?;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), SinkError> {
        self.close()
    }
}

/// Blocks end where the head of the disk does and at multiples of their length.
const fn end_of_block(offset: u64) -> u64 {
    let block = ints::to_u64(BLOCK);
    if offset < HEAD { HEAD } else { offset - offset % block + block }
}

fn stopped() -> SinkError {
    SinkError::Io { target: "all targets".into(), source: io::ErrorKind::BrokenPipe.into() }
}

fn too_long() -> SinkError {
    SinkError::Io { target: "all targets".into(), source: io::ErrorKind::FileTooLarge.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

    #[derive(Clone, Debug)]
    enum Piece {
        Data(u64),
        Zeros(u64),
        Skip(u64),
    }

    /// What is wanted of each byte: a value, or `None` where it does not matter.
    fn cut(pieces: &[Piece]) -> (Vec<Option<u8>>, Vec<Part>) {
        let pool = Pool::new(32, BLOCK);
        let mut parts = Vec::new();
        let mut wanted = Vec::new();
        let mut emit = |part| {
            parts.push(part);
            true
        };
        let never = || true;
        let mut cutter = Box::new(Cutter::new(&pool, &never, &mut emit));
        for piece in pieces {
            match piece {
                Piece::Data(len) => {
                    let bytes: Vec<u8> = (0..*len).map(|n| (n % 255 + 1) as u8).collect();
                    for slice in bytes.chunks(1 << 20) {
                        cutter.data(slice).unwrap();
                    }
                    wanted.extend(bytes.into_iter().map(Some));
                }
                Piece::Zeros(len) => {
                    cutter.zeros(*len).unwrap();
                    wanted.extend((0..*len).map(|_| Some(0)));
                }
                Piece::Skip(len) => {
                    cutter.skip(*len).unwrap();
                    wanted.extend((0..*len).map(|_| None));
                }
            }
        }
        cutter.finish().unwrap();
        (wanted, parts)
    }

    fn check(pieces: &[Piece]) {
        let (wanted, parts) = cut(pieces);
        let mut disk = vec![0xaa; wanted.len() + ALIGN];
        let mut last = 0;
        for part in &parts {
            let (offset, len) = match part {
                Part::Data(block) => {
                    let at = block.offset as usize;
                    disk[at..at + block.bytes().len()].copy_from_slice(block.bytes());
                    assert_eq!(block.digests, digests(block.bytes()));
                    assert!(block.bytes().len() <= BLOCK);
                    (block.offset, block.bytes().len() as u64)
                }
                Part::Zeros { offset, len } => {
                    disk[*offset as usize..(offset + len) as usize].fill(0);
                    (*offset, *len)
                }
            };
            assert!(offset >= last && len > 0, "parts ascend");
            assert_eq!((offset % ALIGN_U64, len % ALIGN_U64), (0, 0), "parts are aligned");
            last = offset + len;
        }
        let end = wanted.len().next_multiple_of(ALIGN);
        assert!(last <= end as u64, "nothing beyond the last page: {last} {end}");
        for (at, (found, wanted)) in disk.iter().zip(&wanted).enumerate() {
            assert!(wanted.is_none_or(|wanted| wanted == *found), "byte {at}: {wanted:?} {found}");
        }
    }

    fn piece() -> impl Strategy<Value = Piece> {
        let len = prop_oneof![1u64..9000, Just(4096), Just(65536), 60_000u64..300_000, Just(4 << 20)];
        (len, any::<u8>()).prop_map(|(len, kind)| match kind % 3 {
            0 => Piece::Data(len),
            1 => Piece::Zeros(len),
            _ => Piece::Skip(len),
        })
    }

    proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(40))]
        #[test]
        fn every_byte_that_matters_is_where_it_belongs(pieces in proptest::collection::vec(piece(), 0..12)) {
            check(&pieces);
        }
    }

    #[test]
    fn odd_lengths_are_padded_within_their_last_page() {
        for len in [0, 1, 511, 512, 513, 4095, 4096, 4097, (1 << 20) - 1, 1 << 20, (4 << 20) + 51] {
            check(&[Piece::Data(len)]);
        }
    }

    #[test]
    fn blocks_end_at_the_head_and_at_multiples_of_four_mebibytes() {
        let (_, parts) = cut(&[Piece::Data(9 << 20)]);
        let places: Vec<_> = parts
            .iter()
            .map(|part| match part {
                Part::Data(block) => (block.offset >> 20, block.bytes().len() >> 20),
                Part::Zeros { .. } => panic!(),
            })
            .collect();
        assert_eq!(places, [(0, 1), (1, 3), (4, 4), (8, 1)]);
    }

    #[test]
    fn a_changed_bit_changes_the_digest() {
        let mut bytes = vec![7; CELL];
        let before = digest(&bytes);
        for at in [0, 1, CELL / 2, CELL - 1] {
            bytes[at] ^= 0x10;
            assert_ne!(digest(&bytes), before);
            bytes[at] ^= 0x10;
        }
        assert_ne!(digest(&bytes[..CELL - 1]), before);
    }
}
