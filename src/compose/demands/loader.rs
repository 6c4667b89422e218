//! Which boot loader files are written and where: what the system's own builder would do, as far as the board allows.

use super::contract::Contract;
use super::finding::Origin;
use super::mounts::Place;
use crate::board::{Board, Loader};
use crate::compose::closure::Forest;
use crate::compose::demands::loading::Loading;
use crate::compose::installer::{Extlinux, Installer, LANZABOOTE, SystemdBoot};
use crate::compose::system::toplevel::Toplevel;

const SWITCH: &str = "bin/switch-to-configuration";

impl Contract {
    /// Takes over the flags of the builder, or says that another boot loader will be looked after.
    pub(crate) fn loader(&mut self, system: &Toplevel, board: &Board, _forest: &Forest) {
        let origin = Origin::file(SWITCH);
        self.names_of_files(system, board);
        match (board.loader, &system.installer) {
            (Loader::Extlinux, Installer::Extlinux(builders)) => {
                self.met("it keeps U-Boot's extlinux.conf", origin);
                self.extlinux(builders.clone());
            }
            (Loader::SystemdBoot, Installer::SystemdBoot(builder)) => {
                self.met("it keeps systemd-boot", origin);
                self.systemd_boot(builder);
            }
            (Loader::RaspberryPi, Installer::RaspberryPi(builder)) => {
                self.met("it keeps kernels beside the firmware", origin.clone());
                if !self.mounts.has_boot_at(&builder.firmware) {
                    let message = format!(
                        "etc/fstab does not mount the FAT at {}, where it keeps them",
                        builder.firmware
                    );
                    self.warn(message, Some(origin));
                }
                self.loading = Loading::RaspberryPi(builder.clone());
            }
            (loader, other) => {
                self.other(loader, other, origin);
                if loader == Loader::Extlinux {
                    self.extlinux(vec![Extlinux::default()]);
                }
            }
        }
    }

    /// Names and files that the boot loader's partition must have.
    fn names_of_files(&mut self, system: &Toplevel, board: &Board) {
        if board.loader == Loader::Extlinux {
            return;
        }
        for (name, _) in &system.specialisations {
            let is_odd = |c: char| c.is_control() || "\"*/:<>?\\|".contains(c);
            if name.contains(is_odd) || name.ends_with(['.', ' ']) {
                let message = format!("a FAT cannot have the name of its specialisation {name:?}");
                self.refuse(message, Some(Origin::file(format!("specialisation/{name}"))));
            }
        }
        if let (Loader::SystemdBoot, Some(first)) = (board.loader, system.extra_initrds.first()) {
            let message = format!(
                "it has systemd-boot load the initrd {first} from the boot partition, which nothing in the closure makes: the machine that it is for brings it"
            );
            self.refuse(message, Some(Origin::words("boot.json", "org.nixos.extra-initrd.v1")));
        }
    }

    fn other(&mut self, loader: Loader, installer: &Installer, origin: Origin) {
        if matches!(installer, Installer::Other(name) if name == LANZABOOTE) {
            let message = "it starts by lanzaboote, whose installer signs each kernel with keys of the machine; they are not in the closure, and nixflash has no such keys";
            self.refuse(message, Some(origin));
            return;
        }
        let keeps = match installer {
            Installer::Extlinux(_) => "extlinux.conf for U-Boot".to_owned(),
            Installer::SystemdBoot(_) => "systemd-boot".to_owned(),
            Installer::RaspberryPi(_) => "kernels beside the firmware".to_owned(),
            Installer::Other(name) => name.clone(),
            Installer::None => "no boot loader".to_owned(),
        };
        let board = match loader {
            Loader::Extlinux => "U-Boot with extlinux.conf",
            Loader::SystemdBoot => "systemd-boot",
            Loader::RaspberryPi => "the firmware, with kernels beside it",
        };
        let message = format!(
            "the system keeps {keeps}, the board starts with {board}: `nixos-rebuild switch` on the machine will not change what this card boots"
        );
        self.warn(message, Some(origin));
    }

    /// U-Boot looks in `/extlinux` and `/boot/extlinux` of the partition that is flagged active.
    fn extlinux(&mut self, builders: Vec<Extlinux>) {
        let mut places = Vec::new();
        let mut lost = None;
        for builder in builders {
            match self.mounts.place(&builder.directory) {
                Place::Lost(origin) => lost = Some(origin),
                place => places.push((builder, place)),
            }
        }
        let in_memory = self.mounts.has_root_in_memory();
        let seen = |place: &Place| {
            let inner = match place {
                Place::Root(path) if in_memory => path.strip_prefix("/nix"),
                Place::Root(path) | Place::Boot(path) => Some(path.as_str()),
                Place::Lost(_) => None,
            };
            matches!(inner, Some("" | "/" | "/boot"))
        };
        let Some(first) = places.iter().position(|(_, place)| seen(place)) else {
            let message = "U-Boot looks for extlinux.conf at the top of a partition of the card and in its /boot; the system keeps it elsewhere";
            self.refuse(message, lost);
            return;
        };
        places.swap(0, first);
        let on_fat = matches!(places[0].1, Place::Boot(_));
        // One partition is active; another that holds the same files is written too.
        if on_fat {
            self.warn(
                "kernels go onto the FAT with the firmware, where etc/fstab mounts it: --boot-size gives it more room",
                None,
            );
        }
        self.loading = Loading::Extlinux(places);
    }

    fn systemd_boot(&mut self, builder: &SystemdBoot) {
        if !self.mounts.has_boot_at(&builder.esp) {
            let message = format!(
                "etc/fstab does not mount the EFI system partition at {}, where the system keeps its boot loader",
                builder.esp
            );
            self.warn(message, Some(Origin::file(SWITCH)));
        }
        if builder.boot != builder.esp {
            let message = format!(
                "the system keeps kernels on a partition of their own (XBOOTLDR) at {}, which this board has not",
                builder.boot
            );
            self.refuse(message, Some(Origin::file(SWITCH)));
        }
        if builder.more {
            let message = "the system copies more files or runs more commands after it has installed systemd-boot, which nixflash does not";
            self.warn(message, Some(Origin::file(SWITCH)));
        }
        self.loading = Loading::SystemdBoot(Box::new(builder.clone()));
    }
}
