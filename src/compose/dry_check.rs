//! A system held against a board, without composing anything.

use super::demands::{Contract, Finding, Verdict};
use super::error::Error;
use super::firmware::find;
use super::request::channels::Channels;
use super::request::given::Given;
use super::resolved::Resolved;
use crate::board::Board;
use crate::compose::system::generations::generations;
use crate::format::nix::store_path::StorePath;
use crate::store::Store;

/// What to hold against each other.
pub struct Check {
    /// The board.
    pub board: Board,
    /// The toplevel.
    pub system: StorePath,
    /// Systems that were there before it, the oldest first.
    pub older: Vec<StorePath>,
    /// Stores, asked in this order.
    pub stores: Vec<Box<dyn Store>>,
    /// Where firmware packages are, asked in this order before the closure.
    pub firmware: Vec<Given>,
    /// A channel to take them from otherwise.
    pub channels: Option<Channels>,
}

/// What came of it, for people and programs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Names the form: `nixflash-check/1`.
    pub schema: &'static str,
    /// The board.
    pub board: String,
    /// The toplevel.
    pub toplevel: String,
    /// The NixOS version.
    pub nixos_version: String,
    /// Whether a card can be composed that boots.
    pub possible: bool,
    /// Every demand and how it fares.
    pub findings: Vec<Finding>,
}

/// Reads a system and holds it against the board.
pub fn check(check: Check) -> Result<Report, Error> {
    let Check { board, system, older, stores, firmware, channels } = check;
    let systems = [&older[..], std::slice::from_ref(&system)].concat();
    let mut forest = Resolved::of(stores, &systems)?.index()?;
    let generations = generations(&forest, &systems)?;
    let mut contract = Contract::of(&generations, &board, &forest);
    // What is missing for the card is as good a reason as a demand that cannot be met.
    if let Err(error) = find::find(&board, &firmware, channels.as_ref(), &mut forest) {
        let message = error.to_string();
        contract.findings.push(Finding { verdict: Verdict::Refused, message, origin: None, against: None });
    }
    Ok(Report {
        schema: "nixflash-check/1",
        board: board.name,
        toplevel: system.to_string(),
        nixos_version: generations.last().map(|system| system.version.clone()).unwrap_or_default(),
        possible: contract.findings.iter().all(|finding| finding.verdict != Verdict::Refused),
        findings: contract.findings,
    })
}
