//! The way to a daemon: a stream of bytes, and who makes one to another machine.

use super::builder_address::Builder;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Bytes both ways.
pub trait Line: Read + Write + Send {
    /// Fails from now on with `WouldBlock` or `TimedOut` where nothing can be read or written for so long.
    fn patience(&mut self, most: Duration) -> io::Result<()>;
}

impl Line for UnixStream {
    fn patience(&mut self, most: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(most))?;
        self.set_write_timeout(Some(most))
    }
}

/// Runs ssh, which is not for a store to do.
pub trait Ssh: Send + Sync {
    /// Runs the builder's command on its host; what it reads and writes there is the line.
    fn run(&self, builder: &Builder) -> io::Result<Box<dyn Line>>;
}
