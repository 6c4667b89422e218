//! Nix's store database, `/nix/var/nix/db/db.sqlite`, schema 10.
//!
//! Written, it is the same bytes for the same rows: ids in the order of paths, a rollback journal in its header, no
//! table that Nix adds when it needs one. Source: Nix `src/libstore/schema.sql`, `local-store.cc`.

use super::nar_hash;
use super::store_path::StorePath;
use crate::base_n;
use crate::ints;
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OptionalExtension, params};
use std::io::{self, Read};

/// The newest schema that is known; newer ones may mean anything.
pub const SCHEMA: u32 = 10;

/// Steps of SQLite's machine that a database in memory may take: a sum over some million rows.
const MAX_STEPS: i32 = 100_000_000;
/// Steps between two looks at how many there were.
const STEPS_AT_A_TIME: i32 = 10_000;
/// Bytes of the longest value or row there: Nix has none of more than some KiB.
const MAX_VALUE: i32 = 1 << 20;

/// One valid path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The store path that the rest is said of.
    pub path: StorePath,
    /// SHA-256 of the NAR.
    pub nar_hash: [u8; 32],
    /// Length of the NAR.
    pub nar_size: u64,
    /// References, sorted, itself included where it refers to itself.
    pub references: Vec<StorePath>,
    /// The derivation that built it, where that is known.
    pub deriver: Option<StorePath>,
    /// `KEY:BASE64` each, as a binary cache gives them.
    pub signatures: Vec<String>,
    /// For a content-addressed path.
    pub content_address: Option<String>,
}

impl Row {
    /// Path and references in one line, from which digests are made.
    #[must_use]
    pub fn references_line(&self) -> String {
        let references: String = self.references.iter().map(|path| format!(" {path}")).collect();
        format!("{}{references}\n", self.path)
    }
}

/// A database cannot be read or made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// SQLite refuses: the database is damaged, or no store database.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// A row says what no row of Nix says.
    #[error("{path}: {message}")]
    Row {
        /// The path of the row.
        path: String,
        /// What was expected and found.
        message: String,
    },
    /// It cannot be read.
    #[error(transparent)]
    Read(io::Error),
    /// It has no table of paths, or a view in its place.
    #[error("it has {found} tables ValidPaths, expected 1")]
    Tables {
        /// How many there are.
        found: u32,
    },
}

const TABLES: &str = "
pragma page_size = 4096;
pragma encoding = 'UTF-8';
pragma foreign_keys = off;
create table ValidPaths (
    id integer primary key autoincrement not null,
    path text unique not null,
    hash text not null,
    registrationTime integer not null,
    deriver text,
    narSize integer,
    ultimate integer,
    sigs text,
    ca text
);
create table Refs (
    referrer integer not null,
    reference integer not null,
    primary key (referrer, reference),
    foreign key (referrer) references ValidPaths(id) on delete cascade,
    foreign key (reference) references ValidPaths(id) on delete restrict
);
create index IndexReference on Refs(reference);
create trigger DeleteSelfRefs before delete on ValidPaths begin
    delete from Refs where referrer = old.id and reference = old.id;
end;
create table DerivationOutputs (
    drv integer not null,
    id text not null,
    path text not null,
    primary key (drv, id),
    foreign key (drv) references ValidPaths(id) on delete cascade
);
create index IndexDerivationOutputs on DerivationOutputs(path);
";

/// Makes a database of rows sorted by path, all registered at one time (seconds since 1970).
pub fn write(rows: &[Row], registration_time: u64) -> Result<Vec<u8>, Error> {
    let mut db = Connection::open_in_memory()?;
    db.execute_batch(TABLES)?;
    let transaction = db.transaction()?;
    {
        let mut path = transaction.prepare(
            "insert into ValidPaths (id, path, hash, registrationTime, deriver, narSize, sigs, ca) values (?, ?, ?, ?, ?, ?, ?, ?)",
        )?;
        let mut reference = transaction.prepare("insert into Refs (referrer, reference) values (?, ?)")?;
        let time = signed(registration_time);
        for (id, row) in (1i64..).zip(rows) {
            let signatures = Some(row.signatures.join(" ")).filter(|text| !text.is_empty());
            let deriver = row.deriver.as_ref().map(ToString::to_string);
            let hash = format!("sha256:{}", base_n::to_base16(&row.nar_hash));
            let size = signed(row.nar_size);
            path.execute(params![
                id,
                row.path.to_string(),
                hash,
                time,
                deriver,
                size,
                signatures,
                row.content_address
            ])?;
            for target in &row.references {
                let missing = || Error::Row {
                    path: row.path.to_string(),
                    message: format!("refers to {target}, which has no row"),
                };
                let at = rows.binary_search_by(|other| other.path.cmp(target)).map_err(|_| missing())?;
                reference.execute(params![id, i64::try_from(at + 1).unwrap_or(i64::MAX)])?;
            }
        }
    }
    transaction.commit()?;
    Ok(db.serialize(rusqlite::MAIN_DB)?.to_vec())
}

/// Looks a path up; `None` when it is not valid.
pub fn find(db: &Connection, path: &StorePath) -> Result<Option<Row>, Error> {
    let mut query =
        db.prepare_cached("select id, hash, narSize, deriver, sigs, ca from ValidPaths where path = ?")?;
    let found = query
        .query_row([path.to_string()], |row| {
            let (id, hash): (i64, String) = (row.get(0)?, row.get(1)?);
            let (size, deriver): (Option<i64>, Option<String>) = (row.get(2)?, row.get(3)?);
            let (sigs, ca): (Option<String>, Option<String>) = (row.get(4)?, row.get(5)?);
            Ok((id, hash, size, deriver, sigs, ca))
        })
        .optional()?;
    let Some((id, hash, size, deriver, sigs, ca)) = found else { return Ok(None) };
    let wrong = |message: String| Error::Row { path: path.to_string(), message };
    let nar_hash =
        nar_hash::parse(&hash).ok_or_else(|| wrong(format!("its hash is {hash:?}, expected sha256:...")))?;
    let nar_size = size.and_then(|size| u64::try_from(size).ok()).filter(|size| *size > 0);
    let nar_size =
        nar_size.ok_or_else(|| wrong(format!("its narSize is {size:?}, expected a positive number")))?;
    let parse = |text: &str| StorePath::from_absolute(text).map_err(|error| wrong(error.to_string()));
    let mut references =
        db.prepare_cached("select path from Refs join ValidPaths on reference = id where referrer = ?")?;
    let texts: Result<Vec<String>, _> = references.query_map([id], |row| row.get(0))?.collect();
    let mut references = texts?.iter().map(|text| parse(text)).collect::<Result<Vec<_>, _>>()?;
    references.sort();
    Ok(Some(Row {
        path: path.clone(),
        nar_hash,
        nar_size,
        references,
        // A deriver that is no store path is of no use to anyone.
        deriver: deriver.filter(|text| !text.is_empty()).and_then(|text| parse(&text).ok()),
        signatures: sigs.unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect(),
        content_address: ca.filter(|text| !text.is_empty()),
    }))
}

/// Every valid path, in no particular order; what is no path of `/nix/store` is left out.
pub fn paths(db: &Connection) -> Result<Vec<StorePath>, Error> {
    let mut query = db.prepare("select path from ValidPaths")?;
    let texts: Result<Vec<String>, _> = query.query_map([], |row| row.get(0))?.collect();
    Ok(texts?.iter().filter_map(|text| StorePath::from_absolute(text).ok()).collect())
}

/// A path that is not in `/nix/store`, if there is one: then none is.
pub fn elsewhere(db: &Connection) -> Result<Option<String>, Error> {
    // Two ranges of the index; behind the slash comes 0.
    let query = "select path from ValidPaths where path < '/nix/store/' or path >= '/nix/store0' limit 1";
    Ok(db.query_row(query, [], |row| row.get(0)).optional()?)
}

/// What SQLite finds wrong with the structure of a database: rows that an index has and the table has not, and such.
pub fn faults(db: &Connection) -> Result<Vec<String>, Error> {
    let mut query = db.prepare("pragma integrity_check(5)")?;
    let lines: Result<Vec<String>, _> = query.query_map([], |row| row.get(0))?.collect();
    Ok(lines?.into_iter().filter(|line| line != "ok").collect())
}

/// How many paths are valid, and the sum of their NARs in bytes.
pub fn totals(db: &Connection) -> Result<(u64, u64), Error> {
    let (paths, bytes): (i64, i64) =
        db.query_row("select count(*), coalesce(sum(narSize), 0) from ValidPaths", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    Ok((u64::try_from(paths).unwrap_or(0), u64::try_from(bytes).unwrap_or(0)))
}

/// Reads a database of `len` bytes that a stranger may have made into memory. What a write-ahead log beside it adds is
/// not seen.
pub fn open_untrusted(mut reader: impl Read, len: u64) -> Result<Connection, Error> {
    let mut db = Connection::open_in_memory()?;
    bound(&mut db)?;
    let mut head = Vec::new();
    reader.by_ref().take(20).read_to_end(&mut head).map_err(Error::Read)?;
    // A database in memory has no log; the header must not promise one.
    if let Some(versions) = head.get_mut(18..20) {
        versions.fill(1);
    }
    db.deserialize_read_exact(rusqlite::MAIN_DB, head.chain(reader), ints::to_usize(len), true)?;
    let is_table =
        "select count(*) from sqlite_schema where name = 'ValidPaths' and type = 'table' and rootpage > 0";
    match db.query_row(is_table, [], |row| row.get(0))? {
        1 => Ok(db),
        found => Err(Error::Tables { found }),
    }
}

/// Bounds the work of all queries together, and what one value may take: a page can be its own child, and a column can
/// be computed by anything. Views, which can be anything too, are not followed.
fn bound(db: &mut Connection) -> Result<(), Error> {
    db.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    let mut left = MAX_STEPS / STEPS_AT_A_TIME;
    let is_used_up = move || {
        left = left.saturating_sub(1);
        left == 0
    };
    Ok(db.progress_handler(STEPS_AT_A_TIME, Some(is_used_up))?)
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::nix::write_ahead_log;

    fn row(name: &str, references: &[&str]) -> Row {
        let path = |name: &str| {
            StorePath::from_base_name(&format!("3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-{name}")).unwrap()
        };
        let (signatures, content_address) =
            (vec!["key:abc".to_owned(), "other:def".to_owned()], Some("fixed:r:sha256:x".to_owned()));
        let references = references.iter().map(|name| path(name)).collect();
        Row {
            path: path(name),
            nar_hash: [7; 32],
            nar_size: 99,
            references,
            deriver: Some(path("x.drv")),
            signatures,
            content_address,
        }
    }

    #[test]
    fn what_is_written_reads_back_and_is_the_same_each_time() {
        let rows = [row("a", &["a", "b"]), row("b", &[])];
        let bytes = write(&rows, 1).unwrap();
        assert_eq!(bytes, write(&rows, 1).unwrap());
        assert_eq!(bytes[18..20], [1, 1], "a rollback journal, which needs no other file");
        assert_ne!(bytes, write(&rows, 2).unwrap());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let db = Connection::open(file.path()).unwrap();
        assert_eq!(find(&db, &rows[0].path).unwrap().unwrap(), rows[0]);
        assert_eq!(find(&db, &rows[1].path).unwrap().unwrap(), rows[1]);
        assert_eq!(totals(&db).unwrap(), (2, 198));
        assert!(find(&db, &row("c", &[]).path).unwrap().is_none());
    }

    /// Opens what a stranger made by these statements.
    fn untrusted(sql: &str) -> Result<Connection, Error> {
        let mut db = Connection::open_in_memory().unwrap();
        db.execute_batch(sql).unwrap();
        let bytes = db.serialize(rusqlite::MAIN_DB).unwrap().to_vec();
        open_untrusted(&bytes[..], ints::to_u64(bytes.len()))
    }

    #[test]
    fn a_strangers_database_takes_neither_time_nor_memory() {
        let endless =
            "with recursive n(narSize) as (select 1 union all select 1 from n) select narSize from n";
        let db = untrusted("create table ValidPaths (narSize integer)").unwrap();
        assert_eq!(totals(&db).unwrap(), (0, 0));
        let sum = format!("select sum(narSize) from ({endless})");
        let stopped = db.query_row(&sum, [], |row| row.get::<_, i64>(0)).unwrap_err();
        assert_eq!(stopped.to_string(), "interrupted");
        for none in [&format!("create view ValidPaths as {endless}"), "create table Other (x)"] {
            let error = untrusted(none).unwrap_err().to_string();
            assert_eq!(error, "it has 0 tables ValidPaths, expected 1");
        }
        let large = "create table ValidPaths (id, narSize as (length(hex(zeroblob(400000000)))));
            insert into ValidPaths (id) values (1)";
        let error = untrusted(large).and_then(|db| totals(&db)).unwrap_err().to_string();
        assert_eq!(error, "string or blob too big");
    }

    #[test]
    fn a_write_ahead_log_is_applied_as_sqlite_does_and_a_torn_one_up_to_its_last_commit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db.sqlite");
        std::fs::write(&path, write(&[row("a", &[])], 1).unwrap()).unwrap();
        let db = Connection::open(&path).unwrap();
        db.execute_batch("pragma journal_mode = wal; pragma wal_autocheckpoint = 0").unwrap();
        for n in 0..30 {
            let name = row(&format!("new-{n}"), &[]).path;
            let hash = nar_hash::show(&[7; 32]);
            let text = "insert into ValidPaths (path, hash, registrationTime, narSize) values (?, ?, 1, 5)";
            db.execute(text, params![name.to_string(), hash]).unwrap();
        }
        let (main, log) =
            (std::fs::read(&path).unwrap(), std::fs::read(dir.path().join("db.sqlite-wal")).unwrap());
        let count = |log: &[u8]| {
            let mut bytes = main.clone();
            write_ahead_log::apply(&mut bytes, log, 1 << 20);
            let db = open_untrusted(&bytes[..], ints::to_u64(bytes.len())).unwrap();
            totals(&db).unwrap().0
        };
        assert_eq!(count(&[]), 1);
        assert_eq!(count(&log), 31);
        assert!((2..31).contains(&count(&log[..log.len() / 2])));
        let mut torn = log.clone();
        torn[log.len() / 2] ^= 1;
        assert!((2..31).contains(&count(&torn)));
        torn[9] ^= 0x40;
        assert_eq!(count(&torn), 1);
    }

    #[test]
    fn a_reference_without_a_row_is_named() {
        assert!(write(&[row("a", &["zzz"])], 1).unwrap_err().to_string().contains("-zzz, which has no row"));
    }
}
