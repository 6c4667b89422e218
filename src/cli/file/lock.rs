//! `nixflash.lock`: what firmware was taken from a channel, so that a later run takes the same.
//!
//! ```text
//! version = 1
//! [[package]]
//! board = "rpi4"                                   package = "firmware"
//! channel = "https://channels.nixos.org/..."       the address of the channel
//! listing = "sha256:..."                           the hash of its store-paths.xz
//! cache = "https://cache.nixos.org"                who has it, beside the stores
//! path = "/nix/store/..."  nar_hash = "sha256:..." absent where the channel has none and the board needs none
//! ```

use crate::cli::exit::{Code, Failure};
use crate::cli::show::terminal::Voice;
use crate::compose::Pin;
use crate::format::nix::nar_hash;
use crate::format::nix::store_path::StorePath;
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The name of a lock file.
pub const NAME: &str = "nixflash.lock";
/// The form.
const VERSION: u32 = 1;
/// The longest lock file that is read, in bytes.
const LONGEST: u64 = 1 << 20;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    #[serde(default)]
    package: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    board: String,
    package: String,
    channel: String,
    listing: String,
    cache: String,
    path: Option<String>,
    nar_hash: Option<String>,
}

/// Reads a lock file; one that is not there pins nothing.
pub fn read(file: &Path) -> Result<Vec<Pin>, Failure> {
    let name = file.display().to_string();
    let opened = match std::fs::File::open(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened.map_err(|error| Failure::reading(&name, &error))?,
    };
    let text = super::toml_text::text_of(opened, &name, LONGEST)?;
    let wrong = |what: String| {
        Failure::new(Code::Source, format!("{name}: {what}"))
            .hint("make it anew with --update-lock, or take it from where it was written")
    };
    let found: File =
        toml::from_str(&text).map_err(|error| wrong(super::toml_text::toml_message(&text, &error)))?;
    if found.version != VERSION {
        return Err(wrong(format!("has version {}, expected {VERSION}", found.version)));
    }
    let pins = found.package.into_iter().map(pin).collect::<Result<Vec<Pin>, String>>();
    pins.map_err(wrong)
}

fn pin(entry: Entry) -> Result<Pin, String> {
    let Entry { board, package, channel, listing, cache, path, nar_hash } = entry;
    let which = format!("{package} of {board}");
    let hash = |key: &str, text: &str| {
        nar_hash::parse(text).ok_or_else(|| format!("{which}: {key} is {text:?}, expected sha256:..."))
    };
    let found = match (path, nar_hash) {
        (Some(path), Some(text)) => {
            let path = StorePath::from_absolute(&path).map_err(|error| format!("{which}: path: {error}"))?;
            Some((path, hash("nar_hash", &text)?))
        }
        (None, None) => None,
        _ => return Err(format!("{which}: path and nar_hash must both be there, or neither")),
    };
    if !cache.starts_with("https://") && !cache.starts_with("http://") {
        return Err(format!("{which}: cache is {cache:?}, expected an http(s) address"));
    }
    Ok(Pin { listing: hash("listing", &listing)?, board, package, found, channel, cache })
}

/// The pins of a lock file with those of a run in place of older ones of the same board; `None` if nothing changes.
pub fn merged(old: &[Pin], new: &[Pin]) -> Option<Vec<Pin>> {
    let is_newer = |pin: &Pin| new.iter().any(|new| new.board == pin.board && new.package == pin.package);
    let mut all: Vec<Pin> = old.iter().filter(|pin| !is_newer(pin)).chain(new).cloned().collect();
    all.sort_by(|a, b| (&a.board, &a.package).cmp(&(&b.board, &b.package)));
    let mut before = old.to_vec();
    before.sort_by(|a, b| (&a.board, &a.package).cmp(&(&b.board, &b.package)));
    (all != before).then_some(all)
}

/// Writes a lock file: complete, or not at all.
pub fn write(file: &Path, pins: &[Pin], voice: &Voice) -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| {
        Failure::new(Code::Target, format!("cannot write {}: {error}", file.display()))
    };
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(directory).map_err(|error| failed(&error))?;
    new.write_all(text(pins).as_bytes()).map_err(|error| failed(&error))?;
    let readable = std::fs::Permissions::from_mode(0o644);
    new.as_file().set_permissions(readable).map_err(|error| failed(&error))?;
    new.as_file().sync_all().map_err(|error| failed(&error))?;
    new.persist(file).map_err(|error| failed(&error))?;
    voice.say(&format!(
        "{}: pinned what was taken from the channel; keep it with the configuration",
        file.display()
    ));
    Ok(())
}

fn text(pins: &[Pin]) -> String {
    let mut text = format!(
        "# Written by nixflash: firmware out of a channel, so that the next image has the same.\nversion = {VERSION}\n"
    );
    for pin in pins {
        let quoted = |value: &str| toml::Value::from(value).to_string();
        let mut line = |key: &str, value: &str| {
            // cannot fail: a string takes what it is given
            writeln!(text, "{key} = {}", quoted(value)).ok();
        };
        line("\n[[package]]\nboard", &pin.board);
        line("package", &pin.package);
        line("channel", &pin.channel);
        line("listing", &nar_hash::show(&pin.listing));
        line("cache", &pin.cache);
        if let Some((path, hash)) = &pin.found {
            line("path", &path.to_string());
            line("nar_hash", &nar_hash::show(hash));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(board: &str, package: &str) -> Pin {
        let path = StorePath::from_base_name("3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-uboot").unwrap();
        Pin {
            board: board.to_owned(),
            package: package.to_owned(),
            found: (package != "armstub").then_some((path, [7; 32])),
            channel: "https://channels.nixos.org/nixos-25.11".to_owned(),
            listing: [9; 32],
            cache: "https://cache.nixos.org".to_owned(),
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_written_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(NAME);
        assert_eq!(read(&file).unwrap(), []);
        let pins = [example("rpi4", "armstub"), example("rpi4", "uboot")];
        let voice = Voice::new(crate::cli::show::style::Style::None, true, false);
        write(&file, &pins, &voice).unwrap();
        assert_eq!(read(&file).unwrap(), pins);
        assert_eq!(merged(&pins, &pins), None);
        let mut newer = example("rpi4", "uboot");
        newer.listing = [1; 32];
        let both = merged(&pins, &[newer.clone(), example("rpi3", "uboot")]).unwrap();
        assert_eq!(both, [example("rpi3", "uboot"), example("rpi4", "armstub"), newer]);
    }

    #[test]
    fn a_lock_file_that_was_changed_is_named_with_the_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(NAME);
        let good = text(&[example("rpi4", "uboot")]);
        for (from, to, expected) in [
            ("version = 1", "version = 2", "has version 2, expected 1"),
            ("cache = \"https:", "cache = \"file:", "uboot of rpi4: cache is \"file:"),
            ("/nix/store/", "/nix/", "uboot of rpi4: path: "),
            ("listing = \"sha256:", "listing = \"sha1:", "uboot of rpi4: listing is"),
            ("nar_hash = ", "nar_hsah = ", "unknown field `nar_hsah`"),
            ("nar_hash = ", "#nar_hash = ", "must both be there, or neither"),
        ] {
            let wrong = good.replacen(from, to, 1);
            assert_ne!(wrong, good, "{from}");
            std::fs::write(&file, wrong).unwrap();
            let failure = read(&file).unwrap_err();
            assert!(
                failure.code() == Code::Source && failure.message().contains(expected),
                "{}",
                failure.message()
            );
        }
    }
}
