//! Decompression of everything a cache or an image may be packed with, always to the true end.

use std::io::{self, BufRead, BufReader, Read};

/// How bytes are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// xz, several streams and padding included.
    Xz,
    /// Zstandard, several frames and skippable ones included.
    Zstd,
    /// bzip2, several streams included.
    Bzip2,
    /// gzip, several members included.
    Gzip,
}

/// Memory that an xz stream may ask for, in bytes: a dictionary of 64 MiB, the largest preset's, and a little.
const XZ_MEMORY: u64 = 80 << 20;
/// The largest Zstandard window, as a power of two: 128 MiB, what the zstd program allows.
const ZSTD_WINDOW_LOG: u32 = 27;
/// Bytes decoded ahead.
const BUFFER: usize = 256 << 10;

impl Compression {
    /// Recognises a compressed stream by its first bytes.
    #[must_use]
    pub fn sniff(start: &[u8]) -> Self {
        match start {
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // A skippable frame may come first.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            [0x1f, 0x8b, 8, ..] => Self::Gzip,
            _ => Self::None,
        }
    }

    /// Opens a decoder. Truncation, corruption and bytes after the end are errors while reading.
    pub fn open<'a>(self, packed: Box<dyn BufRead + Send + 'a>) -> io::Result<Box<dyn BufRead + Send + 'a>> {
        Ok(match self {
            Self::None => packed,
            Self::Xz => {
                let stream =
                    liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
                buffered(liblzma::bufread::XzDecoder::new_stream(packed, stream))
            }
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                buffered(decoder)
            }
            Self::Bzip2 => buffered(bzip2::bufread::MultiBzDecoder::new(packed)),
            Self::Gzip => buffered(flate2::bufread::MultiGzDecoder::new(packed)),
        })
    }
}

fn buffered<'a>(reader: impl Read + Send + 'a) -> Box<dyn BufRead + Send + 'a> {
    Box::new(BufReader::with_capacity(BUFFER, reader))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn pack(compression: Compression, data: &[u8]) -> Vec<u8> {
        match compression {
            Compression::None => data.to_vec(),
            Compression::Xz => {
                let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
                encoder.write_all(data).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Zstd => zstd::encode_all(data, 1).unwrap(),
            Compression::Bzip2 => {
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
                encoder.write_all(data).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(data).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    fn unpack(compression: Compression, packed: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        compression.open(Box::new(io::Cursor::new(packed)))?.read_to_end(&mut out)?;
        Ok(out)
    }

    const ALL: [Compression; 4] = [Compression::Xz, Compression::Zstd, Compression::Bzip2, Compression::Gzip];

    #[test]
    fn every_stream_of_several_is_read_and_recognised() {
        let data: Vec<u8> = (0..100_000u32).map(|n| (n / 7).to_le_bytes()[0]).collect();
        for compression in ALL {
            let one = pack(compression, &data);
            assert_eq!(Compression::sniff(&one), compression);
            assert_eq!(unpack(compression, one.clone()).unwrap(), data, "{compression:?}");
            let twice = [&one[..], &one[..]].concat();
            assert_eq!(
                unpack(compression, twice).unwrap(),
                [&data[..], &data[..]].concat(),
                "{compression:?}"
            );
        }
        assert_eq!(Compression::sniff(b"nix-archive-1"), Compression::None);
    }

    #[test]
    fn truncation_damage_and_garbage_behind_are_errors() {
        let data: Vec<u8> = (0..100_000u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        for compression in ALL {
            let packed = pack(compression, &data);
            for cut in [1, 5, packed.len() / 2, packed.len() - 1] {
                assert!(unpack(compression, packed[..cut].to_vec()).is_err(), "{compression:?} cut at {cut}");
            }
            let garbage = [&packed[..], b"garbage at the end"].concat();
            assert!(unpack(compression, garbage).is_err(), "{compression:?} with garbage");
            if compression != Compression::Zstd {
                let mut damaged = packed.clone();
                damaged[packed.len() / 2] ^= 0x10;
                assert!(unpack(compression, damaged).is_err(), "{compression:?} damaged");
            }
        }
    }
}
