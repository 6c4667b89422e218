//! What boot files are made of.

use super::direct;
use super::extlinux;
use super::raspberrypi;
use super::systemd_boot;
use crate::board::Board;
use crate::compose::closure::Forest;
use crate::compose::demands::Loading;
use crate::compose::demands::Place;
use crate::compose::error::Error;
use crate::compose::firmware::find;
use crate::compose::firmware::package::Places;
use crate::compose::literals::Literals;
use crate::compose::root::files::Files;
use crate::compose::system::toplevel::Toplevel;

/// What boot files are made of.
pub struct World<'a> {
    /// The profile.
    pub board: &'a Board,
    /// All of the menu, oldest first.
    pub generations: &'a [Toplevel],
    /// The one that boots.
    pub toplevel: &'a Toplevel,
    /// Which boot loader the systems install, and where.
    pub loading: &'a Loading,
    /// All store paths.
    pub forest: &'a Forest,
    /// Where the firmware was found.
    pub places: &'a Places,
    /// Of all times, in seconds.
    pub epoch: u32,
}

impl World<'_> {
    /// The boot loader's files that lie on the ext4.
    pub fn on_root(&self, files: &mut Files, literals: &mut Literals) -> Result<(), Error> {
        let Loading::Extlinux(builders) = self.loading else { return Ok(()) };
        for (flags, place) in builders {
            if let Place::Root(path) = place {
                let target = (flags, path.as_str());
                extlinux::add(self.generations, target, (self.forest, self.epoch), files, literals)?;
            }
        }
        Ok(())
    }

    /// The files of the FAT, without what nixflash says of the card.
    pub fn on_fat(&self, literals: &mut Literals) -> Result<Option<Files>, Error> {
        if self.board.boot_fat().is_none() {
            return Ok(None);
        }
        let mut files = Files::new(self.epoch);
        let dtbs = self.forest.resolve(&format!("{}/dtbs", self.toplevel.path)).map(|found| found.node);
        let copies = find::files(self.board, self.places, dtbs, self.forest)?;
        raspberrypi::add(self.board, &copies, &mut files, literals)?;
        let world = (self.forest, self.epoch);
        match self.loading {
            Loading::Extlinux(builders) => {
                for (flags, place) in builders {
                    if let Place::Boot(path) = place {
                        let target = (flags, path.as_str());
                        extlinux::add(self.generations, target, world, &mut files, literals)?;
                    }
                }
            }
            Loading::SystemdBoot(builder) => {
                systemd_boot::add(self.generations, builder, world, &mut files, literals)?;
            }
            Loading::RaspberryPi(builder) => {
                direct::add(self.generations, builder, self.forest, &mut files, literals)?;
            }
        }
        Ok(Some(files))
    }
}
