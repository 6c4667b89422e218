//! nixflash composes, writes and verifies NixOS cards.
//!
//! An image is a plan: once a file tree and the file lengths are known, every byte of file-system metadata is
//! known before any content is read. So everything is decided first (floors 1 to 4 build values), then bytes
//! move once, in ascending order, from a [`image::Source`] to a [`image::Sink`].
//!
//! Floors, lowest first; a module uses lower floors only (`tests/integration/architecture.rs` enforces it):
//!
//! | floor | modules |
//! |---|---|
//! | 0 | [`bytes`], [`ints`], [`sizes`], [`base_n`], [`escape`], [`tree`], [`extent`], [`stream`], [`workers`] |
//! | 1 | [`format`], [`net`] |
//! | 2 | [`image`], [`card`] |
//! | 3 | [`store`], [`board`], [`device`], [`source`](mod@source) |
//! | 4 | [`compose`], [`flash`], [`inspect`], [`update`], [`verify`] |
//! | 5 | [`cli`] |
#![cfg_attr(test, expect(clippy::cast_possible_truncation, reason = "lengths of test data fit"))]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("nixflash handles images larger than 4 GiB and needs a 64-bit target");

pub mod base_n;
pub mod board;
pub mod bytes;
pub mod card;
pub mod cli;
pub mod compose;
pub mod device;
pub mod escape;
pub mod extent;
pub mod flash;
pub mod format;
pub mod image;
pub mod inspect;
pub mod ints;
pub mod net;
pub mod sizes;
pub mod source;
pub mod store;
pub mod stream;
pub mod tree;
pub mod update;
pub mod verify;
pub mod workers;
