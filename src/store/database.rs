//! Nix's database on disk, opened so that nothing is written and no right to write is needed.

use super::Error;
use crate::format::nix_db::{self, SCHEMA};
use rusqlite::{Connection, OpenFlags};
use std::path::Path;

/// Opens the database of a store whose `nix/var/nix/db` is `directory`.
pub fn open(directory: &Path) -> Result<Connection, Error> {
    check_schema(&directory.join("schema"))?;
    let path = directory.join("db.sqlite");
    let error =
        |source: rusqlite::Error| Error::Database { path: path.display().to_string(), source: source.into() };
    std::fs::metadata(&path).map_err(|source| Error::io(&path, source))?;
    // With a write-ahead log this needs its two companions, or the right to make them; a database that nobody has
    // open lacks them, and then reading it as immutable is safe.
    match attempt(&path, "mode=ro") {
        Ok(db) => Ok(db),
        Err(first) => {
            let log = path.with_file_name("db.sqlite-wal");
            if std::fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
                return Err(error(first));
            }
            attempt(&path, "immutable=1").map_err(error)
        }
    }
}

fn attempt(path: &Path, how: &str) -> Result<Connection, rusqlite::Error> {
    let escaped: String = path
        .to_string_lossy()
        .chars()
        .map(|c| match c {
            '%' => "%25".to_owned(),
            '?' => "%3f".to_owned(),
            '#' => "%23".to_owned(),
            other => other.to_string(),
        })
        .collect();
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let absolute = if escaped.starts_with('/') {
        format!("file://{escaped}?{how}")
    } else {
        format!("file:{escaped}?{how}")
    };
    let db = Connection::open_with_flags(absolute, flags)?;
    // Opening reads nothing: ask something.
    db.query_row("select count(*) from sqlite_master where name = 'ValidPaths'", [], |row| {
        row.get::<_, i64>(0)
    })?;
    Ok(db)
}

fn check_schema(path: &Path) -> Result<(), Error> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(Error::io(path, source)),
    };
    match text.trim().parse::<u32>() {
        Ok(schema) if schema == SCHEMA => Ok(()),
        _ => Err(Error::Mismatch {
            path: path.display().to_string(),
            what: "the schema of the store database",
            expected: SCHEMA.to_string(),
            found: format!("{:?}", text.trim()),
        }),
    }
}

/// Turns an error of the format into one that names the database.
pub fn named(directory: &Path, source: nix_db::Error) -> Error {
    Error::Database { path: directory.join("db.sqlite").display().to_string(), source }
}
