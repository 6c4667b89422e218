//! Packs blocks, several in a batch, on any thread.

use super::gather::Batch;
use crate::format::disk::container::qcow2::Compression;
use crate::ints;
use crate::stream::deflate::Deflate;
use flate2::{Compress, FlushCompress, Status};
use std::io;
use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

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
    /// Raw deflate with a window of 4 KiB: what readers of qcow2 promise to have.
    Deflate(Deflate),
    /// A zlib stream.
    Zlib(Box<Compress>),
    /// Zstandard.
    Zstd(Compressor<'static>),
}

impl Packer {
    /// For the clusters of a qcow2.
    pub fn cluster(compression: Compression, level: u32) -> io::Result<Self> {
        match compression {
            Compression::Deflate => Ok(Self::Deflate(Deflate::new(level))),
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
        Self::Zlib(Box::new(Compress::new(flate2::Compression::new(level), true)))
    }

    /// Appends a packed block to `out`, unless it would have more than `room` bytes.
    fn pack(&mut self, block: &[u8], room: usize, out: &mut Vec<u8>) -> io::Result<bool> {
        let start = out.len();
        let packed = match self {
            Self::Deflate(deflate) => {
                deflate.pack(block, room, out);
                Some(out.len() - start).filter(|len| (1..=room).contains(len))
            }
            Self::Zlib(compress) => {
                out.resize(start + room, 0);
                compress.reset();
                let status = compress.compress(block, &mut out[start..], FlushCompress::Finish);
                let is_whole = status.map_err(io::Error::other)? == Status::StreamEnd;
                is_whole.then_some(ints::to_usize(compress.total_out()))
            }
            Self::Zstd(compressor) => {
                out.resize(start + room, 0);
                // The library tells that there is no room by an error like any other.
                compressor.compress_to_buffer(block, &mut out[start..]).ok()
            }
        };
        out.truncate(start + packed.unwrap_or(0));
        Ok(packed.is_some())
    }

    /// Packs a batch of blocks that have `block` bytes each; `room` is the longest that a packed one may be.
    pub fn batch(&mut self, batch: &Batch, block: usize, room: usize) -> io::Result<Packed> {
        let mut packed = Packed { blocks: Vec::with_capacity(batch.numbers.len()), bytes: Vec::new() };
        for (number, bytes) in batch.numbers.iter().zip(batch.bytes.chunks(block)) {
            let fate = if is_zero(bytes) {
                Fate::Zeros
            } else {
                let start = packed.bytes.len();
                if self.pack(bytes, room, &mut packed.bytes)? {
                    Fate::Packed(packed.bytes.len() - start)
                } else {
                    packed.bytes.extend_from_slice(bytes);
                    Fate::Plain
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
