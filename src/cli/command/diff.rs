//! `nixflash diff`: how two cards, images, manifests or systems differ.

use super::inspect;
use crate::cli::ask::disks;
use crate::cli::ask::open::open_target;
use crate::cli::exit::{Code, Failure};
use crate::cli::option::stores::Stores;
use crate::cli::option::system;
use crate::cli::outcome::Outcome;
use crate::cli::run::nix::How;
use crate::cli::show::output;
use crate::cli::show::terminal::Voice;
use crate::device::{Named, Reader, resolve};
use crate::format::file::json;
use crate::format::nix::store_path::STORE_DIR;
use crate::image::read::open;
use crate::sizes::show_bytes;
use crate::store::closure;
use crate::verify::card;
use crate::verify::facts::{Changed, Difference, Facts, Other};
use serde_json::{Value, json};
use std::path::Path;

/// The longest manifest, in bytes.
const MAX_MANIFEST: u64 = 16 << 20;

/// Show how two cards, images, manifests or systems differ.
///
/// Store paths, boot files, configuration, identifiers: of a card or an image
/// what is on it, of a manifest (JSON) what it says, of a toplevel (a store
/// path or a link to one) its closure. What one of them says nothing of is
/// left out.
#[derive(clap::Args)]
pub struct Options {
    /// The one: a device, an image, a manifest, a toplevel
    a: String,
    /// The other
    b: String,
    #[command(flatten)]
    stores: Stores,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(options: &Options, voice: &Voice) -> Outcome {
    let (a, b) = (facts(&options.a, options, voice)?, facts(&options.b, options, voice)?);
    let difference = Difference::of(&a, &b);
    if options.json {
        output::data(&format!("{:#}\n", value(options, &difference)))?;
    } else {
        output::data(&output::escape_lines(&text(&difference)))?;
    }
    if difference.is_empty() {
        voice.say(&format!("{} and {} are the same", options.a, options.b));
        return Ok(());
    }
    Err(Failure::new(Code::Differs, format!("{} and {} differ", options.a, options.b)))
}

/// What is known of what was named.
fn facts(words: &str, options: &Options, voice: &Voice) -> Result<Facts, Failure> {
    let path = Path::new(words);
    let leads_to_store = std::fs::read_link(path).is_ok_and(|to| to.to_string_lossy().contains(STORE_DIR));
    if words.starts_with(&format!("{STORE_DIR}/")) || leads_to_store || path.is_dir() {
        return of_system(words, &options.stores, voice);
    }
    if let Some(facts) = of_manifest(path)? {
        return Ok(facts);
    }
    let listing = disks::listing()?;
    let named = resolve(&listing, path).map_err(|error| Failure::reading(words, &error))?;
    let found = if matches!(named, Named::File { .. }) {
        let image =
            open::open(path, &crate::cli::caller::scratch()).map_err(|error| inspect::unreadable(&error))?;
        Facts::of_card(&image)
    } else {
        let (disk, _) = open_target(path, voice)?;
        Facts::of_card(&Reader::new(&*disk))
    };
    found.map_err(|error| match &error {
        card::Error::Read(_) => Failure::new(Code::Target, format!("{words}: {error}")),
        _ => Failure::new(Code::Source, format!("{words}: {error}")),
    })
}

/// A file that is a manifest; `None` when it is none.
fn of_manifest(path: &Path) -> Result<Option<Facts>, Failure> {
    let is_small = std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() <= MAX_MANIFEST);
    if !is_small {
        return Ok(None);
    }
    let bytes = std::fs::read(path).map_err(|error| Failure::reading(&path.display().to_string(), &error))?;
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Ok(None);
    }
    let facts = json::parse(&bytes).ok().and_then(Facts::of_manifest);
    let text = format!("{} is JSON, but no manifest of nixflash", path.display());
    facts.map(Some).ok_or_else(|| Failure::new(Code::Source, text))
}

fn of_system(words: &str, stores: &Stores, voice: &Voice) -> Result<Facts, Failure> {
    let system = system::find(words, Path::new(""), How::Evaluate, voice)?;
    let stores = stores.open(system.store.as_deref(), voice)?;
    let failed = |error: crate::store::Error| crate::cli::show::failures::refused(&error.into());
    let closure = closure(&stores, std::slice::from_ref(&system.path)).map_err(failed)?;
    let paths = closure.paths.into_iter().map(|one| (one.info.path, (one.info.nar_hash, one.info.nar_size)));
    let toplevel = ("toplevel".to_owned(), system.path.to_string());
    Ok(Facts { store_paths: paths.collect(), identifiers: [toplevel].into(), ..Facts::default() })
}

fn value(options: &Options, difference: &Difference) -> Value {
    let paths = |list: &[(crate::format::nix::store_path::StorePath, u64)]| -> Vec<Value> {
        list.iter().map(|(path, size)| json!({ "path": path.to_string(), "narSize": size })).collect()
    };
    let versions = |list: &[(String, u64)]| -> Vec<Value> {
        list.iter().map(|(version, size)| json!({ "version": version, "narSize": size })).collect()
    };
    let changed: Vec<Value> = difference
        .changed
        .iter()
        .map(
            |one| json!({ "name": one.name, "before": versions(&one.before), "after": versions(&one.after) }),
        )
        .collect();
    let others = |list: &[Other]| -> Vec<Value> {
        list.iter().map(|one| json!({ "name": one.name, "before": one.before, "after": one.after })).collect()
    };
    json!({
        "schema": "nixflash-diff/1",
        "a": options.a,
        "b": options.b,
        "equal": difference.is_empty(),
        "added": paths(&difference.added),
        "removed": paths(&difference.removed),
        "changed": changed,
        "otherContents": difference.contents.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "bootFiles": others(&difference.boot_files),
        "configuration": others(&difference.configuration),
        "identifiers": others(&difference.identifiers),
    })
}

fn text(difference: &Difference) -> String {
    let mut text = String::new();
    let mut line = |line: String| {
        text.push_str(&crate::escape::shown(&line));
        text.push('\n');
    };
    for (path, size) in &difference.added {
        line(format!("+ {path} ({})", show_bytes(*size)));
    }
    for (path, size) in &difference.removed {
        line(format!("- {path} ({})", show_bytes(*size)));
    }
    for Changed { name, before, after } in &difference.changed {
        line(format!("~ {name}: {} -> {}", versions(before), versions(after)));
    }
    for path in &difference.contents {
        line(format!("! {path}: other contents"));
    }
    for (what, list) in [
        ("boot file", &difference.boot_files),
        ("configuration", &difference.configuration),
        ("identifier", &difference.identifiers),
    ] {
        for Other { name, before, after } in list {
            let said = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
            line(format!("~ {what} {name}: {} -> {}", said(before), said(after)));
        }
    }
    text
}

fn versions(list: &[(String, u64)]) -> String {
    let one = |(version, size): &(String, u64)| {
        let version = if version.is_empty() { "no version" } else { version };
        format!("{version} ({})", show_bytes(*size))
    };
    list.iter().map(one).collect::<Vec<_>>().join(", ")
}
