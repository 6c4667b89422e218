//! Reads a VMDK of whoever wrote it, if its disk is in one file.

use super::descriptor::Descriptor;
use super::ondisk;
use super::ondisk::{GRAINS, SECTOR, grain};
use crate::format::disk::container::blocks::{Blocks, Place, Table};
use crate::format::disk::container::disk::{Disk, MAX_LEN};
use crate::format::disk::container::error::{Error, bad};
use crate::format::disk::container::kind::Kind;
use crate::format::disk::container::pages::Pages;
use crate::format::disk::container::unpack;
use crate::ints;
use crate::stream::ReadAt;
use std::io;

/// Lengths of a grain that are read, in sectors.
const GRAIN: std::ops::RangeInclusive<u64> = 8..=4096;
/// The longest descriptor that is read, in bytes.
const MAX_DESCRIPTOR: u64 = 64 << 10;
/// From the end of a stream to its second header, in bytes: that header, and a sector that marks the end.
const FOOTER: u64 = 2 * SECTOR;
const CONVERT: &str = "convert it with `qemu-img convert -O qcow2`";

/// The directory of a disk.
struct Grains {
    size: u64,
    grain: u64,
    directory: u64,
    form: Form,
    has_zeroed: bool,
}

/// How grains are stored.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Packed,
}

/// Opens the disk.
pub(in crate::format::disk::container) fn open<'a, T: ReadAt + Send + Sync + 'a>(
    file: T,
) -> Result<Box<dyn Disk + 'a>, Error> {
    let pages = Pages::new(file);
    let table = header(&pages)?;
    Ok(Box::new(Blocks::new(pages, table)))
}

fn damaged(what: impl Into<String>) -> Error {
    Error::damaged(Kind::Vmdk, what)
}

fn unread(what: impl Into<String>) -> Error {
    Error::unread(Kind::Vmdk, what)
}

fn header<T: ReadAt>(pages: &Pages<T>) -> Result<Grains, Error> {
    let sector = |at: u64| pages.get::<512>(at).map_err(|_| damaged("it has no room for a header"));
    let first = sector(0)?;
    descriptor(pages, &first)?;
    let header = if ondisk::GD_OFFSET.get(&first) == ondisk::GD_AT_END {
        let at = pages.len().saturating_sub(FOOTER);
        let footer = sector(at)?;
        if !footer.starts_with(ondisk::MAGIC) {
            return Err(damaged("its second header is not at its end"));
        }
        footer
    } else {
        first
    };
    let version = ondisk::VERSION.get(&header);
    if !(1..=3).contains(&version) {
        return Err(unread(format!("of version {version}; {CONVERT}")));
    }
    let flags = ondisk::FLAGS.get(&header);
    if flags & ondisk::VALID_LINE_ENDS != 0 && ondisk::LINE_ENDS.get(&header) != ondisk::LINE_ENDS_VALUE {
        return Err(damaged("its line ends were changed, as by a transfer of text"));
    }
    let form = match (flags & ondisk::COMPRESSED != 0, ondisk::COMPRESS_ALGORITHM.get(&header)) {
        (false, _) => Form::Plain,
        (true, ondisk::DEFLATE) => Form::Packed,
        (true, other) => {
            return Err(unread(format!("packed in a way that is not known ({other}); {CONVERT}")));
        }
    };
    let (capacity, grain) = (ondisk::CAPACITY.get(&header), ondisk::GRAIN_SIZE.get(&header));
    if !GRAIN.contains(&grain) || !grain.is_power_of_two() {
        return Err(damaged(format!("a grain has {grain} sectors, expected a power of two from 8 to 4096")));
    }
    if ondisk::NUM_GTES_PER_GT.get(&header) != GRAINS {
        let found = ondisk::NUM_GTES_PER_GT.get(&header);
        return Err(damaged(format!("a grain table has {found} entries, expected {GRAINS}")));
    }
    let size = capacity.checked_mul(SECTOR).filter(|size| *size <= MAX_LEN);
    let size =
        size.ok_or_else(|| damaged(format!("its disk has {capacity} sectors, more than {MAX_LEN} bytes")))?;
    let needed = size.div_ceil(grain * SECTOR * u64::from(GRAINS)) * 4;
    let directory = ondisk::GD_OFFSET.get(&header);
    let end = directory.checked_mul(SECTOR).and_then(|at| at.checked_add(needed));
    if end.is_none_or(|end| end > pages.len()) {
        let len = pages.len();
        return Err(damaged(format!("its directory is at sector {directory}, and the file has {len} bytes")));
    }
    let (directory, has_zeroed) = (directory * SECTOR, flags & ondisk::ZEROED_GRAINS != 0);
    Ok(Grains { size, grain: grain * SECTOR, directory, form, has_zeroed })
}

/// Whether the disk is in this file, and all of it.
fn descriptor<T: ReadAt>(pages: &Pages<T>, header: &[u8]) -> Result<(), Error> {
    let (at, len) = (ondisk::DESCRIPTOR_OFFSET.get(header), ondisk::DESCRIPTOR_SIZE.get(header));
    if at == 0 {
        return Err(unread(format!("that is one of several files of a disk; {CONVERT} from its descriptor")));
    }
    let start = at.checked_mul(SECTOR).filter(|start| *start < pages.len());
    let start = start.ok_or_else(|| damaged(format!("its descriptor is at sector {at}, behind its end")))?;
    let len = len.saturating_mul(SECTOR).min(MAX_DESCRIPTOR).min(pages.len() - start);
    let mut text = vec![0; ints::to_usize(len)];
    pages.file().read_exact_at(&mut text, start)?;
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let found = Descriptor::parse(&String::from_utf8_lossy(text));
    if found.has_parent {
        return Err(unread(format!("that has a part of its disk in another image; {CONVERT}")));
    }
    if !matches!(&*found.kind, "monolithicSparse" | "streamOptimized") || found.extents != 1 {
        let (kind, extents) = (found.kind.escape_debug().to_string(), found.extents);
        return Err(unread(format!(
            "of the kind \"{kind}\" with {extents} parts, expected one file; {CONVERT}"
        )));
    }
    Ok(())
}

impl Table for Grains {
    fn size(&self) -> u64 {
        self.size
    }

    fn block(&self) -> u64 {
        self.grain
    }

    fn find<T: ReadAt>(&self, pages: &Pages<T>, block: u64) -> io::Result<Place> {
        let grains = u64::from(GRAINS);
        let table = u64::from(u32::from_le_bytes(pages.get(self.directory + block / grains * 4)?));
        if table == 0 {
            return Ok(Place::Nothing(grains - block % grains));
        }
        let at = match u32::from_le_bytes(pages.get(table * SECTOR + block % grains * 4)?) {
            0 => return Ok(Place::Nothing(1)),
            ondisk::ZEROED if self.has_zeroed => return Ok(Place::Nothing(1)),
            sector => u64::from(sector) * SECTOR,
        };
        if self.form == Form::Plain {
            return Ok(Place::Plain(at));
        }
        // Not by the page: these lie all over the file.
        let mut header = [0; grain::LEN];
        pages.file().read_exact_at(&mut header, at)?;
        let (lba, len) = (grain::LBA.get(&header), u64::from(grain::SIZE.get(&header)));
        if lba != block * (self.grain / SECTOR) {
            return Err(bad(format!("grain {block}: at byte {at} is what belongs to sector {lba}")));
        }
        // A zlib stream that is longer than this has been made so.
        if len > self.grain * 2 {
            return Err(bad(format!(
                "grain {block} has {len} bytes when packed, more than twice its length"
            )));
        }
        Ok(Place::Packed { at: at + ints::to_u64(grain::LEN), len })
    }

    fn unpack(&self, packed: &[u8], out: &mut [u8]) -> io::Result<()> {
        unpack::zlib(packed, out)
    }
}
