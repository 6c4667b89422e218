//! Nix's database on disk, opened so that nothing is written and no right to write is needed.

use crate::format::nix::database;
use crate::format::nix::database::SCHEMA;
use crate::format::nix::store_path::{STORE_DIR, StorePath};
use crate::store::error::Error;
use crate::store::interface::PathInfo;
use rusqlite::{Connection, OpenFlags};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The database of a store.
pub struct Database {
    db: Mutex<Connection>,
    path: PathBuf,
    /// What the file was, where nothing but this keeps others from writing to it.
    unchanged: Option<Stamp>,
}

/// What changes when a file is written.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    len: u64,
    modified: (i64, i64),
    logs: [u64; 2],
}

impl Stamp {
    fn of(path: &Path) -> Result<Self, Error> {
        let file: Metadata = std::fs::metadata(path).map_err(|source| Error::io(path, source))?;
        let logs = ["db.sqlite-wal", "db.sqlite-journal"];
        Ok(Self {
            inode: file.ino(),
            len: file.len(),
            modified: (file.mtime(), file.mtime_nsec()),
            logs: logs.map(|log| std::fs::metadata(path.with_file_name(log)).map_or(0, |log| log.len())),
        })
    }
}

impl Database {
    /// Opens the database in the directory `nix/var/nix/db` of a store, beside whoever writes to it.
    ///
    /// With a write-ahead log that needs its two companions, or the right to make them.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        Self::attempt(directory, "mode=ro", None)
    }

    /// Opens a database that nobody has open: without its companions nobody has, and reading it as if it could not
    /// change is safe as long as it does not.
    pub fn open_unused(directory: &Path) -> Result<Self, Error> {
        let path = directory.join("db.sqlite");
        let stamp = Stamp::of(&path)?;
        if let Some((log, len)) = ["-wal", "-journal"].iter().zip(stamp.logs).find(|(_, len)| *len > 0) {
            let message = format!(
                "it has {len} bytes of changes that only who may write beside it can read: be root, or run nix-daemon"
            );
            let source = std::io::Error::new(std::io::ErrorKind::PermissionDenied, message);
            return Err(Error::Io { path: format!("{}{log}", path.display()), source });
        }
        Self::attempt(directory, "immutable=1", Some(stamp))
    }

    fn attempt(directory: &Path, how: &str, unchanged: Option<Stamp>) -> Result<Self, Error> {
        check_schema(&directory.join("schema"))?;
        let path = directory.join("db.sqlite");
        std::fs::File::open(&path).map_err(|source| Error::io(&path, source))?;
        let named = |source: database::Error| Error::Database { path: path.display().to_string(), source };
        let db = connect(&path, how).map_err(|error| named(error.into()))?;
        if let Some(found) = database::elsewhere(&db).map_err(named)? {
            return Err(Error::Mismatch {
                path: path.display().to_string(),
                what: "the store directory of its paths",
                expected: STORE_DIR.to_owned(),
                found,
            });
        }
        Ok(Self { db: Mutex::new(db), path, unchanged })
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A thread that panicked in a query leaves the connection usable.
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands out an answer that was not read while somebody wrote.
    fn stable<T>(&self, answer: Result<T, database::Error>) -> Result<T, Error> {
        if let Some(before) = self.unchanged
            && Stamp::of(&self.path)? != before
        {
            let message = "was written to while it was read: run again".to_owned();
            return Err(Error::File { path: self.path.display().to_string(), message });
        }
        answer.map_err(|source| Error::Database { path: self.path.display().to_string(), source })
    }

    /// What is known of a path.
    pub fn find(&self, path: &StorePath) -> Result<Option<PathInfo>, Error> {
        let answer = database::find(&self.connection(), path);
        self.stable(answer)
    }

    /// Every path, in no particular order.
    pub fn paths(&self) -> Result<Vec<StorePath>, Error> {
        let answer = database::paths(&self.connection());
        self.stable(answer)
    }
}

fn connect(path: &Path, how: &str) -> Result<Connection, rusqlite::Error> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::nix::database::Row;

    fn row(name: &str) -> Row {
        Row {
            path: StorePath::from_base_name(&format!("3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-{name}")).unwrap(),
            nar_hash: [7; 32],
            nar_size: 99,
            references: Vec::new(),
            deriver: None,
            signatures: Vec::new(),
            content_address: None,
        }
    }

    fn store() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("db.sqlite"), database::write(&[row("a")], 1).unwrap()).unwrap();
        dir
    }

    #[test]
    fn a_database_that_is_written_to_meanwhile_is_not_believed() {
        let dir = store();
        let db = Database::open_unused(dir.path()).unwrap();
        assert_eq!(db.find(&row("a").path).unwrap(), Some(row("a")));
        let writer = Connection::open(dir.path().join("db.sqlite")).unwrap();
        writer.execute_batch("pragma journal_mode = wal; delete from ValidPaths").unwrap();
        let error = db.find(&row("a").path).unwrap_err().to_string();
        assert!(error.ends_with("was written to while it was read: run again"), "{error}");
        let error = Database::open_unused(dir.path()).err().unwrap().to_string();
        assert!(error.contains("db.sqlite-wal: it has ") && error.contains("run nix-daemon"), "{error}");
        assert_eq!(
            Database::open(dir.path()).unwrap().find(&row("a").path).unwrap(),
            None,
            "the log is read"
        );
    }

    #[test]
    fn paths_of_another_store_directory_are_named() {
        let dir = store();
        let writer = Connection::open(dir.path().join("db.sqlite")).unwrap();
        writer.execute_batch("update ValidPaths set path = replace(path, '/nix/', '/gnu/')").unwrap();
        let error = Database::open(dir.path()).err().unwrap().to_string();
        assert!(
            error.contains("is /gnu/store/3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-a, expected /nix/store"),
            "{error}"
        );
    }
}
