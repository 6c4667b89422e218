//! `nixflash verify` without an image: what a card says of itself, held against what is on it.

use super::inspect;
use crate::cli::ask::disks;
use crate::cli::ask::open::open_target;
use crate::cli::exit::{Code, Failure};
use crate::cli::option::trusted_keys;
use crate::cli::option::trusted_keys::Trusted;
use crate::cli::outcome::Outcome;
use crate::cli::show::output;
use crate::cli::show::signals;
use crate::cli::show::terminal::Voice;
use crate::device::{Named, Reader, resolve};
use crate::image::Progress;
use crate::image::read::open;
use crate::sizes::show_bytes;
use crate::stream::ReadAt;
use crate::verify::card;
use crate::verify::card::{Allowed, Content, How, Signed, Unsigned, Verdict};
use serde_json::json;
use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Whose signatures count, and what may be unsigned.
#[derive(clap::Args)]
pub struct Trust {
    /// A public key: NAME:BASE64 of store paths, beside those of
    /// cache.nixos.org and of nix.conf; or one of minisign, or the file that it
    /// is in, one of which must then have signed the manifest
    #[arg(long, value_name = "KEY")]
    trusted_key: Vec<String>,
    /// With a key: take a generation that nobody signed as the one that boots,
    /// as after nixos-rebuild on the card
    #[arg(long)]
    allow_unsigned_generations: bool,
    /// With a key: take firmware that `nixflash firmware` has replaced
    #[arg(long)]
    allow_unsigned_firmware: bool,
}

/// A card, or an image of one, that is judged by what it says of itself.
pub struct Card<'a> {
    /// The disk, or a file.
    pub device: &'a Path,
    /// Whose signatures count.
    pub trust: &'a Trust,
    /// Threads that hash.
    pub workers: usize,
    /// Whether what was found is printed as JSON.
    pub json: bool,
}

/// Judges a card or an image.
pub fn run(options: &Card<'_>, voice: &Voice) -> Outcome {
    let name = options.device.display().to_string();
    let stop = Arc::new(AtomicBool::new(false));
    signals::interrupt_into(&stop)?;
    let trusted = trusted_keys::read(&options.trust.trusted_key)?;
    let listing = disks::listing()?;
    let named = resolve(&listing, options.device).map_err(|error| Failure::reading(&name, &error))?;
    let judge = |disk: &(dyn ReadAt + Sync)| judge(disk, options, &trusted, &stop, voice);
    let found = if matches!(named, Named::File { .. }) {
        let image = open::open(options.device, &crate::cli::caller::scratch())
            .map_err(|error| inspect::unreadable(&error))?;
        judge(&image)
    } else {
        let (disk, _) = open_target(options.device, voice)?;
        judge(&Reader::new(&*disk))
    };
    let found = match found {
        Ok(found) => found,
        Err(error) => return failed(options, &name, &error),
    };
    if options.json {
        output::data(&format!("{:#}\n", value(options, &found)))?;
    }
    tell(&name, &found, voice)
}

fn failed(options: &Card<'_>, name: &str, error: &card::Error) -> Outcome {
    let code = match error {
        card::Error::NotOurs(_) => Code::Differs,
        card::Error::Read(_) => Code::Target,
        card::Error::Interrupted => {
            return Err(Failure::new(Code::Interrupted, "interrupted; nothing was changed"));
        }
    };
    if options.json && code == Code::Differs {
        let value = json!({
            "schema": "nixflash-verify-content/1",
            "target": options.device,
            "verdict": word(Verdict::NotOurs),
            "reason": error.to_string(),
        });
        output::data(&format!("{value:#}\n"))?;
    }
    Err(Failure::new(code, format!("{name}: {error}")))
}

fn value(options: &Card<'_>, found: &Content) -> serde_json::Value {
    let bad: Vec<_> =
        found.damaged.iter().map(|(path, how)| json!({ "path": path, "problem": how })).collect();
    json!({
        "schema": "nixflash-verify-content/1",
        "target": options.device,
        "verdict": word(found.verdict),
        "madeFor": found.made_for,
        "toplevel": found.toplevel,
        "storePaths": found.paths,
        "narBytes": found.bytes,
        "bootFiles": found.boot_files,
        "signatures": {
            "signed": found.signatures.signed,
            "unknownKeys": found.signatures.unknown,
            "contentAddressed": found.signatures.content_addressed,
            "unsigned": found.signatures.unsigned,
        },
        "manifestSignature": signature(&found.signed),
        "reason": found.not_ours,
        "damaged": bad,
        "changed": found.changed,
        "notListed": found.not_listed,
        "not_judged": found.not_judged,
    })
}

fn signature(signed: &Signed) -> serde_json::Value {
    match signed {
        Signed::No => serde_json::Value::Null,
        Signed::Unknown { key } => json!({ "key": key, "trusted": false }),
        Signed::By { key, comment } => json!({ "key": key, "trusted": true, "comment": comment }),
    }
}

fn tell(name: &str, found: &Content, voice: &Voice) -> Outcome {
    // What was found is told to who asked for quiet, too.
    found.changed.iter().for_each(|what| voice.always(&format!("  since then: {what}")));
    match &found.signed {
        Signed::No => {}
        Signed::Unknown { key } => voice.say(&format!(
            "  its manifest is signed by the key {key}, which is not known: nothing was checked with it (--trusted-key)"
        )),
        Signed::By { key, comment } => {
            voice.say(&format!("  its manifest is signed by the key {key}: {comment}"));
        }
    }
    let signatures = &found.signatures;
    for (key, paths) in &signatures.signed {
        voice.say(&format!("  signed by {key}: {paths} store paths"));
    }
    for (key, paths) in &signatures.unknown {
        let text = format!("  signed by {key}, which is not known (--trusted-key): {paths} store paths");
        voice.say(&text);
    }
    if signatures.unsigned > 0 {
        voice.say(&format!("  not signed: {} store paths", signatures.unsigned));
    }
    found.damaged.iter().for_each(|(path, how)| voice.always(&format!("  {path}: {how}")));
    if found.not_listed > 0 {
        voice.always(&format!("  and {} more", found.not_listed));
    }
    if !found.not_judged.is_empty() {
        voice.say(&format!("  not judged: {}", found.not_judged.join("; ")));
    }
    let (paths, bytes) = (found.paths, show_bytes(found.bytes));
    let made = found.made_for.as_ref().map(|made| format!("; composed for {made}")).unwrap_or_default();
    let text = match found.verdict {
        Verdict::Damaged => {
            let places = crate::ints::to_u64(found.damaged.len()) + found.not_listed;
            let noun = if places == 1 { "place" } else { "places" };
            format!("{name} is damaged in {places} {noun} ({paths} store paths, {bytes}{made})")
        }
        Verdict::NotOurs => {
            let none = "nothing on it says that nixflash composed it";
            let why = found.not_ours.as_deref().unwrap_or(none);
            format!(
                "{name} is not ours: {why}; its {paths} store paths, {bytes}, have their registered hashes"
            )
        }
        Verdict::Intact | Verdict::Changed => {
            let word = word(found.verdict);
            let boot = found.boot_files;
            voice.say(&format!(
                "{name}: {word}: {paths} store paths, {bytes}, each with its registered hash, and {boot} boot files{made}"
            ));
            return Ok(());
        }
    };
    Err(Failure::new(Code::Differs, text))
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Intact => "intact",
        Verdict::Changed => "intact, changed since",
        Verdict::Damaged => "damaged",
        Verdict::NotOurs => "not ours",
    }
}

fn judge(
    disk: &(dyn ReadAt + Sync),
    options: &Card<'_>,
    trusted: &Trusted,
    stop: &Arc<AtomicBool>,
    voice: &Voice,
) -> Result<Content, card::Error> {
    let meter = RefCell::new(None);
    let seen = |bytes, total| {
        let mut meter = meter.borrow_mut();
        // A signal is seen by the check itself.
        meter.get_or_insert_with(|| voice.meter("verify", total, stop)).at(bytes);
    };
    let Trusted { keys, signers } = trusted;
    let allowed = |given: bool| if given { Unsigned::Allowed } else { Unsigned::Refused };
    let unsigned = Allowed {
        generations: allowed(options.trust.allow_unsigned_generations),
        firmware: allowed(options.trust.allow_unsigned_firmware),
    };
    let how = How { keys, signers, threads: options.workers, stop, seen: &seen };
    let found = card::content_allowing(disk, &how, unsigned);
    if let (Some(mut meter), Ok(found)) = (meter.into_inner(), &found) {
        meter.finish(found.bytes);
    }
    found
}
