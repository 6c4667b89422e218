//! What this machine's Nix is told: `NAME = VALUE`, `#` begins a comment.

/// Where Nix looks for it.
const FILE: &str = "/etc/nix/nix.conf";

/// The values of settings, in the order of their lines; none where there is no such file, or it is another's.
pub fn values(names: &[&str]) -> Vec<String> {
    of(&std::fs::read_to_string(FILE).unwrap_or_default(), names)
}

fn of(text: &str, names: &[&str]) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.split('#').next()?.split_once('='));
    let wanted = lines.filter(|(name, _)| names.contains(&name.trim()));
    wanted.map(|(_, value)| value.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_found_by_their_names_and_comments_are_none() {
        let text = "# ssl-cert-file = /no\n  ssl-cert-file=/a b/c.pem  # mine\nx\nssl-cert-file-2 = /d\n\
                    trusted-public-keys = a:AA== b:BB==\nssl-cert-file = /e\n";
        assert_eq!(of(text, &["ssl-cert-file"]), ["/a b/c.pem", "/e"]);
        assert_eq!(of(text, &["trusted-public-keys", "netrc-file"]), ["a:AA== b:BB=="]);
        assert_eq!(of("", &["netrc-file"]), [""; 0]);
    }
}
