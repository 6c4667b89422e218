//! What git knows of a directory: the tracked files, the commit, whether they differ.
//!
//! The program is run, for nothing else reads every index and attribute as it does. Its own programs (monitors, hooks)
//! are not; under sudo it runs as the user who called, so that a repository never decides what root does.

use crate::cli::caller;
use crate::cli::caller::Caller;
use crate::cli::exit::{Code, Failure};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What an index holds at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A regular file.
    File,
    /// An executable one.
    Executable,
    /// A symlink.
    Symlink,
    /// A commit of another repository.
    Submodule,
}

/// A tracked file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// Its path, relative to the directory that was asked about.
    pub path: String,
    /// What it is.
    pub mode: Mode,
}

/// A directory in a repository.
pub struct Git<'a> {
    directory: &'a Path,
    /// The top of the repository.
    pub top: PathBuf,
    /// Filters that any configuration names.
    filters: Vec<String>,
}

impl<'a> Git<'a> {
    /// The repository that a directory is in, if it is in one. Says so when git is not there or will not read it.
    pub fn find(directory: &'a Path) -> Result<Option<Self>, Failure> {
        let Some(top) = directory.ancestors().find(|above| above.join(".git").exists()) else {
            return Ok(None);
        };
        let mut git = Self { directory, top: top.to_path_buf(), filters: Vec::new() };
        git.run(&["rev-parse", "--is-inside-work-tree"], &[])?;
        git.filters = git.named_filters()?;
        Ok(Some(git))
    }

    /// The filters that any configuration names, which decides what runs when git looks at a file.
    fn named_filters(&self) -> Result<Vec<String>, Failure> {
        let listing = self.run(&["config", "--list", "--name-only", "-z"], &[])?;
        let names = records(&listing).filter_map(|record| {
            let key = std::str::from_utf8(record).ok()?;
            let (name, _) = key.strip_prefix("filter.")?.rsplit_once('.')?;
            Some(name.to_owned())
        });
        let names: std::collections::BTreeSet<String> = names.collect();
        // A name with an equals sign cannot be overridden on a command line.
        match names.iter().find(|name| name.contains('=')) {
            Some(name) => Err(Failure::new(
                Code::Other,
                format!("{}: its filter {name:?} cannot be switched off", self.directory.display()),
            )),
            None => Ok(names.into_iter().collect()),
        }
    }

    /// The tracked files, in order of their paths.
    pub fn tracked(&self) -> Result<Vec<Tracked>, Failure> {
        let listing = self.run(&["ls-files", "--stage", "-z"], &[])?;
        records(&listing).map(|record| self.entry(record)).collect()
    }

    /// An entry of the index: `MODE HASH STAGE<tab>PATH`.
    fn entry(&self, record: &[u8]) -> Result<Tracked, Failure> {
        let strange = || {
            let shown = String::from_utf8_lossy(record).into_owned();
            Failure::new(Code::Other, format!("{}: git lists {shown:?}", self.directory.display()))
        };
        let at = record.iter().position(|byte| *byte == b'\t').ok_or_else(strange)?;
        let (head, path) = (&record[..at], &record[at + 1..]);
        let mut words = head.split(|byte| *byte == b' ');
        let (mode, stage) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
        let path = String::from_utf8(path.to_vec()).map_err(|_| strange())?;
        if stage != b"0" {
            return Err(Failure::new(Code::Other, format!("{path:?} is in the middle of a merge"))
                .hint("finish the merge first"));
        }
        let mode = match mode {
            b"100644" => Mode::File,
            b"100755" => Mode::Executable,
            b"120000" => Mode::Symlink,
            b"160000" => Mode::Submodule,
            _ => return Err(strange()),
        };
        Ok(Tracked { path, mode })
    }

    /// Files of the index that are not checked out, because the checkout is sparse or somebody said so.
    pub fn skipped(&self) -> Result<Vec<String>, Failure> {
        let listing = self.run(&["ls-files", "-t", "-z"], &[])?;
        let names = records(&listing).filter_map(|record| record.strip_prefix(b"S "));
        Ok(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
    }

    /// Files that are neither tracked nor ignored.
    pub fn untracked(&self) -> Result<Vec<String>, Failure> {
        let listing = self.run(&["ls-files", "--others", "--exclude-standard", "-z"], &[])?;
        Ok(records(&listing).map(|record| String::from_utf8_lossy(record).into_owned()).collect())
    }

    /// Those of the paths that git-crypt is to encrypt.
    pub fn crypted(&self, paths: &[&str]) -> Result<Vec<String>, Failure> {
        let input: Vec<u8> = paths.iter().flat_map(|path| [path.as_bytes(), b"\0"].concat()).collect();
        let output = self.run(&["check-attr", "-z", "--stdin", "filter"], &input)?;
        let fields: Vec<&[u8]> = records(&output).collect();
        let crypted = fields.chunks_exact(3).filter(|triple| triple[2].starts_with(b"git-crypt"));
        Ok(crypted.map(|triple| String::from_utf8_lossy(triple[0]).into_owned()).collect())
    }

    /// The commit that is checked out; none before the first.
    pub fn commit(&self) -> Option<String> {
        let commit = self.run(&["rev-parse", "--verify", "--quiet", "HEAD"], &[]).ok()?;
        Some(String::from_utf8_lossy(&commit).trim().to_owned()).filter(|commit| !commit.is_empty())
    }

    /// Whether any tracked file of the repository differs from the commit.
    pub fn is_dirty(&self) -> Result<bool, Failure> {
        Ok(!self
            .run(&["status", "--porcelain", "-z", "--untracked-files=no", "--ignore-submodules=all"], &[])?
            .is_empty())
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, Failure> {
        let place = self.directory.display();
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(Code::Other, format!("cannot ask git about {place}: {error}"))
        };
        let mut child = self.command(arguments)?.spawn().map_err(|error| {
            let failure = failed(&error);
            if error.kind() == std::io::ErrorKind::NotFound {
                return failure.hint("install git, or give a directory outside of a repository");
            }
            failure
        })?;
        let stdin = child.stdin.take();
        let output = std::thread::scope(|scope| {
            // Written beside the reading: neither waits for the other. Git may stop to read, and then says why.
            scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input)));
            child.wait_with_output()
        });
        let output = output.map_err(|error| failed(&error))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(failed(&String::from_utf8_lossy(&output.stderr).trim()))
    }

    #[expect(clippy::disallowed_methods, reason = "git alone reads its index and attributes")]
    fn command(&self, arguments: &[&str]) -> Result<Command, Failure> {
        let mut command = Command::new("git");
        command.args([
            "-c",
            "core.fsmonitor=false",
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "core.quotePath=false",
            "-c",
            "core.attributesFile=/dev/null",
            "-c",
            "core.sshCommand=false",
            "-c",
            "submodule.recurse=false",
            "-c",
            "protocol.allow=never",
        ]);
        // What a tree's own configuration names for filters is nothing to run; an empty program is none.
        for name in &self.filters {
            for word in ["clean", "smudge", "process"] {
                command.arg("-c").arg(format!("filter.{name}.{word}="));
            }
            command.arg("-c").arg(format!("filter.{name}.required=false"));
        }
        command.arg("-C").arg(self.directory).args(arguments);
        for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY"] {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C").env("GIT_OPTIONAL_LOCKS", "0").env("GIT_TERMINAL_PROMPT", "0");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        as_caller(&mut command)?;
        Ok(command)
    }
}

/// Runs a command as the user who called this program as root, with that user's home where it is known: never as root
/// for somebody else, whose tree may name programs.
fn as_caller(command: &mut Command) -> Result<(), Failure> {
    use std::os::unix::process::CommandExt;
    let (uid, gid) = match caller::caller() {
        Caller::Own => return Ok(()),
        Caller::Known { uid, gid } => (uid, gid),
        Caller::Unknown(how) => {
            return Err(Failure::new(
                Code::Permission,
                format!("git does not run as root for a caller that {how} does not name"),
            )
            .hint("run this without it, or as root by a login of root's own"));
        }
    };
    // Names may be in a directory that this program cannot ask; the numbers are enough.
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok().flatten();
    let home = user.map_or_else(|| "/nonexistent".into(), |user| user.dir);
    command.uid(uid).gid(gid).env("HOME", home).env_remove("XDG_CONFIG_HOME");
    // Root's other groups are dropped by the standard library where a user is set.
    Ok(())
}

/// What stands between zero bytes.
fn records(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    bytes.split(|byte| *byte == 0).filter(move |_| !bytes.is_empty())
}
