//! A conversation with a daemon. Questions are asked ahead, since answers come in order: what takes a journey each is
//! on its way at once, over one connection.

use crate::format::nix::nar::Delimited;
use crate::format::nix::store_path::StorePath;
use crate::format::nix::wire;
use crate::format::nix::worker_protocol as protocol;
use crate::format::nix::worker_protocol::{Message, Version};
use crate::store::daemon_error::{Error, MAX_TALK};
use crate::store::interface::PathInfo;
use crate::store::transport::Line;
use std::io::{self, BufReader, Write};
use std::time::Duration;

/// Questions that may be on their way: few enough to fit into any buffer, so that nobody waits for the other to read.
const AHEAD: usize = 64;
/// Bytes read at a time.
const BUFFER: usize = 256 << 10;

/// A daemon that was greeted.
pub struct Connection {
    stream: BufReader<Box<dyn Line>>,
    version: Version,
    patience: Duration,
}

impl Connection {
    /// Greets. `first` is how long the greeting may take, in which a user may have to type a password; `patience` how
    /// long each answer.
    pub fn open(mut line: Box<dyn Line>, first: Duration, patience: Duration) -> Result<Self, Error> {
        line.patience(first).map_err(Error::Connect)?;
        let mut stream = BufReader::with_capacity(BUFFER, line);
        write(&mut stream, &protocol::hello())?;
        let version = protocol::hello_of_daemon(&mut stream).map_err(|error| said(error, first))?;
        stream.get_mut().patience(patience).map_err(Error::Connect)?;
        write(&mut stream, &protocol::settings(version))?;
        protocol::settings_of_daemon(&mut stream, version).map_err(|error| said(error, patience))?;
        let mut connection = Self { stream, version, patience };
        connection.wait()?;
        Ok(connection)
    }

    /// Reads messages up to an answer.
    fn wait(&mut self) -> Result<(), Error> {
        let mut talked = 0;
        loop {
            match protocol::message(&mut self.stream, self.version).map_err(|error| self.said(error))? {
                Message::Last => return Ok(()),
                Message::Error(text) => return Err(Error::Refused(text)),
                Message::Talk(bytes) => talked += bytes,
            }
            if talked > MAX_TALK {
                return Err(Error::Endless);
            }
        }
    }

    fn said(&self, error: wire::Error) -> Error {
        said(error, self.patience)
    }

    /// What is known of paths, in their order.
    pub fn path_infos(&mut self, paths: &[StorePath]) -> Result<Vec<Option<PathInfo>>, Error> {
        let mut infos = Vec::with_capacity(paths.len());
        for some in paths.chunks(AHEAD) {
            let questions: Vec<u8> = some.iter().flat_map(protocol::query_path_info).collect();
            write(&mut self.stream, &questions)?;
            for path in some {
                self.wait()?;
                let info = protocol::path_info(&mut self.stream, path);
                infos.push(info.map_err(|error| said(error, self.patience))?);
            }
        }
        Ok(infos)
    }

    /// All paths, sorted.
    pub fn paths(&mut self) -> Result<Vec<StorePath>, Error> {
        write(&mut self.stream, &protocol::query_all_valid_paths())?;
        self.wait()?;
        protocol::all_valid_paths(&mut self.stream).map_err(|error| said(error, self.patience))
    }

    /// Gives each archive in turn to `take`, which must read it to its end.
    pub fn nars<E: From<Error>>(
        &mut self,
        paths: &[&StorePath],
        mut take: impl FnMut(usize, Delimited<&mut BufReader<Box<dyn Line>>>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut asked = 0;
        for at in 0..paths.len() {
            let until = paths.len().min(at + AHEAD);
            let questions: Vec<u8> =
                paths[asked..until].iter().flat_map(|path| protocol::nar_from_path(path)).collect();
            write(&mut self.stream, &questions)?;
            asked = until;
            self.wait()?;
            take(at, Delimited::new(&mut self.stream))?;
        }
        Ok(())
    }

    /// An error of a reader that `nars` gave.
    pub fn read_failed(source: io::Error) -> Error {
        said(wire::Error::Read { what: "the rest of an archive", source }, super::patience::PATIENCE)
    }
}

fn write(stream: &mut BufReader<Box<dyn Line>>, bytes: &[u8]) -> Result<(), Error> {
    let line = stream.get_mut();
    line.write_all(bytes).and_then(|()| line.flush()).map_err(Error::Write)
}

fn said(error: wire::Error, patience: Duration) -> Error {
    match error {
        wire::Error::Read { what, source }
            if matches!(source.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
        {
            Error::Silent { what, seconds: patience.as_secs() }
        }
        error => Error::Wire(error),
    }
}
