//! What the program that a boot loader's installer runs on an initrd would append to it.
//!
//! nixpkgs writes `append-initrd-secrets` in `nixos/modules/system/boot/stage-1.nix`: a usage, `--help` in an `if` that
//! ends in `exit 0`, then, where there are no secrets, a bare `exit 0`, and for each secret a `cp`. Nothing of it is run.

/// Words that a command begins with which puts a file among those that are appended.
const COPIES: [&str; 4] = ["cp", "install", "cat", "ln"];

/// How many constructs a line opens and closes: `if`, `case`, loops, and functions in braces.
fn depth_of(line: &str) -> i32 {
    let words = line.split([' ', '\t', ';', '&', '|']).filter(|word| !word.is_empty());
    let opens = |word: &str| matches!(word, "if" | "case" | "for" | "while" | "until" | "{");
    let closes = |word: &str| matches!(word, "fi" | "esac" | "done" | "}");
    words.map(|word| i32::from(opens(word)) - i32::from(closes(word))).sum::<i32>()
        + i32::from(line.ends_with("(){"))
}

/// Whether the program, run on an initrd, appends anything: it copies a file before it ends.
pub fn has_secrets(script: &str) -> bool {
    let mut depth = 0;
    for line in script.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let change = depth_of(line);
        if depth == 0 && change == 0 && matches!(line, "exit" | "exit 0" | "exit 0;") {
            return false;
        }
        let command = line.split([' ', '\t']).next().unwrap_or_default();
        let command = command.rsplit('/').next().unwrap_or_default();
        // The usage of old ones is a here-document that `cat` prints.
        if COPIES.contains(&command) && !line.contains("<<") {
            return true;
        }
        depth = (depth + change).max(0);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::has_secrets;

    const HEAD: &str = "#!/bin/sh -e\nusage() {\n  echo usage\n}\nif [ $# -ne 1 ]; then\n  usage\n  exit 1\nfi\n\
                        if [ \"$1\"x = \"--helpx\" ]; then\n  usage\n  exit 0\nfi\n";
    const TAIL: &str = "tmp=$(mktemp -d)\n(cd \"$tmp\" && find . | cpio -o -H newc) >> \"$1\"\n";

    #[test]
    fn secrets_are_what_is_copied_before_the_program_ends() {
        let copy =
            "mkdir -p $(dirname \"$tmp/.initrd-secrets/k\")\ncp -a /etc/k \"$tmp/.initrd-secrets/k\"\n";
        for (script, expected) in [
            (format!("{HEAD}{copy}{TAIL}"), true),
            (format!("{HEAD}exit 0\n{copy}{TAIL}"), false),
            (format!("{HEAD}{TAIL}"), false),
            (format!("{HEAD}if [ -e /x ]; then\n  exit 0\nfi\n{copy}{TAIL}"), true),
            (format!("{HEAD}[ -e /x ] && exit 0\n{copy}{TAIL}"), true),
            (String::new(), false),
        ] {
            assert_eq!(has_secrets(&script), expected, "{script}");
        }
    }
}
