//! A tar archive with one image in it, read from its first byte to its last.
//!
//! ```text
//! header  name 0..100  mode  uid  gid  size 124..136  mtime  checksum 148..156  type 156  link  magic 257..263
//!         version  uname  gname  major  minor  prefix 345..500                    (512 bytes; numbers in octal)
//! data    padded to 512 bytes; two blocks of zeros at the end
//! ```
//! Types: `0` and NUL a file, `5` a directory, `L` the name of the next, `x` and `g` records `LENGTH KEY=VALUE\n`.
//! Sources: POSIX pax, "ustar Interchange Format"; GNU tar's `tar.h`.

use super::archive;
use super::damaged::damaged;
use super::zip::Wanted;
use crate::ints;
use std::io::{self, BufRead, Read};

const BLOCK: usize = 512;
/// The longest name or record that is read, in bytes.
const MAX_RECORD: u64 = 1 << 20;

/// Whether this is the header of a file in a tar archive: its checksum is right. Archives from before POSIX have no magic.
#[must_use]
pub fn is_header(block: &[u8]) -> bool {
    let Some(header) = block.get(..BLOCK) else { return false };
    let Some(expected) = octal(&header[148..156]) else { return false };
    let sum: u64 = header
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) })
        .sum();
    sum == expected && header[0] != 0
}

/// A number: octal digits, or base 256 behind a byte of 0x80.
fn octal(field: &[u8]) -> Option<u64> {
    if field[0] == 0x80 {
        return field[1..]
            .iter()
            .try_fold(0_u64, |value, byte| value.checked_mul(256)?.checked_add((*byte).into()));
    }
    let digits = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    if digits.is_empty() { Some(0) } else { u64::from_str_radix(digits, 8).ok() }
}

/// What comes next in an archive.
struct Header {
    name: Vec<u8>,
    len: u64,
    is_file: bool,
}

fn padding(len: u64) -> u64 {
    len.next_multiple_of(512) - len
}

/// The next header, with what the records before it say; `None` at the end.
fn header(packed: &mut impl BufRead) -> io::Result<Option<Header>> {
    let (mut name, mut len) = (None, None);
    loop {
        let mut block = [0; BLOCK];
        packed.read_exact(&mut block)?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if !is_header(&block) {
            return Err(damaged("a header of the tar archive is damaged"));
        }
        let size =
            octal(&block[124..136]).ok_or_else(|| damaged("a length in the tar archive is no number"))?;
        match block[156] {
            b'L' => {
                name =
                    Some(record(packed, size)?.split(|byte| *byte == 0).next().unwrap_or_default().to_vec())
            }
            kind @ (b'x' | b'g' | b'K') => {
                let text = record(packed, size)?;
                if kind == b'x' {
                    name = value(&text, b"path").or(name);
                    len =
                        value(&text, b"size").and_then(|size| std::str::from_utf8(&size).ok()?.parse().ok());
                }
            }
            kind => {
                let sparse = kind == b'S';
                let is_file = matches!(kind, b'0' | 0 | b'7') || sparse;
                let name = name.unwrap_or_else(|| full_name(&block));
                if sparse {
                    let name = String::from_utf8_lossy(&name);
                    return Err(damaged(format!(
                        "{name} is stored with its holes left out; unpack the archive first"
                    )));
                }
                let is_file = is_file && !name.ends_with(b"/");
                let len = if matches!(kind, b'1'..=b'6') { 0 } else { len.unwrap_or(size) };
                return Ok(Some(Header { name, len, is_file }));
            }
        }
    }
}

fn full_name(block: &[u8; BLOCK]) -> Vec<u8> {
    let text =
        |range: std::ops::Range<usize>| block[range].split(|byte| *byte == 0).next().unwrap_or_default();
    match text(345..500) {
        prefix if block[257..262] == *b"ustar" && block[262] == 0 && !prefix.is_empty() => {
            [prefix, b"/", text(0..100)].concat()
        }
        _ => text(0..100).to_vec(),
    }
}

fn record(packed: &mut impl BufRead, len: u64) -> io::Result<Vec<u8>> {
    if len > MAX_RECORD {
        return Err(damaged(format!(
            "a record of the tar archive has {len} bytes, expected at most {MAX_RECORD}"
        )));
    }
    let mut bytes = vec![0; ints::to_usize(len)];
    packed.read_exact(&mut bytes)?;
    skip(packed, padding(len))?;
    Ok(bytes)
}

/// The value of a key in pax records.
fn value(text: &[u8], key: &[u8]) -> Option<Vec<u8>> {
    text.split(|byte| *byte == b'\n').find_map(|line| {
        let at = line.iter().position(|byte| *byte == b' ')?;
        line[at + 1..].strip_prefix(key)?.strip_prefix(b"=").map(<[u8]>::to_vec)
    })
}

fn skip(packed: &mut impl BufRead, len: u64) -> io::Result<()> {
    if io::copy(&mut packed.take(len), &mut io::sink())? < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// The names of the files in an archive, which is read to its end.
pub(crate) fn names(mut packed: impl BufRead) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    while let Some(header) = header(&mut packed)? {
        skip(&mut packed, header.len)?;
        skip(&mut packed, padding(header.len))?;
        if header.is_file {
            names.push(header.name);
        }
    }
    Ok(names)
}

/// Reads the image of an archive.
pub(crate) struct Tar<R> {
    packed: R,
    wanted: Wanted,
    name: Vec<u8>,
    /// Bytes of the image that are still to come; `None` behind the end of the archive.
    left: Option<u64>,
    len: u64,
}

impl<R: BufRead> Tar<R> {
    /// Opens the file that is wanted.
    pub fn open(mut packed: R, wanted: &Wanted) -> io::Result<Self> {
        loop {
            let Some(header) = header(&mut packed)? else { return Err(damaged("no file in it")) };
            if header.is_file && wanted.is(&header.name) {
                let (name, len) = (header.name, header.len);
                return Ok(Self { packed, wanted: wanted.clone(), name, left: Some(len), len });
            }
            skip(&mut packed, header.len)?;
            skip(&mut packed, padding(header.len))?;
        }
    }

    /// How long the image is.
    pub const fn len(&self) -> u64 {
        self.len
    }

    fn finish(&mut self) -> io::Result<()> {
        skip(&mut self.packed, padding(self.len))?;
        while let Some(header) = header(&mut self.packed)? {
            if header.is_file && self.wanted == Wanted::First && self.wanted.is(&header.name) {
                return Err(damaged(archive::more_than_one(&self.name, &header.name, 0)));
            }
            skip(&mut self.packed, header.len)?;
            skip(&mut self.packed, padding(header.len))?;
        }
        // A packer below may have a sum at its end.
        io::copy(&mut self.packed, &mut io::sink()).map(drop)
    }
}

impl<R: BufRead> Read for Tar<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(left) = self.left.filter(|_| !buf.is_empty()) else { return Ok(0) };
        if left == 0 {
            self.left = None;
            return self.finish().map(|()| 0);
        }
        let read = (&mut self.packed).take(left).read(buf)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left = Some(left - ints::to_u64(read));
        Ok(read)
    }
}
