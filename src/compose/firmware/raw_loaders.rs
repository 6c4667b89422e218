//! Boot loaders that a board's ROM looks for outside of all partitions.

use super::package::Places;
use crate::board::{Board, Raw};
use crate::compose::closure::Forest;
use crate::compose::error::Error;
use crate::compose::missing::Missing;
use crate::compose::plan::layout::Blob;
use crate::tree::Kind;

/// The boot loaders of a board, each at its place; those of an optional package that is not there are left out.
pub fn blobs(board: &Board, places: &Places, forest: &Forest) -> Result<Vec<Blob>, Error> {
    let found = board.raws.iter().filter(|raw| places.contains_key(&raw.package));
    found.map(|raw| blob(board, raw, places, forest)).collect()
}

fn blob(board: &Board, raw: &Raw, places: &Places, forest: &Forest) -> Result<Blob, Error> {
    let missing = |why: String| {
        let package = board.packages.iter().find(|package| package.key == raw.package);
        Missing {
            board: board.name.clone(),
            package: raw.package.clone(),
            needs: vec![raw.file.clone()],
            why,
            command: package.map(|package| package.command.clone()).unwrap_or_default(),
        }
    };
    let place = places.get(&raw.package).ok_or_else(|| missing("it was not found".to_owned()))?;
    let names = place.directory.split('/').chain(raw.file.split('/')).filter(|name| !name.is_empty());
    match forest.tree(place.source).at(names.map(str::as_bytes)).map(|node| &node.kind) {
        Some(Kind::File { len, content }) if *len <= raw.max => {
            Ok(Blob { offset: raw.offset, len: *len, content: *content })
        }
        Some(Kind::File { len, .. }) => {
            let (board, path) = (board.name.clone(), raw.file.clone());
            Err(Error::Raw { board, path, len: *len, max: raw.max })
        }
        _ => Err(missing(format!("{} is no file of the package that was found", raw.file)).into()),
    }
}
