//! SHA-256 sums in files, as `sha256sum` writes them.

/// A text has no hash for a file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSum {
    /// There is none at all.
    #[error("it holds no SHA-256")]
    None,
    /// There are some, of other files.
    #[error("it holds no SHA-256 of {0}")]
    Other(String),
}

/// The text of a file with sums: UTF-8, or UTF-16 as PowerShell writes it, without a byte order mark.
#[must_use]
pub fn text_of(bytes: &[u8]) -> String {
    let (pairs, of): (_, fn([u8; 2]) -> u16) = match bytes {
        [0xff, 0xfe, rest @ ..] => (rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => (rest, u16::from_be_bytes),
        _ => return String::from_utf8_lossy(bytes).trim_start_matches('\u{feff}').to_owned(),
    };
    let (units, _) = pairs.as_chunks::<2>();
    char::decode_utf16(units.iter().copied().map(of))
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

/// Whether a word is a SHA-256 in base 16.
fn is_sha256(word: &str) -> bool {
    word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Finds the hash of a file in a text: a hash alone, or lines of a hash and a name, or `SHA256 (name) = hash`.
pub fn parse_sha256(text: &str, name: &str) -> Result<String, BadSum> {
    let mut others = false;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (hash, of) = match line.strip_prefix("SHA256 (").and_then(|rest| rest.split_once(") = ")) {
            Some((of, hash)) => (hash, of),
            None => {
                let (hash, of) = line.split_once([' ', '\t']).unwrap_or((line, ""));
                // A star is what sha256sum puts before a name that was read as binary.
                (hash, of.trim_start().trim_start_matches('*'))
            }
        };
        if !is_sha256(hash) {
            continue;
        }
        let file = of.rsplit('/').next().unwrap_or(of);
        if of.is_empty() || file == name {
            return Ok(hash.to_ascii_lowercase());
        }
        others = true;
    }
    Err(if others { BadSum::Other(name.to_owned()) } else { BadSum::None })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: &str = "E3B0C44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_usual_forms_are_read() {
        let small = SUM.to_ascii_lowercase();
        for text in [
            format!("{SUM}\n"),
            format!("{SUM}  pi.img\n"),
            format!("{SUM} *pi.img"),
            format!("{SUM}  ./out/pi.img"),
            format!("SHA256 (pi.img) = {SUM}"),
            format!("# sums\n{}  other\n{SUM}  pi.img\n", "0".repeat(64)),
        ] {
            assert_eq!(parse_sha256(&text, "pi.img"), Ok(small.clone()), "{text}");
        }
        assert_eq!(parse_sha256(&format!("{SUM}  a"), "b"), Err(BadSum::Other("b".into())));
        assert_eq!(parse_sha256("<html>", "b"), Err(BadSum::None));
    }
}
