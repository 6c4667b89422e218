//! How an image is cut, moved and packed: sources, sinks, and the loop between them.
//!
//! A source gives an image once, in ascending order, as pieces of three kinds; a sink takes them in the same order.
//! Neither can seek, so a pipe, a compressor and a card are all sinks.

pub(crate) mod copying;
pub(crate) mod read;
pub mod recognise;
pub(crate) mod sink;
pub(crate) mod source;
pub(crate) mod write;

pub use copying::{CopyError, Feeder, Progress, copy};
pub use read::disk::Inside;
pub use sink::{Sink, SinkError};
pub use source::{Piece, Source, SourceError};
pub use write::container;
