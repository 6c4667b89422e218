//! `nixflash.toml`: what is composed of what, so that `nixflash compose` alone does it.

use super::board::is_config_txt_line;
use super::stranger::{Asked, ensure_harmless, ensure_owner};
use crate::board;
use crate::cli::exit::{Code, Failure};
use crate::cli::show::terminal::Voice;
use crate::image::write::packing::Packing;
use crate::sizes::parse_bytes;
use crate::source::is_address;
use crate::store::Keys;
use nix::fcntl::OFlag;
use serde::Deserialize;
use std::fs::OpenOptions;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use toml::Spanned;

/// The name of a project file.
pub const NAME: &str = "nixflash.toml";
/// The longest project file that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// A project file as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    board: Option<Spanned<String>>,
    system: Option<String>,
    stores: Option<Vec<String>>,
    trusted_keys: Option<Vec<Spanned<String>>>,
    firmware: Option<Vec<PathBuf>>,
    channel: Option<String>,
    output: Option<PathBuf>,
    format: Option<Spanned<String>>,
    level: Option<Spanned<u32>>,
    size: Option<Spanned<String>>,
    free: Option<Spanned<String>>,
    boot_size: Option<Spanned<String>>,
    sha256: Option<bool>,
    bmap: Option<bool>,
    config: Option<PathBuf>,
    config_private: Option<Spanned<bool>>,
    require_clean: Option<Spanned<bool>>,
    allow_secrets: Option<Spanned<Vec<String>>>,
    sign_key: Option<PathBuf>,
    sign_password: Option<Spanned<PathBuf>>,
    config_txt: Option<Vec<String>>,
    netrc_file: Option<PathBuf>,
    cache_size: Option<Spanned<String>>,
    record_stores: Option<bool>,
}

/// The same with paths that lead from the working directory, and values that can be used.
pub struct Project {
    /// The directory that the file is in; empty for the working directory.
    pub directory: PathBuf,
    /// A board that is built in.
    pub board: Option<String>,
    /// A profile of one's own.
    pub board_file: Option<PathBuf>,
    /// The toplevel, in words that start from the directory.
    pub system: Option<String>,
    /// Stores.
    pub stores: Vec<String>,
    /// Keys.
    pub trusted_keys: Vec<String>,
    /// Directories with firmware, and store paths.
    pub firmware: Vec<PathBuf>,
    /// A channel for firmware.
    pub channel: Option<String>,
    /// The image.
    pub output: Option<PathBuf>,
    /// How it is packed.
    pub format: Option<Packing>,
    /// How hard.
    pub level: Option<u32>,
    /// Its length.
    pub size: Option<u64>,
    /// Free space on its root.
    pub free: Option<u64>,
    /// Length of the FAT.
    pub boot_size: Option<u64>,
    /// Whether its sum is written too.
    pub sha256: Option<bool>,
    /// Whether its block map is.
    pub bmap: Option<bool>,
    /// The configuration that is embedded.
    pub config: Option<PathBuf>,
    /// Whether only root may read it.
    pub config_private: Option<bool>,
    /// Whether it must not differ from its commit.
    pub require_clean: Option<bool>,
    /// What of it is embedded although it holds a secret.
    pub allow_secrets: Vec<String>,
    /// The key that signs the manifest.
    pub sign_key: Option<PathBuf>,
    /// The file with its password.
    pub sign_password: Option<PathBuf>,
    /// What is added to config.txt: lines, and files.
    pub config_txt: Vec<String>,
    /// Logins.
    pub netrc_file: Option<PathBuf>,
    /// Bytes that are kept of what is fetched.
    pub cache_size: Option<u64>,
    /// Whether the card names the stores.
    pub record_stores: Option<bool>,
}

/// Finds, reads and checks a project file; says which one is used.
pub fn find(asked: Asked<'_>, voice: &Voice) -> Result<Option<Project>, Failure> {
    let file = match asked {
        Asked::ByName(path) if path.is_dir() => path.join(NAME),
        Asked::ByName(path) => path.to_owned(),
        Asked::ByNobody if Path::new(NAME).symlink_metadata().is_err() => return Ok(None),
        Asked::ByNobody => PathBuf::from(NAME),
    };
    let name = file.display().to_string();
    let reading = |error| Failure::reading(&name, &error);
    // A pipe would be waited for, so it is opened without; what was opened is what is judged.
    let opened = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&file);
    let opened = opened.map_err(reading)?;
    let metadata = opened.metadata().map_err(reading)?;
    if !metadata.is_file() {
        return Err(Failure::new(Code::Usage, format!("{name}: is no regular file")));
    }
    ensure_owner(&name, metadata.uid(), asked)?;
    let text = super::toml_text::text_of(opened, &name, LONGEST)?;
    let directory = file.parent().unwrap_or(Path::new("")).to_owned();
    let project =
        parse(&text, directory).map_err(|message| Failure::new(Code::Usage, format!("{name}: {message}")))?;
    if matches!(asked, Asked::ByNobody) {
        project.stores.iter().try_for_each(|store| ensure_harmless(&name, store))?;
    }
    let mut used = format!("using {name}");
    if let Some(system) = &project.system {
        used.push_str(&format!(": system {system}"));
    }
    voice.say(&used);
    Ok(Some(project))
}

/// What is wrong, with its line.
fn wrong(text: &str, at: usize, message: &str) -> String {
    format!("line {}: {message}", super::toml_text::line_of(text, at))
}

fn parse(text: &str, directory: PathBuf) -> Result<Project, String> {
    let written: Written =
        toml::from_str(text).map_err(|error| super::toml_text::toml_message(text, &error))?;
    let bytes = |key: &str, value: &Option<Spanned<String>>| {
        let Some(value) = value else { return Ok(None) };
        let message =
            || format!("{key}: {:?}: expected a length such as \"512MiB\" or \"8GiB\"", value.as_ref());
        let parsed = parse_bytes(value.as_ref()).ok_or_else(|| wrong(text, value.span().start, &message()));
        parsed.map(Some)
    };
    let (size, free) = (bytes("size", &written.size)?, bytes("free", &written.free)?);
    if let (Some(_), Some(free)) = (size, &written.free) {
        return Err(wrong(
            text,
            free.span().start,
            "free: not together with size, whose root fills the image",
        ));
    }
    ensure_complete(text, &written)?;
    let (board, board_file) = board(text, written.board.as_ref(), &directory)?;
    let local = |path: PathBuf| if path == Path::new("-") { path } else { directory.join(path) };
    Ok(Project {
        board,
        board_file,
        system: written.system,
        stores: written.stores.unwrap_or_default().iter().map(|store| store_of(store, &directory)).collect(),
        trusted_keys: keys(text, written.trusted_keys.unwrap_or_default())?,
        firmware: written.firmware.unwrap_or_default().into_iter().map(local).collect(),
        channel: written.channel,
        output: written.output.map(local),
        format: format(text, written.format.as_ref())?,
        level: level(text, written.level.as_ref())?,
        size,
        free,
        boot_size: bytes("boot_size", &written.boot_size)?,
        sha256: written.sha256,
        bmap: written.bmap,
        config: written.config.map(|path| directory.join(path)),
        config_private: written.config_private.map(Spanned::into_inner),
        require_clean: written.require_clean.map(Spanned::into_inner),
        allow_secrets: written.allow_secrets.map(Spanned::into_inner).unwrap_or_default(),
        sign_key: written.sign_key.map(|path| directory.join(path)),
        sign_password: written.sign_password.map(|path| directory.join(path.into_inner())),
        config_txt: config_txt(written.config_txt.unwrap_or_default(), &directory),
        netrc_file: written.netrc_file.map(|path| directory.join(path)),
        cache_size: bytes("cache_size", &written.cache_size)?,
        record_stores: written.record_stores,
        directory,
    })
}

/// Refuses keys that say how something is done that is not done.
fn ensure_complete(text: &str, written: &Written) -> Result<(), String> {
    let of_config = [
        ("config_private", written.config_private.as_ref().map(Spanned::span)),
        ("require_clean", written.require_clean.as_ref().map(Spanned::span)),
        ("allow_secrets", written.allow_secrets.as_ref().map(Spanned::span)),
    ];
    let of_key = [("sign_password", written.sign_password.as_ref().map(Spanned::span))];
    let lacking = |key: &str, span: &Option<std::ops::Range<usize>>, what: &str| match span {
        Some(span) => Err(wrong(text, span.start, &format!("{key}: there is no {what} that it could be of"))),
        None => Ok(()),
    };
    if written.config.is_none() {
        of_config.iter().try_for_each(|(key, span)| lacking(key, span, "config"))?;
    }
    if written.sign_key.is_none() {
        of_key.iter().try_for_each(|(key, span)| lacking(key, span, "sign_key"))?;
    }
    Ok(())
}

/// Lines of a config.txt stay as they are; files start from the directory.
fn config_txt(words: Vec<String>, directory: &Path) -> Vec<String> {
    let word = |word: String| {
        if is_config_txt_line(&word) { word } else { directory.join(word).display().to_string() }
    };
    words.into_iter().map(word).collect()
}

/// A board, or a profile: whatever is a path or ends as one.
fn board(
    text: &str,
    board: Option<&Spanned<String>>,
    directory: &Path,
) -> Result<(Option<String>, Option<PathBuf>), String> {
    let Some(board) = board else { return Ok((None, None)) };
    let word = board.as_ref();
    if word.contains('/') || word.ends_with(".toml") {
        return Ok((None, Some(directory.join(word))));
    }
    match board::find(word) {
        Ok(_) => Ok((Some(word.clone()), None)),
        Err(error) => Err(wrong(text, board.span().start, &format!("board: {error}; or a FILE.toml"))),
    }
}

/// A store whose path, if it is one, starts from the directory of the file.
fn store_of(store: &str, directory: &Path) -> String {
    let path = |path: &str| directory.join(path).display().to_string();
    if let Some(file) = store.strip_prefix("file://") {
        return format!("file://{}", path(file));
    }
    if let Some(export) = store.strip_prefix("export:").filter(|file| *file != "-") {
        return format!("export:{}", path(export));
    }
    let is_word = ["auto", "daemon", "export:-"].contains(&store);
    if is_word || is_address(store) || store.contains("://") { store.to_owned() } else { path(store) }
}

fn keys(text: &str, keys: Vec<Spanned<String>>) -> Result<Vec<String>, String> {
    let check = |key: Spanned<String>| match Keys::default().add(key.as_ref()) {
        Ok(()) => Ok(key.into_inner()),
        Err(error) => Err(wrong(text, key.span().start, &format!("trusted_keys: {error}"))),
    };
    keys.into_iter().map(check).collect()
}

fn format(text: &str, format: Option<&Spanned<String>>) -> Result<Option<Packing>, String> {
    let Some(format) = format else { return Ok(None) };
    Packing::named(format.as_ref()).map(Some).ok_or_else(|| {
        let names = Packing::ALL.map(Packing::name).join(", ");
        let message = format!("format: {:?}: must be one of {names}", format.as_ref());
        wrong(text, format.span().start, &message)
    })
}

fn level(text: &str, level: Option<&Spanned<u32>>) -> Result<Option<u32>, String> {
    let Some(level) = level else { return Ok(None) };
    if *level.as_ref() <= 19 {
        return Ok(Some(*level.as_ref()));
    }
    let message = format!("level: {}: must be 1 to 19 for zst, 0 to 9 for xz and gz", level.as_ref());
    Err(wrong(text, level.span().start, &message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_relative_starts_from_the_file() {
        let text = r#"
            board = "./boards/mine.toml"
            system = ".#pi"
            stores = ["cache", "file://kept", "file:///abs", "https://x.org", "auto", "ssh-ng://b", "export:a.nar"]
            firmware = ["fw", "/nix/store/3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-uboot"]
            output = "pi.img.zst"
            size = "8 GiB"
            sha256 = true
            config = "."
            config_private = true
            require_clean = false
            allow_secrets = ["a.nix:3"]
            sign_key = "k.sec"
            netrc_file = "/abs"
            config_txt = ["dtparam=audio=on", "more.txt", "[all]"]
            cache_size = "1GiB"
        "#;
        let project = parse(text, "up/pi".into()).unwrap();
        assert_eq!((project.board, project.board_file), (None, Some("up/pi/./boards/mine.toml".into())));
        assert_eq!(
            project.stores,
            [
                "up/pi/cache",
                "file://up/pi/kept",
                "file:///abs",
                "https://x.org",
                "auto",
                "ssh-ng://b",
                "export:up/pi/a.nar"
            ]
        );
        let store_path = PathBuf::from("/nix/store/3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-uboot");
        assert_eq!(project.firmware, [PathBuf::from("up/pi/fw"), store_path]);
        assert_eq!((project.output, project.size), (Some("up/pi/pi.img.zst".into()), Some(8 << 30)));
        assert_eq!((project.sha256, project.bmap), (Some(true), None));
        assert_eq!(project.config, Some("up/pi/.".into()));
        assert_eq!((project.config_private, project.require_clean), (Some(true), Some(false)));
        assert_eq!((project.sign_key, project.netrc_file), (Some("up/pi/k.sec".into()), Some("/abs".into())));
        assert_eq!(project.config_txt, ["dtparam=audio=on", "up/pi/more.txt", "[all]"]);
        assert_eq!((project.cache_size, project.allow_secrets), (Some(1 << 30), vec!["a.nix:3".to_owned()]));
    }

    #[test]
    fn each_mistake_names_its_line_its_key_and_what_is_allowed() {
        for (text, expected) in [
            (
                "\nbaord = \"rpi4\"",
                "line 2: `baord = \"rpi4\"`: unknown field `baord`, expected one of `board`, `sys",
            ),
            (
                "board = \"rpi9\"",
                "line 1: board: no board is called \"rpi9\"; did you mean \"rpi3\"? there are: ",
            ),
            ("board = 4", "line 1: `board = 4`: invalid type: integer `4`, expected a string"),
            ("size = \"8 parsecs\"", "line 1: size: \"8 parsecs\": expected a length such as"),
            ("\n\nfree = \"x\"", "line 3: free: \"x\": expected a length"),
            ("boot_size = \"1\"\nsize = \"8GiB\"\nfree = \"1GiB\"", "line 3: free: not together with size"),
            ("format = \"zip\"", "line 1: format: \"zip\": must be one of raw, zst, xz, gz"),
            ("level = 20", "line 1: level: 20: must be 1 to 19"),
            ("level = -1", "line 1: `level = -1`: invalid value: integer `-1`, expected u32"),
            (
                "stores = \"auto\"",
                "line 1: `stores = \"auto\"`: invalid type: string \"auto\", expected a sequence",
            ),
            ("trusted_keys = [\n\"a:b\"]", "line 2: trusted_keys: \"a:b\" is no public key"),
            ("\nconfig_private = true", "line 2: config_private: there is no config that it could be of"),
            ("\n\nallow_secrets = [\"x\"]", "line 3: allow_secrets: there is no config"),
            ("sign_password = \"x\"", "line 1: sign_password: there is no sign_key"),
            (
                "config_private = 1",
                "line 1: `config_private = 1`: invalid type: integer `1`, expected a boolean",
            ),
            ("cache_size = \"much\"", "line 1: cache_size: \"much\": expected a length"),
            ("device = \"/dev/sda\"", "unknown field `device`"),
            ("no_check_sigs = true", "unknown field `no_check_sigs`"),
            ("board = \"rpi4\"\nboard = \"rpi3\"", "line 2: `board = \"rpi3\"`: duplicate key"),
            ("board = \"rpi4", "line 1: `board = \"rpi4`: invalid basic string"),
        ] {
            let message = parse(text, PathBuf::new()).err().unwrap_or_default();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }
}
