//! Patterns for file names: `*` stands for any run of characters but a slash.

/// Whether `text` matches `pattern`.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    // The classic two-pointer match: on a mismatch the last star takes one character more. Linear in practice,
    // quadratic at worst, and both strings are short.
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            p += 1;
            t += 1;
        } else if let Some((at, from)) = star.filter(|(_, from)| text[*from] != b'/') {
            star = Some((at, from + 1));
            (p, t) = (at + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_any_run_but_a_slash() {
        for (pattern, text, expected) in [
            ("start*.elf", "start4.elf", true),
            ("start*.elf", "start.elf", true),
            ("start*.elf", "start4.elf.old", false),
            ("*", "", true),
            ("*", "a/b", false),
            ("*/x", "a/x", true),
            ("overlays/*", "overlays/a.dtbo", true),
            ("overlays/*", "overlays/a/b", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbY", false),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }
}
