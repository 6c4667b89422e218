//! Files from a card into a directory of this machine: never outside of it, never through a symlink.

use crate::cli::exit::{Code, Failure};
use crate::cli::show::output;
use crate::cli::show::terminal::Voice;
use crate::inspect::{Item, extract};
use crate::ints;
use crate::stream::ReadAt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Component, Path, PathBuf};

/// Bytes copied at a time; zeros of this length become holes.
const CHUNK: usize = 64 << 10;

/// Where files go.
pub struct Target<'a> {
    /// The file or directory; `None` for standard output.
    pub to: Option<&'a Path>,
    /// Whether what is there is replaced.
    pub force: bool,
}

/// A place on a card, as people write it: `PATH` of the root, or `PARTITION:PATH`.
pub fn place(words: &str) -> (Option<u32>, &str) {
    match words.split_once(':') {
        Some((number, path)) if number.bytes().all(|b| b.is_ascii_digit()) && !number.is_empty() => {
            (number.parse().ok(), path)
        }
        _ => (None, words),
    }
}

/// Takes what is at a place off a card.
pub fn run(
    disk: &dyn ReadAt,
    (partition, path): (Option<u32>, &str),
    target: &Target<'_>,
    voice: &Voice,
) -> Result<(), Failure> {
    let mut files = 0u64;
    let mut wrong = None;
    let result = extract(disk, partition, path, &mut |below, item| {
        files += u64::from(matches!(item, Item::File { .. }));
        let done = match target.to {
            None => print(item),
            Some(to) => put(&beneath(to, below)?, to, item, target.force, voice),
        };
        done.map_err(|error| {
            let text = error.to_string();
            wrong = Some(error);
            text
        })
    });
    if let Some(to) = target.to.filter(|_| result.is_ok()) {
        voice.say(&format!("{}: {files} files", to.display()));
    }
    let source = |why: String| Failure::new(Code::Source, output::escape(&why));
    match (result, wrong) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(error)) => Err(match error.kind() {
            io::ErrorKind::AlreadyExists => {
                Failure::new(Code::Refused, error.to_string()).hint("--force replaces files that are there")
            }
            io::ErrorKind::PermissionDenied => Failure::new(Code::Permission, error.to_string()),
            io::ErrorKind::InvalidData => source(error.to_string()),
            _ => Failure::new(Code::Target, error.to_string()),
        }),
        (Err(why), None) => Err(source(why)),
    }
}

/// Where something goes. Names from a card hold neither slash nor NUL, but this is where it would matter.
fn beneath(to: &Path, below: &[u8]) -> Result<PathBuf, String> {
    let path = Path::new(std::ffi::OsStr::from_bytes(below));
    if path.components().all(|part| matches!(part, Component::Normal(_))) {
        return Ok(if below.is_empty() { to.to_path_buf() } else { to.join(path) });
    }
    Err(format!("{} leads out of the directory", path.display()))
}

fn print(item: Item<'_>) -> io::Result<()> {
    let Item::File { contents, .. } = item else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is no file; name a directory for it with -o",
        ));
    };
    let mut out = io::stdout().lock();
    match io::copy(contents, &mut out).and_then(|_| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

fn put(path: &Path, to: &Path, item: Item<'_>, force: bool, voice: &Voice) -> io::Result<()> {
    let shown = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    match item {
        Item::Directory => directory(path).map_err(shown),
        Item::File { executable, len, contents } => {
            clear(path, force).map_err(shown)?;
            let mode = if executable { 0o755 } else { 0o644 };
            let file =
                OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(shown)?;
            copy(contents, file, len).map_err(shown)
        }
        Item::Symlink(target) => {
            let target = Path::new(std::ffi::OsStr::from_bytes(&target));
            let within = path.strip_prefix(to).unwrap_or(path);
            if !stays(within, target) {
                voice.always(&output::escape(&format!(
                    "warning: {} is a symlink to {}, outside of the directory: left out",
                    path.display(),
                    target.display()
                )));
                return Ok(());
            }
            clear(path, force).map_err(shown)?;
            symlink(target, path).map_err(shown)
        }
    }
}

/// Makes a directory, or takes the one that is there if it is one itself, and no symlink to one.
fn directory(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::symlink_metadata(path)?.is_dir() {
                return Ok(());
            }
            Err(io::Error::new(error.kind(), "it is there, and no directory"))
        }
        result => result,
    }
}

/// Makes room for a file: a directory is never replaced.
fn clear(path: &Path, force: bool) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if force && !found.is_dir() => fs::remove_file(path),
        Ok(_) => Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is there already")),
    }
}

/// Whether a symlink at `path`, relative to the directory, leads to something below the directory.
fn stays(path: &Path, target: &Path) -> bool {
    let mut depth = path.components().count().saturating_sub(1);
    for part in target.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            _ => return false,
        }
    }
    true
}

fn copy(contents: &mut dyn Read, mut file: File, len: u64) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = contents.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        if buffer[..read].iter().all(|byte| *byte == 0) {
            file.seek(SeekFrom::Current(i64::try_from(ints::to_u64(read)).unwrap_or(0)))?;
        } else {
            file.write_all(&buffer[..read])?;
        }
    }
    file.set_len(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symlink_stays_below_the_directory_or_is_left_out() {
        for (path, target, expected) in [
            ("a/b", "../c", true),
            ("a/b", "../../c", false),
            ("b", "c/../d", true),
            ("b", "/etc/passwd", false),
            ("b", "..", false),
            ("a/b/c", "../../x/../../y", false),
        ] {
            assert_eq!(stays(Path::new(path), Path::new(target)), expected, "{path} {target}");
        }
        assert!(beneath(Path::new("x"), b"../y").is_err() && beneath(Path::new("x"), b"/y").is_err());
    }
}
