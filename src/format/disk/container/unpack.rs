//! Unpacks one block, whose length is known.

use flate2::{Decompress, FlushDecompress, Status};
use std::io;
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

/// The largest window of a Zstandard frame, as a power of two: four times the longest cluster.
const WINDOW_LOG: u32 = 23;

/// Raw deflate; what follows the stream is padding.
pub(super) fn deflate(packed: &[u8], out: &mut [u8]) -> io::Result<()> {
    inflate(&mut Decompress::new(false), packed, out)
}

/// A zlib stream; what follows it is padding.
pub(super) fn zlib(packed: &[u8], out: &mut [u8]) -> io::Result<()> {
    inflate(&mut Decompress::new(true), packed, out)
}

fn inflate(decompress: &mut Decompress, packed: &[u8], out: &mut [u8]) -> io::Result<()> {
    let status = decompress.decompress(packed, out, FlushDecompress::Finish).map_err(io::Error::other)?;
    let found = decompress.total_out();
    let is_whole = found == crate::ints::to_u64(out.len());
    match status {
        // A stream whose last bits are missing has given all its bytes nevertheless.
        Status::StreamEnd | Status::BufError | Status::Ok if is_whole => Ok(()),
        _ => Err(short(found, out.len())),
    }
}

/// One or more Zstandard frames; what follows them is padding.
pub(super) fn zstd(packed: &[u8], out: &mut [u8]) -> io::Result<()> {
    let mut decoder = Decoder::new()?;
    decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG))?;
    let len = out.len();
    let (mut input, mut output) = (InBuffer::around(packed), OutBuffer::around(out));
    while output.pos() < len {
        let before = (input.pos(), output.pos());
        decoder.run(&mut input, &mut output)?;
        if (input.pos(), output.pos()) == before {
            return Err(short(crate::ints::to_u64(output.pos()), len));
        }
    }
    Ok(())
}

fn short(found: u64, expected: usize) -> io::Error {
    let text = format!("it has {found} bytes, expected {expected}");
    io::Error::new(io::ErrorKind::InvalidData, text)
}
