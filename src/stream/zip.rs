//! A zip archive with one image in it, read from its first byte to its last, so that a pipe will do.
//!
//! ```text
//! local header   PK 3 4  version u16  flags u16  method u16  time u32  CRC-32 u32  packed u32  len u32
//!                name length u16  extra length u16  name  extra  (30 bytes and the last two)
//! data           deflated (8) or stored (0)
//! descriptor     if flag 3 is set: [PK 7 8]  CRC-32 u32  packed and len, of 32 or 64 bits each
//! directory      PK 1 2 for each file (46 bytes, name, extra, comment), PK 6 6, PK 6 7, PK 5 6 at the end
//! ```
//! Source: APPNOTE.TXT 6.3.10, section 4.3. Directories and files beside the image are read past, and their sums
//! checked.

use super::archive;
use crate::ints;
use flate2::bufread::DeflateDecoder;
use std::io::{self, BufRead, Read};

const LOCAL: [u8; 4] = *b"PK\x03\x04";
const DESCRIPTOR: [u8; 4] = *b"PK\x07\x08";
pub(super) const ENTRY: [u8; 4] = *b"PK\x01\x02";
pub(super) const END: [u8; 4] = *b"PK\x05\x06";
const END_64: [u8; 4] = *b"PK\x06\x06";
pub(super) const LOCATOR_64: [u8; 4] = *b"PK\x06\x07";
/// The extra field with lengths of 64 bits.
const ZIP64: u16 = 1;
const ENCRYPTED: u16 = 1;
const LATER: u16 = 8;

/// Reads the file of an archive.
pub(crate) struct Zip<R: Read> {
    /// `None` behind the end of the archive.
    entry: Option<Entry<R>>,
    wanted: Wanted,
    /// Files that were seen, directories left out.
    files: u32,
}

enum State<R: Read> {
    Stored(R, u64),
    Deflated(Box<DeflateDecoder<R>>),
}

struct Header {
    name: Vec<u8>,
    flags: u16,
    method: u16,
    crc: u32,
    packed: u64,
    len: u64,
    is_zip64: bool,
}

fn bad(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

pub(super) fn le16(bytes: &[u8]) -> u16 {
    u16::from_le_bytes([bytes[0], bytes[1]])
}

pub(super) fn le32(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

pub(super) fn le64(bytes: &[u8]) -> u64 {
    u64::from(le32(bytes)) | u64::from(le32(&bytes[4..])) << 32
}

fn array<const N: usize>(packed: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    packed.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn vec(packed: &mut impl Read, len: u16) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::from(len)];
    packed.read_exact(&mut bytes)?;
    Ok(bytes)
}

impl Header {
    fn read(packed: &mut impl Read) -> io::Result<Self> {
        let raw: [u8; 26] = array(packed)?;
        let name = vec(packed, le16(&raw[22..]))?;
        let extra = vec(packed, le16(&raw[24..]))?;
        let wide = zip64(&extra);
        let (packed, len) = match wide {
            Some(lens) if lens.len() >= 16 => (le64(&lens[8..]), le64(lens)),
            _ => (u64::from(le32(&raw[14..])), u64::from(le32(&raw[18..]))),
        };
        let (flags, method, crc) = (le16(&raw[2..]), le16(&raw[4..]), le32(&raw[10..]));
        Ok(Self { name, flags, method, crc, packed, len, is_zip64: wide.is_some() })
    }

    fn is_directory(&self) -> bool {
        self.name.ends_with(b"/") && self.len == 0
    }

    /// Reads what stands behind a file of `len` bytes.
    fn descriptor(&mut self, packed: &mut impl Read, len: u64) -> io::Result<()> {
        let first: [u8; 4] = array(packed)?;
        let crc = if first == DESCRIPTOR { array(packed)? } else { first };
        self.crc = u32::from_le_bytes(crc);
        let wide = self.is_zip64 || len > u64::from(u32::MAX);
        let lens: Vec<u8> = vec(packed, if wide { 16 } else { 8 })?;
        (self.packed, self.len) = if wide {
            (le64(&lens), le64(&lens[8..]))
        } else {
            (le32(&lens).into(), le32(&lens[4..]).into())
        };
        Ok(())
    }

    fn check(&self, crc: u32, taken: u64, len: u64) -> io::Result<()> {
        let name = String::from_utf8_lossy(&self.name);
        if self.len != len || self.packed != taken {
            return Err(bad(format!("{name} has {len} bytes, the archive says {}", self.len)));
        }
        if self.crc != crc {
            return Err(bad(format!("{name} has the CRC-32 {crc:08x}, the archive says {:08x}", self.crc)));
        }
        Ok(())
    }
}

/// The lengths in an extra field.
fn zip64(mut extra: &[u8]) -> Option<&[u8]> {
    while extra.len() >= 4 {
        let (id, len) = (le16(extra), usize::from(le16(&extra[2..])));
        let field = extra.get(4..4 + len)?;
        if id == ZIP64 {
            return Some(field);
        }
        extra = &extra[4 + len..];
    }
    None
}

/// Which file of an archive is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The only one that is no companion of an image; another one behind it is an error.
    First,
    /// The one of this name.
    Named(Vec<u8>),
}

impl Wanted {
    pub(super) fn is(&self, name: &[u8]) -> bool {
        match self {
            Self::First => !archive::is_companion(name),
            Self::Named(wanted) => wanted == name,
        }
    }
}

/// A file of the archive while it is read.
struct Entry<R: Read> {
    state: State<R>,
    header: Header,
    crc: crc32fast::Hasher,
    len: u64,
}

impl<R: BufRead> Entry<R> {
    /// Reads a header, behind its signature.
    fn begin(mut packed: R) -> io::Result<Self> {
        let header = Header::read(&mut packed)?;
        let name = String::from_utf8_lossy(&header.name).into_owned();
        if header.flags & ENCRYPTED != 0 {
            return Err(bad(format!("{name} is encrypted")));
        }
        let state = match header.method {
            // A directory may be said to have its lengths behind it: they are known to be none.
            0 if header.flags & LATER != 0 && !header.is_directory() => {
                return Err(bad(format!("{name} is stored without its length")));
            }
            0 => State::Stored(packed, header.len),
            8 => State::Deflated(Box::new(DeflateDecoder::new(packed))),
            other => return Err(bad(format!("{name} is packed by method {other}, expected 0 or 8"))),
        };
        Ok(Self { state, header, crc: crc32fast::Hasher::new(), len: 0 })
    }

    /// Some bytes of the file; none at its end.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.state {
            State::Stored(packed, left) => {
                let read = packed.take(*left).read(buf)?;
                *left -= ints::to_u64(read);
                if read == 0 && *left > 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                read
            }
            State::Deflated(decoder) => decoder.read(buf)?,
        };
        self.crc.update(&buf[..read]);
        self.len += ints::to_u64(read);
        Ok(read)
    }

    /// Compares what was read with what the archive says of it.
    fn end(mut self) -> io::Result<(Header, R)> {
        let (mut packed, taken) = match self.state {
            State::Stored(packed, _) => (packed, self.header.len),
            State::Deflated(decoder) => {
                let taken = decoder.total_in();
                (decoder.into_inner(), taken)
            }
        };
        if self.header.flags & LATER != 0 {
            self.header.descriptor(&mut packed, self.len)?;
        }
        self.header.check(self.crc.finalize(), taken, self.len)?;
        Ok((self.header, packed))
    }

    /// Reads past the file.
    fn skip(mut self) -> io::Result<R> {
        let mut buf = vec![0; 64 << 10];
        while self.read(&mut buf)? > 0 {}
        self.end().map(|(_, packed)| packed)
    }
}

impl<R: BufRead> Zip<R> {
    /// Opens the file that is wanted.
    pub fn open(mut packed: R, wanted: &Wanted) -> io::Result<Self> {
        let mut before = 0;
        loop {
            match array(&mut packed)? {
                LOCAL => {}
                ENTRY | END => return Err(bad("no file in it")),
                _ => return Err(bad("no zip archive")),
            }
            let entry = Entry::begin(packed)?;
            before += u32::from(!entry.header.is_directory());
            if !entry.header.is_directory() && wanted.is(&entry.header.name) {
                return Ok(Self { entry: Some(entry), wanted: wanted.clone(), files: before });
            }
            packed = entry.skip()?;
        }
    }

    /// Reads the archive to its end.
    fn finish(&mut self, entry: Entry<R>) -> io::Result<()> {
        let (header, mut packed) = entry.end()?;
        let mut listed = 0;
        loop {
            match array(&mut packed)? {
                ENTRY => {
                    let raw: [u8; 42] = array(&mut packed)?;
                    let name = vec(&mut packed, le16(&raw[24..]))?;
                    vec(&mut packed, le16(&raw[26..]))?;
                    vec(&mut packed, le16(&raw[28..]))?;
                    listed += u32::from(!name.ends_with(b"/"));
                }
                END_64 => {
                    let len = le64(&array::<8>(&mut packed)?);
                    io::copy(&mut (&mut packed).take(len), &mut io::sink())?;
                }
                LOCATOR_64 => drop(array::<16>(&mut packed)?),
                END => {
                    let raw: [u8; 18] = array(&mut packed)?;
                    vec(&mut packed, le16(&raw[16..]))?;
                    break;
                }
                LOCAL => {
                    let next = Entry::begin(packed)?;
                    let is_file = !next.header.is_directory();
                    if is_file && self.wanted == Wanted::First && self.wanted.is(&next.header.name) {
                        return Err(bad(archive::more_than_one(&header.name, &next.header.name, 0)));
                    }
                    self.files += u32::from(is_file);
                    packed = next.skip()?;
                }
                _ => return Err(bad("its directory is damaged")),
            }
        }
        if listed != self.files {
            return Err(bad(format!("its directory has {listed} files, the archive has {}", self.files)));
        }
        if packed.fill_buf()?.is_empty() { Ok(()) } else { Err(bad("something follows its end")) }
    }
}

impl<R: BufRead> Read for Zip<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(entry) = self.entry.as_mut().filter(|_| !buf.is_empty()) else { return Ok(0) };
        let read = entry.read(buf)?;
        if read == 0
            && let Some(entry) = self.entry.take()
        {
            self.finish(entry)?;
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Write};

    /// An archive with entries: name, flags, method, contents.
    fn archive(entries: &[(&str, u16, u16, &[u8])]) -> Vec<u8> {
        let (mut out, mut directory) = (Vec::new(), Vec::new());
        for (name, flags, method, data) in entries {
            let mut packed = data.to_vec();
            if *method == 8 {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(data).unwrap();
                packed = encoder.finish().unwrap();
            }
            let crc = crc32fast::hash(data);
            let known = [crc, packed.len() as u32, data.len() as u32].map(u32::to_le_bytes).concat();
            let start = (out.len() as u32).to_le_bytes();
            let now = if flags & LATER == 0 { known.clone() } else { vec![0; 12] };
            let words = [20, *flags, *method, 0, 0].map(u16::to_le_bytes).concat();
            let lens = [name.len() as u16, 0].map(u16::to_le_bytes).concat();
            out.extend([&LOCAL[..], &words, &now, &lens, name.as_bytes(), &packed].concat());
            if flags & LATER != 0 {
                out.extend([&DESCRIPTOR[..], &known].concat());
            }
            directory.extend(
                [&ENTRY[..], &[20, 0], &words, &known, &lens, &[0; 10], &start, name.as_bytes()].concat(),
            );
        }
        let (count, at, len) =
            ((entries.len() as u16).to_le_bytes(), out.len() as u32, directory.len() as u32);
        out.extend(directory);
        out.extend(
            [&END[..], &[0; 4], &count, &count, &len.to_le_bytes(), &at.to_le_bytes(), &[3, 0], b"end"]
                .concat(),
        );
        out
    }

    fn read(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        let result =
            Zip::open(Cursor::new(bytes), &Wanted::First).and_then(|mut zip| zip.read_to_end(&mut out));
        result.map(|_| out).map_err(|error| error.to_string())
    }

    #[test]
    fn one_file_is_read_packed_or_stored_with_its_lengths_before_or_behind() {
        let data: Vec<u8> = (0..200_000u32).map(|n| (n / 9) as u8).collect();
        for (flags, method) in [(0, 0), (0, 8), (LATER, 8)] {
            let bytes = archive(&[("images/", 0, 0, b""), ("images/pi.img", flags, method, &data)]);
            assert!(read(bytes.clone()).unwrap() == data, "{flags} {method}");
            for cut in (0..bytes.len()).rev().take(300).chain([10, 40, 60, 1000]) {
                assert!(
                    read(bytes[..cut].to_vec()).is_err(),
                    "{flags} {method} cut at {cut} of {}",
                    bytes.len()
                );
            }
            assert_eq!(read([&bytes[..], b"x"].concat()).unwrap_err(), "something follows its end");
            let mut damaged = bytes.clone();
            damaged[500] ^= 4;
            assert!(read(damaged).is_err());
        }
    }

    #[test]
    fn what_is_not_one_file_is_refused_by_name() {
        for (entries, expected) in [
            (&[][..], "no file in it"),
            (
                &[("a", 0, 0, &b"1"[..]), ("b", 0, 0, b"2")],
                "it holds more than one file: a and b; unpack it, and give the image",
            ),
            (&[("a", ENCRYPTED, 0, b"1")], "a is encrypted"),
            (&[("a", 0, 12, b"1")], "a is packed by method 12, expected 0 or 8"),
            (&[("a", LATER, 0, b"1")], "a is stored without its length"),
        ] {
            assert_eq!(read(archive(entries)).unwrap_err(), expected);
        }
    }
}
