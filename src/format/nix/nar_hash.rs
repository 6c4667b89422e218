//! SHA-256 hashes as Nix writes them: `sha256:` with base 16, base 32 or base 64, `sha256-` with base 64, or bare.

use super::store_path::{from_base32, to_base32};
use crate::num;

/// The digits of base 64.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Parses a SHA-256 in any of the forms; `None` when it is none of them, or of another algorithm.
#[must_use]
pub fn parse(text: &str) -> Option<[u8; 32]> {
    if let Some(sri) = text.strip_prefix("sha256-") {
        return from_base64(sri);
    }
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    match digits.len() {
        64 => from_base16(digits),
        52 => from_base32(digits),
        44 => from_base64(digits),
        _ => None,
    }
}

/// Writes a hash as narinfos have it: `sha256:` and base 32.
#[must_use]
pub fn show(hash: &[u8; 32]) -> String {
    format!("sha256:{}", to_base32(hash))
}

fn from_base16(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn from_base64(text: &str) -> Option<[u8; 32]> {
    let text = text.strip_suffix('=').unwrap_or(text);
    if text.len() == 43 { bytes_of_base64(text)?.try_into().ok() } else { None }
}

/// Encodes base 64, with its padding.
#[must_use]
pub fn to_base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut word = [0; 4];
        word[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(word);
        for n in 0..4 {
            let digit = DIGITS[num::to_usize(u64::from(bits >> (18 - 6 * n) & 63))];
            text.push(if n <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// Decodes base 64, with or without its padding.
#[must_use]
pub fn bytes_of_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(text.len());
    let (mut bits, mut held) = (0u32, 0);
    for c in text {
        bits = bits << 6 | u32::try_from(DIGITS.iter().position(|d| d == c)?).ok()?;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).ok()?);
        }
    }
    // What is left of the last digit must be 0.
    (held < 6 && bits & ((1 << held) - 1) == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_hash_is_the_same_hash() {
        // SHA-256 of nothing.
        let forms = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73",
            "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
            "sha256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        ];
        for form in forms {
            assert_eq!(show(&parse(form).unwrap()), forms[2], "{form}");
        }
        for bad in [
            "",
            "sha1:e3b0",
            "sha256:",
            "sha512-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
            "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
