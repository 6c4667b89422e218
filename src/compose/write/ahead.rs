//! An image as a source: workers do jobs ahead of the reader, who takes them in order.

use super::in_place::Settled;
use super::job::{Job, jobs, run};
use super::out::{MoveError, Out, source_error};
use crate::compose::plan::image::Image;
use crate::image::{Piece, Source, SourceError};
use crate::ints;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

/// Bytes of a buffer that a worker fills for the reader.
const MESSAGE: usize = 256 << 10;

/// Buffers that may wait between a worker and the reader, per job.
const QUEUE: usize = 4;

/// What a worker sends to the reader.
enum Message {
    Bytes { offset: u64, bytes: Vec<u8> },
    Zeros { offset: u64, len: u64 },
    Failed(MoveError),
}

/// The image as a source: messages of jobs, taken in order.
pub struct Composed {
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
    /// Starts workers, whose jobs are taken in order.
    pub fn start(image: &Arc<Image>, workers: usize) -> Self {
        let workers = workers.max(1);
        let jobs = Arc::new(jobs(image, &Settled::default()));
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
        source_error(error)
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
                self.position += ints::to_u64(bytes.len());
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
            if self.start + ints::to_u64(self.buf.len()) != offset || self.buf.len() == MESSAGE {
                self.flush()?;
            }
            if self.buf.is_empty() {
                self.start = offset;
                self.buf.reserve_exact(MESSAGE);
            }
            let (now, later) = bytes.split_at(bytes.len().min(MESSAGE - self.buf.len()));
            self.buf.extend_from_slice(now);
            offset += ints::to_u64(now.len());
            bytes = later;
        }
        Ok(())
    }

    fn zeros(&mut self, offset: u64, len: u64) -> Result<(), MoveError> {
        let joins = self.start + ints::to_u64(self.buf.len()) == offset && !self.buf.is_empty();
        let small = usize::try_from(len).is_ok_and(|len| len < 4096 && self.buf.len() + len <= MESSAGE);
        if joins && small {
            self.buf.resize(self.buf.len() + ints::to_usize(len), 0);
            return Ok(());
        }
        self.flush()?;
        self.send(Message::Zeros { offset, len })
    }
}
