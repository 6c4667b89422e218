//! Looking through a NAR for its tree, with or without its contents.

use super::error::Error;
use super::interface::{PathInfo, Store};
use super::verified_nar::{Verified, longer, too_long, verify};
use crate::format::nix::{listing, nar};
use crate::tree::Node;
use std::io::Read;

/// The tree of a path: from its listing, or from its NAR, which then takes some of the room. Neither is believed: hash
/// and tree are compared when the contents move.
pub fn index(store: &dyn Store, info: &PathInfo, room: &nar::Room) -> Result<Node<()>, Error> {
    let tree = look(store, info, room);
    if tree.as_ref().is_err_and(Error::is_bad_source) {
        // What a store has kept would be as bad the next time. That it cannot be removed matters less than what is wrong.
        drop(store.refute(&info.path));
    }
    tree
}

fn look(store: &dyn Store, info: &PathInfo, room: &nar::Room) -> Result<Node<()>, Error> {
    if let Some(tree) = store.listing(&info.path)? {
        return Ok(tree);
    }
    let mut reader = nar::Reader::new(store.peek_nar(&info.path)?.take(info.nar_size.saturating_add(1)));
    let tree = nar::tree(&mut reader, room);
    let size = |found: String| Error::Mismatch {
        path: info.path.to_string(),
        what: "its NarSize",
        expected: info.nar_size.to_string(),
        found,
    };
    if tree.is_err() && reader.into_inner().limit() == 0 {
        return Err(size(format!("{} or more", info.nar_size.saturating_add(1))));
    }
    let tree = tree.map_err(|error| Error::nar(&info.path, error))?;
    match nar::len(&tree) {
        Some(len) if len == info.nar_size => Ok(tree),
        len => Err(size(len.unwrap_or(u64::MAX).to_string())),
    }
}

/// What comes next of the regular files of a NAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// A file of so many bytes, whose contents follow.
    File(u64),
    /// Contents of the file that was announced last, as they come.
    Bytes(&'a [u8]),
}

/// Whose fault it is that a NAR was not read to its end.
enum Halt<E> {
    Nar(nar::Error),
    /// A file of so many bytes, more than all of it may have.
    Longer(u64),
    Taker(E),
}

impl<E> From<nar::Error> for Halt<E> {
    fn from(error: nar::Error) -> Self {
        Self::Nar(error)
    }
}

/// Reads the NAR of a path for its tree, which takes some of the room, and gives its regular files to `take` on the way.
/// When a tree comes back, length and hash of the NAR were right. The store has learnt what came of it.
pub fn unpack<E: From<Error>>(
    store: &dyn Store,
    info: &PathInfo,
    room: &nar::Room,
    take: &mut dyn FnMut(Part<'_>) -> Result<(), E>,
) -> Result<Node<()>, E> {
    let path = &info.path;
    let mut reader = nar::Reader::new(Verified::new(store.open_nar(path)?, info));
    let read = nar::tree_with(&mut reader, room, &mut |reader, len| {
        if len > info.nar_size {
            return Err(Halt::Longer(len));
        }
        take(Part::File(len)).map_err(Halt::Taker)?;
        loop {
            let chunk = reader.chunk()?;
            let taken = chunk.len();
            if taken == 0 {
                return Ok(());
            }
            take(Part::Bytes(chunk)).map_err(Halt::Taker)?;
            reader.consume(taken);
        }
    });
    let result = match read {
        Ok(tree) => verify(reader.into_inner(), info).map(|()| tree),
        Err(Halt::Taker(error)) => return Err(error),
        Err(Halt::Longer(len)) => Err(too_long(len, info)),
        // A NAR that goes on behind its end is called longer, whatever else is wrong with it.
        Err(Halt::Nar(error)) => {
            Err(longer(&reader.into_inner(), info).unwrap_or_else(|| Error::nar(path, error)))
        }
    };
    match &result {
        Ok(tree) => store.confirm(path, &|| listing::encode(tree)),
        // That what was kept cannot be removed matters less than what is wrong with it.
        Err(error) if error.is_bad_source() => drop(store.refute(path)),
        Err(_) => {}
    }
    Ok(result?)
}
