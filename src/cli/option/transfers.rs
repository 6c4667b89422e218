//! How caches over http are used: logins (`--netrc-file`, `netrc-file` of nix.conf, `~/.netrc`), how much is kept.

use crate::cli::exit::{Code, Failure};
use crate::cli::file::nix_conf;
use crate::cli::file::project::Project;
use crate::net::Netrc;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The longest file of logins that is read, in bytes.
const MAX_NETRC: u64 = 1 << 20;

/// How caches over http are used.
#[derive(clap::Args)]
pub struct Fetching {
    /// Logins for stores over http(s) [default: netrc-file of nix.conf,
    /// else ~/.netrc]
    #[arg(long, value_name = "FILE")]
    netrc_file: Option<PathBuf>,
    /// Keep at most this much of what is fetched [default: 20GiB, or a
    /// tenth of the disk]
    #[arg(long, value_name = "SIZE", value_parser = super::words::bytes)]
    cache_size: Option<u64>,
}

impl Fetching {
    /// Takes from a project file what no option says.
    pub fn adopt(&mut self, project: &mut Project) {
        self.netrc_file = self.netrc_file.take().or_else(|| project.netrc_file.take());
        self.cache_size = self.cache_size.or(project.cache_size);
    }

    /// Bytes that may be kept in a directory.
    pub fn most(&self, kept: &Path) -> u64 {
        self.cache_size.unwrap_or_else(|| crate::cli::file::kept::cache_size(kept))
    }

    /// Reads the logins; none where nobody named a file and none is where it may be.
    pub fn logins(&self) -> Result<Netrc, Failure> {
        if let Some(file) = &self.netrc_file {
            return read(file)?.ok_or_else(|| {
                Failure::new(Code::Usage, format!("--netrc-file {}: not found", file.display()))
            });
        }
        // A file that nobody named and this user may not read is another's.
        let mine = |path: &PathBuf| std::fs::File::open(path).is_ok();
        for file in [of_nix_conf(), of_home()].into_iter().flatten().filter(mine) {
            if let Some(netrc) = read(&file)? {
                return Ok(netrc);
            }
        }
        Ok(Netrc::default())
    }
}

/// What nix.conf names; Nix's own default where that is there.
fn of_nix_conf() -> Option<PathBuf> {
    let named = nix_conf::values(&["netrc-file"]).pop();
    Some(named.map_or_else(|| PathBuf::from("/etc/nix/netrc"), PathBuf::from))
}

/// `~/.netrc`, where the environment is that of the user who answers for it.
#[expect(clippy::disallowed_methods, reason = "cli is where the environment is read")]
fn of_home() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    home.filter(|_| crate::cli::caller::trusts_environment()).map(|home| home.join(".netrc"))
}

fn read(path: &Path) -> Result<Option<Netrc>, Failure> {
    let shown = path.display().to_string();
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|error| Failure::reading(&shown, &error))?,
    };
    let mut text = String::new();
    file.take(MAX_NETRC).read_to_string(&mut text).map_err(|error| Failure::reading(&shown, &error))?;
    let netrc = Netrc::parse(&text);
    netrc.map(Some).map_err(|error| Failure::new(Code::Usage, format!("{shown}: {error}")))
}
