//! What the system has mounted and swaps to.
//!
//! Parsed here and not taken from `blockdev`, which drops swap on a disk that is mounted too, knows nothing of btrfs on
//! several disks, and fails as a whole when a single mount point is not UTF-8. A guard may not miss any of these.

use super::roots::{DeviceNumber, Roots};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// One line of `/proc/self/mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    pub number: DeviceNumber,
    pub at: PathBuf,
    pub kind: Vec<u8>,
    pub source: PathBuf,
}

/// What is mounted and swapped to, in the order of the kernel.
pub(crate) struct Mounts {
    pub mounts: Vec<Mount>,
    /// Devices and files of `/proc/swaps`.
    pub swaps: Vec<PathBuf>,
    /// The kernel names of the devices of each mounted btrfs.
    btrfs: Vec<BTreeSet<String>>,
}

impl Mounts {
    pub fn read(roots: &Roots) -> io::Result<Self> {
        let mountinfo = std::fs::read(roots.place("proc/self/mountinfo"))?;
        let swaps = match std::fs::read(roots.place("proc/swaps")) {
            Ok(text) => parse_swaps(&text),
            // A kernel without swap has no such file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let mounts = mountinfo.split(|b| *b == b'\n').filter_map(parse_mount).collect();
        Ok(Self { mounts, swaps, btrfs: btrfs_devices(roots) })
    }

    /// Where a device is mounted, given its number and the paths that name it.
    pub fn of_device(&self, number: DeviceNumber, name: &str, paths: &[PathBuf]) -> Vec<PathBuf> {
        let peers = self.btrfs.iter().find(|devices| devices.contains(name));
        let is_peer = |mount: &Mount| {
            let source = mount.source.file_name().and_then(OsStr::to_str);
            mount.kind == b"btrfs" && peers.zip(source).is_some_and(|(peers, name)| peers.contains(name))
        };
        let is_here =
            |mount: &&Mount| mount.number == number || paths.contains(&mount.source) || is_peer(mount);
        self.mounts.iter().filter(is_here).map(|mount| mount.at.clone()).collect()
    }

    /// Whether a device is a part of a mounted btrfs.
    pub fn is_in_btrfs(&self, name: &str) -> bool {
        self.btrfs.iter().any(|devices| devices.contains(name))
    }

    /// The mount that a path of the system lies on.
    pub fn holding(&self, path: &Path) -> Option<&Mount> {
        // The last of equally long ones covers the others.
        let longest = |mount: &&Mount| mount.at.components().count();
        self.mounts.iter().filter(|mount| path.starts_with(&mount.at)).max_by_key(longest)
    }
}

/// Format: `id parent major:minor root target options [optional...] - type source options` (proc(5)).
fn parse_mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|b| *b == b' ');
    let number = DeviceNumber::parse(std::str::from_utf8(fields.nth(2)?).ok()?)?;
    let at = path(fields.nth(1)?);
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    Some(Mount { number, at, kind: rest.next()?.to_vec(), source: path(rest.next()?) })
}

fn parse_swaps(text: &[u8]) -> Vec<PathBuf> {
    let lines = text.split(|b| *b == b'\n').skip(1);
    let first = |line: &[u8]| line.split(|b| matches!(b, b' ' | b'\t')).next().map(path);
    lines.filter_map(first).filter(|path| !path.as_os_str().is_empty()).collect()
}

/// Undoes the kernel's escapes: a backslash and three octal digits.
fn path(escaped: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(escaped.len());
    let mut rest = escaped;
    while let [first, tail @ ..] = rest {
        match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] => {
                out.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = tail;
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

/// `/sys/fs/btrfs/UUID/devices/NAME`: there as long as the file system is mounted.
fn btrfs_devices(roots: &Roots) -> Vec<BTreeSet<String>> {
    let names = |directory: PathBuf| -> Option<BTreeSet<String>> {
        let entries = std::fs::read_dir(directory).ok()?;
        Some(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    };
    let Ok(entries) = std::fs::read_dir(roots.place("sys/fs/btrfs")) else { return Vec::new() };
    entries.flatten().filter_map(|entry| names(entry.path().join("devices"))).collect()
}

/// Whether `path` is below `directory` or is it, without regard to what exists.
pub(crate) fn is_below(path: &Path, directory: &str) -> bool {
    path.starts_with(OsStr::from_bytes(directory.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_with_blanks_and_other_bytes_is_found() {
        let line = b"36 35 98:0 /mnt1 /mnt/a\\040b\\134\xff rw,noatime master:1 - ext3 /dev/root rw";
        let mount = parse_mount(line).unwrap();
        assert_eq!(mount.at.as_os_str().as_bytes(), b"/mnt/a b\\\xff");
        assert_eq!(mount.number, DeviceNumber { major: 98, minor: 0 });
        assert_eq!((mount.kind, mount.source), (b"ext3".to_vec(), PathBuf::from("/dev/root")));
        assert_eq!(parse_mount(b"36 35 98:0 / /mnt rw"), None);
        assert_eq!(parse_mount(b""), None);
    }

    #[test]
    fn swaps_are_paths() {
        let text = b"Filename\tType\tSize\n/dev/sda2 partition 4 0 -2\n/swap\\040file file 4 0 -3\n";
        assert_eq!(parse_swaps(text), [PathBuf::from("/dev/sda2"), PathBuf::from("/swap file")]);
    }
}
