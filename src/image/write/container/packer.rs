//! Packs blocks, several in a batch, on any thread.

use super::gather::Batch;
use crate::format::disk::container::qcow2::Compression;
use crate::ints;
use flate2::{Compress, FlushCompress, Status};
use std::io;
use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

/// The window of a packed cluster, as a power of two: what readers of qcow2 promise to have.
const WINDOW_BITS: u8 = 12;

/// What became of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is all zeros.
    Zeros,
    /// It does not become shorter: it is as it was.
    Plain,
    /// It has so many bytes.
    Packed(usize),
}

/// Blocks that are packed.
pub(super) struct Packed {
    /// The number of each, and what became of it.
    pub blocks: Vec<(u64, Fate)>,
    /// Their bytes, one after the other, packed or plain.
    pub bytes: Vec<u8>,
}

/// Packs one block at a time.
pub(super) enum Packer {
    /// Deflate, raw or as a zlib stream.
    Deflate(Box<Compress>),
    /// Zstandard.
    Zstd(Compressor<'static>),
}

impl Packer {
    /// For the clusters of a qcow2.
    pub fn cluster(compression: Compression, level: u32) -> io::Result<Self> {
        match compression {
            Compression::Deflate => {
                let level = flate2::Compression::new(level);
                Ok(Self::Deflate(Box::new(Compress::new_with_window_bits(level, false, WINDOW_BITS))))
            }
            Compression::Zstd => {
                let mut compressor = Compressor::new(i32::try_from(level).unwrap_or(3))?;
                // The length of a cluster is known.
                compressor.set_parameter(CParameter::ContentSizeFlag(false))?;
                Ok(Self::Zstd(compressor))
            }
        }
    }

    /// For the grains of a VMDK.
    pub fn grain(level: u32) -> Self {
        Self::Deflate(Box::new(Compress::new(flate2::Compression::new(level), true)))
    }

    /// Packs a block into `out`, which it does not outgrow; `None` if it would.
    fn pack(&mut self, block: &[u8], out: &mut [u8]) -> io::Result<Option<usize>> {
        match self {
            Self::Deflate(compress) => {
                compress.reset();
                let status =
                    compress.compress(block, out, FlushCompress::Finish).map_err(io::Error::other)?;
                let len = ints::to_usize(compress.total_out());
                Ok((status == Status::StreamEnd).then_some(len))
            }
            // The library tells that there is no room by an error like any other.
            Self::Zstd(compressor) => Ok(compressor.compress_to_buffer(block, out).ok()),
        }
    }

    /// Packs a batch of blocks that have `block` bytes each; `room` is the longest that a packed one may be.
    pub fn batch(&mut self, batch: &Batch, block: usize, room: usize) -> io::Result<Packed> {
        let mut packed = Packed { blocks: Vec::with_capacity(batch.numbers.len()), bytes: Vec::new() };
        for (number, bytes) in batch.numbers.iter().zip(batch.bytes.chunks(block)) {
            let fate = if is_zero(bytes) {
                Fate::Zeros
            } else {
                let start = packed.bytes.len();
                packed.bytes.resize(start + room, 0);
                match self.pack(bytes, &mut packed.bytes[start..])? {
                    Some(len) => {
                        packed.bytes.truncate(start + len);
                        Fate::Packed(len)
                    }
                    None => {
                        packed.bytes.truncate(start);
                        packed.bytes.extend_from_slice(bytes);
                        Fate::Plain
                    }
                }
            };
            packed.blocks.push((*number, fate));
        }
        Ok(packed)
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}
