//! What a toplevel's fstab and kernel parameters demand of the card: labels, UUIDs, partition identifiers.

use super::{Error, toplevel::Toplevel};
use crate::board::{Board, Role, TableKind};
use crate::format::fstab::{Device, Entry};

/// Identifiers that one partition must carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Label of the file system.
    pub label: Option<String>,
    /// UUID of the file system, as written: 8-4-4-4-12 for ext4, ABCD-1234 for FAT.
    pub uuid: Option<String>,
    /// GPT: the unique GUID; MBR: disk id and number.
    pub partuuid: Option<String>,
    /// GPT: the name.
    pub partlabel: Option<String>,
}

/// What a system demands, and what it leaves unsaid.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Demands {
    /// Of the root.
    pub root: Demand,
    /// Of the FAT with boot files.
    pub boot: Demand,
    /// Directories that fstab mounts something on, so that they exist.
    pub mount_points: Vec<String>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

impl Demands {
    /// Collects what a system demands of a board, or says which line cannot be met.
    pub fn of(toplevel: &Toplevel, board: &Board) -> Result<Self, Error> {
        let refuse = |message: String| Error::Demand {
            system: toplevel.path.name().to_owned(),
            board: board.name.clone(),
            message,
        };
        if toplevel.system != board.system {
            return Err(refuse(format!(
                "it is built for {}, the board is {}",
                toplevel.system, board.system
            )));
        }
        let mut demands = Self::default();
        for entry in &toplevel.fstab {
            demands.entry(entry, board).map_err(refuse)?;
        }
        let params = &toplevel.boot.kernel_params;
        for value in params.iter().filter_map(|param| param.strip_prefix("root=")) {
            demands.root_parameter(value).map_err(refuse)?;
        }
        demands.notice(toplevel, board);
        Ok(demands)
    }

    fn entry(&mut self, entry: &Entry, board: &Board) -> Result<(), String> {
        let line = format!("{} {} {}", entry.spec, entry.mount_point, entry.fs_type);
        if !entry.mount_point.starts_with('/') {
            return Ok(());
        }
        self.mount_points.push(entry.mount_point.clone());
        match entry.mount_point.as_str() {
            "/" => {
                ensure_ext4(entry, &line)?;
                self.root.take(&entry.device).map_err(|what| format!("{what}, from etc/fstab: {line}"))
            }
            "/nix" | "/nix/store" => {
                Err(format!("etc/fstab mounts {line}; nixflash puts the store on the root"))
            }
            point if is_boot_fat(point, entry, board) => {
                self.boot.take(&entry.device).map_err(|what| format!("{what}, from etc/fstab: {line}"))
            }
            _ => Ok(()),
        }
    }

    fn root_parameter(&mut self, value: &str) -> Result<(), String> {
        let device = Device::parse(value);
        match device {
            // The initrd takes the device from its own fstab, which is the same file.
            _ if value == "fstab" => Ok(()),
            Device::Path(_) => {
                self.warnings.push(format!(
                    "the kernel parameter root={value} depends on the order in which disks are found"
                ));
                Ok(())
            }
            _ => self
                .root
                .take(&device)
                .map_err(|what| format!("{what}, from the kernel parameter root={value}")),
        }
    }

    fn notice(&mut self, toplevel: &Toplevel, board: &Board) {
        let boot = board.boot_fat().map(|(_, partition)| partition.role);
        let mounts_boot =
            self.mount_points.iter().any(|point| ["/boot", "/boot/efi", "/efi"].contains(&point.as_str()));
        if boot == Some(Role::Esp) && !mounts_boot {
            self.warnings.push(
                "etc/fstab mounts no EFI system partition: `nixos-rebuild switch` on the machine will not find its boot loader"
                    .to_owned(),
            );
        }
        let grows = toplevel.wants_registration
            || toplevel
                .fstab
                .iter()
                .any(|e| e.mount_point == "/" && e.options.iter().any(|o| o == "x-systemd.growfs"));
        if !grows {
            self.warnings.push(
                "nothing in the system grows its root to the size of the card on the first boot".to_owned(),
            );
        }
    }
}

impl Demand {
    /// Takes over what a device specification says, or names the contradiction.
    fn take(&mut self, device: &Device) -> Result<(), String> {
        let (slot, value, what) = match device {
            Device::Label(value) => (&mut self.label, value, "label"),
            Device::Uuid(value) => (&mut self.uuid, value, "UUID"),
            Device::PartUuid(value) => (&mut self.partuuid, value, "PARTUUID"),
            Device::PartLabel(value) => (&mut self.partlabel, value, "PARTLABEL"),
            Device::Path(path) if path.starts_with("/dev/mapper/") => {
                return Err(format!("it needs the mapped device {path}, which a plain partition is not"));
            }
            Device::Path(_) => return Ok(()),
        };
        match slot {
            Some(other) if other != value => {
                Err(format!("it demands the {what} {other} and the {what} {value} of one partition"))
            }
            _ => {
                *slot = Some(value.clone());
                Ok(())
            }
        }
    }
}

fn ensure_ext4(entry: &Entry, line: &str) -> Result<(), String> {
    match entry.fs_type.as_str() {
        "ext4" | "auto" => Ok(()),
        other => Err(format!("nixflash makes ext4, etc/fstab demands {other}: {line}")),
    }
}

/// Whether an entry means the first FAT of this board.
fn is_boot_fat(point: &str, entry: &Entry, board: &Board) -> bool {
    let Some((_, fat)) = board.boot_fat() else { return false };
    let points: &[&str] = match fat.role {
        Role::Esp => &["/boot", "/boot/efi", "/efi"],
        Role::Firmware => &["/boot/firmware"],
        Role::Root => &[],
    };
    points.contains(&point) && matches!(entry.fs_type.as_str(), "vfat" | "auto")
}

/// The disk id in a PARTUUID of an MBR partition, `2178694e-02`, if it is that of partition `number`.
pub fn disk_id_of(partuuid: &str, number: u32) -> Option<u32> {
    let (disk, part) = partuuid.split_once('-')?;
    if disk.len() != 8 || u32::from_str_radix(part, 16).ok()? != number {
        return None;
    }
    u32::from_str_radix(disk, 16).ok()
}

/// Says that an identifier cannot be given on this kind of table.
pub fn unmet(what: &str, value: &str, table: TableKind) -> String {
    let table = match table {
        TableKind::Mbr => "an MBR",
        TableKind::Gpt => "a GPT",
    };
    format!("it demands the {what} {value:?}, which {table} on this board cannot have")
}
