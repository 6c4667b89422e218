//! Texts of bounded length, and where in them something is wrong.

use crate::cli::exit;
use crate::cli::exit::Failure;
use std::io::Read;

/// The text of a file of at most `longest` bytes.
pub(crate) fn text_of(file: std::fs::File, name: &str, longest: u64) -> Result<String, Failure> {
    let mut text = String::new();
    file.take(longest + 1).read_to_string(&mut text).map_err(|error| Failure::reading(name, &error))?;
    if crate::ints::to_u64(text.len()) > longest {
        return Err(Failure::new(exit::Code::Usage, format!("{name}: is longer than {longest} bytes")));
    }
    Ok(text)
}

/// The number of the line that a byte of a text is on.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

/// What the TOML parser says, with the line.
pub(crate) fn toml_message(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().lines().collect::<Vec<_>>().join(", ");
    let Some(span) = error.span() else { return message };
    let number = line_of(text, span.start);
    let line: String = text.lines().nth(number - 1).unwrap_or_default().trim().chars().take(60).collect();
    format!("line {number}: `{line}`: {message}")
}
