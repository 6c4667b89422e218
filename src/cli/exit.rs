//! Failures, and the exit codes that scripts rely on.

use std::error::Error;

/// Why a command failed, as far as the exit code tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// Anything that has no code of its own.
    Other = 1,
    /// The command line asks for what cannot be.
    Usage = 2,
    /// What is there is not what was expected.
    Differs = 3,
    /// The target may not be written.
    Refused = 4,
    /// The target is too small.
    TooSmall = 5,
    /// An input is truncated, damaged, incomplete or of the wrong form.
    Source = 6,
    /// The output could not be written.
    Target = 7,
    /// The system denies access.
    Permission = 8,
    /// Written, but what was read back may come from a cache.
    Unverified = 9,
    /// SIGINT, SIGTERM or SIGHUP.
    Interrupted = 130,
}

impl Code {
    /// The exit status.
    pub const fn number(self) -> u8 {
        match self {
            Self::Other => 1,
            Self::Usage => 2,
            Self::Differs => 3,
            Self::Refused => 4,
            Self::TooSmall => 5,
            Self::Source => 6,
            Self::Target => 7,
            Self::Permission => 8,
            Self::Unverified => 9,
            Self::Interrupted => 130,
        }
    }
}

/// A failure with its code and, where there is one, what to do about it.
#[derive(Debug)]
pub struct Failure {
    code: Code,
    message: String,
    pub(super) hint: Option<String>,
    /// Whether line feeds of the message are its layout, its values being escaped.
    pub(super) layout: Layout,
}

/// What line feeds in a message are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Line,
    Lines,
}

impl Failure {
    /// A failure in the program's own words.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, layout: Layout::Line }
    }

    /// A failure that another one explains: its whole chain of causes becomes the message.
    pub fn of(code: Code, error: &(dyn Error + 'static)) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let text = inner.to_string();
            // Transparent wrappers repeat their cause.
            if !message.ends_with(&text) {
                message = format!("{message}: {text}");
            }
            cause = inner.source();
        }
        Self::new(code, message)
    }

    /// Lets the message have several lines; each value in it was escaped where it was formatted.
    pub fn in_lines(mut self) -> Self {
        self.layout = Layout::Lines;
        self
    }

    /// The code.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// What failed, in one text.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Adds to what failed.
    pub fn and(mut self, more: &str) -> Self {
        self.message.push_str(more);
        self
    }

    /// Adds what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The code for an error of the operating system on an input.
    pub fn reading(what: &str, error: &std::io::Error) -> Self {
        let code =
            if error.kind() == std::io::ErrorKind::PermissionDenied { Code::Permission } else { Code::Other };
        Self::new(code, format!("cannot read {what}: {error}"))
    }
}
