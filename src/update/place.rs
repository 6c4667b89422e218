//! Where the new volume and, until it is whole, a second one lie.

use super::change::Changes;
use super::content::Content;
use super::error::Error;
use super::volume::Current;
use crate::extent::Layout;
use crate::format::disk::fat;
use crate::format::disk::fat::{Fat, FatType, Kind, Label};
use crate::format::disk::partition_table::Span;
use crate::ints;
use crate::sizes::show_bytes;
use crate::tree::{Attrs, Kind as NodeKind, Node};
use crate::update::home::HOME;
use crate::update::home::NOTE;

/// Where volumes begin, so that direct I/O takes every write: a page.
const ALIGN: u64 = 4096;
/// What the second volume grows by until it takes all, and its least length.
const STEP: u64 = 1 << 20;

/// A volume and its place on the disk.
pub struct Placed {
    /// The partition that it is in.
    pub span: Span,
    /// The volume.
    pub fat: Fat<Content>,
}

/// All places of an update.
pub struct Places {
    /// The volume for the time being; `None` where the card boots from it already.
    pub second: Option<Placed>,
    /// The new volume, where the old one is or was.
    pub home: Placed,
    /// Where the volume is that the card has now.
    pub current: Span,
    /// Whether an update was cut short.
    pub interrupted: bool,
    /// The file on the second volume that says where the first one was.
    pub note: Vec<u8>,
}

impl Places {
    /// Bytes that are going to be written.
    pub fn bytes(&self) -> u64 {
        let of = |placed: &Placed| placed.fat.extents().iter().map(|extent| extent.len).sum::<u64>();
        self.second.as_ref().map_or(0, of) + of(&self.home)
    }
}

/// The place of a volume that stays after an update, and its form.
#[derive(Clone, Copy)]
struct Home {
    span: Span,
    size: u64,
    kind: Kind,
}

impl Home {
    fn of(current: &Current<'_>, span: Span) -> Self {
        let kind = match current.fat.kind() {
            FatType::Fat16 => Kind::Fat16,
            FatType::Fat32 => Kind::Fat32,
        };
        Self { span, size: current.fat.size(), kind }
    }

    /// What the second volume says of it.
    fn note(&self) -> Vec<u8> {
        let kind = if self.kind == Kind::Fat32 { 32 } else { 16 };
        format!("{} {} {} {kind}\n", self.span.start, self.span.len, self.size).into_bytes()
    }
}

/// The place of the first volume, where the card boots from a second one.
fn home_of(current: &Current<'_>, span: Span, spans: &[Span]) -> Result<Option<Home>, Error> {
    let Some(text) = current.small(&format!("/{HOME}"))? else { return Ok(None) };
    let text = String::from_utf8_lossy(&text);
    let words: Option<Vec<u64>> = text.split_ascii_whitespace().map(|word| word.parse().ok()).collect();
    let Some([start, len, size, kind]) = words.and_then(|words| <[u64; 4]>::try_from(words).ok()) else {
        return Ok(None);
    };
    let whole = [start, len, size].iter().all(|bytes| bytes % 512 == 0) && start >= STEP && size <= len;
    let Some(end) = start.checked_add(len).filter(|_| whole) else { return Ok(None) };
    // Only what no other partition has, and what the second volume was cut out of.
    let mut others = spans.iter().filter(|other| other.number != span.number);
    let clear = others.all(|other| other.start >= end || other.start.saturating_add(other.len) <= start);
    let within = span.start >= start && span.start.saturating_add(span.len) <= end;
    let kind = if kind == 32 { Kind::Fat32 } else { Kind::Fat16 };
    Ok((clear && within).then_some(Home { span: Span { start, len, ..span }, size, kind }))
}

/// Decides where all lies, or says how much room is missing.
pub fn decide(current: &Current<'_>, changes: &Changes, spans: &[Span], span: Span) -> Result<Places, Error> {
    let before = home_of(current, span, spans)?;
    let interrupted = before.is_some_and(|home| home.span.start != span.start);
    let home = before.unwrap_or_else(|| Home::of(current, span));
    let tree = changes.tree.clone();
    let new = fat::plan(&tree, &options(current, changes, home.span.start, (home.size, home.kind))?)?;
    let note = home.note();
    let mut places =
        Places { second: None, home: Placed { span: home.span, fat: new }, current: span, interrupted, note };
    // What the new volume writes, from the start of the disk on.
    let used = places.home.fat.extents().last().map_or(0, |extent| extent.offset + extent.len);
    let end = home.span.start + used;
    if !interrupted {
        places.second = Some(second(current, changes, span, (end, tree, &places.note))?);
    } else if end > span.start {
        return Err(Error::Room {
            needed: show_bytes(used),
            from: 0,
            largest: show_bytes(span.start - home.span.start),
        });
    }
    Ok(places)
}

fn options(
    current: &Current<'_>,
    changes: &Changes,
    start: u64,
    (size, kind): (u64, Kind),
) -> Result<fat::Options, Error> {
    Ok(fat::Options {
        size,
        label: Label::new(current.fat.label())?,
        volume_id: current.fat.volume_id(),
        kind,
        hidden_sectors: u32::try_from(start / 512).unwrap_or(0),
        epoch: changes.epoch,
    })
}

/// Finds the place of the second volume: in free clusters, behind all that the new one writes.
fn second(
    current: &Current<'_>,
    changes: &Changes,
    span: Span,
    (end, mut tree, note): (u64, Node<Content>, &[u8]),
) -> Result<Placed, Error> {
    if let NodeKind::Directory(directory) = &mut tree.kind {
        let attrs = Attrs { mode: 0o644, uid: 0, gid: 0, mtime: changes.epoch };
        let kind = NodeKind::File { len: ints::to_u64(note.len()), content: Content::New(NOTE) };
        // cannot clash: one that was there was taken out
        drop(directory.insert(HOME.as_bytes(), Node { attrs, kind }));
    }
    let most = current.fat.size();
    let total: u64 = changes.list.iter().map(|change| change.len).sum();
    let mut len = (total / STEP * STEP).clamp(4 * STEP, most.max(4 * STEP));
    loop {
        let found = fat::plan(&tree, &options(current, changes, 0, (len, Kind::Auto))?);
        match found {
            Ok(_) => break,
            Err(fat::Error::Full { .. } | fat::Error::Size { .. }) if len < most => {
                len += STEP.max(len / 64 / STEP * STEP)
            }
            Err(error) => return Err(error.into()),
        }
    }
    let fits = |(offset, run): (u64, u64)| {
        let stop = (span.start + offset + run) / ALIGN * ALIGN;
        let start = (span.start + offset).max(end).next_multiple_of(ALIGN);
        stop.checked_sub(len).filter(|at| *at >= start)
    };
    // The last one, so that what others think of as free stays in one piece.
    let Some(start) = current.fat.free_runs().rev().find_map(fits) else {
        let beyond = |(offset, run): (u64, u64)| {
            (span.start + offset + run).saturating_sub(end.max(span.start + offset))
        };
        let largest = current.fat.free_runs().map(beyond).max().unwrap_or(0);
        return Err(Error::Room {
            needed: show_bytes(len),
            from: end - span.start,
            largest: show_bytes(largest),
        });
    };
    let fat = fat::plan(&tree, &options(current, changes, start, (len, Kind::Auto))?)?;
    Ok(Placed { span: Span { start, len, ..span }, fat })
}
