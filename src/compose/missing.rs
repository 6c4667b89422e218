//! Firmware that is not there.

/// A package was found nowhere, or more than once.
#[derive(Debug, thiserror::Error)]
#[error("{board} needs {package}: a package with {}: {why}", .needs.join(", "))]
pub struct Missing {
    /// The board.
    pub board: String,
    /// The package's key in the profile.
    pub package: String,
    /// The files that must be in it.
    pub needs: Vec<String>,
    /// Where it was looked for, or which are too many.
    pub why: String,
    /// The command that makes it.
    pub command: String,
}
