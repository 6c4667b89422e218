//! The text of a profile becomes a board.

use super::description::Board;
use super::error::Error;
use super::key;
use super::profile;
use sha2::Digest;
use sha2::Sha256;

/// Parses a profile; `file` names it in errors.
pub fn parse(file: &str, text: &str) -> Result<Board, Error> {
    let wrong = |line, key, message| Error::Profile { file: file.to_owned(), line, key, message };
    let raw: profile::Profile = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let is_missing = error.message().starts_with("missing field");
        let wanted = if is_missing { key::Wanted::Table } else { key::Wanted::Any };
        wrong(key::line_of(text, at), key::key_at(text, at, wanted), error.message().to_owned())
    })?;
    raw.validate(Sha256::digest(text.as_bytes()).into())
        .map_err(|(key, message)| wrong(key.line(text), Some(key.to_string()), message))
}
