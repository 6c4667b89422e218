//! What is shown: progress, tables, reports, failures.

pub(crate) mod card_table;
pub(crate) mod downloads;
pub(crate) mod failures;
pub(crate) mod lookout;
pub(crate) mod output;
pub(crate) mod plan_text;
pub(crate) mod signals;
pub(crate) mod style;
pub(crate) mod terminal;
pub(crate) mod write_report;
