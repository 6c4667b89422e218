//! Lengths in bytes as people write them: `512 MiB`.

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

#[cfg(test)]
mod tests {
    use super::*;

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
