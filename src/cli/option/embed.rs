//! The configuration that goes onto a card, and the key that signs what the card says of itself.

use super::gathered::{Gathered, refused, shown};
use super::words::switch;
use crate::cli::exit::{Code, Failure};
use crate::cli::file::project::Project;
use crate::cli::run::git::Git;
use crate::cli::show::terminal::Voice;
use crate::compose::configuration::{Access, Configuration, Revision};
use crate::compose::{Embed, Record, Signing};
use crate::format::file::minisign;
use std::io::Read;
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
            None => gathered.all(&place, &|path| self.allows(path, 0), voice)?,
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
