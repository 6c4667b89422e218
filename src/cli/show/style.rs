//! How progress is shown.

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Style {
    /// A bar on a terminal, else plain lines
    Auto,
    /// A bar
    Bar,
    /// A line every ten seconds
    Plain,
    /// JSON lines, at most five a second
    Json,
    /// Nothing
    None,
}

/// What lines for programs are.
pub const SCHEMA: &str = "nixflash-progress/1";
