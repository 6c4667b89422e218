//! The initrd of Linux: cpio archives of the kind "newc", one after the other, each as it is or compressed.
//!
//! ```text
//! "070701" | "070702", 13 fields of 8 hexadecimal digits: ino mode uid gid nlink mtime filesize
//!   devmajor devminor rdevmajor rdevminor namesize check; name with its NUL; contents
//! name and contents are each padded to 4 bytes; "TRAILER!!!" ends an archive; NULs may follow
//! ```
//! Source: Linux `Documentation/driver-api/early-userspace/buffer-format.rst`, `init/initramfs.c`.

use crate::ints;
use crate::stream::decompress::Compression;
use std::io::{self, BufRead, Read};

/// One file, directory or symlink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path, without a slash or `./` at its beginning.
    pub name: String,
    /// Type and permissions, as in `st_mode`.
    pub mode: u32,
    /// Length of its contents in bytes; of a symlink, of its target.
    pub len: u64,
}

impl Entry {
    /// Whether it is a regular file.
    #[must_use]
    pub const fn is_file(&self) -> bool {
        self.mode & 0o170_000 == 0o100_000
    }
}

/// An initrd cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read or unpacked.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It holds something else.
    #[error("an archive has {found:?} where an entry should begin, expected 070701")]
    Magic {
        /// What is there, with everything that is not ASCII escaped.
        found: String,
    },
    /// It is larger than anything that a kernel can unpack here.
    #[error("it holds more than {0}")]
    TooLarge(&'static str),
}

const HEADER: usize = 110;
const MAX_NAME: u32 = 4096;
const MAX_ENTRIES: u32 = 200_000;
const MAX_ARCHIVES: u32 = 64;
const MAX_BYTES: u64 = 2 << 30;

/// Reads every entry of every archive; `visit` gets the contents of each and may leave them.
pub fn read<'a>(packed: Box<dyn BufRead + Send + 'a>, visit: &mut Visit<'_>) -> Result<(), Error> {
    let mut reading = Reading { entries: 0, archives: 0, bytes: 0 };
    let mut rest = packed;
    loop {
        let (head, reader) = begin(rest)?;
        match Compression::sniff(&head) {
            _ if head.is_empty() => return Ok(()),
            Compression::None => {
                rest = reader;
                reading.archive(&mut rest, visit)?;
            }
            compression => {
                let mut unpacked = compression.open(reader)?;
                return reading.unpacked(&mut unpacked, visit);
            }
        }
    }
}

/// What is done with an entry: it, and its contents.
pub type Visit<'a> = dyn FnMut(&Entry, &mut dyn Read) -> io::Result<()> + 'a;

/// Skips NULs and looks at the first bytes of what follows; none at the end.
fn begin<'a>(
    mut reader: Box<dyn BufRead + Send + 'a>,
) -> io::Result<(Vec<u8>, Box<dyn BufRead + Send + 'a>)> {
    skip_nuls(&mut reader)?;
    let mut head = Vec::new();
    reader.by_ref().take(8).read_to_end(&mut head)?;
    Ok((head.clone(), Box::new(io::Cursor::new(head).chain(reader))))
}

fn skip_nuls(reader: &mut dyn BufRead) -> io::Result<()> {
    loop {
        let buf = reader.fill_buf()?;
        let nuls = buf.iter().take_while(|byte| **byte == 0).count();
        let more = nuls == buf.len() && nuls > 0;
        reader.consume(nuls);
        if !more {
            return Ok(());
        }
    }
}

struct Reading {
    entries: u32,
    archives: u32,
    bytes: u64,
}

impl Reading {
    /// Archives in a compressed stream. What follows the stream is not read: secrets that were appended, at most.
    fn unpacked(&mut self, reader: &mut dyn BufRead, visit: &mut Visit<'_>) -> Result<(), Error> {
        let before = self.archives;
        loop {
            let at_end = match skip_nuls(reader).and_then(|()| Ok(reader.fill_buf()?.is_empty())) {
                Ok(at_end) => at_end,
                // The stream ended and something else began; every decoder takes that for damage.
                Err(_) if self.archives > before => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            if at_end {
                return Ok(());
            }
            self.archive(reader, visit)?;
        }
    }

    /// One archive to its trailer.
    fn archive(&mut self, reader: &mut dyn BufRead, visit: &mut Visit<'_>) -> Result<(), Error> {
        self.archives += 1;
        if self.archives > MAX_ARCHIVES {
            return Err(Error::TooLarge("64 archives"));
        }
        loop {
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(Error::TooLarge("200000 files"));
            }
            let (entry, padding) = header(reader)?;
            self.bytes = self.bytes.saturating_add(entry.len);
            if self.bytes > MAX_BYTES {
                return Err(Error::TooLarge("2 GiB"));
            }
            if entry.name == "TRAILER!!!" {
                return Ok(());
            }
            let mut contents = reader.take(entry.len);
            visit(&entry, &mut contents)?;
            let left = contents.limit();
            skip(reader, left + padding)?;
        }
    }
}

/// The header and name of an entry, and how many bytes pad its contents.
fn header(reader: &mut dyn BufRead) -> Result<(Entry, u64), Error> {
    let mut bytes = [0; HEADER];
    reader.read_exact(&mut bytes)?;
    let wrong = || Error::Magic { found: bytes[..6].escape_ascii().to_string() };
    if !matches!(&bytes[..6], b"070701" | b"070702") {
        return Err(wrong());
    }
    let field = |number: usize| {
        let digits = std::str::from_utf8(&bytes[6 + number * 8..14 + number * 8]).map_err(|_| wrong())?;
        u32::from_str_radix(digits, 16).map_err(|_| wrong())
    };
    let (mode, len, name_len) = (field(1)?, u64::from(field(6)?), field(11)?);
    if name_len == 0 || name_len > MAX_NAME {
        return Err(Error::TooLarge("4096 bytes in a name"));
    }
    let mut name = vec![0; ints::to_usize(u64::from(name_len))];
    reader.read_exact(&mut name)?;
    name.pop();
    skip(reader, pad(ints::to_u64(HEADER) + u64::from(name_len)))?;
    let name = String::from_utf8_lossy(&name);
    let name = name.strip_prefix("./").unwrap_or(&name).trim_start_matches('/').to_owned();
    Ok((Entry { name, mode, len }, pad(len)))
}

const fn pad(len: u64) -> u64 {
    len.next_multiple_of(4) - len
}

fn skip(reader: &mut dyn BufRead, len: u64) -> io::Result<()> {
    if io::copy(&mut reader.take(len), &mut io::sink())? < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn archive(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        let padded = |out: &mut Vec<u8>| out.resize(out.len().next_multiple_of(4), 0);
        for (name, mode, contents) in files.iter().chain(&[("TRAILER!!!", 0, &[][..])]) {
            let (len, name_len) = (contents.len(), name.len() + 1);
            write!(out, "070701{:08x}{mode:08x}{:032x}", 1, 0).unwrap();
            write!(out, "{len:08x}{:032x}{name_len:08x}{:08x}{name}\0", 0, 0).unwrap();
            padded(&mut out);
            out.extend_from_slice(contents);
            padded(&mut out);
        }
        out
    }

    fn names(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, String> {
        let mut found = Vec::new();
        let mut visit = |entry: &Entry, contents: &mut dyn Read| {
            let mut bytes = Vec::new();
            if entry.is_file() {
                contents.read_to_end(&mut bytes)?;
            }
            found.push((entry.name.clone(), bytes));
            Ok(())
        };
        let packed = Box::new(io::Cursor::new(bytes.to_vec()));
        read(packed, &mut visit).map_err(|error| error.to_string())?;
        Ok(found)
    }

    const FILE: u32 = 0o100_644;

    #[test]
    fn archives_follow_each_other_plain_and_packed() {
        let early = archive(&[("kernel/x86/microcode", FILE, b"code"), ("dir", 0o40_755, b"")]);
        let main = archive(&[("./init", FILE, b"#!"), ("/etc/fstab", FILE, b"x y z")]);
        let expected: Vec<(String, Vec<u8>)> =
            [("kernel/x86/microcode", &b"code"[..]), ("dir", b""), ("init", b"#!"), ("etc/fstab", b"x y z")]
                .map(|(name, bytes)| (name.to_owned(), bytes.to_vec()))
                .into();
        let padded = [&early[..], &[0; 37]].concat();
        assert_eq!(names(&[&padded[..], &main].concat()), Ok(expected.clone()));
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&main).unwrap();
        let zst = zstd::encode_all(&main[..], 1).unwrap();
        for packed in [gz.finish().unwrap(), zst] {
            assert_eq!(names(&[&padded[..], &packed].concat()), Ok(expected.clone()));
            let with_secrets = [&padded[..], &packed, &early].concat();
            assert_eq!(names(&with_secrets), Ok(expected.clone()), "what follows is left alone");
        }
        assert_eq!(names(b""), Ok(vec![]));
    }

    #[test]
    fn what_is_no_archive_is_said() {
        let good = archive(&[("a", FILE, b"1")]);
        for (bytes, expected) in [
            (&b"0707020"[..], "fill whole buffer"),
            (b"\x02\x21\x4c\x18legacy lz4", "where an entry should begin"),
            (&good[..good.len() - 60], "fill whole buffer"),
        ] {
            let long = [bytes, &[b'z'; 200]].concat();
            let message = names(if bytes[0] == 2 { &long } else { bytes }).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
        let long_name = String::from_utf8(good.clone()).unwrap().replacen("00000002", "0000ffff", 1);
        assert!(names(long_name.as_bytes()).unwrap_err().contains("4096 bytes in a name"));
        let huge = String::from_utf8(good).unwrap().replacen("00000001000000", "ffffffff000000", 1);
        assert!(names(huge.as_bytes()).is_err());
    }
}
