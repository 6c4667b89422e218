//! Which file of an archive is the image: the one that is no companion of one.

/// How names end that belong to files beside an image, in small letters.
const COMPANIONS: [&str; 22] = [
    ".txt",
    ".md",
    ".rst",
    ".html",
    ".htm",
    ".pdf",
    ".nfo",
    ".url",
    ".json",
    ".xml",
    ".yml",
    ".yaml",
    ".log",
    ".asc",
    ".sig",
    ".minisig",
    ".md5",
    ".sha1",
    ".sha256",
    ".sha512",
    ".sha256sum",
    ".bmap",
];
/// How names of such files begin, in small letters.
const BEGINNINGS: [&str; 8] =
    ["readme", "license", "licence", "copying", "changelog", "sha256sums", "sha512sums", "md5sums"];
/// How names of images end, packed ones by what is before.
const IMAGES: [&str; 7] = [".img", ".raw", ".iso", ".wic", ".sdcard", ".hddimg", ".usb"];
/// How names of packed files end.
const PACKED: [&str; 9] = [".gz", ".xz", ".zst", ".bz2", ".lz4", ".lzma", ".lz", ".zip", ".z"];

/// Whether a file of an archive only stands beside an image: notes, hashes, what macOS adds, what is hidden.
#[must_use]
pub fn is_companion(name: &[u8]) -> bool {
    let name = String::from_utf8_lossy(name).replace('\\', "/").to_lowercase();
    let mut parts = name.split('/').filter(|part| !part.is_empty() && *part != ".").rev();
    let Some(file) = parts.next() else { return true };
    file.starts_with('.')
        || parts.any(|part| part == "__macosx")
        || COMPANIONS.iter().any(|end| file.ends_with(end))
        || BEGINNINGS.iter().any(|start| file.starts_with(start))
}

fn is_named_image(name: &[u8]) -> bool {
    let name = String::from_utf8_lossy(name).to_lowercase();
    let bare = PACKED.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
    IMAGES.iter().any(|end| bare.ends_with(end))
}

/// The one image among the files of an archive, or why there is none.
///
/// # Errors
///
/// In words: that there is no file, or which ones there are.
pub fn choose(names: &[Vec<u8>]) -> Result<&[u8], String> {
    let candidates: Vec<&Vec<u8>> = names.iter().filter(|name| !is_companion(name)).collect();
    let named: Vec<&Vec<u8>> = candidates.iter().copied().filter(|name| is_named_image(name)).collect();
    match (&*candidates, &*named) {
        ([one], _) | (_, [one]) => Ok(one),
        ([], _) => Err("no file in it".to_owned()),
        ([one, two, rest @ ..], _) => Err(more_than_one(one, two, rest.len())),
    }
}

/// What is said of an archive with several files that may be the image.
pub(super) fn more_than_one(one: &[u8], two: &[u8], others: usize) -> String {
    let (one, two) = (String::from_utf8_lossy(one), String::from_utf8_lossy(two));
    let others = if others == 0 { String::new() } else { format!(", and {others} more") };
    format!("it holds more than one file: {one} and {two}{others}; unpack it, and give the image")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_what_is_left_without_its_companions() {
        let names = |names: &[&str]| names.iter().map(|name| name.as_bytes().to_vec()).collect::<Vec<_>>();
        for (files, expected) in [
            (&["pi.img"][..], Some("pi.img")),
            (&["README.txt", "out/pi.img", "out/pi.img.sha256"], Some("out/pi.img")),
            (&["pi.img", "__MACOSX/._pi.img", ".DS_Store"], Some("pi.img")),
            (&["flash-all.sh", "sdcard.img.xz"], Some("sdcard.img.xz")),
            (&["disk"], Some("disk")),
            (&["a.img", "b.img"], None),
            (&["boot.bin", "rootfs.bin"], None),
            (&["README.md"], None),
            (&[], None),
        ] {
            let found = choose(&names(files)).ok().map(|name| String::from_utf8(name.to_vec()).unwrap());
            assert_eq!(found.as_deref(), expected, "{files:?}");
        }
    }
}
