//! What people give for an image and is none, by its first bytes.

/// How many of the first bytes are looked at.
pub const LOOK: usize = 512;

const MAGICS: [(&[u8], &str); 12] = [
    (b"QFI\xfb", "a qcow2 image; convert it with `qemu-img convert -O raw`"),
    (b"KDMV", "a vmdk image; convert it with `qemu-img convert -O raw`"),
    (b"# Disk DescriptorFile", "the description of a vmdk image; convert it with `qemu-img convert -O raw`"),
    (b"conectix", "a vhd image; convert it with `qemu-img convert -O raw`"),
    (b"vhdxfile", "a vhdx image; convert it with `qemu-img convert -O raw`"),
    (b"<<< ", "a vdi image; convert it with `qemu-img convert -O raw`"),
    (b"encrcdsa", "an encrypted dmg image; convert it with `hdiutil convert -format UDTO`"),
    (b"\x3a\xff\x26\xed", "an Android sparse image; convert it with simg2img"),
    (b"version https://git-lfs", "a Git LFS pointer, not the image itself"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it first"),
    (b"Rar!\x1a\x07", "a RAR archive; unpack it first"),
    (b"nix-archive-1", "a NAR; compose an image of a closure with `nixflash compose`"),
];

/// Where a tar archive has its magic.
const TAR: std::ops::Range<usize> = 257..262;

/// What `start` is the start of, where that is known and no image.
#[must_use]
pub fn kind(start: &[u8]) -> Option<&'static str> {
    if let Some((_, kind)) = MAGICS.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Some(kind);
    }
    if start.get(TAR) == Some(b"ustar") {
        return Some("a tar archive; unpack it first");
    }
    let text = start.trim_ascii_start();
    let begins = |word: &[u8]| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    if begins(b"<!doctype html") || begins(b"<html") {
        return Some("an HTML page, perhaps a failed download");
    }
    if begins(b"<?xml") && find(text, b"<bmap") {
        return Some("a block map, not the image it belongs to; name the image, or give it with --bmap");
    }
    begins(b"<?xml").then_some("an XML document")
}

/// What `end` is the end of, where that is known and no image.
#[must_use]
pub fn kind_by_end(end: &[u8]) -> Option<&'static str> {
    // The trailer of a dmg has 512 bytes and begins with "koly".
    let trailer = end.len().checked_sub(512).and_then(|at| end.get(at..at + 4));
    (trailer == Some(b"koly")).then_some("a dmg image; convert it with `hdiutil convert -format UDTO`")
}

fn find(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_image_is_named() {
        for (start, expected) in [
            (&b"QFI\xfb\0\0\0\x03"[..], "qcow2"),
            (b"KDMV\x01", "vmdk"),
            (b"\n  <!DOCTYPE html><title>404", "HTML"),
            (b"<HTML>", "HTML"),
            (b"<?xml version=\"1.0\" ?>\n<!-- This file -->\n<bmap version=\"2.0\">", "block map"),
            (b"<?xml version=\"1.0\"?><Error><Code>AccessDenied", "XML"),
        ] {
            assert!(kind(start).is_some_and(|kind| kind.contains(expected)), "{expected}");
        }
        let mut tar = vec![0; LOOK];
        tar[TAR].copy_from_slice(b"ustar");
        assert!(kind(&tar).is_some_and(|kind| kind.contains("tar")));
        assert_eq!(kind(&[0; LOOK]), None);
        assert_eq!(kind(&[0xeb, 0x3c, 0x90]), None);
        let mut dmg = vec![1; 1000];
        dmg[488..492].copy_from_slice(b"koly");
        assert!(kind_by_end(&dmg).is_some() && kind_by_end(&dmg[..999]).is_none());
    }
}
