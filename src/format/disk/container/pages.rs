//! Tables of a container, read page by page: memory does not grow with what a file claims.

use crate::ints;
use crate::stream::ReadAt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a page, and how many are kept.
const PAGE: u64 = 64 << 10;
const KEPT: usize = 32;

/// Pages of a file, the ones last used in memory.
pub(super) struct Pages<T> {
    file: T,
    len: u64,
    recent: Recent,
}

impl<T: ReadAt> Pages<T> {
    /// Reads pages of a file.
    pub fn new(file: T) -> Self {
        let len = file.size();
        Self { file, len, recent: Recent::new(KEPT) }
    }

    /// The file itself.
    pub const fn file(&self) -> &T {
        &self.file
    }

    /// Its length in bytes.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// A few bytes of a table, which may lie across two pages; `UnexpectedEof` behind the end.
    pub fn get<const N: usize>(&self, at: u64) -> io::Result<[u8; N]> {
        let mut field = [0; N];
        let end = at.checked_add(ints::to_u64(N)).filter(|end| *end <= self.len);
        end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut done = 0;
        while done < N {
            let at = at + ints::to_u64(done);
            let page = self.page(at / PAGE)?;
            let within = ints::to_usize(at % PAGE);
            let now = (N - done).min(page.len() - within);
            field[done..done + now].copy_from_slice(&page[within..within + now]);
            done += now;
        }
        Ok(field)
    }

    fn page(&self, number: u64) -> io::Result<Arc<[u8]>> {
        self.recent.get_or(number, || {
            let at = number * PAGE;
            let mut page = vec![0; ints::to_usize(PAGE.min(self.len - at))];
            self.file.read_exact_at(&mut page, at)?;
            Ok(page)
        })
    }
}

/// What was asked for last, by number.
pub(super) struct Recent {
    most: usize,
    kept: Mutex<Vec<(u64, Arc<[u8]>)>>,
}

impl Recent {
    /// Keeps so many at the most.
    pub const fn new(most: usize) -> Self {
        Self { most, kept: Mutex::new(Vec::new()) }
    }

    /// What has that number, made if it is not kept. Two threads may make the same.
    pub fn get_or(&self, number: u64, make: impl FnOnce() -> io::Result<Vec<u8>>) -> io::Result<Arc<[u8]>> {
        if let Some(found) = self.find(number) {
            return Ok(found);
        }
        let made: Arc<[u8]> = make()?.into();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= self.most {
            kept.remove(0);
        }
        kept.push((number, Arc::clone(&made)));
        Ok(made)
    }

    /// The one used last is at the end.
    fn find(&self, number: u64) -> Option<Arc<[u8]>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().rposition(|(other, _)| *other == number)?;
        if at + 1 < kept.len() {
            let found = kept.remove(at);
            kept.push(found);
        }
        kept.last().map(|(_, bytes)| Arc::clone(bytes))
    }
}
