//! The thread of one card.

use super::request::{Card, Options};
use crate::device::disk::is_set;
use crate::device::read_back::block::Part;
use crate::device::write::{self, Report, Writing, begin};
use crate::device::{Fault, Left, Phase, WriteError};
use crate::format::disk::partition_table::{SectorSize, read};
use std::sync::mpsc::Receiver;

/// What a card is told.
pub(super) enum Message {
    /// Write this.
    Part(Part),
    /// That was all; the image has so many bytes.
    End(u64),
}

/// One card.
pub(super) struct Lane<'a> {
    pub card: Card<'a>,
    pub options: Options<'a>,
    /// The length of the image, where known.
    pub need: Option<u64>,
}

impl<'a> Lane<'a> {
    /// Writes what comes; an inbox that closes before the end means that there is no whole image.
    pub fn run(&self, inbox: &Receiver<Message>) -> Result<Report, WriteError> {
        let mut writing = None;
        for message in inbox {
            match message {
                Message::Part(part) => writing = Some(self.part(writing, &part)?),
                Message::End(len) => return self.end(writing, len),
            }
        }
        let fault = if is_set(self.options.interrupted) { Fault::Interrupted } else { Fault::Source };
        Err(match writing {
            Some(writing) => writing.abandon(fault),
            None => self.untouched(fault),
        })
    }

    fn part(&self, writing: Option<Writing<'a>>, part: &Part) -> Result<Writing<'a>, WriteError> {
        match writing {
            Some(writing) => writing.part(part),
            // Nothing is touched before the first MiB of the image has been decoded and looked at.
            None => self.begin(part)?.part(part),
        }
    }

    fn begin(&self, first: &Part) -> Result<Writing<'a>, WriteError> {
        let disk = self.card.disk;
        if self.need.is_some_and(|need| need > disk.len()) {
            return Err(self.untouched(Fault::TooLong { len: disk.len() }));
        }
        let sector = self.sector(first).map_err(|fault| self.untouched(fault))?;
        let options = write::Options {
            check: self.options.check,
            rewrite: self.options.rewrite,
            sector,
            grow: self.options.grow,
            interrupted: self.options.interrupted,
            meter: self.card.meter,
        };
        begin(disk, options)
    }

    /// The sectors of the card, if the image counts in the same or in none.
    fn sector(&self, first: &Part) -> Result<SectorSize, Fault> {
        let of_card = [SectorSize::S512, SectorSize::S4096]
            .into_iter()
            .find(|size| size.bytes() == u64::from(self.card.sector));
        let of_image = self.options.image_sector.or_else(|| sector_of(first));
        match (of_card, of_image) {
            (Some(card), Some(image)) if card == image => Ok(card),
            (Some(card), None) => Ok(card),
            (_, image) => Err(Fault::Sector {
                expected: image.unwrap_or(SectorSize::S512).bytes(),
                found: u64::from(self.card.sector),
            }),
        }
    }

    fn end(&self, writing: Option<Writing<'a>>, len: u64) -> Result<Report, WriteError> {
        let writing = writing.ok_or_else(|| self.untouched(Fault::Empty))?;
        writing.flush(len)?.verify()?.finish()
    }

    fn untouched(&self, fault: Fault) -> WriteError {
        self.card.meter.begin(Phase::Failed, 0);
        WriteError { target: self.card.disk.name(), fault, left: Left::Untouched }
    }
}

/// What sectors the table at the start of an image counts in.
fn sector_of(first: &Part) -> Option<SectorSize> {
    match first {
        Part::Data(block) if block.offset == 0 => {
            let reading = read(&block.bytes()).ok()?;
            reading.table.map(|_| reading.sector)
        }
        _ => None,
    }
}
