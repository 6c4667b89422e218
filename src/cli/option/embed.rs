//! The configuration that goes onto a card, and the key that signs what the card says of itself.

use super::system_source::switch;
use crate::cli::exit::{Code, Failure};
use crate::cli::file::project::Project;
use crate::cli::run::git::{Git, Mode, Tracked};
use crate::cli::show::terminal::Voice;
use crate::compose::configuration::{Access, Configuration, Entry, MAX_BYTES, Refused, Revision};
use crate::compose::secrets::{Finding, Scanner};
use crate::compose::{Embed, Record, Signing};
use crate::format::file::minisign;
use crate::ints;
use crate::sizes;
use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// What the card says of where it came from.
#[derive(clap::Args)]
pub struct Provenance {
    /// Put the configuration into /etc/nixos: a file, or a directory of which
    /// what git tracks is taken, or all where there is no git
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Do not take the configuration.nix that the system carries
    #[arg(long, conflicts_with = "config")]
    pub no_config: bool,
    /// Let only root read the configuration
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "yes", value_name = "yes|no", value_parser = switch)]
    pub config_private: Option<bool>,
    /// The revision of the configuration, where git does not tell
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<String>,
    /// Refuse a configuration that differs from its commit
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "yes", value_name = "yes|no", value_parser = switch)]
    pub require_clean: Option<bool>,
    /// Embed this file although it holds a secret
    #[arg(long, value_name = "PATH[:LINE]")]
    pub allow_secret: Vec<String>,
    /// Sign the manifest with this secret key of minisign
    #[arg(long, value_name = "FILE")]
    pub sign_key: Option<PathBuf>,
    /// The file with the password of the key [default: ask]
    #[arg(long, value_name = "FILE")]
    pub sign_password: Option<PathBuf>,
    /// What was read: several cards are planned, the user is told and asked once.
    #[arg(skip)]
    ready: OnceLock<Record>,
}

impl Provenance {
    /// What is to be recorded; reads the configuration and the key the first time.
    pub fn record(&self, voice: &Voice) -> Result<Record, Failure> {
        if let Some(record) = self.ready.get() {
            return Ok(record.clone());
        }
        self.ensure_complete()?;
        let configuration = match &self.config {
            Some(path) => Embed::This(self.configuration(path, voice)?),
            None if self.no_config => Embed::Nothing,
            None => Embed::Carried,
        };
        let signing = self.sign_key.as_deref().map(|key| self.signing(key)).transpose()?;
        let record = Record { configuration, signing, ..Record::default() };
        Ok(self.ready.get_or_init(|| record).clone())
    }

    /// Takes from a project file what no option says.
    pub fn adopt(&mut self, project: &mut Project) {
        if !self.no_config {
            self.config = self.config.take().or_else(|| project.config.take());
        }
        self.config_private = self.config_private.or(project.config_private);
        self.require_clean = self.require_clean.or(project.require_clean);
        if self.allow_secret.is_empty() {
            self.allow_secret.append(&mut project.allow_secrets);
        }
        // The password is that of the key.
        if self.sign_key.is_none() {
            self.sign_key = project.sign_key.take();
            self.sign_password = self.sign_password.take().or_else(|| project.sign_password.take());
        }
    }

    /// Refuses what says how something is done that is not done.
    fn ensure_complete(&self) -> Result<(), Failure> {
        let of_config =
            self.config_private.is_some() || self.require_clean.is_some() || !self.allow_secret.is_empty();
        let lacks =
            |what: &str, which: &str| Err(Failure::new(Code::Usage, format!("{which}: there is no {what}")));
        if of_config && self.config.is_none() && !self.no_config {
            return lacks(
                "--config",
                "--config-private, --require-clean and --allow-secret say how one is embedded",
            );
        }
        if self.sign_password.is_some() && self.sign_key.is_none() {
            return lacks("--sign-key", "--sign-password is that of a key");
        }
        Ok(())
    }

    fn configuration(&self, path: &Path, voice: &Voice) -> Result<Configuration, Failure> {
        let name = path.display().to_string();
        let place = path.canonicalize().map_err(|error| Failure::reading(&name, &error))?;
        let is_directory = place.is_dir();
        let directory = if is_directory { &place } else { place.parent().unwrap_or(&place) };
        let git = Git::find(directory)?;
        let mut gathered = Gathered::default();
        match &git {
            _ if !is_directory => gathered.single(&place, voice)?,
            Some(git) => gathered.tracked(git, &place, voice)?,
            None => gathered.all(&place, self, voice)?,
        }
        self.ensure_no_secrets(&gathered, voice)?;
        let mut configuration = gathered.configuration;
        configuration.ensure_closed().map_err(|error| refused(&error))?;
        configuration.revision = self.revision(git.as_ref(), &name, voice)?;
        if self.config_private == Some(true) {
            configuration.access = Access::Root;
        }
        Ok(configuration)
    }

    /// The revision: given, or that of git.
    fn revision(
        &self,
        git: Option<&Git<'_>>,
        name: &str,
        voice: &Voice,
    ) -> Result<Option<Revision>, Failure> {
        let must_be_clean = self.require_clean == Some(true);
        let refuse = |what: String| Failure::new(Code::Other, format!("--require-clean: {what}"));
        let commit = match git {
            Some(git) => git.commit(),
            None if must_be_clean => return Err(refuse(format!("{name} is in no git repository"))),
            None => None,
        };
        let is_dirty = match git {
            Some(git) if git.is_dirty()? => {
                let top = git.top.display();
                if must_be_clean {
                    return Err(
                        refuse(format!("{top} has changes that are not committed")).hint("commit them")
                    );
                }
                voice.always(&format!(
                    "warning: {top} has changes that are not committed: what is embedded is in no commit"
                ));
                true
            }
            _ => false,
        };
        let given = self.revision.clone().map(|name| Revision { name, is_dirty: false });
        Ok(given.or_else(|| commit.map(|name| Revision { name, is_dirty })))
    }

    /// Tells every secret by file and line, never its value, and refuses those that are not allowed.
    fn ensure_no_secrets(&self, gathered: &Gathered, voice: &Voice) -> Result<(), Failure> {
        let mut found = 0;
        for (path, finding) in gathered.findings() {
            let place = match finding.line {
                0 => shown(path),
                line => format!("{}:{line}", shown(path)),
            };
            if self.allows(path, finding.line) {
                voice.always(&format!("warning: {place}: {}, embedded as you allowed", finding.kind));
                continue;
            }
            voice.always(&format!("secret: {place}: {}", finding.kind));
            found += 1;
        }
        if found == 0 {
            return Ok(());
        }
        let secrets = if found == 1 { "a secret" } else { "secrets" };
        Err(Failure::new(Code::Other, format!("the configuration holds {secrets}; nothing was written"))
            .hint("whoever holds the card can read it: take it out, encrypt it with age or sops, or name it with --allow-secret PATH:LINE"))
    }

    fn allows(&self, path: &str, line: usize) -> bool {
        self.allow_secret.iter().any(|allowed| {
            let allowed = allowed.strip_prefix("./").unwrap_or(allowed);
            allowed == path || allowed.rsplit_once(':') == Some((path, &line.to_string()))
        })
    }

    fn signing(&self, key: &Path) -> Result<Signing, Failure> {
        let name = key.display().to_string();
        let text = read_small(key)?;
        let wrong = |error: minisign::Error| Failure::new(Code::Usage, format!("{name}: {error}"));
        let sealed = minisign::SealedKey::parse(&text).map_err(wrong)?;
        let password = match &self.sign_password {
            _ if !sealed.is_encrypted() => None,
            Some(file) => Some(read_small(file)?.trim_end_matches(['\r', '\n']).to_owned()),
            None => Some(crate::cli::ask::password::ask(&format!("password of {name}: "))?),
        };
        let opened = sealed.open(password.as_deref()).map_err(wrong)?;
        Ok(Signing::By(Arc::new(opened)))
    }
}

fn read_small(path: &Path) -> Result<String, Failure> {
    let name = path.display().to_string();
    let file = std::fs::File::open(path).map_err(|error| Failure::reading(&name, &error))?;
    let mut text = String::new();
    file.take(64 << 10).read_to_string(&mut text).map_err(|error| Failure::reading(&name, &error))?;
    Ok(text)
}

fn refused(error: &Refused) -> Failure {
    Failure::of(Code::Other, error)
}

/// A path in one line, whatever is in it.
fn shown(path: &str) -> String {
    path.replace('\n', "\\n")
}

/// Files of a configuration, as they are read.
#[derive(Default)]
struct Gathered {
    configuration: Configuration,
    /// Paths that git-crypt keeps encrypted in the repository, and that are plain here.
    decrypted: BTreeSet<String>,
}

impl Gathered {
    /// Takes one file. Where its name says nothing, it is the `configuration.nix` that `nixos-rebuild` looks for.
    fn single(&mut self, file: &Path, voice: &Voice) -> Result<(), Failure> {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let kept = if name == "flake.nix" { "flake.nix" } else { "configuration.nix" };
        if name != kept {
            voice.say(&format!("{name} goes onto the card as {kept}"));
        }
        let bytes = self.read(file)?;
        self.add(kept, Entry::File { executable: false, bytes })
    }

    /// Takes what git tracks below a directory, with the contents that are there.
    fn tracked(&mut self, git: &Git<'_>, directory: &Path, voice: &Voice) -> Result<(), Failure> {
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
    fn all(&mut self, directory: &Path, options: &Provenance, voice: &Voice) -> Result<(), Failure> {
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
                    let by_name = scanner.by_name(&path, &bytes).filter(|_| !options.allows(&path, 0));
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
    fn findings(&self) -> Vec<(&str, Finding)> {
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
