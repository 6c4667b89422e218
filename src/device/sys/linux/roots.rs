//! Where the system's view of its devices is read: `/sys`, `/proc`, `/dev` and `/run` below one directory.

use std::fmt;
use std::path::{Path, PathBuf};

/// The directory that holds `sys`, `proc`, `dev` and `run`: the root, or a tree made by a test.
#[derive(Clone, Debug)]
pub struct Roots {
    root: PathBuf,
}

impl Roots {
    /// The running system.
    #[must_use]
    pub fn system() -> Self {
        Self::at("/")
    }

    /// A system whose `sys`, `proc`, `dev` and `run` are below `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The place of an absolute path of the system.
    pub(crate) fn place(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The directory of a whole disk in sysfs.
    pub(crate) fn block(&self, name: &str) -> PathBuf {
        self.place("sys/class/block").join(name)
    }
}

/// The number of a device: what `st_rdev` says of its node and `st_dev` of what lies on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceNumber {
    /// The driver.
    pub major: u32,
    /// Which of the driver's devices.
    pub minor: u32,
}

impl DeviceNumber {
    /// Takes apart what `stat` reports. Layout: `gnu_dev_major` and `gnu_dev_minor` of glibc.
    #[must_use]
    pub fn of_stat(number: u64) -> Self {
        let low = |n: u64| u32::try_from(n & u64::from(u32::MAX)).unwrap_or(0);
        Self {
            major: low(((number >> 8) & 0xfff) | ((number >> 32) & 0xffff_f000)),
            minor: low((number & 0xff) | ((number >> 12) & 0xffff_ff00)),
        }
    }

    /// Parses `8:16`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.trim().split_once(':')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// An attribute of sysfs without the white space around it; `None` when it is not there or empty.
pub(crate) fn attribute(path: &Path) -> Option<String> {
    let bytes = std::fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

/// A number of sysfs.
pub(crate) fn number(path: &Path) -> Option<u64> {
    attribute(path)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_taken_apart_as_glibc_does() {
        for (number, major, minor) in
            [(0x0810, 8, 16), (0xb300, 179, 0), (0x0010_0301, 3, 257), (0xfd00, 253, 0), (0, 0, 0)]
        {
            assert_eq!(DeviceNumber::of_stat(number), DeviceNumber { major, minor }, "{number:#x}");
        }
        assert_eq!(DeviceNumber::parse("8:16\n"), Some(DeviceNumber { major: 8, minor: 16 }));
        assert_eq!(DeviceNumber::parse("8"), None);
        assert_eq!(DeviceNumber::parse("8:x"), None);
    }
}
