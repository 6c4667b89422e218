//! Conversions between integer types that cannot fail on the 64-bit targets nixflash is built for.

/// Turns a count of bytes in memory into a `u64`.
#[must_use]
pub const fn to_u64(n: usize) -> u64 {
    n as u64
}

/// Turns a count of bytes into a `usize`; the crate refuses to build where the two differ in width.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    reason = "lib.rs refuses targets on which usize is not 64 bits wide"
)]
pub const fn to_usize(n: u64) -> usize {
    n as usize
}

/// Rounds `n` up to a multiple of `unit`, or `None` when that does not fit into 64 bits.
#[must_use]
pub const fn round_up(n: u64, unit: u64) -> Option<u64> {
    n.checked_next_multiple_of(unit)
}

/// A value as a part of a line: control characters, line and paragraph separators, and marks that turn the direction of
/// a text round are written as `\n`, `\u{202e}`. A name can then neither begin a line of its own nor hide a part of it.
#[must_use]
pub fn shown(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        if c.is_control() || is_layout(c) {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    text
}

/// Separators of lines, marks of direction, and characters without a width.
const fn is_layout(c: char) -> bool {
    matches!(
        c,
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}'
    )
}

/// Writes bytes in base 16.
#[must_use]
pub fn to_base16(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Parses a length in bytes such as `512 MiB`, `4 KiB` or `34359738368`; a fraction or another unit is `None`.
#[must_use]
pub fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" | "K" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        "GiB" | "G" => 1 << 30,
        "TiB" | "T" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// Writes a length in bytes for people, with the largest unit that leaves a number of at least 1: `1.4 GiB`.
#[must_use]
pub fn show_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    while unit + 1 < UNITS.len() && bytes >> (10 * (unit + 1)) != 0 {
        unit += 1;
    }
    let one = 1u64 << (10 * unit);
    if bytes.is_multiple_of(one) {
        return format!("{} {}", bytes / one, UNITS[unit]);
    }
    let tenths = (u128::from(bytes) * 10 + u128::from(one) / 2) / u128::from(one);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// Writes bytes in base 64 with padding (RFC 4648, 4).
#[must_use]
pub fn to_base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let mut word = [0; 4];
        word[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(word);
        for n in 0..4 {
            let digit = DIGITS[to_usize(u64::from(bits >> (18 - 6 * n) & 63))];
            out.push(if n <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_64_is_that_of_the_rfc() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(to_base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn byte_lengths_parse_and_print() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("8 MiB", 8 << 20),
            ("8MiB", 8 << 20),
            ("2G", 2 << 30),
            ("1TiB", 1 << 40),
        ] {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
        for text in ["", "MiB", "1.5 GiB", "-1", "8 MB", "8 mib", "99999999999999 TiB", "1 MiB x"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
        for (bytes, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1 KiB"),
            (1 << 20, "1 MiB"),
            (1_503_238_553, "1.4 GiB"),
        ] {
            assert_eq!(show_bytes(bytes), text);
        }
        assert_eq!(show_bytes(u64::MAX), "16777216.0 TiB");
    }
}
