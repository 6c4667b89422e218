//! All that generations demand of a card, held against a board.

use super::claims::Claims;
use super::claims::Unmet;
use super::demand::Demand;
use super::finding::Finding;
use super::finding::Origin;
use super::finding::Verdict;
use super::loading::Loading;
use super::mounts::Mounts;
use crate::board::Board;
use crate::board::Role;
use crate::compose::closure::Forest;
use crate::compose::error::Error;
use crate::compose::installer::Installer;
use crate::compose::system::toplevel::Toplevel;
use crate::escape;

/// What systems demand of one card, and how each demand fares.
#[derive(Debug)]
pub struct Contract {
    /// What the ext4 must carry.
    pub root: Demand,
    /// What the FAT with boot files must carry.
    pub boot: Demand,
    /// Directories that something is mounted on, so that they exist.
    pub mount_points: Vec<String>,
    /// Where paths of the running system lie.
    pub mounts: Mounts,
    /// Which boot loader files are written, and where.
    pub loading: Loading,
    /// Everything that was found, in the order of looking.
    pub findings: Vec<Finding>,
    /// Which line demands what.
    pub(super) claims: Claims,
}

impl Contract {
    /// Holds the generations of a system against a board; the last is what the card boots.
    pub fn of(generations: &[Toplevel], board: &Board, forest: &Forest) -> Self {
        let mut contract = Self {
            root: Demand::default(),
            boot: Demand::default(),
            mount_points: Vec::new(),
            mounts: Mounts::default(),
            loading: Loading::default_of(board.loader),
            findings: Vec::new(),
            claims: Claims::default(),
        };
        let Some((main, older)) = generations.split_last() else { return contract };
        contract.platform(main, board);
        contract.devices(main, board);
        contract.mounts_of(main, board);
        contract.parameters(main, board, forest);
        contract.store_place(main);
        contract.loader(main, board, forest);
        contract.drivers(main, board);
        contract.device_trees(main, board, forest);
        contract.first_boot(main, board);
        for (number, generation) in (1..).zip(older) {
            contract.also(&format!("generation {number}"), generation, board, forest);
        }
        for (name, special) in generations.iter().flat_map(|generation| &generation.specialisations) {
            contract.also(&format!("the specialisation {name}"), special, board, forest);
        }
        contract
    }

    /// What another system on the same card demands: where that cannot be met, the card boots all the same.
    pub(super) fn also(&mut self, who: &str, system: &Toplevel, board: &Board, forest: &Forest) {
        let before = self.findings.len();
        self.platform(system, board);
        self.devices(system, board);
        self.parameters(system, board, forest);
        self.drivers(system, board);
        for finding in self.findings.split_off(before) {
            let known = self.findings.iter().any(|known| known.message == finding.message);
            if finding.verdict != Verdict::Met && !known {
                let message = match finding.verdict {
                    Verdict::Refused => format!("{who} will not start: {}", finding.message),
                    _ => format!("{who}: {}", finding.message),
                };
                self.findings.push(Finding { verdict: Verdict::Warning, message, ..finding });
            }
        }
    }

    /// The refusals as one error, if there are any.
    pub fn ensure(&self, system: &Toplevel, board: &Board) -> Result<(), Error> {
        let refusals: Vec<String> =
            self.with(Verdict::Refused).map(|finding| escape::shown(&finding.to_string())).collect();
        if refusals.is_empty() {
            return Ok(());
        }
        Err(Error::Demand {
            system: system.path.name().to_owned(),
            board: board.name.clone(),
            message: refusals.join("\n  "),
        })
    }

    /// What the user should know.
    pub fn warnings(&self) -> Vec<String> {
        self.with(Verdict::Warning).map(ToString::to_string).collect()
    }

    pub(super) fn with(&self, verdict: Verdict) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.verdict == verdict)
    }

    pub(super) fn met(&mut self, message: impl Into<String>, origin: Origin) {
        self.find(Verdict::Met, message, Some(origin));
    }

    pub(super) fn warn(&mut self, message: impl Into<String>, origin: Option<Origin>) {
        self.find(Verdict::Warning, message, origin);
    }

    pub(super) fn refuse(&mut self, message: impl Into<String>, origin: Option<Origin>) {
        self.find(Verdict::Refused, message, origin);
    }

    pub(super) fn find(&mut self, verdict: Verdict, message: impl Into<String>, origin: Option<Origin>) {
        self.findings.push(Finding { verdict, message: message.into(), origin, against: None });
    }

    /// A demand that cannot be met, and the line that it cannot be reconciled with.
    pub(super) fn unmet(&mut self, verdict: Verdict, unmet: Unmet, origin: Origin) {
        let Unmet { message, against } = unmet;
        self.findings.push(Finding { verdict, message, origin: Some(origin), against });
    }

    pub(super) fn platform(&mut self, system: &Toplevel, board: &Board) {
        let origin = Origin::file("system");
        if system.system == board.system {
            self.met(format!("it is built for {}", system.system), origin);
        } else {
            let message = format!("it is built for {}, the board is {}", system.system, board.system);
            self.refuse(message, Some(origin));
        }
        // Where the boot loader is U-Boot nobody runs that program: NixOS builds the secrets into the initrd.
        if system.has_secrets && !matches!(system.installer, Installer::Extlinux(_)) {
            let program = system.boot.initrd_secrets.clone().unwrap_or_default();
            self.refuse(
                "its initrd takes secrets from the machine that installs it; nixflash runs no program of the system",
                Some(Origin::words("boot.json", program)),
            );
        }
    }

    pub(super) fn first_boot(&mut self, system: &Toplevel, board: &Board) {
        if system.first_boot.grows_root {
            self.met("it grows its root to the size of the card on the first boot", Origin::file("etc"));
        } else {
            self.warn("nothing in the system grows its root to the size of the card on the first boot", None);
        }
        if self.mounts.has_root_in_memory() {
            self.warn(
                "its root is in memory: what it needs outside /nix must come from the system itself, nixflash writes /nix only",
                None,
            );
        }
        let esp = board.boot_fat().is_some_and(|(_, fat)| fat.role == Role::Esp);
        let mounted = ["/boot", "/boot/efi", "/efi"].iter().any(|point| self.mounts.has_boot_at(point));
        if esp && !mounted {
            self.warn(
                "etc/fstab mounts no EFI system partition: `nixos-rebuild switch` on the machine will not find its boot loader",
                None,
            );
        }
    }
}
