//! What this machine's Nix is told: `NAME = VALUE`, `#` begins a comment, `include FILE` and `!include FILE` read another
//! file there, from the directory of the one that says so. Source: Nix `src/libutil/configuration.cc`, which refuses an
//! `include` of a file that is not there; here both kinds are as good as empty then, as the whole file is.

use std::io::Read;
use std::path::Path;

/// Where Nix looks for it.
const FILE: &str = "/etc/nix/nix.conf";
/// How many files deep `include` leads.
const DEPTH: u32 = 8;
/// The longest file that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// The values of settings, in the order of their lines; none where there is no such file, or it is another's.
pub fn values(names: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    collect(Path::new(FILE), names, DEPTH, &mut found);
    found
}

fn collect(file: &Path, names: &[&str], depth: u32, found: &mut Vec<String>) {
    let mut text = String::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(LONGEST).read_to_string(&mut text));
    if read.is_err() || depth == 0 {
        return;
    }
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let included = line.strip_prefix('!').unwrap_or(line).strip_prefix("include");
        if let Some(path) = included.filter(|path| path.starts_with([' ', '\t'])) {
            let directory = file.parent().unwrap_or(Path::new("/"));
            collect(&directory.join(path.trim()), names, depth - 1, found);
        } else if let Some((name, value)) = line.split_once('=')
            && names.contains(&name.trim())
        {
            found.push(value.trim().to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(file: &Path, names: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        collect(file, names, DEPTH, &mut found);
        found
    }

    #[test]
    fn settings_are_found_by_their_names_and_comments_are_none() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("nix.conf");
        let text = "# ssl-cert-file = /no\n  ssl-cert-file=/a b/c.pem  # mine\nx\nssl-cert-file-2 = /d\n\
                    trusted-public-keys = a:AA== b:BB==\nssl-cert-file = /e\n";
        std::fs::write(&file, text).unwrap();
        assert_eq!(of(&file, &["ssl-cert-file"]), ["/a b/c.pem", "/e"]);
        assert_eq!(of(&file, &["trusted-public-keys", "netrc-file"]), ["a:AA== b:BB=="]);
        assert_eq!(of(&dir.path().join("none"), &["netrc-file"]), [""; 0]);
    }

    #[test]
    fn other_files_are_read_where_they_are_included_and_circles_end() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = dir.path().join(name);
            std::fs::write(&file, text).unwrap();
            file
        };
        std::fs::create_dir(dir.path().join("d")).unwrap();
        let other = write("d/other.conf", "netrc-file = /2\n!include more.conf\n");
        write("d/more.conf", "netrc-file = /3\n");
        let first = write(
            "nix.conf",
            &format!(
                "netrc-file = /1\n!include {}\ninclude\t/nonexistent # gone\nincluded = x\nnetrc-file = /4\n",
                other.display()
            ),
        );
        assert_eq!(of(&first, &["netrc-file"]), ["/1", "/2", "/3", "/4"]);
        assert_eq!(of(&first, &["included"]), ["x"]);
        let circle = write("circle.conf", "netrc-file = /c\ninclude circle.conf\n");
        assert_eq!(of(&circle, &["netrc-file"]).len(), DEPTH as usize);
    }
}
