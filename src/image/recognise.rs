//! What the first bytes of something are the start of: an image, something packed, or something else.
//!
//! The one table of its kind: who writes an image, looks at one or compares one asks here. A layer that is packed is
//! opened and asked about again ([`super::read::layers`]).

use crate::format::disk::container;
use crate::stream::decompress::Compression;
use crate::stream::tar;

/// How many of the first bytes are looked at: to the superblock of btrfs, which lies farthest behind the start.
pub const LOOK: usize = 128 << 10;

/// What bytes are the start of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A partition table or a file system: what one would write to a card.
    Image,
    /// A disk in a container of virtual machines.
    Container(container::Kind),
    /// A stream of a packer that can be decoded.
    Packed(Compression),
    /// A tar archive.
    Tar,
    /// Something that is known and is no image, with what to do about it.
    Foreign(&'static str),
    /// Neither a table, nor a file system, nor anything else that is known.
    Unknown,
}

const MAGICS: [(&[u8], &str); 26] = [
    (b"QED\0", "a qed image; convert it with `qemu-img convert -O raw`"),
    (b"COWD", "a vmdk image; convert it with `qemu-img convert -O raw`"),
    (b"# Disk DescriptorFile", "the description of a vmdk image; convert it with `qemu-img convert -O raw`"),
    (b"WithoutFreeSpace", "a Parallels image; convert it with `qemu-img convert -O raw`"),
    (b"EVF\x09\x0d\x0a\xff\0", "an EnCase image; convert it with ewfexport"),
    (b"encrcdsa", "an encrypted dmg image; convert it with `hdiutil convert -format UDTO`"),
    (b"MSWIM\0\0\0", "a wim archive; it is no image of a disk"),
    (b"\x3a\xff\x26\xed", "an Android sparse image; convert it with simg2img"),
    (b"ANDROID!", "the boot image of an Android system, not that of a disk"),
    (b"CrAU", "an Android update, not an image of a disk"),
    (b"version https://git-lfs", "a Git LFS pointer, not the image itself"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it first"),
    (b"Rar!\x1a\x07", "a RAR archive; unpack it first"),
    (b"MSCF\0\0\0\0", "a cabinet archive; unpack it first"),
    (b"xar!", "a xar archive; unpack it first"),
    (b"!<arch>\n", "an ar archive, as packages of Debian are; unpack it first"),
    (b"070701", "a cpio archive; unpack it first"),
    (b"070702", "a cpio archive; unpack it first"),
    (b"070707", "a cpio archive; unpack it first"),
    (b"\x1f\x9d", "packed by compress (.Z); unpack it first with `gzip -d`"),
    (b"\x1f\xa0", "packed by compress (.Z); unpack it first with `gzip -d`"),
    (b"\x1f\x1e", "packed by pack (.z); unpack it first with `gzip -d`"),
    (b"\x02\x21\x4c\x18", "a legacy LZ4 stream; unpack it first with `lz4 -d`"),
    (b"\x89LZO\0\r\n\x1a\n", "packed by lzop; unpack it first with `lzop -d`"),
    (b"LRZI", "packed by lrzip; unpack it first with `lrzip -d`"),
    (b"nix-archive-1", "a NAR; compose an image of a closure with `nixflash compose`"),
];

/// Magic numbers of zlib: window of 32 KiB, each level; the two bytes are a multiple of 31.
const ZLIB: [[u8; 2]; 4] = [[0x78, 0x01], [0x78, 0x5e], [0x78, 0x9c], [0x78, 0xda]];

/// File systems, and what else can fill a card without a partition table, by what lies where.
const FILE_SYSTEMS: [(usize, &[u8]); 15] = [
    (0, b"XFSB"),
    (0, b"hsqs"),
    (0, b"LUKS\xba\xbe"),
    (512, b"PM\0\0"), // Apple partition map
    (0, b"UBI#"),
    (1024, b"\xe2\xe1\xf5\xe0"), // EROFS
    (1024, b"\x10\x20\xf5\xf2"), // F2FS
    (1024, b"H+\0\x04"),
    (1024, b"HX\0\x05"),
    (1080, b"\x53\xef"), // ext2, ext3, ext4
    (4086, b"SWAPSPACE2"),
    (32769, b"CD001"),
    (32769, b"BEA01"), // UDF
    (0x1_0040, b"_BHRfS_M"),
    (4096, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca"), // bcachefs
];

/// What `start` is the start of: the first [`LOOK`] bytes, or all there are.
#[must_use]
pub fn recognise(start: &[u8]) -> Kind {
    let is_disk = has_table(start) || has_file_system(start);
    if let Some((_, kind)) = MAGICS.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Kind::Foreign(kind);
    }
    if let Some(kind) = container::sniff(start) {
        return Kind::Container(kind);
    }
    match Compression::sniff(start) {
        // The header of .lzma has no magic number, so that a boot sector could look like it.
        Compression::None => {}
        Compression::Lzma if is_disk => {}
        packed => return Kind::Packed(packed),
    }
    if tar::is_header(start) {
        return Kind::Tar;
    }
    if is_disk {
        return Kind::Image;
    }
    if let Some(kind) = text_kind(start) {
        return Kind::Foreign(kind);
    }
    if start.get(257..262) == Some(b"ustar") {
        return Kind::Foreign("a damaged tar archive");
    }
    if start.len() > 6 && ZLIB.iter().any(|magic| start.starts_with(magic)) {
        return Kind::Foreign("a zlib stream; unpack it first");
    }
    Kind::Unknown
}

/// Whether there is the signature of an MBR, as a FAT has it too, or the header of a GPT.
fn has_table(start: &[u8]) -> bool {
    start.get(510..512) == Some(&[0x55, 0xaa])
        || [512, 4096].iter().any(|at| start.get(*at..).is_some_and(|rest| rest.starts_with(b"EFI PART")))
}

fn has_file_system(start: &[u8]) -> bool {
    FILE_SYSTEMS.iter().any(|(at, magic)| start.get(*at..).is_some_and(|rest| rest.starts_with(magic)))
}

fn text_kind(start: &[u8]) -> Option<&'static str> {
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    let begins = |word: &[u8]| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    if begins(b"<!doctype html") || begins(b"<html") || begins(b"<head") {
        return Some("an HTML page, perhaps a failed download");
    }
    if begins(b"<?xml") && text.windows(5).take(4096).any(|window| window == b"<bmap") {
        return Some("a block map, not the image it belongs to; name the image, or give it with --bmap");
    }
    begins(b"<?xml").then_some("an XML document")
}

/// What `end` is the end of, where that is known and no image.
#[must_use]
pub fn by_end(end: &[u8]) -> Option<&'static str> {
    let at = |behind: usize, magic: &[u8]| {
        let from = end.len().checked_sub(behind);
        from.and_then(|from| end.get(from..)).is_some_and(|tail| tail.starts_with(magic))
    };
    // The trailer of a dmg has 512 bytes and begins with "koly".
    if at(512, b"koly") {
        return Some("a dmg image; convert it with `hdiutil convert -format UDTO`");
    }
    None
}

/// Whether a file that begins as something else ends as a zip archive does: a program that unpacks itself.
#[must_use]
pub fn ends_as_zip(end: &[u8]) -> bool {
    end.len()
        .checked_sub(22)
        .and_then(|at| end.get(at..))
        .is_some_and(|tail| tail.starts_with(b"PK\x05\x06\0\0\0\0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_image_is_named() {
        for (start, expected) in [
            (&b"QED\0\0\0\0\x03"[..], "qed"),
            (b"COWD\x01", "vmdk"),
            (b"\n  <!DOCTYPE html><title>404", "HTML"),
            (b"\xef\xbb\xbf<HTML>", "HTML"),
            (b"<?xml version=\"1.0\" ?>\n<!-- This file -->\n<bmap version=\"2.0\">", "block map"),
            (b"<?xml version=\"1.0\"?><Error><Code>AccessDenied", "XML"),
            (b"\x02\x21\x4c\x18", "LZ4"),
            (b"\x1f\x9d\x90", "compress"),
            (b"\x78\x9c\x01\x02\x03\x04\x05", "zlib"),
        ] {
            assert!(matches!(recognise(start), Kind::Foreign(kind) if kind.contains(expected)), "{expected}");
        }
        for (start, kind) in [
            (&b"QFI\xfb\0\0\0\x03"[..], container::Kind::Qcow2),
            (b"KDMV\x01", container::Kind::Vmdk),
            (b"conectix", container::Kind::Vhd),
            (b"vhdxfile", container::Kind::Vhdx),
        ] {
            assert_eq!(recognise(start), Kind::Container(kind));
        }
        let mut dmg = vec![1; 1000];
        dmg[488..492].copy_from_slice(b"koly");
        assert!(by_end(&dmg).is_some() && by_end(&dmg[..999]).is_none());
    }

    #[test]
    fn a_table_or_a_file_system_makes_an_image_and_nothing_else_does() {
        let with = |at: usize, bytes: &[u8]| {
            let mut start = vec![0; LOOK];
            start[at..at + bytes.len()].copy_from_slice(bytes);
            start
        };
        for (at, magic) in FILE_SYSTEMS.into_iter().chain([
            (510, &[0x55, 0xaa][..]),
            (512, b"EFI PART"),
            (4096, b"EFI PART"),
        ]) {
            assert_eq!(recognise(&with(at, magic)), Kind::Image, "{at}");
            let short = &with(at, magic)[..at + magic.len() - 1];
            assert_eq!(recognise(short), Kind::Unknown, "{at}");
        }
        assert_eq!(recognise(b"%PDF-1.7"), Kind::Unknown);
        assert_eq!(recognise(b"# nixflash\n"), Kind::Unknown);
        assert_eq!(recognise(&[0; LOOK]), Kind::Unknown);
        // A gzip of a method that does not exist is a damaged one.
        assert_eq!(recognise(&[0x1f, 0x8b, 9, 0]), Kind::Packed(Compression::Gzip));
    }
}
