//! Devices that a system names: in `etc/fstab`, in its initrd, in the kernel's parameters.

use super::claims::Unmet;
use super::contract::Contract;
use super::demand::Target;
use super::finding::Origin;
use super::finding::Verdict;
use super::mounts;
use super::mounts::{Kind, Mount};
use crate::board::{Board, Role, TableKind};
use crate::compose::closure::Forest;
use crate::compose::system::toplevel::{FIXED_INIT, Toplevel};
use crate::format::boot::fstab::{self, Device, Entry};

/// The lists of file systems of a system, with what they are called.
fn lists(system: &Toplevel) -> Vec<(String, &[Entry])> {
    let mut lists = vec![("etc/fstab".to_owned(), &system.fstab[..])];
    if let Ok(initrd) = &system.initrd
        && let Some((name, entries)) = &initrd.fstab
    {
        lists.push((format!("{name} in its initrd"), entries));
    }
    lists
}

fn origin(file: &str, entry: &Entry) -> Origin {
    let text = format!("{} {} {}", entry.spec, entry.mount_point, entry.fs_type);
    Origin { file: file.to_owned(), line: Some(entry.line), text }
}

fn root_in_memory(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| entry.mount_point == "/" && mounts::is_memory(entry))
}

/// What a line means on this board.
fn target(entry: &Entry, entries: &[Entry], board: &Board) -> Option<Target> {
    let point = entry.mount_point.as_str();
    if mounts::is_bind(entry) || mounts::is_memory(entry) {
        return None;
    }
    match point {
        "/" => Some(Target::Root),
        "/nix" if root_in_memory(entries) => Some(Target::Root),
        _ => {
            let points: &[&str] = match board.boot_fat()?.1.role {
                Role::Esp => &["/boot", "/boot/efi", "/efi"],
                Role::Firmware => &["/boot/firmware", "/boot"],
                Role::Root => &[],
            };
            (points.contains(&point) && matches!(entry.fs_type.as_str(), "vfat" | "auto"))
                .then_some(Target::Boot)
        }
    }
}

/// The directory that a bind mount needs before the system runs: without it the boot stops.
fn bind_source(entry: &Entry) -> Option<&str> {
    let source = entry.spec.as_str();
    let is_early = entry.has_option("x-initrd.mount") && mounts::is_bind(entry);
    let is_made_here = source.starts_with('/') && source != "/" && !source.starts_with("/nix/store");
    (is_early && is_made_here && !mounts::is_optional(entry)).then_some(source)
}

impl Contract {
    /// What the lines of every list demand.
    pub(crate) fn devices(&mut self, system: &Toplevel, board: &Board) {
        let lists = lists(system);
        // What the boot can do without comes last: it must not take an identifier from what it cannot.
        for optional in [false, true] {
            for (file, entries) in &lists {
                for entry in entries.iter().filter(|entry| mounts::is_optional(entry) == optional) {
                    self.entry(file, entry, entries, board);
                }
            }
        }
        for (file, entries) in lists {
            if root_in_memory(entries) && !entries.iter().any(|entry| entry.mount_point == "/nix") {
                let root = entries.iter().find(|entry| entry.mount_point == "/");
                let origin = root.map(|entry| origin(&file, entry));
                self.refuse(
                    "its root is in memory, and no ext4 is mounted at /nix to hold the store",
                    origin,
                );
            }
        }
    }

    fn entry(&mut self, file: &str, entry: &Entry, entries: &[Entry], board: &Board) {
        let here = origin(file, entry);
        if !entry.mount_point.starts_with('/') {
            if entry.fs_type == "swap" && entry.spec.starts_with("/dev/") && !mounts::is_optional(entry) {
                self.warn("it swaps to a partition that this card has not", Some(here));
            }
            return;
        }
        if !self.mount_points.contains(&entry.mount_point) {
            self.mount_points.push(entry.mount_point.clone());
        }
        if let Some(source) = bind_source(entry) {
            self.mount_points.push(source.to_owned());
        }
        match target(entry, entries, board) {
            Some(target) => self.partition(entry, target, here, board),
            None if ["/nix", "/nix/store"].contains(&entry.mount_point.as_str())
                && mounts::needs_partition(entry) =>
            {
                self.refuse("this card has one partition for the root and the store", Some(here));
            }
            None if !mounts::needs_partition(entry) || mounts::is_optional(entry) => {}
            None => {
                let point = &entry.mount_point;
                let message =
                    format!("{point} is not on this card: without another disk that has it the boot stops");
                self.warn(message, Some(here));
            }
        }
    }

    /// A line that means a partition of the card.
    fn partition(&mut self, entry: &Entry, target: Target, here: Origin, board: &Board) {
        let kind = entry.fs_type.as_str();
        if target == Target::Root && !matches!(kind, "ext4" | "auto") {
            self.refuse(format!("nixflash makes ext4, the system mounts {kind}"), Some(here));
            return;
        }
        if entry.has_option("X-mount.subdir") {
            self.refuse("X-mount.subdir makes a directory the root, and nixflash fills the top", Some(here));
            return;
        }
        if let Err(unmet) = self.take(&entry.device, target, board, &here) {
            // The boot goes on without the FAT: the firmware and U-Boot have read it by then.
            let optional = target == Target::Boot && mounts::is_optional(entry);
            self.unmet(if optional { Verdict::Warning } else { Verdict::Refused }, unmet, here);
            return;
        }
        self.met(format!("the {} is mounted at {}", target.name(), entry.mount_point), here.clone());
        self.certain(&entry.device, &entry.spec, target, here);
    }

    fn take(&mut self, device: &Device, target: Target, board: &Board, here: &Origin) -> Result<(), Unmet> {
        let demand = match target {
            Target::Root => &mut self.root,
            Target::Boot => &mut self.boot,
        };
        self.claims.take(device, (target, demand), board, here)
    }

    /// Warns of devices that may be there under another name.
    fn certain(&mut self, device: &Device, spec: &str, target: Target, here: Origin) {
        if let Some(against) = self.claims.other_disk(device).cloned() {
            let message =
                "two lines name two disks, and this is one card: one of them will not be found".to_owned();
            self.unmet(Verdict::Warning, Unmet { message, against: Some(against) }, here.clone());
        }
        match device {
            Device::Path(_) if spec.starts_with("/dev/disk/by-") => {
                self.warn(format!("{spec} depends on the reader and the card"), Some(here));
            }
            Device::Path(_) => {
                self.warn(format!("{spec} depends on the order in which disks are found"), Some(here));
            }
            Device::Uuid(uuid) | Device::PartUuid(uuid) => {
                let upper = target == Target::Boot && matches!(device, Device::Uuid(_));
                let usual = if upper { uuid.to_uppercase() } else { uuid.to_lowercase() };
                if *uuid != usual {
                    let message = format!("udev writes {usual}: {uuid} may never be found");
                    self.warn(message, Some(here));
                }
            }
            Device::Label(name) | Device::PartLabel(name) => {
                let link = spec.strip_prefix("/dev/disk/by-").and_then(|rest| rest.split_once('/'));
                let made = fstab::link_name(name);
                if let Some((_, written)) = link.filter(|(_, written)| *written != made) {
                    let message = format!("udev makes a link {made}, and never one {written}");
                    self.refuse(message, Some(here));
                }
            }
        }
    }

    /// Where the paths of the running system lie.
    pub(crate) fn mounts_of(&mut self, system: &Toplevel, board: &Board) {
        for (file, entries) in lists(system) {
            for entry in entries.iter().filter(|entry| entry.mount_point.starts_with('/')) {
                let kind = match target(entry, entries, board) {
                    Some(Target::Root) => Kind::Root,
                    Some(Target::Boot) => Kind::Boot,
                    None if mounts::is_memory(entry) => Kind::Memory,
                    // A directory bound to itself stays where it is; that makes it read-only.
                    None if mounts::is_bind(entry) && entry.spec == entry.mount_point => continue,
                    None if mounts::is_bind(entry) => Kind::Bind(entry.spec.clone()),
                    None => Kind::Elsewhere,
                };
                let point = entry.mount_point.clone();
                self.mount(Mount { point, kind, origin: origin(&file, entry) });
            }
        }
    }

    /// Adds a mount; where the store lies must be the same in every list.
    fn mount(&mut self, mount: Mount) {
        let known = self.mounts.get(&mount.point).filter(|known| known.kind != mount.kind);
        if let Some(known) = known.filter(|_| ["/", "/nix", "/nix/store"].contains(&mount.point.as_str())) {
            let (point, here, there) = (&mount.point, mount.kind.name(), known.kind.name());
            let message = format!("{point} is {here} by one line and {there} by another");
            let against = Some(known.origin.clone());
            self.unmet(Verdict::Refused, Unmet { message, against }, mount.origin.clone());
        }
        self.mounts.add(mount);
    }

    /// What the kernel's parameters demand.
    pub(crate) fn parameters(&mut self, system: &Toplevel, board: &Board, forest: &Forest) {
        let mut root = None;
        let mut inits = Vec::new();
        for param in system.kernel_params.split_ascii_whitespace() {
            let here = Origin::words("kernel-params", param);
            match param.split_once('=') {
                Some(("root", value)) => {
                    root = Some(value);
                    self.root_parameter(value, here, board);
                }
                Some(("rootfstype", kind))
                    if !kind.split(',').any(|kind| matches!(kind, "ext4" | "auto" | "tmpfs")) =>
                {
                    self.refuse(format!("nixflash makes ext4, the kernel is to mount {kind}"), Some(here));
                }
                Some(("init", path)) => inits.push(path.to_owned()),
                _ => {}
            }
        }
        let named = system.fstab.iter().any(|entry| entry.mount_point == "/");
        if root.is_none() && !named {
            self.warn("neither etc/fstab nor root= says what the root is", None);
        }
        self.inits(&inits, system, forest);
    }

    fn root_parameter(&mut self, value: &str, here: Origin, board: &Board) {
        match value {
            // The initrd takes the device from its own fstab.
            "fstab" | "tmpfs" => return,
            "gpt-auto" if board.table == TableKind::Mbr => {
                self.refuse("it looks for its root by the type in a GPT; this board has an MBR", Some(here));
                return;
            }
            "gpt-auto" => {
                self.met("the root is found by its type in the GPT", here);
                return;
            }
            _ => {}
        }
        let device = Device::parse(value);
        match self.take(&device, Target::Root, board, &here) {
            Ok(()) => {
                self.met("the root is the ext4", here.clone());
                self.certain(&device, value, Target::Root, here);
            }
            Err(unmet) => self.unmet(Verdict::Refused, unmet, here),
        }
    }

    /// Every builder puts an `init=` of its own before the parameters; the kernel obeys the last.
    fn inits(&mut self, inits: &[String], system: &Toplevel, forest: &Forest) {
        let Some(last) = inits.last() else { return };
        let here = Origin::words("kernel-params", format!("init={last}"));
        if system.has_nixos_init {
            self.refuse("nixos-init demands exactly one init=, and the boot loader adds its own", Some(here));
        } else if last == FIXED_INIT {
            self.met("the system is started by a fixed name", here);
        } else if forest.resolve(last).is_none() {
            self.refuse("the program that the kernel is to start is not in the closure", Some(here));
        }
    }
}
