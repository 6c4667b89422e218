//! Writing an image to one card or several: decoded once, a thread for each card.
//!
//! The caller's thread decodes, cuts and digests; each card's thread writes, flushes, reads back and writes the table,
//! in the order that [`device::write`](crate::device::write) makes the only one. Blocks are shared, not copied. Their
//! number is fixed: that bounds the memory, and how far a card may fall behind before the others wait for it. A card
//! that fails drops out at once.

mod lane;

use crate::device::buffer::Pool;
use crate::device::disk::{Disk, is_set};
use crate::device::read_back::block::{BLOCK, Cutter, Part};
use crate::device::write::{Check, Report, Rewrite};
use crate::device::{Fault, Left, Meter, WriteError};
use crate::format::disk::partition_table::{SectorSize, Span, read};
use crate::image::{CopyError, Progress, Source, copy};
use lane::{Lane, Message};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{SyncSender, sync_channel};

/// A card to write.
#[derive(Clone, Copy)]
pub struct Card<'a> {
    /// The open disk or file.
    pub disk: &'a dyn Disk,
    /// The length of its logical sectors; 512 for a file.
    pub sector: u32,
    /// Counts, for whoever shows them.
    pub meter: &'a Meter,
}

/// How cards are written.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Whether they are read back.
    pub check: Check,
    /// What is written.
    pub rewrite: Rewrite,
    /// Whether the last partition shall reach the end of each card.
    pub grow: bool,
    /// What sectors the image counts in; found out from its table when not known.
    pub image_sector: Option<SectorSize>,
    /// Set to stop.
    pub interrupted: &'a AtomicBool,
}

/// What became of a write.
#[derive(Debug)]
pub struct Outcome {
    /// The length of the image, or why it could not be read. When all cards fail, that ends it too.
    pub image: Result<u64, CopyError>,
    /// What became of each card, in the order given.
    pub cards: Vec<Result<Report, WriteError>>,
    /// Where the partitions of the image are.
    pub partitions: Vec<Span>,
}

/// Blocks in use: one is filled, one waits, one is written; with several cards a few more wait.
const BLOCKS: usize = 3;
const MOST_BLOCKS: usize = 8;
/// Messages that may wait for a card; the number of blocks is the tighter bound, but for zeros.
const WAITING: usize = 4;

/// Writes an image to cards and tells what became of each.
pub fn write(source: &mut dyn Source, cards: &[Card<'_>], options: &Options<'_>) -> Outcome {
    let blocks = if cards.len() == 1 { BLOCKS } else { (BLOCKS + cards.len()).min(MOST_BLOCKS) };
    let pool = Pool::new(blocks, BLOCK);
    let need = source.len();
    std::thread::scope(|scope| {
        let mut senders = Vec::new();
        let mut threads = Vec::new();
        for card in cards {
            let (sender, inbox) = sync_channel(WAITING);
            let lane = Lane { card: *card, options: *options, need };
            threads.push(scope.spawn(move || lane.run(&inbox)));
            senders.push(Some(sender));
        }
        let mut partitions = Vec::new();
        let image = send(source, &pool, &mut senders, &mut partitions, options.interrupted);
        if let Ok(len) = &image {
            for sender in senders.iter().flatten() {
                // Who does not listen has failed, and says so itself.
                drop(sender.send(Message::End(*len)));
            }
        }
        // Closing without an end tells the cards that the source failed; buffers go before the cards are read back.
        drop(senders);
        drop(pool);
        let lost = |card: &Card<'_>| WriteError {
            target: card.disk.name(),
            fault: Fault::Lost,
            left: Left::Unknown,
        };
        let results = threads.into_iter().zip(cards);
        let cards = results.map(|(thread, card)| thread.join().unwrap_or_else(|_| Err(lost(card)))).collect();
        Outcome { image, cards, partitions }
    })
}

/// Cuts the source and hands each part to all cards that still listen.
fn send(
    source: &mut dyn Source,
    pool: &Pool,
    senders: &mut [Option<SyncSender<Message>>],
    partitions: &mut Vec<Span>,
    interrupted: &AtomicBool,
) -> Result<u64, CopyError> {
    let mut emit = |part: Part| {
        if let Part::Data(block) = &part
            && block.offset == 0
        {
            *partitions = read(&block.bytes()).map_or_else(|_| Vec::new(), |reading| reading.places());
        }
        for slot in senders.iter_mut() {
            if slot.as_ref().is_some_and(|sender| sender.send(Message::Part(part.clone())).is_err()) {
                *slot = None;
            }
        }
        senders.iter().any(Option::is_some)
    };
    let stop = || is_set(interrupted);
    let cutter = Box::new(Cutter::new(pool, &stop, &mut emit));
    let result = copy(source, cutter, &mut Until(interrupted));
    if is_set(interrupted) { Err(CopyError::Interrupted) } else { result }
}

/// Goes on until the user interrupts.
struct Until<'a>(&'a AtomicBool);

impl Progress for Until<'_> {
    fn at(&mut self, _position: u64) -> bool {
        !is_set(self.0)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
