//! Where the paths of the running system lie on the card.

use super::finding::Origin;
use crate::format::boot::fstab::Entry;

/// How many bind mounts a path may lead over.
const MAX_BINDS: u32 = 8;

/// What a mount point leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The ext4 of the card.
    Root,
    /// The FAT with boot files.
    Boot,
    /// Memory, which is empty after each boot.
    Memory,
    /// Another path.
    Bind(String),
    /// Something that is not on the card.
    Elsewhere,
}

impl Kind {
    /// What it is called.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Root => "on the ext4",
            Self::Boot => "on the FAT",
            Self::Memory => "in memory",
            Self::Bind(_) => "another path",
            Self::Elsewhere => "on another disk",
        }
    }
}

/// A line of fstab, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: String,
    /// What it leads to.
    pub kind: Kind,
    /// Where that is written.
    pub origin: Origin,
}

/// Where a path is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the ext4; the path is that of the running system.
    Root(String),
    /// On the FAT, below this path, which is empty for its top.
    Boot(String),
    /// Not on the card, as is written there.
    Lost(Origin),
}

/// The mounts of a system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounts {
    mounts: Vec<Mount>,
}

impl Mounts {
    /// Adds one; the first of a mount point counts.
    pub fn add(&mut self, mount: Mount) {
        if !self.mounts.iter().any(|known| known.point == mount.point) {
            self.mounts.push(mount);
        }
    }

    /// What is mounted at a path.
    pub fn get(&self, point: &str) -> Option<&Mount> {
        self.mounts.iter().find(|mount| mount.point == point)
    }

    /// Whether the FAT is mounted at a path.
    pub fn has_boot_at(&self, path: &str) -> bool {
        self.mounts.iter().any(|mount| mount.kind == Kind::Boot && mount.point == path)
    }

    /// Whether the root is memory.
    pub fn has_root_in_memory(&self) -> bool {
        self.mounts.iter().any(|mount| mount.kind == Kind::Memory && mount.point == "/")
    }

    /// Where a path is kept.
    pub fn place(&self, path: &str) -> Place {
        let mut path = path.to_owned();
        for _ in 0..MAX_BINDS {
            let below = |mount: &&Mount| below(&path, &mount.point).is_some();
            let Some(mount) = self.mounts.iter().filter(below).max_by_key(|mount| mount.point.len()) else {
                return Place::Root(path);
            };
            // cannot fail: the filter above
            let rest = below_of(&path, &mount.point);
            match &mount.kind {
                Kind::Root => return Place::Root(path),
                Kind::Boot => return Place::Boot(rest),
                Kind::Memory | Kind::Elsewhere => return Place::Lost(mount.origin.clone()),
                Kind::Bind(to) => path = format!("{}{rest}", to.trim_end_matches('/')),
            }
        }
        Place::Lost(Origin::words("etc/fstab", format!("bind mounts of {path} lead in a circle")))
    }
}

/// What follows a mount point in a path below it.
fn below<'a>(path: &'a str, point: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(point.trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

fn below_of(path: &str, point: &str) -> String {
    below(path, point).unwrap_or_default().trim_end_matches('/').to_owned()
}

/// Kinds of file systems that need no partition of this card.
const WITHOUT_PARTITION: [&str; 20] = [
    "9p",
    "autofs",
    "bpf",
    "cgroup2",
    "cifs",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "hugetlbfs",
    "mqueue",
    "nfs",
    "nfs4",
    "overlay",
    "proc",
    "securityfs",
    "sysfs",
    "tracefs",
    "virtiofs",
];

/// Whether a line mounts memory.
pub fn is_memory(entry: &Entry) -> bool {
    matches!(entry.fs_type.as_str(), "tmpfs" | "ramfs")
}

/// Whether a line mounts another path of the system.
pub fn is_bind(entry: &Entry) -> bool {
    entry.has_option("bind") || entry.has_option("rbind")
}

/// Whether a line needs a partition somewhere.
pub fn needs_partition(entry: &Entry) -> bool {
    let kind = entry.fs_type.as_str();
    !WITHOUT_PARTITION.contains(&kind) && !kind.starts_with("fuse") && !is_memory(entry) && !is_bind(entry)
}

/// Whether the boot goes on where a line cannot be mounted.
pub fn is_optional(entry: &Entry) -> bool {
    ["nofail", "noauto", "x-systemd.automount"].iter().any(|option| entry.has_option(option))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_lies_where_the_longest_mount_point_leads() {
        let mut mounts = Mounts::default();
        let mut add = |point: &str, kind: Kind| {
            let origin = Origin::words("etc/fstab", point);
            mounts.add(Mount { point: point.to_owned(), kind, origin });
        };
        add("/", Kind::Memory);
        add("/nix", Kind::Root);
        add("/boot", Kind::Bind("/nix/boot/".to_owned()));
        add("/boot/firmware", Kind::Boot);
        add("/a", Kind::Bind("/b".to_owned()));
        add("/b", Kind::Bind("/a".to_owned()));
        assert_eq!(mounts.place("/nix/store"), Place::Root("/nix/store".to_owned()));
        assert_eq!(mounts.place("/boot"), Place::Root("/nix/boot".to_owned()));
        assert_eq!(mounts.place("/boot/extlinux"), Place::Root("/nix/boot/extlinux".to_owned()));
        assert_eq!(mounts.place("/boot/firmware"), Place::Boot(String::new()));
        assert_eq!(mounts.place("/boot/firmware/x"), Place::Boot("/x".to_owned()));
        assert_eq!(mounts.place("/nixos"), Place::Lost(Origin::words("etc/fstab", "/")));
        assert!(matches!(mounts.place("/a"), Place::Lost(origin) if origin.text.contains("circle")));
        assert!(mounts.has_root_in_memory() && mounts.has_boot_at("/boot/firmware"));
        assert_eq!(Mounts::default().place("/boot"), Place::Root("/boot".to_owned()));
    }
}
