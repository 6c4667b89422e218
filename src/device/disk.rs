//! The seam between the order of a write and the medium: tests put disks of memory here that record and fail.

use crate::ints;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Offsets, lengths and addresses of buffers that suit every disk: a page.
pub const ALIGN: usize = 4096;

/// A disk, or a file, that can be read and written at any place.
///
/// Offsets and lengths are multiples of the sector size; a call may do less than it was asked for.
pub trait Disk: Send + Sync {
    /// How it is named in messages.
    fn name(&self) -> String;

    /// The length in bytes. For a file that grows, the most it may have.
    fn len(&self) -> u64;

    /// Reads.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Makes what was written durable: the caches of the system and of the disk are written out.
    fn sync(&self) -> io::Result<()>;

    /// Whether what is read comes from the medium and not from a cache of the system.
    fn bypasses_cache(&self) -> bool;

    /// What it is, as far as the order of a write is concerned.
    fn medium(&self) -> Medium {
        Medium::Card
    }

    /// Cuts a file to its length; a disk keeps its own.
    fn set_len(&self, _len: u64) -> io::Result<()> {
        Ok(())
    }

    /// Whether it has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// A disk that holds anything before and has a fixed length.
    Card,
    /// A new file: all zeros, of any length.
    File,
}

/// Calls that were interrupted or refused for the moment are repeated this many times.
const RETRIES: u32 = 100;
/// How long to wait when a disk asks to come back later.
const WAIT: Duration = Duration::from_millis(10);

/// Reads all of a range.
pub fn read_exact(disk: &dyn Disk, buf: &mut [u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    let mut stuck = 0;
    while done < buf.len() {
        let at = offset + ints::to_u64(done);
        let read = retry(|| disk.read_at(&mut buf[done..], at))?;
        let step = aligned(read, buf.len() - done);
        stuck = if step == 0 { stuck + 1 } else { 0 };
        if read == 0 || stuck > RETRIES {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        done += step;
    }
    Ok(())
}

/// Writes all of a range.
pub fn write_all(disk: &dyn Disk, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    let mut stuck = 0;
    while done < bytes.len() {
        let written = retry(|| disk.write_at(&bytes[done..], offset + ints::to_u64(done)))?;
        let step = aligned(written, bytes.len() - done);
        stuck = if step == 0 { stuck + 1 } else { 0 };
        if written == 0 || stuck > RETRIES {
            return Err(io::ErrorKind::WriteZero.into());
        }
        done += step;
    }
    Ok(())
}

/// A short transfer may end inside of a sector, where direct I/O cannot go on: the sector is transferred again.
const fn aligned(done: usize, asked: usize) -> usize {
    if done >= asked { asked } else { done - done % 512 }
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 0..RETRIES {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(WAIT),
            result => return result,
        }
    }
    call()
}

/// Set when the user wants to stop: by a signal handler, or another thread.
pub fn is_set(interrupted: &AtomicBool) -> bool {
    interrupted.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::testing::{Fault, MemoryDisk};

    #[test]
    fn short_and_interrupted_calls_are_completed() {
        for fault in [
            Fault::Short(100),
            Fault::Short(512),
            Fault::Short(1536),
            Fault::Error(io::ErrorKind::Interrupted),
            Fault::Error(io::ErrorKind::WouldBlock),
        ] {
            let disk = MemoryDisk::new(1 << 20).fault_once(1, fault);
            let data: Vec<u8> = (0..8192u32).map(|n| (n % 251) as u8).collect();
            write_all(&disk, &data, 4096).unwrap();
            let mut back = vec![0; 8192];
            let again = MemoryDisk::of(disk.bytes()).fault_once(1, fault);
            read_exact(&again, &mut back, 4096).unwrap();
            assert!(back == data, "{fault:?}");
        }
    }

    #[test]
    fn a_disk_that_never_gets_on_is_given_up() {
        let disk = MemoryDisk::new(1 << 20).fault_always(Fault::Short(100));
        let error = write_all(&disk, &[1; 4096], 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
        let disk = MemoryDisk::new(1 << 20).fault_always(Fault::Short(0));
        assert_eq!(write_all(&disk, &[1; 4096], 0).unwrap_err().kind(), io::ErrorKind::WriteZero);
        assert_eq!(read_exact(&disk, &mut [1; 4096], 0).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
