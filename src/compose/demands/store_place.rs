//! Whether the store is found where the card has it, once everything is mounted.

use super::contract::Contract;
use super::finding::{Origin, Verdict};
use super::mounts::Place;
use crate::compose::system::toplevel::Toplevel;
use crate::format::nix::store_path::STORE_DIR;

impl Contract {
    /// What is mounted over the store before the system starts hides it: then no init is found.
    pub(super) fn store_place(&mut self, system: &Toplevel) {
        // A list that cannot be met was refused with its reason.
        if self.with(Verdict::Refused).next().is_some() {
            return;
        }
        let origin = ["/nix/store", "/nix", "/"].iter().find_map(|point| self.mounts.get(point));
        let origin = origin.map_or_else(|| Origin::file("etc/fstab"), |mount| mount.origin.clone());
        match self.mounts.place(STORE_DIR) {
            Place::Root(path) if path == STORE_DIR => {}
            Place::Root(path) => {
                let message =
                    format!("it looks for its store in {path}, and nixflash puts it into {STORE_DIR}");
                self.refuse(message, Some(origin));
            }
            Place::Boot(_) => self.refuse("it looks for its store on the FAT", Some(origin)),
            Place::Lost(origin) => {
                let message = format!(
                    "what is mounted here hides the store of the card: {} is not found",
                    system.boot.init
                );
                self.refuse(message, Some(origin));
            }
        }
    }
}
