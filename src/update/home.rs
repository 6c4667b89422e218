//! The file that a second volume says by where the first one lies.

/// On the second volume, and only there: where the first one was, in bytes.
pub const HOME: &str = "nixflash-home.txt";
/// The index of the note among new files: beyond all of them.
pub const NOTE: u32 = u32::MAX;
