//! What an initrd says of itself: the drivers in it, and the file systems that it mounts.

use crate::compose::closure::Forest;
use crate::format::boot::cpio;
use crate::format::boot::fstab;
use crate::format::boot::fstab::Entry;
use std::collections::BTreeSet;
use std::io::{self, Read};

/// The longest list of file systems that is read, in bytes.
const MAX_FSTAB: u64 = 1 << 20;

/// What is known of an initrd.
#[derive(Debug, Default)]
pub struct Initrd {
    /// Drivers in it, with underscores as the kernel writes them.
    pub modules: BTreeSet<String>,
    /// Its own list of file systems, which it obeys rather than `etc/fstab`: the name of the file, and the lines.
    pub fstab: Option<(String, Vec<Entry>)>,
    /// Whether it has the program that makes a partition as large as its disk.
    pub has_growpart: bool,
    /// Whether it has a unit that makes `/etc` writable above the closure's.
    pub has_writable_etc: bool,
}

/// Reads an initrd; the message says why one cannot be read.
pub fn read(forest: &Forest, path: &str) -> Result<Initrd, String> {
    let packed = forest.open_file(path).map_err(|error| error.to_string())?;
    let packed = packed.ok_or_else(|| "is not in the closure".to_owned())?;
    let mut initrd = Initrd::default();
    let mut visit = |entry: &cpio::Entry, contents: &mut dyn Read| initrd.take(entry, contents);
    cpio::read(packed, &mut visit).map_err(|error| error.to_string())?;
    Ok(initrd)
}

impl Initrd {
    fn take(&mut self, entry: &cpio::Entry, contents: &mut dyn Read) -> io::Result<()> {
        let base = entry.name.rsplit('/').next().unwrap_or_default();
        if base == "rw-etc.service" {
            self.has_writable_etc = true;
        }
        self.has_growpart |= base == "growpart";
        if !entry.is_file() {
            return Ok(());
        }
        if let Some(module) = module(base) {
            self.modules.insert(module);
        }
        let scripted = base.ends_with("-initrd-fsinfo");
        if (scripted || base.ends_with("-initrd-fstab")) && entry.len <= MAX_FSTAB {
            let mut text = String::new();
            contents.take(MAX_FSTAB).read_to_string(&mut text)?;
            let mut entries = if scripted {
                fsinfo(&text)
            } else {
                fstab::parse(&text).map_err(|error| io::Error::other(format!("{base}: {error}")))?
            };
            for entry in &mut entries {
                // The initrd has the root to be at /sysroot; mostly that is left unsaid.
                if let Some(rest) = entry.mount_point.strip_prefix("/sysroot") {
                    entry.mount_point = if rest.is_empty() { "/".to_owned() } else { rest.to_owned() };
                }
            }
            self.fstab = Some((base.split_once('-').map_or(base, |(_, name)| name).to_owned(), entries));
        }
        Ok(())
    }
}

/// The list of scripted stage 1: mount point, device, type and options of each, a line for each word.
fn fsinfo(text: &str) -> Vec<Entry> {
    let lines: Vec<&str> = text.lines().collect();
    let entry = |(at, chunk): (usize, &[&str])| match chunk {
        [mount_point, spec, fs_type, options] => Some(Entry {
            line: at * 4 + 1,
            spec: (*spec).to_owned(),
            device: fstab::Device::parse(spec),
            mount_point: (*mount_point).to_owned(),
            fs_type: (*fs_type).to_owned(),
            options: options.split(',').map(str::to_owned).collect(),
            dump: 0,
            pass: 0,
        }),
        _ => None,
    };
    lines.chunks(4).enumerate().filter_map(entry).collect()
}

/// The name of a driver by its file, as the kernel writes it: `usb_storage` for `usb-storage.ko.xz`.
pub fn module(file: &str) -> Option<String> {
    let (name, packed) = file.split_once(".ko")?;
    matches!(packed, "" | ".xz" | ".zst" | ".gz").then(|| name.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_are_known_by_their_files() {
        for (file, name) in [
            ("usb-storage.ko.xz", Some("usb_storage")),
            ("mmc_block.ko", Some("mmc_block")),
            ("a.ko.zst", Some("a")),
            ("a.ko.txt", None),
            ("modules.dep", None),
        ] {
            assert_eq!(module(file).as_deref(), name, "{file}");
        }
    }

    #[test]
    fn the_list_of_scripted_stage_1_is_read() {
        let entries =
            fsinfo("/\n/dev/disk/by-label/x\next4\nrw,noatime\n/nix\nUUID=1\next4\ndefaults\n/cut\n");
        assert_eq!(entries.len(), 2);
        assert_eq!((entries[0].line, &entries[0].mount_point[..], &entries[0].fs_type[..]), (1, "/", "ext4"));
        assert_eq!(entries[0].options, ["rw", "noatime"]);
        assert_eq!((entries[1].line, &entries[1].spec[..]), (5, "UUID=1"));
    }
}
