//! What became of cards that were to be written: told, as JSON, and as an exit status.

use super::output;
use super::terminal::Voice;
use crate::cli::exit::{Code, Failure};
use crate::cli::outcome::Outcome;
use crate::compose::Plan;
use crate::device::write::{Report, Verification};
use crate::device::{Differences, Fault, WriteError};
use crate::format::disk::partition_table::Span;
use crate::image::{CopyError, SourceError};
use crate::sizes::show_bytes;
use serde_json::{Value, json};
use std::path::PathBuf;

/// What became of one target.
pub struct Written {
    /// It.
    pub target: PathBuf,
    /// What was written, or why not.
    pub outcome: Result<Report, Failure>,
    /// Where a card differs, in words.
    pub places: Vec<String>,
    /// The same for programs.
    pub differences: Option<Differences>,
    /// How long it took.
    pub seconds: u64,
}

/// How many places that differ are told one by one.
const TOLD: usize = 10;

/// Where a card differs: offset, partition, and what lies there where that is known.
pub fn located(found: &Differences, plan: Option<&Plan>, partitions: &[Span]) -> Vec<String> {
    let mut lines: Vec<String> = found
        .ranges
        .iter()
        .take(TOLD)
        .map(|bad| {
            let known = plan.and_then(|plan| plan.locate(bad.offset));
            let place = match (
                known,
                partitions.iter().find(|p| (p.start..p.start.saturating_add(p.len)).contains(&bad.offset)),
            ) {
                (Some((number, what)), _) => format!("partition {number}, {what}"),
                (None, Some(span)) => {
                    format!("partition {}, byte {} of it", span.number, bad.offset - span.start)
                }
                (None, None) => "outside of all partitions".to_owned(),
            };
            format!("{} from byte {}: {place}", show_bytes(bad.len), bad.offset)
        })
        .collect();
    if found.count > u64::try_from(TOLD).unwrap_or(u64::MAX) {
        lines.push(format!("... {} places in all", found.count));
    }
    lines
}

/// A card that was not written, with its code.
pub fn failed(error: &WriteError, image: Option<&CopyError>, name: &str) -> Failure {
    let code = match &error.fault {
        Fault::Differs(_) => Code::Differs,
        Fault::TooLong { .. } => Code::TooSmall,
        Fault::Sector { .. } => Code::Refused,
        Fault::Interrupted => Code::Interrupted,
        Fault::Empty => Code::Source,
        Fault::Source => {
            let (code, why) = match image {
                Some(CopyError::Source(SourceError::Io(why))) => (Code::Other, chain(&**why)),
                Some(CopyError::Source(SourceError::Bad(why))) => (Code::Source, chain(&**why)),
                _ => (Code::Source, "the source failed".to_owned()),
            };
            return Failure::new(code, format!("{name}: {why}; {}: {}", error.target, error.left));
        }
        _ => Code::Target,
    };
    let fault = chain(&error.fault);
    Failure::new(code, format!("{}: {fault}; {}", error.target, error.left))
}

/// An error with its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    Failure::of(Code::Other, error).message().to_owned()
}

/// In which form results are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// In words.
    Words,
    /// In words, and as JSON on standard output.
    Json,
}

/// Tells what became of each card; the exit status is that of the worst.
pub fn conclude(results: &[Written], image: &str, form: Form, voice: &Voice) -> Outcome {
    let mut worst: Option<(Code, &str)> = None;
    for result in results {
        let target = result.target.display();
        let code = match &result.outcome {
            Ok(report) => {
                voice.say(&format!("{target}: {}", told(report, result.seconds)));
                if report.verification == Verification::Cached {
                    Some((Code::Unverified, UNVERIFIED))
                } else {
                    None
                }
            }
            Err(failure) => {
                if results.len() > 1 {
                    voice.always(&format!("error: {}", failure.message()));
                }
                result.places.iter().for_each(|place| voice.always(&format!("  {place}")));
                Some((failure.code(), failure.message()))
            }
        };
        worst = worst.max_by_severity(code);
    }
    if form == Form::Json {
        let cards: Vec<Value> = results.iter().map(to_json).collect();
        let value = json!({ "schema": "nixflash-write/1", "image": image, "cards": cards });
        output::data(&format!("{value:#}\n"))?;
    }
    let failures = results.iter().filter(|result| result.outcome.is_err()).count();
    match worst {
        None => Ok(()),
        Some((code, message)) if results.len() == 1 || failures == 0 => Err(Failure::new(code, message)),
        Some((code, _)) => Err(Failure::new(code, format!("{failures} of {} targets failed", results.len()))),
    }
}

const UNVERIFIED: &str = "written, and what was read back is right, but it may come from a cache of this machine: direct I/O is not possible";

/// The graver of two failures: a target that may be trusted wrongly is worse than one that was never written.
trait Severity<'a> {
    fn max_by_severity(self, other: Option<(Code, &'a str)>) -> Option<(Code, &'a str)>;
}

impl<'a> Severity<'a> for Option<(Code, &'a str)> {
    fn max_by_severity(self, other: Self) -> Self {
        const ORDER: [Code; 8] = [
            Code::Interrupted,
            Code::Differs,
            Code::Target,
            Code::Source,
            Code::TooSmall,
            Code::Refused,
            Code::Permission,
            Code::Other,
        ];
        let rank = |failure: &Self| {
            failure
                .map_or(usize::MAX, |(code, _)| ORDER.iter().position(|c| *c == code).unwrap_or(ORDER.len()))
        };
        if rank(&other) < rank(&self) { other } else { self }
    }
}

fn told(report: &Report, seconds: u64) -> String {
    let verified = match report.verification {
        Verification::Medium => format!("written and verified, {} read back", show_bytes(report.verified)),
        Verification::Cached => "written".to_owned(),
        Verification::Skipped => "written, not verified".to_owned(),
    };
    let kept = if report.kept > 0 {
        format!(", {} were there already", show_bytes(report.kept))
    } else {
        String::new()
    };
    let grown = report.growth.as_ref().map_or_else(String::new, |growth| {
        let len = show_bytes(growth.len);
        match &growth.left {
            None => format!(", partition {} grown to {len}", growth.number),
            Some(why) => {
                format!(", partition {} grown to {len} (its file system is as it was: {why})", growth.number)
            }
        }
    });
    let grown = match report.ungrown {
        Some(why) => format!("{grown}, nothing grown: {why}"),
        None => grown,
    };
    let moved = if report.backup_moved { ", backup of the partition table moved to its end" } else { "" };
    format!("{verified}; {} written{kept}{moved}{grown}, in {seconds} s", show_bytes(report.written))
}

fn to_json(result: &Written) -> Value {
    let target = result.target.display().to_string();
    match &result.outcome {
        Ok(report) => json!({
            "target": target,
            "result": match report.verification {
                Verification::Medium => "verified",
                Verification::Cached => "unverified",
                Verification::Skipped => "written",
            },
            "imageBytes": report.image_len,
            "written": report.written,
            "kept": report.kept,
            "verified": report.verified,
            "backupMoved": report.backup_moved,
            "grown": report.growth.as_ref().map(|growth| json!({ "partition": growth.number, "len": growth.len, "fileSystemLeft": growth.left })),
            "notGrown": report.ungrown,
        }),
        Err(failure) => json!({
            "target": target,
            "result": "failed",
            "code": failure.code().number(),
            "error": failure.message(),
            "differences": result.differences.as_ref().map(differences),
        }),
    }
}

/// Differences as JSON.
pub fn differences(found: &Differences) -> Value {
    let ranges: Vec<Value> =
        found.ranges.iter().map(|bad| json!({ "offset": bad.offset, "len": bad.len })).collect();
    json!({ "count": found.count, "bytes": found.bytes, "unreadable": found.unreadable, "ranges": ranges })
}
