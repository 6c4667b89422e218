//! What was found while a system was held against a board, and where it is written.

use std::fmt;

/// How a demand fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The card will be as demanded.
    Met,
    /// The card will boot, or may; the user should know.
    Warning,
    /// The card would not boot.
    Refused,
}

/// Where a demand is written.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// The file, as a path in the toplevel or within its initrd.
    pub file: String,
    /// The line, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// What is written there.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
}

impl Origin {
    /// A whole file.
    pub fn file(file: impl Into<String>) -> Self {
        Self { file: file.into(), line: None, text: String::new() }
    }

    /// Words of a file.
    pub fn words(file: impl Into<String>, text: impl Into<String>) -> Self {
        Self { file: file.into(), line: None, text: text.into() }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, " line {line}")?;
        }
        if !self.text.is_empty() {
            write!(f, ": {}", self.text)?;
        }
        Ok(())
    }
}

/// One demand and how it fares.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// How it fares.
    pub verdict: Verdict,
    /// What is demanded, or what is wrong.
    pub message: String,
    /// Where it is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The line that it cannot be reconciled with, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<Origin>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match (&self.origin, &self.against) {
            (Some(origin), Some(against)) => write!(f, " ({origin}; against {against})"),
            (Some(origin), None) => write!(f, " ({origin})"),
            (None, _) => Ok(()),
        }
    }
}
