//! Firmware out of a channel, and what of it is pinned.

use crate::cli::exit::{Code, Failure};
use crate::cli::file::lock;
use crate::cli::show::terminal::Voice;
use crate::compose::{Channels, Pin};
use crate::store::Remote;
use crate::store::channel::Channel;
use std::path::{Path, PathBuf};

/// A channel and its lock file.
#[derive(clap::Args)]
pub struct Pinning {
    /// Take firmware from a channel, such as nixos-25.11 or its address; what
    /// was taken is pinned in nixflash.lock
    #[arg(long, value_name = "CHANNEL")]
    channel: Option<String>,
    /// The lock file [default: nixflash.lock beside nixflash.toml or here]
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    /// Look into the channel again, whatever is pinned
    #[arg(long)]
    update_lock: bool,
    /// The directory of the project file, empty without one.
    #[arg(skip)]
    directory: PathBuf,
}

impl Pinning {
    /// Takes from a project file what no option says.
    pub fn adopt(&mut self, channel: Option<String>, directory: &Path) {
        self.channel = self.channel.take().or(channel);
        directory.clone_into(&mut self.directory);
    }

    /// The lock file.
    fn lock_file(&self) -> PathBuf {
        self.lock.clone().unwrap_or_else(|| self.directory.join(lock::NAME))
    }

    /// The channel that firmware is taken from, with what is pinned of it.
    pub fn channels(&self, remote: &Remote) -> Result<Option<Channels>, Failure> {
        let Some(words) = &self.channel else {
            if self.update_lock || self.lock.is_some() {
                let message = "--lock and --update-lock are of what a channel has: there is no --channel";
                return Err(Failure::new(Code::Usage, message));
            }
            return Ok(None);
        };
        let channel = Channel::new(words, remote).map_err(|error| Failure::of(Code::Usage, &error))?;
        if self.update_lock {
            return Ok(Some(Channels { channel, pins: Vec::new() }));
        }
        let pins = lock::read(&self.lock_file())?;
        if let Some(pin) = pins.iter().find(|pin| pin.channel != channel.address()) {
            let (file, other) = (self.lock_file(), &pin.channel);
            let message = format!("{}: pins what {other} had, not {}", file.display(), channel.address());
            return Err(Failure::new(Code::Usage, message).hint("pin anew with --update-lock"));
        }
        Ok(Some(Channels { channel, pins }))
    }

    /// Forgets what is pinned, so that all is looked up again; gives what was.
    pub fn renew(&mut self) -> Vec<Pin> {
        self.update_lock = true;
        // One that cannot be read is made anew.
        lock::read(&self.lock_file()).unwrap_or_default()
    }

    /// Whether there is a channel.
    pub fn has_channel(&self) -> bool {
        self.channel.is_some()
    }

    /// Pins what was taken from a channel.
    pub fn pin(&self, pins: &[Pin], voice: &Voice) -> Result<(), Failure> {
        if pins.is_empty() {
            return Ok(());
        }
        let file = self.lock_file();
        // Of a lock file that is made anew, only what is of another channel goes.
        let mut old =
            if self.update_lock { lock::read(&file).unwrap_or_default() } else { lock::read(&file)? };
        old.retain(|pin| pins.iter().all(|new| new.channel == pin.channel));
        match lock::merged(&old, pins) {
            Some(merged) => lock::write(&file, &merged, voice),
            None => Ok(()),
        }
    }
}
