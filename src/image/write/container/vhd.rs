//! A fixed VHD: the disk, filled up to whole MiB, and a footer.

use crate::format::disk::container::vhd;
use crate::image::sink::{Sink, SinkError};
use crate::ints;

/// The sink.
pub(super) struct Vhd<'a> {
    inner: Box<dyn Sink + 'a>,
    id: [u8; 16],
    position: u64,
}

impl<'a> Vhd<'a> {
    pub fn new(inner: Box<dyn Sink + 'a>, id: [u8; 16]) -> Self {
        Self { inner, id, position: 0 }
    }
}

impl Sink for Vhd<'_> {
    fn data(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.position += ints::to_u64(bytes.len());
        self.inner.data(bytes)
    }

    fn zeros(&mut self, len: u64) -> Result<(), SinkError> {
        self.position += len;
        self.inner.zeros(len)
    }

    fn skip(&mut self, len: u64) -> Result<(), SinkError> {
        self.position += len;
        self.inner.skip(len)
    }

    fn finish(mut self: Box<Self>) -> Result<(), SinkError> {
        let size = self.position.next_multiple_of(vhd::UNIT);
        if size > self.position {
            self.inner.zeros(size - self.position)?;
        }
        self.inner.data(&vhd::footer(size, self.id))?;
        self.inner.finish()
    }
}
