//! Text that came from anywhere, made safe to be a part of a line on a terminal.

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

/// A word as a POSIX shell takes it: as it is, or between single quotes.
#[must_use]
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Separators of lines, marks of direction, and characters without a width.
const fn is_layout(c: char) -> bool {
    matches!(
        c,
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        for (word, expected) in
            [("/dev/sda", "/dev/sda"), ("a b", "'a b'"), ("", "''"), ("it's", "'it'\\''s'"), ("$x", "'$x'")]
        {
            assert_eq!(shell_word(word), expected);
        }
    }
}
