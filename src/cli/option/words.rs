//! Values of options, out of the words that were typed.

use crate::sizes::parse_bytes;

/// Parses a length.
pub fn bytes(text: &str) -> Result<u64, String> {
    parse_bytes(text).ok_or_else(|| "expected a length such as 512MiB or 8GiB".to_owned())
}

/// Parses a switch.
pub fn switch(text: &str) -> Result<bool, String> {
    match text {
        "yes" | "true" => Ok(true),
        "no" | "false" => Ok(false),
        _ => Err("expected yes or no".to_owned()),
    }
}
