//! Decompression of everything a cache or an image may be packed with, always to the true end.

use super::damaged::damaged;
use super::lz4;
use super::xz::{Alone, XZ_MEMORY, Xz};
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
    /// LZ4, several frames and skippable ones included.
    Lz4,
    /// Brotli, one stream; it has no magic number, so it is never sniffed.
    Brotli,
    /// LZMA as the programs before xz wrote it, one stream.
    Lzma,
    /// lzip, several members included.
    Lzip,
    /// A zip archive with one image in it.
    Zip,
}

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
            [0x04, 0x22, 0x4d, 0x18, ..] => Self::Lz4,
            // A skippable frame may come first; those of LZ4 look the same, and are told apart by what follows.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            // Of another method than 8 it is one all the same, and damaged: never the start of an image.
            [0x1f, 0x8b, ..] => Self::Gzip,
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Self::Zip,
            [b'L', b'Z', b'I', b'P', 0 | 1, ..] => Self::Lzip,
            _ if is_lzma(start) => Self::Lzma,
            _ => Self::None,
        }
    }

    /// Its name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "raw",
            Self::Xz => "xz",
            Self::Zstd => "Zstandard",
            Self::Bzip2 => "bzip2",
            Self::Gzip => "gzip",
            Self::Lz4 => "LZ4",
            Self::Brotli => "Brotli",
            Self::Lzma => "LZMA",
            Self::Lzip => "lzip",
            Self::Zip => "zip",
        }
    }

    /// The compression that caches and servers call by that word; `None` for one that is not known.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Some(match word {
            "none" | "identity" => Self::None,
            "xz" => Self::Xz,
            "zstd" => Self::Zstd,
            "bzip2" => Self::Bzip2,
            "gzip" | "x-gzip" => Self::Gzip,
            "lz4" => Self::Lz4,
            "br" => Self::Brotli,
            _ => return None,
        })
    }

    /// Opens a decoder. Truncation, corruption and bytes after the end are errors while reading.
    pub fn open<'a>(self, packed: Box<dyn BufRead + Send + 'a>) -> io::Result<Box<dyn BufRead + Send + 'a>> {
        self.open_on(1, packed)
    }

    /// Opens a decoder that may use several threads, where the stream can be decoded by several.
    pub fn open_on<'a>(
        self,
        threads: u32,
        mut packed: Box<dyn BufRead + Send + 'a>,
    ) -> io::Result<Box<dyn BufRead + Send + 'a>> {
        Ok(match self {
            Self::None => packed,
            Self::Xz if threads > 1 => buffered(Xz::new(packed, threads)),
            Self::Xz => {
                let stream =
                    liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
                buffered(liblzma::bufread::XzDecoder::new_stream(packed, stream))
            }
            Self::Zstd => {
                while lz4::skip_frame(&mut packed)? {}
                let start = packed.fill_buf()?;
                if start.starts_with(&lz4::MAGIC) {
                    return Self::Lz4.open_on(threads, packed);
                }
                ensure_window(start)?;
                let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                buffered(decoder)
            }
            Self::Bzip2 => buffered(bzip2::bufread::MultiBzDecoder::new(packed)),
            Self::Gzip => buffered(super::gzip::Gzip::new(packed)),
            Self::Lz4 => buffered(lz4::Lz4::new(packed)),
            Self::Brotli => buffered(super::brotli::Brotli::new(packed)),
            Self::Lzma => {
                let stream = liblzma::stream::Stream::new_lzma_decoder(XZ_MEMORY)?;
                buffered(Alone { inner: liblzma::bufread::XzDecoder::new_stream(packed, stream) })
            }
            Self::Lzip => {
                let flags = liblzma::stream::CONCATENATED;
                let stream = liblzma::stream::Stream::new_lzip_decoder(XZ_MEMORY, flags)?;
                buffered(liblzma::bufread::XzDecoder::new_stream(packed, stream))
            }
            Self::Zip => buffered(super::zip::Zip::open(packed, &super::zip::Wanted::First)?),
        })
    }
}

fn buffered<'a>(reader: impl Read + Send + 'a) -> Box<dyn BufRead + Send + 'a> {
    Box::new(BufReader::with_capacity(BUFFER, reader))
}

/// Whether this is the header of an `.lzma` file: properties below 225, a dictionary of 2^n or 2^n + 2^(n-1) bytes, and
/// a length that is unknown or below 256 GiB. There is no magic number; the rules are those of liblzma's
/// `alone_decoder.c` for a picky reader, with the dictionaries that the format's programs make.
fn is_lzma(start: &[u8]) -> bool {
    let Some((header, _)) = start.split_first_chunk::<13>() else { return false };
    let [properties, a, b, c, d, len @ ..] = *header;
    let (dictionary, len) = (u32::from_le_bytes([a, b, c, d]), u64::from_le_bytes(len));
    let is_made =
        dictionary.is_power_of_two() || dictionary.is_multiple_of(3) && (dictionary / 3).is_power_of_two();
    properties < 225 && is_made && dictionary >= 4096 && (len == u64::MAX || (1..1 << 38).contains(&len))
}

/// Refuses a frame of Zstandard that needs a larger window than is given, with the way round.
///
/// ```text
/// magic u32   descriptor u8 (bit 5: one segment, no window byte)   window u8: mantissa 0..2, exponent 3..7
/// ```
/// Source: RFC 8878, section 3.1.1.1.
fn ensure_window(start: &[u8]) -> io::Result<()> {
    let [_, _, _, _, descriptor, window, ..] = *start else { return Ok(()) };
    let len = if descriptor & 0x20 == 0 {
        let base = 1_u64 << (10 + (window >> 3));
        base + base / 8 * u64::from(window & 7)
    } else {
        zstd::zstd_safe::get_frame_content_size(start).ok().flatten().unwrap_or(0)
    };
    if len <= 1 << ZSTD_WINDOW_LOG {
        return Ok(());
    }
    let log = len.next_power_of_two().ilog2();
    Err(damaged(format!(
        "its window has {len} bytes, at most {} are given; unpack it with `zstd -dc --long={log} FILE`, whose output `nixflash write -` takes",
        1_u64 << ZSTD_WINDOW_LOG
    )))
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
            Compression::Lz4 => {
                let info = lz4_flex::frame::FrameInfo::new().content_checksum(true);
                let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
                encoder.write_all(data).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Brotli | Compression::Zip | Compression::Lzma | Compression::Lzip => {
                panic!("has tests of its own")
            }
        }
    }

    fn unpack(compression: Compression, packed: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        compression.open(Box::new(io::Cursor::new(packed.clone())))?.read_to_end(&mut out)?;
        let mut again = Vec::new();
        compression.open_on(3, Box::new(io::Cursor::new(packed)))?.read_to_end(&mut again)?;
        assert!(out == again, "{compression:?} on several threads");
        Ok(out)
    }

    const ALL: [Compression; 5] =
        [Compression::Xz, Compression::Zstd, Compression::Bzip2, Compression::Gzip, Compression::Lz4];

    #[test]
    fn skippable_frames_are_skipped_wherever_they_are() {
        let skippable = [&[0x5a, 0x2a, 0x4d, 0x18, 5, 0, 0, 0][..], b"notes"].concat();
        let data = vec![7; 300_000];
        for compression in [Compression::Zstd, Compression::Lz4] {
            let one = pack(compression, &data);
            let all = [&skippable[..], &one, &skippable, &one, &skippable].concat();
            assert_eq!(Compression::sniff(&all), Compression::Zstd);
            assert_eq!(
                unpack(Compression::Zstd, all).unwrap(),
                [&data[..], &data].concat(),
                "{compression:?}"
            );
            let cut = [&one[..], &skippable[..10]].concat();
            assert!(unpack(compression, cut).is_err(), "{compression:?}");
        }
    }

    #[test]
    fn xz_streams_of_several_blocks_and_padding_are_read_by_threads_as_by_one() {
        let data: Vec<u8> = (0..3_000_000u32).map(|n| (n / 5).to_le_bytes()[n as usize % 3]).collect();
        let stream = liblzma::stream::MtStreamBuilder::new()
            .threads(2)
            .block_size(500_000)
            .preset(1)
            .check(liblzma::stream::Check::Crc64)
            .encoder()
            .unwrap();
        let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
        encoder.write_all(&data).unwrap();
        let one = encoder.finish().unwrap();
        assert!(unpack(Compression::Xz, one.clone()).unwrap() == data);
        let padded = [&one[..], &[0; 8], &one, &[0; 4]].concat();
        assert!(unpack(Compression::Xz, padded).unwrap() == [&data[..], &data].concat());
        for bad in [[&one[..], &[0; 3]].concat(), [&one[..], &[0; 5], &one].concat(), vec![]] {
            let mut out = Vec::new();
            let mut reader = Compression::Xz.open_on(2, Box::new(io::Cursor::new(bad))).unwrap();
            assert!(reader.read_to_end(&mut out).is_err());
        }
        for cut in (1..one.len()).step_by(one.len() / 40) {
            let mut reader =
                Compression::Xz.open_on(2, Box::new(io::Cursor::new(one[..cut].to_vec()))).unwrap();
            assert!(reader.read_to_end(&mut Vec::new()).is_err(), "cut at {cut}");
        }
    }

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

    /// Stored in blocks: a window of 64 KiB, then up to 65536 bytes at a time (RFC 7932, 9.1 and 9.2).
    fn brotli_of(data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let (mut word, mut bits) = (0u64, 1usize); // a window of 16 bits is one zero bit
        for chunk in data.chunks(65536) {
            // ISLAST 0, MNIBBLES 4 (00), MLEN - 1 in 16 bits, ISUNCOMPRESSED 1, to the end of the byte
            word |= ((chunk.len() as u64 - 1) << 3 | 1 << 19) << bits;
            bits += 20;
            out.extend_from_slice(&word.to_le_bytes()[..bits.div_ceil(8)]);
            out.extend_from_slice(chunk);
            (word, bits) = (0, 0);
        }
        // ISLAST 1, ISLASTEMPTY 1
        out.push((word | 0b11 << bits) as u8);
        out
    }

    #[test]
    fn brotli_is_read_to_its_end_and_no_further() {
        let data: Vec<u8> = (0..300_000u32).map(|n| (n / 7).to_le_bytes()[0]).collect();
        let packed = brotli_of(&data);
        assert_eq!(unpack(Compression::Brotli, packed.clone()).unwrap(), data);
        assert_eq!(unpack(Compression::Brotli, brotli_of(b"")).unwrap(), b"");
        for cut in [0, 1, 5, packed.len() / 2, packed.len() - 1] {
            assert!(unpack(Compression::Brotli, packed[..cut].to_vec()).is_err(), "cut at {cut}");
        }
        for garbage in [&b"x"[..], &[0; 300_000]] {
            assert!(unpack(Compression::Brotli, [&packed[..], garbage].concat()).is_err());
        }
        // A window of 2^30 bytes: the extension, 0b0010001 then 6 bits.
        assert!(unpack(Compression::Brotli, vec![0x11, 0x1e, 0x03]).is_err());
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
