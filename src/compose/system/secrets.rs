//! Secrets in what is to be embedded: found by name and by line, told without their values.
//!
//! A card goes through many hands, and whoever holds it reads all of it. What is encrypted (age, sops, git-crypt,
//! ansible-vault, PGP) is no secret here; a variable, a path or a placeholder in place of a value is none either.
//! The patterns are matched in time linear in the length of a file. What is packed (archives) is not looked into.

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

/// A secret: where it is and what it is, not its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The line, from 1; 0 for a file that is one by its name.
    pub line: usize,
    /// What it is.
    pub kind: &'static str,
}

/// How the value behind a key is judged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Value {
    /// The pattern is the whole evidence.
    None,
    /// Whatever is a literal: quoted, or bare in a file of settings.
    Literal,
    /// As before, and bare where a Nix file holds the text of another.
    LiteralAnywhere,
    /// A literal that looks random.
    Random,
}

struct Rule {
    kind: &'static str,
    value: Value,
    pattern: &'static str,
}

const fn rule(kind: &'static str, value: Value, pattern: &'static str) -> Rule {
    Rule { kind, value, pattern }
}

/// The first rule that a line satisfies names it.
const RULES: &[Rule] = &[
    rule("a private key", Value::None, r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"),
    rule(
        "a private key",
        Value::None,
        r"PuTTY-User-Key-File-[0-9]|---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----",
    ),
    rule("an age secret key", Value::None, r"AGE-SECRET-KEY-(?:PQ-)?1[0-9A-Z]{20}"),
    rule("a secret key of minisign", Value::None, r"\bRW(?:RTY0|QAAE)Iy[A-Za-z0-9+/]{100}"),
    rule("a signing key of Nix", Value::None, r"^\s*[A-Za-z0-9._-]+:[A-Za-z0-9+/]{86}==\s*$"),
    rule("a token of GitHub", Value::None, r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22})"),
    rule("a token of GitLab", Value::None, r"\bgl(?:pat|dt|rt|ptt|ft|soat)-[A-Za-z0-9_-]{20}"),
    rule("an access key of AWS", Value::None, r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b"),
    rule(
        "an access key of AWS",
        Value::Random,
        r#"(?i)aws_?(?:secret_?access_?key|session_?token)["']?\s*[=:]\s*"#,
    ),
    rule(
        "a token",
        Value::None,
        r"\b(?:xox[abeprs]-[A-Za-z0-9-]{10}|[sr]k_live_[A-Za-z0-9]{16}|AIza[A-Za-z0-9_-]{35}|npm_[A-Za-z0-9]{36})",
    ),
    rule(
        "a token",
        Value::None,
        r"\b(?:tskey-[a-z]+-[A-Za-z0-9]{6}|do[opr]_v1_[0-9a-f]{64}|hf_[A-Za-z]{34}|SG\.[\w-]{22}\.[\w-]{43})",
    ),
    rule(
        "a token",
        Value::None,
        r"\b(?:sk-[A-Za-z0-9_-]{32}|[0-9]{8,10}:AA[A-Za-z0-9_-]{33}|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10})",
    ),
    rule(
        "a hashed password",
        Value::None,
        r"\$(?:[1567y]|gy|apr1|2[abxy]|argon2(?:id|i|d))\$[A-Za-z0-9./,=$+-]{20}",
    ),
    rule(
        "a private key of WireGuard",
        Value::None,
        r#"(?i:private_?key|preshared_?key)["']?\s*[=:]\s*["']?[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]="#,
    ),
    rule(
        "a Wi-Fi passphrase",
        Value::LiteralAnywhere,
        r#"(?i)(?:\b|_)(?:psk|psk_?raw|wpa[-_]?psk|wpa[-_]?passphrase|passphrase|presharedkey|sae_password|wep[-_]key[0-3])["']?\s*[=:]\s*"#,
    ),
    rule("a login of netrc", Value::None, r"\bmachine\s+\S+\s.*\bpassword\s+[^\s$<@]"),
    rule("a password", Value::Literal, r#"(?i)passw(?:or)?d["']?\s*[=:]\s*"#),
    rule(
        "a password in an address",
        Value::None,
        r#"[A-Za-z][A-Za-z0-9+.-]*://[^/\s:@"'$<{]*:[^/\s:@"'$<{*]+@[A-Za-z0-9\[]"#,
    ),
    rule("a token", Value::None, r"(?i)\bauthorization:\s*(?:basic|bearer)\s+[A-Za-z0-9._~+/-]{16}"),
    rule("a token", Value::None, r#""auth"\s*:\s*"[A-Za-z0-9+/]{16,}={0,2}""#),
    rule(
        "a token",
        Value::Random,
        r#"(?i)(?:api[-_]?key|token|secret[-_]?key|client[-_]?secret|access[-_]?key)["']?\s*[=:]\s*"#,
    ),
];

/// How much of a value is looked at, in bytes.
const MAX_VALUE: usize = 4096;
/// How many findings of one file are told.
const MAX_FINDINGS: usize = 100;

/// The patterns, ready to be matched.
pub struct Scanner {
    any: RegexSet,
    each: Vec<Regex>,
}

impl Default for Scanner {
    fn default() -> Self {
        let patterns = RULES.iter().map(|rule| rule.pattern);
        // cannot fail: the patterns are constants that a test compiles
        let any =
            RegexSetBuilder::new(patterns.clone()).unicode(false).build().expect("the patterns are right");
        let one = |pattern| RegexBuilder::new(pattern).unicode(false).build().expect("the pattern is right");
        Self { any, each: patterns.map(one).collect() }
    }
}

impl Scanner {
    /// Every secret of a file, in the order of its lines.
    #[must_use]
    pub fn scan(&self, path: &str, bytes: &[u8]) -> Vec<Finding> {
        let plain: Vec<u8>;
        let bytes = if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            // UTF-16: what is ASCII in it is left when the zeros are not.
            plain = bytes.iter().copied().filter(|byte| *byte != 0).collect();
            &plain
        } else {
            bytes
        };
        let mut findings: Vec<Finding> =
            self.by_name(path, bytes).map(|kind| Finding { line: 0, kind }).into_iter().collect();
        let bare = bare_values(path);
        for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            if findings.len() >= MAX_FINDINGS {
                break;
            }
            if let Some(kind) = self.line(line, bare) {
                findings.push(Finding { line: number, kind });
            }
        }
        findings
    }

    /// What a file is by its name, if that makes it a secret.
    #[must_use]
    pub fn by_name(&self, path: &str, bytes: &[u8]) -> Option<&'static str> {
        by_name(path, bytes)
    }

    fn line(&self, line: &[u8], bare: Bare) -> Option<&'static str> {
        let matched = self.any.matches(line);
        matched.iter().find(|index| self.holds(*index, line, bare)).map(|index| RULES[index].kind)
    }

    /// Whether a rule whose pattern occurs in a line finds a secret there.
    fn holds(&self, index: usize, line: &[u8], bare: Bare) -> bool {
        let rule = &RULES[index];
        if rule.value == Value::None {
            return true;
        }
        self.each[index].find_iter(line).any(|found| {
            let rest = &line[found.end()..];
            // `psk = expression;` is Nix, `psk=word` is a line of a settings file within it.
            let is_setting = rule.value == Value::LiteralAnywhere
                && !found.as_bytes().iter().any(u8::is_ascii_whitespace)
                && !line.contains(&b';');
            let bare = bare == Bare::Counts || (bare == Bare::InNix && is_setting);
            let value = value(&rest[..rest.len().min(MAX_VALUE)], bare);
            value.is_some_and(|value| is_literal(value) && (rule.value != Value::Random || is_random(value)))
        })
    }
}

/// Whether a word without quotes can be a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bare {
    /// In a file of settings.
    Counts,
    /// In Nix it is an expression, unless the file holds the text of another.
    InNix,
    /// In prose and programs it is a word.
    Not,
}

/// What a word without quotes is in a file, by its name.
fn bare_values(path: &str) -> Bare {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    let known = [
        "conf",
        "ini",
        "cfg",
        "cnf",
        "env",
        "yaml",
        "yml",
        "toml",
        "properties",
        "nmconnection",
        "psk",
        "8021x",
        "network",
        "netdev",
        "credentials",
        "tfvars",
        "json",
    ];
    match extension {
        Some("nix") => Bare::InNix,
        Some(extension) if !known.contains(&extension) && !name.contains(".env") => Bare::Not,
        _ => Bare::Counts,
    }
}

/// What a file is by its name, unless its contents are encrypted or empty.
fn by_name(path: &str, bytes: &[u8]) -> Option<&'static str> {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    if bytes.iter().all(u8::is_ascii_whitespace) || is_encrypted(bytes) {
        return None;
    }
    let ends = |suffixes: &[&str]| suffixes.iter().any(|suffix| name.ends_with(suffix));
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    if name.starts_with("ssh_host_") && name.ends_with("_key") {
        return Some("a host key of ssh");
    }
    let keys = ["id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "id_ecdsa_sk", "id_ed25519_sk"];
    if keys.contains(&name.as_str())
        || ends(&[".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".ppk", ".age-key"])
    {
        return Some("a file of private keys");
    }
    if ends(&[".tfstate"]) || name.contains(".tfstate.") {
        return Some("a state of Terraform");
    }
    let logins =
        [".netrc", "_netrc", "netrc", ".git-credentials", ".pgpass", ".htpasswd", "htpasswd", ".vault-token"];
    if logins.contains(&name.as_str()) {
        return Some("a file of logins");
    }
    let sample = ends(&["example", "sample", "template", "dist"]);
    if (name == ".env" || starts(&[".env."]) || ends(&[".env"])) && !sample && has_settings(bytes) {
        return Some("a file of environment variables");
    }
    None
}

/// Whether a file of environment variables sets one to a value that is not encrypted.
fn has_settings(bytes: &[u8]) -> bool {
    bytes.split(|byte| *byte == b'\n').any(|line| {
        let line = line.trim_ascii();
        let Some(at) = line.iter().position(|byte| *byte == b'=') else { return false };
        let (key, value) = (&line[..at], line[at + 1..].trim_ascii());
        !key.starts_with(b"#") && !key.starts_with(b"sops_") && is_literal(unquoted(value))
    })
}

fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] | [b'\'', inner @ .., b'\''] => inner,
        other => other,
    }
}

/// Whether all of a file is encrypted.
fn is_encrypted(bytes: &[u8]) -> bool {
    const HEADS: [&[u8]; 6] = [
        b"age-encryption.org/v1",
        b"-----BEGIN AGE ENCRYPTED FILE-----",
        b"-----BEGIN PGP MESSAGE-----",
        b"\0GITCRYPT\0",
        b"$ANSIBLE_VAULT;",
        b"Salted__",
    ];
    let has = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    HEADS.iter().any(|head| bytes.starts_with(head)) || (has(b"ENC[AES256_GCM,data:") && has(b"sops"))
}

/// The value that text begins with: what is in quotes, or a bare word where that counts.
fn value(text: &[u8], bare: bool) -> Option<&[u8]> {
    let until = |text: &'_ [u8], end: &[u8]| text.windows(end.len()).position(|window| window == end);
    match text {
        [b'\'', b'\'', rest @ ..] => Some(&rest[..until(rest, b"''").unwrap_or(rest.len())]),
        [quote @ (b'"' | b'\''), rest @ ..] => Some(&rest[..until(rest, &[*quote]).unwrap_or(rest.len())]),
        // A quote within the text of another file, written in a string of Nix or JSON.
        [b'\\', b'"', rest @ ..] => Some(&rest[..until(rest, b"\\\"").unwrap_or(rest.len())]),
        _ if bare => {
            let is_end = |byte: &u8| byte.is_ascii_whitespace() || b",;#})".contains(byte);
            Some(&text[..text.iter().position(is_end).unwrap_or(text.len())])
        }
        _ => None,
    }
}

/// Whether a value stands for itself: no variable, path, placeholder, switch, and not encrypted.
fn is_literal(value: &[u8]) -> bool {
    let value = value.trim_ascii();
    let begins = |heads: &[&str]| heads.iter().any(|head| value.starts_with(head.as_bytes()));
    let words = ["true", "false", "yes", "no", "null", "none", "nil", "prompt", "ask", "|", ">", "|-"];
    let is_word = words.iter().any(|word| value.eq_ignore_ascii_case(word.as_bytes()));
    let masked = value.iter().all(|byte| b"*!xX.-?".contains(byte));
    let placeholder = begins(&["$", "<", "{", "[", "%(", "ENC[", "ext:"])
        || (value.len() > 1 && value.starts_with(b"@") && value.ends_with(b"@"));
    let path = begins(&["/run/", "/etc/", "/var/", "/nix/", "/home/", "/root/", "./", "../", "~/", "file:"]);
    !(value.is_empty() || is_word || masked || placeholder || path)
}

/// Whether a value looks like one that nobody made up: long, one word, letters and digits.
fn is_random(value: &[u8]) -> bool {
    let has = |test: fn(&u8) -> bool| value.iter().any(test);
    value.len() >= 16
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_alphabetic)
        && value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_./+=~".contains(byte))
}
