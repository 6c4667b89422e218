//! Moving the bytes of a plan: in ascending order as a [`Source`], or all over a raw file at once.
//!
//! The image is cut into jobs: runs of extents with at most one source of contents among them, read front to back.
//! Workers take jobs in order; each source is streamed, hashed, and compared with its planned tree on the way.

use super::forest;
use super::plan::{Image, Plan};
use super::{Content, Error};
use crate::extent::{Extent, Fill, MAX_ENCODED};
use crate::image::file::RawFile;
use crate::image::{self, CopyError, Feeder, Piece, Progress, Sink, Source, SourceError};
use crate::num;
use crate::store::Payload;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

/// The most bytes that a job without a source covers.
const PLAIN_JOB: u64 = 4 << 20;

/// Bytes of a buffer that a worker fills for the reader.
const MESSAGE: usize = 256 << 10;

/// Buffers that may wait between a worker and the reader, per job.
const QUEUE: usize = 4;

/// Why a mover of bytes stopped.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// A source is not what was planned.
    #[error(transparent)]
    Source(#[from] Error),
    /// The output could not be written.
    #[error("cannot write at byte {offset}: {source}")]
    Write {
        /// Where in the image.
        offset: u64,
        /// Why.
        source: std::io::Error,
    },
    /// The reader went away or the user interrupted.
    #[error("interrupted")]
    Stopped,
}

/// A run of extents of one part, with at most one source of contents.
#[derive(Clone, Debug)]
struct Job {
    part: usize,
    extents: Range<usize>,
    source: Option<u32>,
}

/// Takes what a job gives, in ascending order.
trait Out {
    fn bytes(&mut self, offset: u64, bytes: &[u8]) -> Result<(), MoveError>;
    fn zeros(&mut self, offset: u64, len: u64) -> Result<(), MoveError>;
}

impl Plan {
    /// The image as a source. Contents are read by `workers` threads ahead of the reader.
    #[must_use]
    pub fn source(&self, workers: usize) -> Box<dyn Source> {
        Box::new(Composed::start(&self.image, workers))
    }

    /// Moves the image into a sink, in order. Where sources have to be decoded, `workers` threads do so ahead of the
    /// sink; files of this machine are read by the caller's thread, straight into the sink.
    pub fn copy<'a>(
        &self,
        sink: Box<dyn Sink + 'a>,
        workers: usize,
        progress: &'a mut dyn Progress,
    ) -> Result<u64, CopyError> {
        let decoding = self.image.stores.iter().any(|store| store.is_packed());
        if decoding {
            return image::copy(&mut *self.source(workers), sink, progress);
        }
        let image = &*self.image;
        let mut direct = Direct { feeder: Feeder::new(sink, progress), failed: None };
        let mut scratch = Vec::new();
        for job in jobs(image) {
            match run(image, &job, &mut scratch, &mut direct) {
                Ok(()) => {}
                Err(error) => {
                    return Err(direct
                        .failed
                        .take()
                        .unwrap_or_else(|| CopyError::Source(source_error(error))));
                }
            }
        }
        direct.skip_to(image.len).map_err(|_| direct.failed.take().unwrap_or(CopyError::Interrupted))?;
        direct.feeder.finish()
    }

    /// Writes the image all over a file that reads as zeros. `progress` is told how many mapped bytes are done, a few
    /// times a second, and calls the work off by `false`.
    pub fn write_raw(
        &self,
        out: &RawFile,
        workers: usize,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), MoveError> {
        let image = &*self.image;
        let jobs = jobs(image);
        let (next, done, stop) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicBool::new(false));
        let (finished, wait) = sync_channel::<Result<(), MoveError>>(workers.max(1));
        std::thread::scope(|scope| {
            for _ in 0..workers.max(1) {
                let finished = finished.clone();
                let (jobs, next, done, stop) = (&jobs, &next, &done, &stop);
                scope.spawn(move || {
                    let result = scatter(image, jobs, next, &mut Scattered::new(out, done, stop));
                    if result.is_err() {
                        stop.store(true, Ordering::Relaxed);
                    }
                    // The receiver outlives the scope.
                    drop(finished.send(result));
                });
            }
            drop(finished);
            watch(&wait, &done, &stop, progress)
        })
    }
}

/// Waits for all workers and tells how far they are; the first error that is not a consequence of another wins.
fn watch(
    wait: &Receiver<Result<(), MoveError>>,
    done: &AtomicU64,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<(), MoveError> {
    let mut outcome = Ok(());
    loop {
        match wait.recv_timeout(std::time::Duration::from_millis(50)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                if matches!(outcome, Ok(()) | Err(MoveError::Stopped)) {
                    outcome = Err(error);
                }
            }
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                progress(done.load(Ordering::Relaxed));
                return outcome;
            }
        }
        if !progress(done.load(Ordering::Relaxed)) {
            stop.store(true, Ordering::Relaxed);
        }
    }
}

fn scatter(
    image: &Image,
    jobs: &[Job],
    next: &AtomicUsize,
    out: &mut Scattered<'_>,
) -> Result<(), MoveError> {
    let mut scratch = Vec::new();
    loop {
        let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) else { return out.flush() };
        run(image, job, &mut scratch, out)?;
        out.flush()?;
    }
}

/// Cuts an image into jobs, in ascending order; sources of which nothing is on the card get a job of their own,
/// so that they are verified too.
fn jobs(image: &Image) -> Vec<Job> {
    let mut jobs: Vec<Job> = Vec::new();
    let mut seen = vec![false; image.sources.len()];
    for (part, at) in image.parts.iter().zip(0..) {
        let mut cutter = Cutter { part: at, start: 0, source: None, last: (0, 0), bytes: 0 };
        let extents = part.layout.extents();
        for (index, extent) in extents.iter().enumerate() {
            if cutter.must_cut(extent) && index > cutter.start {
                jobs.push(cutter.cut(index));
            }
            cutter.take(extent);
            if let Some(source) = cutter.source {
                seen[num::to_usize(u64::from(source))] = true;
            }
        }
        if extents.len() > cutter.start {
            jobs.push(cutter.cut(extents.len()));
        }
    }
    for (source, _) in (0u32..).zip(seen).filter(|(_, seen)| !seen) {
        jobs.push(Job { part: 0, extents: 0..0, source: Some(source) });
    }
    jobs
}

struct Cutter {
    part: usize,
    start: usize,
    source: Option<u32>,
    last: (u32, u64),
    bytes: u64,
}

impl Cutter {
    fn must_cut(&self, extent: &Extent<Content>) -> bool {
        match (extent.fill, self.source) {
            (Fill::Content { content: Content::Packed { source, file }, at, .. }, Some(current)) => {
                source != current || (file, at) < self.last
            }
            (Fill::Content { content: Content::Packed { .. }, .. }, None) => self.bytes > 0,
            (_, None) => self.bytes >= PLAIN_JOB,
            (_, Some(_)) => false,
        }
    }

    fn take(&mut self, extent: &Extent<Content>) {
        self.bytes += extent.len;
        if let Fill::Content { content: Content::Packed { source, file }, at, .. } = extent.fill {
            self.source = Some(source);
            self.last = (file, at);
        }
    }

    fn cut(&mut self, end: usize) -> Job {
        let job = Job { part: self.part, extents: self.start..end, source: self.source };
        *self = Self { part: self.part, start: end, source: None, last: (0, 0), bytes: 0 };
        job
    }
}

/// Renders, reads and verifies all that a job covers.
fn run(image: &Image, job: &Job, scratch: &mut Vec<u8>, out: &mut dyn Out) -> Result<(), MoveError> {
    let part = &image.parts[job.part];
    let mut cursor = match job.source {
        Some(source) => {
            let at = num::to_usize(u64::from(source));
            Some(Cursor::new(forest::open(&image.stores, &image.sources[at], &image.trees[at])?))
        }
        None => None,
    };
    for index in job.extents.clone() {
        let extent = &part.layout.extents()[index];
        let offset = part.offset + extent.offset;
        let written = match extent.fill {
            Fill::Zeros => 0,
            Fill::Encoded => {
                debug_assert!(extent.len <= MAX_ENCODED);
                scratch.resize(num::to_usize(extent.len), 0);
                part.layout.encode(index, scratch);
                out.bytes(offset, scratch)?;
                extent.len
            }
            Fill::Content { content: Content::Literal(literal), at, len } => {
                let from = num::to_usize(at);
                out.bytes(offset, &image.literals.get(literal)[from..from + num::to_usize(len)])?;
                len
            }
            Fill::Content { content: Content::Packed { file, .. }, at, len } => {
                // cannot fail: a job with packed contents has a source
                let cursor = cursor.as_mut().expect("the job names its source");
                cursor.copy(file, Slice { at, len }, offset, out)?;
                len
            }
        };
        if extent.len > written {
            out.zeros(offset + written, extent.len - written)?;
        }
    }
    match cursor {
        Some(cursor) => cursor.finish(),
        None => Ok(()),
    }
}

/// A part of a file, in bytes.
#[derive(Clone, Copy)]
struct Slice {
    at: u64,
    len: u64,
}

/// Where a worker is in the contents of a source.
struct Cursor<'a> {
    payload: Payload<'a, Content>,
    /// The file that was opened last, and how many of its bytes were taken.
    file: Option<u32>,
    taken: u64,
}

impl<'a> Cursor<'a> {
    const fn new(payload: Payload<'a, Content>) -> Self {
        Self { payload, file: None, taken: 0 }
    }

    fn copy(&mut self, file: u32, slice: Slice, offset: u64, out: &mut dyn Out) -> Result<(), MoveError> {
        let Slice { at, len } = slice;
        while self.file != Some(file) {
            // The payload compares itself with the planned tree, so that it cannot end before this file.
            self.payload.next_file().map_err(Error::from)?;
            self.file = Some(self.file.map_or(0, |n| n + 1));
            self.taken = 0;
        }
        let mut done = 0;
        while done < len {
            let chunk = self.payload.chunk().map_err(Error::from)?;
            let skip = (at - self.taken.min(at)).min(num::to_u64(chunk.len()));
            let take = (num::to_u64(chunk.len()) - skip).min(len - done);
            let (skip, take) = (num::to_usize(skip), num::to_usize(take));
            out.bytes(offset + done, &chunk[skip..skip + take])?;
            self.payload.consume(skip + take);
            self.taken += num::to_u64(skip + take);
            done += num::to_u64(take);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), MoveError> {
        while self.payload.next_file().map_err(Error::from)?.is_some() {}
        self.payload.finish().map_err(|e| Error::from(e).into())
    }
}

/// Gathers small neighbours and writes them with one call.
struct Scattered<'a> {
    out: &'a RawFile,
    done: &'a AtomicU64,
    stop: &'a AtomicBool,
    buf: Vec<u8>,
    start: u64,
}

impl<'a> Scattered<'a> {
    /// Longer runs are written as they come, without a copy.
    const GATHER: usize = 128 << 10;

    fn new(out: &'a RawFile, done: &'a AtomicU64, stop: &'a AtomicBool) -> Self {
        Self { out, done, stop, buf: Vec::with_capacity(2 * Self::GATHER), start: 0 }
    }

    fn end(&self) -> u64 {
        self.start + num::to_u64(self.buf.len())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), MoveError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(MoveError::Stopped);
        }
        self.out.write_at(offset, bytes).map_err(|source| MoveError::Write { offset, source })
    }

    fn flush(&mut self) -> Result<(), MoveError> {
        if !self.buf.is_empty() {
            self.write(self.start, &self.buf)?;
            self.buf.clear();
        }
        Ok(())
    }
}

impl Out for Scattered<'_> {
    fn bytes(&mut self, offset: u64, bytes: &[u8]) -> Result<(), MoveError> {
        self.done.fetch_add(num::to_u64(bytes.len()), Ordering::Relaxed);
        if self.end() != offset || self.buf.len() + bytes.len() > 2 * Self::GATHER {
            self.flush()?;
        }
        if bytes.len() >= Self::GATHER && self.buf.is_empty() {
            return self.write(offset, bytes);
        }
        if self.buf.is_empty() {
            self.start = offset;
        }
        self.buf.extend_from_slice(bytes);
        Ok(())
    }

    fn zeros(&mut self, offset: u64, len: u64) -> Result<(), MoveError> {
        self.done.fetch_add(len, Ordering::Relaxed);
        // The file reads as zeros already; only gaps that join neighbours are worth a copy.
        if self.end() == offset && !self.buf.is_empty() && len < 4096 {
            self.buf.resize(self.buf.len() + num::to_usize(len), 0);
        }
        Ok(())
    }
}

/// Sorts an error of a source by who is to blame.
fn source_error(error: MoveError) -> SourceError {
    match error {
        MoveError::Source(Error::Store(store)) if !store.is_bad_source() => SourceError::Io(Box::new(store)),
        other => SourceError::Bad(Box::new(other)),
    }
}

/// Gives what a job gives straight to a sink.
struct Direct<'a> {
    feeder: Feeder<'a>,
    /// Why the sink stopped, for which a job has no word.
    failed: Option<CopyError>,
}

impl Direct<'_> {
    fn feed(&mut self, piece: Piece<'_>) -> Result<(), MoveError> {
        self.feeder.feed(piece).map_err(|error| {
            self.failed = Some(error);
            MoveError::Stopped
        })
    }

    fn skip_to(&mut self, offset: u64) -> Result<(), MoveError> {
        match offset - self.feeder.position() {
            0 => Ok(()),
            len => self.feed(Piece::Skip(len)),
        }
    }
}

impl Out for Direct<'_> {
    fn bytes(&mut self, offset: u64, bytes: &[u8]) -> Result<(), MoveError> {
        self.skip_to(offset)?;
        self.feed(Piece::Data(bytes))
    }

    fn zeros(&mut self, offset: u64, len: u64) -> Result<(), MoveError> {
        self.skip_to(offset)?;
        self.feed(Piece::Zeros(len))
    }
}

/// What a worker sends to the reader.
enum Message {
    Bytes { offset: u64, bytes: Vec<u8> },
    Zeros { offset: u64, len: u64 },
    Failed(MoveError),
}

/// The image as a source: messages of jobs, taken in order.
struct Composed {
    len: u64,
    position: u64,
    jobs: Receiver<Receiver<Message>>,
    current: Option<Receiver<Message>>,
    /// Bytes that come next, at their offset.
    pending: Option<(u64, Vec<u8>)>,
    /// Bytes that are lent to the reader.
    lent: Vec<u8>,
    zeros: Option<(u64, u64)>,
    spare: Arc<Mutex<Vec<Vec<u8>>>>,
    failed: bool,
}

impl Composed {
    fn start(image: &Arc<Image>, workers: usize) -> Self {
        let workers = workers.max(1);
        let jobs = Arc::new(jobs(image));
        let (announce, receiver) = sync_channel::<Receiver<Message>>(workers);
        let spare = Arc::new(Mutex::new(Vec::new()));
        // Taking a job and announcing it is one step, so that jobs are announced in order.
        let turn = Arc::new(Mutex::new((0usize, announce)));
        for _ in 0..workers {
            let (image, jobs, turn, spare) =
                (Arc::clone(image), Arc::clone(&jobs), Arc::clone(&turn), Arc::clone(&spare));
            std::thread::spawn(move || work(&image, &jobs, &turn, &spare));
        }
        let len = image.len;
        Self {
            len,
            position: 0,
            jobs: receiver,
            current: None,
            pending: None,
            lent: Vec::new(),
            zeros: None,
            spare,
            failed: false,
        }
    }

    /// The next message of the jobs in order; `None` at the end.
    fn message(&mut self) -> Option<Message> {
        loop {
            if self.current.is_none() {
                self.current = Some(self.jobs.recv().ok()?);
            }
            if let Some(message) = self.current.as_ref().and_then(|job| job.recv().ok()) {
                return Some(message);
            }
            self.current = None;
        }
    }

    fn fail(&mut self, error: MoveError) -> SourceError {
        self.failed = true;
        match error {
            MoveError::Source(Error::Store(store)) if !store.is_bad_source() => {
                SourceError::Io(Box::new(store))
            }
            other => SourceError::Bad(Box::new(other)),
        }
    }

    /// Skips to where the next message belongs.
    fn skip_to(&mut self, offset: u64) -> Option<Piece<'static>> {
        let len = offset - self.position;
        self.position = offset;
        (len > 0).then_some(Piece::Skip(len))
    }

    /// Takes back what was lent.
    fn recycle(&mut self) {
        let lent = std::mem::take(&mut self.lent);
        if lent.capacity() > 0
            && let Ok(mut spare) = self.spare.lock()
        {
            spare.push(lent);
        }
    }
}

impl Source for Composed {
    fn len(&self) -> Option<u64> {
        Some(self.len)
    }

    fn next(&mut self) -> Result<Option<Piece<'_>>, SourceError> {
        self.recycle();
        loop {
            if let Some((offset, bytes)) = self.pending.take() {
                if let Some(skip) = self.skip_to(offset) {
                    self.pending = Some((offset, bytes));
                    return Ok(Some(skip));
                }
                self.position += num::to_u64(bytes.len());
                self.lent = bytes;
                return Ok(Some(Piece::Data(&self.lent)));
            }
            if let Some((offset, len)) = self.zeros.take() {
                if let Some(skip) = self.skip_to(offset) {
                    self.zeros = Some((offset, len));
                    return Ok(Some(skip));
                }
                self.position += len;
                return Ok(Some(Piece::Zeros(len)));
            }
            match self.message() {
                Some(Message::Bytes { offset, bytes }) => self.pending = Some((offset, bytes)),
                Some(Message::Zeros { offset, len }) => self.zeros = Some((offset, len)),
                Some(Message::Failed(error)) => return Err(self.fail(error)),
                None if self.failed => return Ok(None),
                None => return Ok(self.skip_to(self.len)),
            }
        }
    }
}

type Turn = Mutex<(usize, SyncSender<Receiver<Message>>)>;

fn work(image: &Image, jobs: &[Job], turn: &Turn, spare: &Mutex<Vec<Vec<u8>>>) {
    let mut scratch = Vec::new();
    loop {
        let (sender, receiver) = sync_channel(QUEUE);
        let job = {
            let Ok(mut turn) = turn.lock() else { return };
            let Some(job) = jobs.get(turn.0) else { return };
            turn.0 += 1;
            // No receiver: the reader went away.
            if turn.1.send(receiver).is_err() {
                return;
            }
            job
        };
        let mut queued = Queued { sender: &sender, spare, buf: Vec::new(), start: 0 };
        let result = run(image, job, &mut scratch, &mut queued).and_then(|()| queued.flush());
        if let Err(error) = result {
            let stopped = matches!(error, MoveError::Stopped);
            if stopped || sender.send(Message::Failed(error)).is_err() {
                return;
            }
        }
    }
}

/// Gathers what a job gives into buffers for the reader.
struct Queued<'a> {
    sender: &'a SyncSender<Message>,
    spare: &'a Mutex<Vec<Vec<u8>>>,
    buf: Vec<u8>,
    start: u64,
}

impl Queued<'_> {
    fn flush(&mut self) -> Result<(), MoveError> {
        if self.buf.is_empty() {
            return Ok(());
        }
        let empty = self.spare.lock().ok().and_then(|mut spare| spare.pop()).unwrap_or_default();
        let bytes = std::mem::replace(&mut self.buf, empty);
        self.buf.clear();
        self.send(Message::Bytes { offset: self.start, bytes })
    }

    fn send(&self, message: Message) -> Result<(), MoveError> {
        self.sender.send(message).map_err(|_| MoveError::Stopped)
    }
}

impl Out for Queued<'_> {
    fn bytes(&mut self, offset: u64, mut bytes: &[u8]) -> Result<(), MoveError> {
        let mut offset = offset;
        while !bytes.is_empty() {
            if self.start + num::to_u64(self.buf.len()) != offset || self.buf.len() == MESSAGE {
                self.flush()?;
            }
            if self.buf.is_empty() {
                self.start = offset;
                self.buf.reserve_exact(MESSAGE);
            }
            let (now, later) = bytes.split_at(bytes.len().min(MESSAGE - self.buf.len()));
            self.buf.extend_from_slice(now);
            offset += num::to_u64(now.len());
            bytes = later;
        }
        Ok(())
    }

    fn zeros(&mut self, offset: u64, len: u64) -> Result<(), MoveError> {
        let joins = self.start + num::to_u64(self.buf.len()) == offset && !self.buf.is_empty();
        let small = usize::try_from(len).is_ok_and(|len| len < 4096 && self.buf.len() + len <= MESSAGE);
        if joins && small {
            self.buf.resize(self.buf.len() + num::to_usize(len), 0);
            return Ok(());
        }
        self.flush()?;
        self.send(Message::Zeros { offset, len })
    }
}
