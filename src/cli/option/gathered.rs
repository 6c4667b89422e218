//! Files of a configuration, gathered from a directory or from what git tracks of one.

use crate::cli::exit::{Code, Failure};
use crate::cli::run::git::{Git, Mode, Tracked};
use crate::cli::show::terminal::Voice;
use crate::compose::configuration::{Configuration, Entry, MAX_BYTES, Refused};
use crate::compose::secrets::{Finding, Scanner};
use crate::ints;
use crate::sizes;
use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

pub(super) fn refused(error: &Refused) -> Failure {
    Failure::of(Code::Other, error)
}

/// A path in one line, whatever is in it.
pub(super) fn shown(path: &str) -> String {
    path.replace('\n', "\\n")
}

/// Files of a configuration, as they are read.
#[derive(Default)]
pub(super) struct Gathered {
    pub configuration: Configuration,
    /// Paths that git-crypt keeps encrypted in the repository, and that are plain here.
    decrypted: BTreeSet<String>,
}

impl Gathered {
    /// Takes one file. Where its name says nothing, it is the `configuration.nix` that `nixos-rebuild` looks for.
    pub fn single(&mut self, file: &Path, voice: &Voice) -> Result<(), Failure> {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let kept = if name == "flake.nix" { "flake.nix" } else { "configuration.nix" };
        if name != kept {
            voice.say(&format!("{name} goes onto the card as {kept}"));
        }
        let bytes = self.read(file)?;
        self.add(kept, Entry::File { executable: false, bytes })
    }

    /// Takes what git tracks below a directory, with the contents that are there.
    pub fn tracked(&mut self, git: &Git<'_>, directory: &Path, voice: &Voice) -> Result<(), Failure> {
        let tracked = git.tracked()?;
        if tracked.is_empty() {
            let (directory, top) = (directory.display(), git.top.display());
            return Err(Failure::new(
                Code::Other,
                format!("no file of {directory} is tracked by the git repository {top}"),
            )
            .hint("git add them, as a flake needs it too"));
        }
        if let [first, more @ ..] = &*git.skipped()? {
            let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
            let message = format!(
                "{}: the checkout is sparse: {}{more} is tracked by git and not checked out",
                directory.display(),
                shown(first)
            );
            return Err(Failure::new(Code::Other, message)
                .hint("git sparse-checkout disable, or git update-index --no-skip-worktree FILE"));
        }
        if git.top != directory {
            voice.say(&format!(
                "only what is below {} is embedded, not all of the repository",
                directory.display()
            ));
        }
        for file in &tracked {
            self.tracked_file(file, directory, voice)?;
        }
        let untracked = git.untracked()?;
        if let Some(first) = untracked.first() {
            let more = if untracked.len() > 1 { " and others" } else { "" };
            voice.say(&format!("warning: not tracked by git and so not embedded: {}{more}", shown(first)));
        }
        let paths: Vec<&str> = tracked.iter().map(|file| file.path.as_str()).collect();
        self.decrypted = git.crypted(&paths)?.into_iter().collect();
        Ok(())
    }

    fn tracked_file(&mut self, file: &Tracked, directory: &Path, voice: &Voice) -> Result<(), Failure> {
        let Tracked { path, mode } = file;
        if *mode == Mode::Submodule {
            voice.always(&format!("warning: the submodule {} is not embedded", shown(path)));
            return Ok(());
        }
        let at = directory.join(path);
        // A directory that was replaced by a symlink has none of the tracked files any more.
        let parent = at.parent().and_then(|parent| parent.canonicalize().ok());
        let found = match at.symlink_metadata() {
            Ok(found) if parent.is_some_and(|parent| parent.starts_with(directory)) => found,
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err(Failure::reading(&at.display().to_string(), &error));
            }
            // Removed and not committed: a flake does not see it either.
            _ => return Ok(()),
        };
        let entry = if found.is_symlink() {
            Entry::Symlink(target(&at)?)
        } else if !found.is_file() {
            return Ok(());
        } else if *mode == Mode::Symlink {
            // A checkout on a file system without symlinks.
            let bytes = self.read(&at)?;
            Entry::Symlink(String::from_utf8(bytes).map_err(|_| not_text(path))?)
        } else {
            Entry::File { executable: *mode == Mode::Executable, bytes: self.read(&at)? }
        };
        self.add(path, entry)
    }

    /// Takes all files below a directory that is in no repository, but what never belongs to a configuration and what is
    /// a secret by its name.
    pub fn all(
        &mut self,
        directory: &Path,
        is_allowed: &dyn Fn(&str) -> bool,
        voice: &Voice,
    ) -> Result<(), Failure> {
        voice.say(&format!("{} is in no git repository: all of its files are embedded", directory.display()));
        let scanner = Scanner::default();
        let mut open = vec![String::new()];
        while let Some(prefix) = open.pop() {
            for name in sorted_names(&directory.join(&prefix))? {
                let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
                let at = directory.join(&path);
                let found = at
                    .symlink_metadata()
                    .map_err(|error| Failure::reading(&at.display().to_string(), &error))?;
                if is_foreign(&name, found.is_symlink())
                    || !(found.is_dir() || found.is_file() || found.is_symlink())
                {
                    voice.say(&format!("left out: {}", shown(&path)));
                } else if found.is_dir() {
                    open.push(path);
                } else if found.is_symlink() {
                    self.add(&path, Entry::Symlink(target(&at)?))?;
                } else {
                    let bytes = self.read(&at)?;
                    let by_name = scanner.by_name(&path, &bytes).filter(|_| !is_allowed(&path));
                    if let Some(kind) = by_name {
                        voice.always(&format!("left out: {}: {kind}", shown(&path)));
                        continue;
                    }
                    let executable = found.permissions().mode() & 0o100 != 0;
                    self.add(&path, Entry::File { executable, bytes })?;
                }
            }
        }
        Ok(())
    }

    /// Reads a file, no more of it than may be embedded.
    fn read(&self, path: &Path) -> Result<Vec<u8>, Failure> {
        let name = path.display().to_string();
        let failed = |error: std::io::Error| Failure::reading(&name, &error);
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
        if ints::to_u64(bytes.len()) > MAX_BYTES {
            return Err(refused(&Refused::TooLarge(sizes::show_bytes(MAX_BYTES))));
        }
        Ok(bytes)
    }

    fn add(&mut self, path: &str, entry: Entry) -> Result<(), Failure> {
        self.configuration.add(path, entry).map_err(|error| refused(&error))
    }

    /// All secrets, by path.
    pub fn findings(&self) -> Vec<(&str, Finding)> {
        let scanner = Scanner::default();
        let mut findings = Vec::new();
        for (path, entry) in self.configuration.entries() {
            let Entry::File { bytes, .. } = entry else { continue };
            if self.decrypted.contains(path) && !bytes.starts_with(b"\0GITCRYPT\0") {
                findings.push((path, Finding { line: 0, kind: "a file that git-crypt has decrypted" }));
                continue;
            }
            findings.extend(scanner.scan(path, bytes).into_iter().map(|finding| (path, finding)));
        }
        findings
    }
}

fn target(link: &Path) -> Result<String, Failure> {
    let name = link.display().to_string();
    let target = std::fs::read_link(link).map_err(|error| Failure::reading(&name, &error))?;
    target.into_os_string().into_string().map_err(|_| not_text(&name))
}

fn not_text(name: &str) -> Failure {
    Failure::new(
        Code::Other,
        format!("{}: a name or a target that is not UTF-8 cannot be embedded", shown(name)),
    )
}

fn sorted_names(directory: &Path) -> Result<Vec<String>, Failure> {
    let name = directory.display().to_string();
    let failed = |error: std::io::Error| Failure::reading(&name, &error);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?.file_name();
        names.push(entry.into_string().map_err(|_| not_text(&name))?);
    }
    names.sort();
    Ok(names)
}

/// What lies in directories without being part of a configuration.
fn is_foreign(name: &str, is_symlink: bool) -> bool {
    let tools = [".git", ".hg", ".svn", ".jj", ".direnv", ".DS_Store", "node_modules", "lost+found"];
    let build = is_symlink && (name == "result" || name.starts_with("result-"));
    tools.contains(&name) || build || name.ends_with('~') || (name.starts_with('.') && name.ends_with(".swp"))
}
