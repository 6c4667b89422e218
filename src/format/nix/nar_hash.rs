//! SHA-256 hashes as Nix writes them: `sha256:` with base 16, base 32 or base 64, `sha256-` with base 64, or bare.

use crate::base_n::{from_base16, from_base32, from_base64, to_base32};

/// Parses a SHA-256 in any of the forms; `None` when it is none of them, or of another algorithm.
#[must_use]
pub fn parse(text: &str) -> Option<[u8; 32]> {
    if let Some(sri) = text.strip_prefix("sha256-") {
        return of_base64(sri);
    }
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    match digits.len() {
        64 => from_base16(digits)?.try_into().ok(),
        52 => from_base32(digits),
        44 => of_base64(digits),
        _ => None,
    }
}

/// Writes a hash as narinfos have it: `sha256:` and base 32.
#[must_use]
pub fn show(hash: &[u8; 32]) -> String {
    format!("sha256:{}", to_base32(hash))
}

/// With or without the one sign of padding that 32 bytes have.
fn of_base64(text: &str) -> Option<[u8; 32]> {
    let text = text.strip_suffix('=').unwrap_or(text);
    if text.ends_with('=') { None } else { from_base64(text)?.try_into().ok() }
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
