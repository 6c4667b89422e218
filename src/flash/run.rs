//! One decode for all cards: pieces are cut into blocks once and handed to a thread for each card.

use super::lane::Lane;
use super::lane::Message;
use super::request::Card;
use super::request::Options;
use super::request::Outcome;
use crate::device::Fault;
use crate::device::Left;
use crate::device::WriteError;
use crate::device::buffer::Pool;
use crate::device::disk::is_set;
use crate::device::read_back::block::BLOCK;
use crate::device::read_back::block::Cutter;
use crate::device::read_back::block::Part;
use crate::format::disk::partition_table::Span;
use crate::format::disk::partition_table::read;
use crate::image::CopyError;
use crate::image::Progress;
use crate::image::Source;
use crate::image::copy;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::SyncSender;
use std::sync::mpsc::sync_channel;

/// Blocks in use: one is filled, one waits, one is written; with several cards a few more wait.
pub(super) const BLOCKS: usize = 3;
pub(super) const MOST_BLOCKS: usize = 8;
/// Messages that may wait for a card; the number of blocks is the tighter bound, but for zeros.
pub(super) const WAITING: usize = 4;
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
pub(super) fn send(
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
pub(super) struct Until<'a>(&'a AtomicBool);

impl Progress for Until<'_> {
    fn at(&mut self, _position: u64) -> bool {
        !is_set(self.0)
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
