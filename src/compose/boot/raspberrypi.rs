//! The FAT that a Raspberry Pi's ROM and firmware read: firmware, device trees, U-Boot, `config.txt`.

use crate::board::Board;
use crate::compose::error::Error;
use crate::compose::firmware::find::Copy;
use crate::compose::literals::Literals;
use crate::compose::root::files::Files;

/// Adds the files that the board's rules name, and its `config.txt`.
pub fn add(
    board: &Board,
    copies: &[Copy<'_>],
    files: &mut Files,
    literals: &mut Literals,
) -> Result<(), Error> {
    for (path, node) in copies {
        files.copy(path, node)?;
    }
    match &board.config_txt {
        Some(text) => files.literal("/config.txt", text.as_bytes(), literals),
        None => Ok(()),
    }
}
