//! `nixflash check`: whether a system can run from a card of a board, before anything is composed.

use crate::cli::exit::{Code, Failure};
use crate::cli::file::project;
use crate::cli::file::stranger::Asked;
use crate::cli::option::system_source::Inputs;
use crate::cli::outcome::Outcome;
use crate::cli::show::output;
use crate::cli::show::terminal::Voice;
use crate::compose::{Report, Verdict};
use std::path::PathBuf;

/// Hold a system against a board: what it demands, what is met.
#[derive(clap::Args)]
pub struct Options {
    /// The board: see `nixflash boards`
    #[arg(conflicts_with = "board_file")]
    board: Option<String>,
    /// The toplevel: a store path, or a link to one such as ./result
    #[arg(long, value_name = "PATH")]
    system: Option<String>,
    #[command(flatten)]
    inputs: Inputs,
    /// Print everything that was found as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(mut options: Options, voice: &Voice) -> Outcome {
    let (mut from, mut words) = (PathBuf::new(), options.system.take());
    if let Some(mut project) = options.inputs.find_project(Asked::ByNobody, voice)? {
        if words.is_none() {
            (words, from) = (project.system.take(), project.directory.clone());
        }
        if options.board.is_none() && options.inputs.board_file.is_none() {
            (options.board, options.inputs.board_file) = (project.board.take(), project.board_file.take());
        }
        options.inputs.adopt(&mut project);
    }
    if options.board.is_none() && options.inputs.board_file.is_none() {
        return Err(unsaid("board", "name one of those that `nixflash boards` lists"));
    }
    let words = words.ok_or_else(|| unsaid("system", "name the toplevel with --system"))?;
    let report = options.inputs.check(options.board.as_deref(), (&words, &from), voice)?;
    if options.json {
        // cannot fail: the report has string keys only
        let value = serde_json::to_value(&report).expect("a report is JSON");
        output::data(&format!("{value:#}\n"))?;
    } else {
        output::data(&output::escape_lines(&text(&report)))?;
    }
    if report.possible {
        return Ok(());
    }
    let refused = count(&report, Verdict::Refused);
    let demands = if refused == 1 { "one demand".to_owned() } else { format!("{refused} demands") };
    Err(Failure::new(Code::Other, format!("{} cannot meet {demands} of the system", report.board)))
}

/// Something that must be said was not.
fn unsaid(what: &str, hint: &str) -> Failure {
    Failure::new(Code::Usage, format!("no {what}"))
        .hint(format!("{hint}, or write it into {}", project::NAME))
}

fn count(report: &Report, verdict: Verdict) -> usize {
    report.findings.iter().filter(|finding| finding.verdict == verdict).count()
}

fn text(report: &Report) -> String {
    let mut lines = vec![format!("{} on {}", report.toplevel, report.board)];
    for finding in &report.findings {
        let word = match finding.verdict {
            Verdict::Met => "met",
            Verdict::Warning => "warning",
            Verdict::Refused => "refused",
        };
        lines.push(format!("{word:<8} {}", crate::escape::shown(&finding.message)));
        if let Some(origin) = &finding.origin {
            lines.push(format!("         {}", crate::escape::shown(&origin.to_string())));
        }
        if let Some(against) = &finding.against {
            lines.push(format!("         against {}", crate::escape::shown(&against.to_string())));
        }
    }
    lines.join("\n") + "\n"
}
