//! `nixflash cache`: what was fetched and is kept.

use crate::cli::exit::{Code, Failure};
use crate::cli::option::words::bytes;
use crate::cli::outcome::Outcome;
use crate::cli::show::output;
use crate::sizes::show_bytes;
use crate::store::{prune, usage};
use serde_json::json;

/// Show or prune what was fetched from caches over http.
#[derive(clap::Args)]
pub struct Options {
    /// Remove what was used longest ago until at most this much is left
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    prune: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(options: &Options) -> Outcome {
    let kept = crate::cli::file::kept::kept();
    let found = options.prune.map_or_else(|| usage(&kept), |most| prune(&kept, most));
    let found = found.map_err(|error| Failure::of(Code::Other, &error))?;
    if options.json {
        let value = json!({
            "schema": "nixflash-cache/1", "directory": kept, "nars": found.nars, "bytes": found.bytes, "narinfos": found.narinfos,
            "listings": found.listings,
        });
        return output::data(&format!("{value:#}\n"));
    }
    let text = format!(
        "{}: {} NARs, {} narinfos, {} listings, {} of at most {}\n",
        crate::escape::shown(&kept.display().to_string()),
        found.nars,
        found.narinfos,
        found.listings,
        show_bytes(found.bytes),
        show_bytes(crate::cli::file::kept::cache_size(&kept))
    );
    output::data(&output::escape_lines(&text))
}
