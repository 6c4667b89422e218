//! A connection to a daemon that is made again when it breaks, a few times in a row.

use super::connection::Connection;
use crate::store::builder_address::Builder;
use crate::store::daemon::patience::PATIENCE;
use crate::store::daemon_error::Error;
use crate::store::transport::Line;
use crate::store::transport::Ssh;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long it may take until ssh has let us in: somebody may have to find a token first.
const ADMISSION: Duration = Duration::from_secs(600);
/// How often in a row a connection may break without anything having come over it.
const TRIES: u32 = 6;
/// As how many breaks it counts when nothing was said for so long.
const SILENCE: u32 = 3;
/// How long to wait before it is made again; then twice as long each time, 15 s in all.
const PAUSE: Duration = Duration::from_millis(500);

/// How a daemon is reached.
pub enum Way {
    /// On this machine.
    Socket(PathBuf),
    /// Through ssh.
    Ssh(Box<Builder>, Arc<dyn Ssh>),
}

impl Way {
    /// Connects; `admission` is how long ssh may take to let us in.
    fn connect(&self, admission: Duration) -> Result<Connection, Error> {
        let (line, first): (Box<dyn Line>, _) = match self {
            Self::Socket(path) => (Box::new(UnixStream::connect(path).map_err(Error::Connect)?), PATIENCE),
            Self::Ssh(builder, ssh) => (ssh.run(builder).map_err(Error::Connect)?, admission),
        };
        Connection::open(line, first, PATIENCE)
    }
}

/// The connection, when it is there.
pub struct Lasting {
    way: Way,
    held: Mutex<Option<Connection>>,
    /// Whether a daemon has answered: a mistake in an address is told at once.
    answered: AtomicBool,
    /// What came and need not be asked for again.
    arrived: AtomicU64,
}

impl Lasting {
    pub fn new(way: Way) -> Self {
        let (held, answered, arrived) = (Mutex::default(), AtomicBool::default(), AtomicU64::default());
        Self { way, held, answered, arrived }
    }

    /// Notes that something came that the next question need not ask for.
    pub fn arrived(&self) {
        self.arrived.fetch_add(1, Ordering::Relaxed);
    }

    /// Asks, over a new connection if the old one breaks. It is closed when anything fails, since it may be anywhere in
    /// an answer.
    pub fn ask<T>(&self, mut question: impl FnMut(&mut Connection) -> Result<T, Fault>) -> Result<T, Fault> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let mut breaks = 0;
        loop {
            let before = self.arrived.load(Ordering::Relaxed);
            let error = match self.once(&mut held, &mut question) {
                Err(Fault::Daemon(error)) => error,
                other => return other,
            };
            if !error.is_broken() || !self.answered.load(Ordering::Relaxed) {
                return Err(error.into());
            }
            let weight = if matches!(error, Error::Silent { .. }) { SILENCE } else { 1 };
            let is_stuck = self.arrived.load(Ordering::Relaxed) == before;
            breaks = if is_stuck { breaks + weight } else { weight };
            if breaks >= TRIES {
                return Err(Error::Lost(Box::new(error)).into());
            }
            std::thread::sleep(PAUSE * 2_u32.pow(breaks - 1));
        }
    }

    fn once<T>(
        &self,
        held: &mut Option<Connection>,
        question: &mut impl FnMut(&mut Connection) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut connection = match held.take() {
            Some(connection) => connection,
            // Whoever found the token the first time has it at hand, and a line that is dead says nothing.
            None if self.answered.load(Ordering::Relaxed) => self.way.connect(PATIENCE)?,
            None => self.way.connect(ADMISSION)?,
        };
        self.answered.store(true, Ordering::Relaxed);
        let answer = question(&mut connection)?;
        *held = Some(connection);
        Ok(answer)
    }
}

/// Why an answer stopped.
pub enum Fault {
    /// The daemon, or the way to it.
    Daemon(Error),
    /// What it says, or what is done with that: no new connection mends it.
    Store(crate::store::error::Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Daemon(error)
    }
}

impl From<crate::store::error::Error> for Fault {
    fn from(error: crate::store::error::Error) -> Self {
        Self::Store(error)
    }
}
