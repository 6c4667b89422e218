//! How much is said, and how.

use super::show::style;
use clap::Args;

/// How much is said, and how.
#[derive(Args, Clone, Copy)]
pub(super) struct Talk {
    /// How to show progress on standard error
    #[arg(long, global = true, value_enum, default_value_t = style::Style::Auto, value_name = "HOW")]
    pub(super) progress: style::Style,
    /// Say nothing but errors
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,
    /// Say more
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub(super) verbose: bool,
}
