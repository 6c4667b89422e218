//! Secrets in a configuration: every kind is found before a byte is written and told without its value.

use crate::common::{Run, Tool, demo, run, temp};
use std::path::Path;

/// The value of each secret below, and nothing else of them.
struct Secret {
    /// What it is called in the message.
    kind: &'static str,
    file: &'static str,
    /// The line it is on; 0 for a file that is one by its name.
    line: usize,
    text: String,
    /// What must be nowhere.
    value: String,
}

fn secret(kind: &'static str, file: &'static str, line: usize, parts: [&str; 3]) -> Secret {
    Secret { kind, file, line, text: parts.concat(), value: parts[1].to_owned() }
}

/// Every kind. Values are put together here, so that no scanner of repositories takes this file for a leak.
fn secrets() -> Vec<Secret> {
    let pem = |kind: &str| format!("-----BEGIN {kind}-----\n");
    let letters = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAA";
    let token = |head: &str| format!("{head}{}", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8");
    let hex = "0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9";
    let wg = format!("{}=", "yAnz5TF-lXXJte14tji3zlMNq-hd2rYUIgJBgB3fBmk".replace('-', "+"));
    let hash = format!("$6${}${}", "rounds=5000", "saltsaltsalt$".to_owned() + &"Ab1./".repeat(17));
    let nix = |value: &str| format!("{{\n  x = \"{value}\";\n}}\n");
    let mut all = vec![
        secret("a private key", "host.nix", 2, ["''\n", &(pem("OPENSSH PRIVATE KEY") + letters), "\n''"]),
        secret("a private key", "tls.txt", 1, ["", &(pem("RSA PRIVATE KEY") + letters), "\n"]),
        secret("a private key", "tls.crt", 1, ["", &(pem("PRIVATE KEY") + letters), "\n"]),
        secret("a private key", "enc.pem", 1, ["", &(pem("ENCRYPTED PRIVATE KEY") + letters), "\n"]),
        secret("a private key", "ec.pem", 1, ["", &(pem("EC PRIVATE KEY") + letters), "\n"]),
        secret("a private key", "gpg.asc", 1, ["", &(pem("PGP PRIVATE KEY BLOCK") + letters), "\n"]),
        secret("a private key", "putty.txt", 1, ["PuTTY-User-Key-File-3: ssh-ed25519\n", letters, "\n"]),
        secret(
            "an age secret key",
            "keys.txt",
            2,
            [
                "# created\n",
                &format!("AGE-SECRET-KEY-1{}", "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L".repeat(2)),
                "\n",
            ],
        ),
        secret(
            "an age secret key",
            "pq.txt",
            1,
            ["", &format!("AGE-SECRET-KEY-PQ-1{}", "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L".repeat(2)), "\n"],
        ),
        secret("a token of GitHub", "nix.conf", 1, ["access-tokens = github.com=", &token("ghp_"), "\n"]),
        secret(
            "a token of GitHub",
            "pat.nix",
            2,
            ["{\n  t = \"", &format!("github_pat_{}", "11ABCDEFG0".repeat(8)), "\";\n}\n"],
        ),
        secret("a token of GitLab", "ci.yml", 1, ["token: ", "glpat-aB1cD2eF3gH4iJ5kL6mN", "\n"]),
        secret("an access key of AWS", "aws", 1, ["aws_access_key_id = ", "AKIAQ3EGSVYORK5XM2LA", "\n"]),
        secret(
            "an access key of AWS",
            "aws.ini",
            2,
            ["[default]\naws_secret_access_key = ", "wJalrXUtnFEMIK7MDENGbPxRfiCYq3xAmPl3K3yZ", "\n"],
        ),
        secret(
            "a token",
            "slack.nix",
            2,
            ["{\n  hook = \"", &("xoxb-".to_owned() + "123456789012-abcdef"), "\";\n}\n"],
        ),
        secret(
            "a token",
            "tail.nix",
            2,
            ["{\n  k = \"", &("tskey-auth-".to_owned() + "kAbCdEfGh1CNTRL-aBcDeFgHiJ"), "\";\n}\n"],
        ),
        secret(
            "a token",
            "jwt.nix",
            2,
            [
                "{\n  c = \"",
                "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dBjftJeZ4CVPmB92K27uhbUJU1p1r",
                "\";\n}\n",
            ],
        ),
        secret(
            "a token",
            "docker.json",
            2,
            ["{\"auths\": {\"x\": {\n\"auth\": \"", "dXNlcjpwYXNzd29yZHg5OA==", "\"}}}\n"],
        ),
        secret(
            "a token",
            "curl.sh",
            1,
            ["curl -H 'Authorization: Bearer ", "s3cr3tB34r3rT0k3nV4lue99", "'\n"],
        ),
        secret("a token", "api.toml", 1, ["api_key = \"", "9f8e7d6c5b4a39281706f5e4d3c2b1a0", "\"\n"]),
        secret(
            "a hashed password",
            "users.nix",
            2,
            ["{\n  users.users.root.hashedPassword = \"", &hash, "\";\n}\n"],
        ),
        secret(
            "a hashed password",
            "yes.nix",
            2,
            ["{\n  x = \"", &format!("$y$j9T${}", "Ab1./".repeat(12)), "\";\n}\n"],
        ),
        secret(
            "a hashed password",
            "bc.nix",
            2,
            ["{\n  x = \"", &format!("$2b$12${}", "Ab1./".repeat(10)), "\";\n}\n"],
        ),
        secret(
            "a password",
            "init.nix",
            2,
            ["{\n  users.users.pi.initialPassword = \"", "hunter2-correct", "\";\n}\n"],
        ),
        secret("a password", "db.yaml", 1, ["database_password: ", "Tr0ub4dor-and-3", "\n"]),
        secret("a password", "one.nix", 1, ["{ users.users.a.password = ''", "horse-battery", "''; }\n"]),
        secret(
            "a Wi-Fi passphrase",
            "wifi.nix",
            2,
            ["{\n  networking.wireless.networks.home.psk = \"", "correct-horse-wifi", "\";\n}\n"],
        ),
        secret(
            "a Wi-Fi passphrase",
            "raw.nix",
            2,
            ["{\n  networks.home = { pskRaw = \"", hex, "\"; };\n}\n"],
        ),
        secret(
            "a Wi-Fi passphrase",
            "wpa_supplicant.conf",
            3,
            ["network={\n ssid=\"x\"\n psk=", hex, "\n}\n"],
        ),
        secret(
            "a Wi-Fi passphrase",
            "wpa.nix",
            3,
            ["''network={\n ssid=\"x\"\n psk=\"", "spaced out words", "\"\n}''\n"],
        ),
        secret(
            "a Wi-Fi passphrase",
            "home.nmconnection",
            2,
            ["[wifi-security]\npsk=", "nm-plain-words", "\n"],
        ),
        secret("a Wi-Fi passphrase", "home.psk", 2, ["[Security]\nPassphrase=", "iwd-plain-words", "\n"]),
        secret("a Wi-Fi passphrase", "nm.nix", 2, ["x = ''\npsk=", "nm-within-nix", "\n'';\n"]),
        secret("a private key of WireGuard", "wg.conf", 2, ["[Interface]\nPrivateKey = ", &wg, "\n"]),
        secret("a private key of WireGuard", "wg.nix", 2, ["{\n  privateKey = \"", &wg, "\";\n}\n"]),
        secret(
            "a secret key of minisign",
            "sign.key",
            2,
            ["untrusted comment: x\n", &format!("RWRTY0Iy{}", "QUJDREVG".repeat(20)), "\n"],
        ),
        secret(
            "a signing key of Nix",
            "cache.sec",
            1,
            ["", &format!("cache-1:{}==", "Ab1+".repeat(21) + "Ab"), "\n"],
        ),
        secret(
            "a login of netrc",
            "setup.sh",
            1,
            ["echo machine x.example login me password ", "netrc-value-1", " > n\n"],
        ),
        secret(
            "a password in an address",
            "flake.txt",
            1,
            ["https://me:", "addr3ss-value", "@cache.example/x\n"],
        ),
        secret("a host key of ssh", "etc/ssh_host_ed25519_key", 0, ["", letters, "\n"]),
        secret("a file of private keys", "home/id_ed25519", 0, ["", letters, "\n"]),
        secret("a file of private keys", "store.p12", 0, ["", letters, "\n"]),
        secret("a state of Terraform", "terraform.tfstate", 0, ["{\"v\": \"", "tf-state-value", "\"}\n"]),
        secret("a file of environment variables", ".env", 0, ["A=1\nDB_URL=", "env-value-1", "\n"]),
        secret("a file of logins", ".netrc", 0, ["default login x password ", "netrc-value-2", "\n"]),
        secret("a file of logins", ".git-credentials", 0, ["https://x:", "git-cred-value", "@h\n"]),
    ];
    all.push(Secret {
        kind: "a private key",
        file: "utf16.txt",
        line: 1,
        text: String::new(),
        value: "MIIEvQ-utf16".to_owned(),
    });
    all.push(secret("a token of GitHub", "many/deep/er.nix", 2, [&nix("x")[..2], &token("ghs_"), "\n"]));
    all
}

/// What looks like a secret and is none.
const INNOCENT: &[(&str, &str)] = &[
    (
        "sops.yaml",
        "wifi: ENC[AES256_GCM,data:abc,iv:def,tag:ghi,type:str]\npassword: ENC[AES256_GCM,data:x,type:str]\nsops:\n    age:\n        - recipient: age1qyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgp\n",
    ),
    ("secrets/wifi.age", "age-encryption.org/v1\n-> X25519 abc\npassword = \u{1}\n"),
    (
        "secrets/armored.age",
        "-----BEGIN AGE ENCRYPTED FILE-----\nYWdlLWVuY3J5cHRpb24ub3JnL3Yx\n-----END AGE ENCRYPTED FILE-----\n",
    ),
    ("secrets/id_ed25519", "age-encryption.org/v1\n-> ssh-ed25519 abc\n"),
    ("secrets/.env", "sops_version=3.9\nDB=ENC[AES256_GCM,data:abc]\n"),
    (".env.example", "DB_URL=postgres-at-localhost\n"),
    ("locked", "\0GITCRYPT\0\u{1}\u{2}"),
    (
        "id_ed25519.pub",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me@host\n",
    ),
    (
        "ssh_host_ed25519_key.pub",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl\n",
    ),
    (
        "cert.pem",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n-----BEGIN PUBLIC KEY-----\nMIIB\n",
    ),
    (
        "users.nix",
        "{ hashedPasswordFile = \"/run/secrets/pw\"; hashedPassword = \"!\"; initialHashedPassword = \"\"; password = null; }\n",
    ),
    (
        "sudo.nix",
        "{ security.sudo.wheelNeedsPassword = false; services.openssh.settings.PasswordAuthentication = false; }\n",
    ),
    (
        "agenix.nix",
        "{ age.secrets.psk.file = ./psk.age; x.password = config.age.secrets.db.path; y.token = cfg.token; }\n",
    ),
    (
        "vars.nix",
        "{ networks.home.psk = \"@PSK_HOME@\"; b.psk = \"ext:home\"; c.password = \"${pw}\"; d.psk = \"$PSK\"; }\n",
    ),
    (
        "path.nix",
        "{ password = \"/run/keys/db\"; passphrase = \"<passphrase>\"; passwordFile = \"x-y-z-plain\"; }\n",
    ),
    (
        "wg.nix",
        "{ publicKey = \"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\"; privateKeyFile = \"/run/wg\"; }\n",
    ),
    (
        "keys.nix",
        "{ trusted-public-keys = [ \"cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=\" ]; }\n",
    ),
    (
        "flake.lock",
        "{\"nodes\":{\"n\":{\"locked\":{\"narHash\":\"sha256-0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5=\",\"rev\":\"0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d\",\"type\":\"github\"}}}}\n",
    ),
    (
        "minisign.pub",
        "untrusted comment: minisign public key\nRWRne4fvzy+cnc4JB62zYDvZOCY83mAuqMnLBGspYzmEz2K433ziIXkX\n",
    ),
    (
        "urls.nix",
        "{ a = \"https://user@host/x\"; b = \"git+ssh://git@github.com/x\"; c = \"http://localhost:8080/@x\"; d = \"https://u:${p}@h\"; }\n",
    ),
    (
        "README.md",
        "Set the password: ask your admin. The psk = what you chose. Keys begin with ghp_ or AKIA.\n",
    ),
    (
        "secret.nix",
        "{ sops.secrets.\"wifi/psk\" = { }; sops.age.keyFile = \"/var/lib/sops-nix/key.txt\"; }\n",
    ),
    ("empty.netrc", ""),
    (
        "narinfo",
        "Sig: cache.nixos.org-1:TsTTb3WGTZKphvYdBHXwo6weVILmTytUjLB+vcX89fOjjRicCHmKA4RCPMVLkj6TMJ4GMX3HPVWRdD1hkeKZBQ==\n",
    ),
];

fn write(root: &Path, file: &str, bytes: &[u8]) {
    let path = root.join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// A repository in which all files are tracked.
fn track(root: &Path) -> bool {
    let Some(git) = Tool::find("git") else { return false };
    let at = root.to_str().unwrap();
    git.passes(&["-C", at, "init", "-q"]);
    git.passes(&["-C", at, "add", "--force", "."]);
    true
}

fn bytes_of(secret: &Secret) -> Vec<u8> {
    if secret.file != "utf16.txt" {
        return secret.text.clone().into_bytes();
    }
    let text = format!("\u{feff}-----BEGIN PRIVATE KEY-----\n{}\n", secret.value);
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn compose(config: &Path, output: &Path, temporary: &Path, options: &[&str]) -> Option<Run> {
    let demo = demo()?;
    let mut command = demo.compose("rpi4", &demo.at("root"), output);
    command.arg("--config").arg(config).args(options).args(["--progress", "json", "--json"]);
    command.env("TMPDIR", temporary).env("HOME", temporary);
    Some(run(&mut command))
}

/// Whether bytes are in any file below a directory.
fn holds(directory: &Path, needle: &[u8]) -> bool {
    std::fs::read_dir(directory).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, needle);
        }
        std::fs::read(&path).unwrap().windows(needle.len()).any(|window| window == needle)
    })
}

#[test]
fn every_kind_of_secret_is_refused_by_file_and_line_and_its_value_is_nowhere() {
    let (config, out, temporary) = (temp(), temp(), temp());
    let all = secrets();
    let kinds: std::collections::BTreeSet<_> = all.iter().map(|secret| secret.kind).collect();
    assert!(kinds.len() >= 12, "{kinds:?}");
    for secret in &all {
        write(config.path(), secret.file, &bytes_of(secret));
    }
    if !track(config.path()) {
        return;
    }
    let output = out.path().join("card.img");
    let Some(done) = compose(config.path(), &output, temporary.path(), &[]) else { return };
    assert_eq!(done.code, 1, "{}", done.err);
    for secret in &all {
        let place = match secret.line {
            0 => secret.file.to_owned(),
            line => format!("{}:{line}", secret.file),
        };
        let line = format!("secret: {place}: {}", secret.kind);
        assert!(done.err.lines().any(|said| said == line), "expected {line:?} in\n{}", done.err);
        let said = [&done.out[..], done.err.as_bytes()].concat();
        for part in secret.value.lines() {
            assert!(!said.windows(part.len()).any(|window| window == part.as_bytes()), "{line}");
            assert!(!holds(temporary.path(), part.as_bytes()), "{line}: left in a temporary file");
        }
    }
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0, "nothing is written");
    // One finding for each: no line is told that has no secret, but keys of two kinds in one file.
    let told = done.err.lines().filter(|line| line.starts_with("secret: ")).count();
    assert!((all.len()..=all.len() + 3).contains(&told), "{told} of {}\n{}", all.len(), done.err);
}

#[test]
fn no_secret_is_written_anywhere_not_even_into_a_file_that_goes_away() {
    let (config, out, temporary) = (temp(), temp(), temp());
    let (Some(demo), Some(strace)) = (demo(), Tool::find("strace")) else { return };
    let all = secrets();
    for secret in &all {
        write(config.path(), secret.file, &bytes_of(secret));
    }
    if !track(config.path()) {
        return;
    }
    let trace = out.path().join("trace");
    let calls = "trace=write,pwrite64,writev,pwritev,pwritev2,sendto,sendmsg,sendfile,copy_file_range,splice";
    let output = out.path().join("card.img");
    let words = [
        &["-f", "-s", "1000000", "-e", calls, "-o", trace.to_str().unwrap(), env!("CARGO_BIN_EXE_nixflash")],
        &["compose", "rpi4", "-v", "--progress", "json", "--system", &demo.top, "--store"][..],
        &[&demo.at("root"), "--config", config.path().to_str().unwrap(), "-o", output.to_str().unwrap()],
    ];
    let done =
        std::process::Command::new("strace").args(words.concat()).env("TMPDIR", temporary.path()).output();
    let done = done.unwrap();
    let _ = strace;
    assert_eq!(done.status.code(), Some(1), "{}", String::from_utf8_lossy(&done.stderr));
    let traced = std::fs::read_to_string(&trace).unwrap();
    assert!(traced.contains("secret: "), "what is written is in the trace: {traced}");
    for secret in &all {
        for part in secret.value.lines() {
            let shown = part.replace('\\', "\\\\").replace('"', "\\\"");
            assert!(!traced.contains(&shown), "{}: {} was written", secret.file, secret.kind);
        }
    }
}

#[test]
fn what_only_looks_like_a_secret_is_embedded_without_a_word() {
    let (config, out, temporary) = (temp(), temp(), temp());
    for (file, text) in INNOCENT {
        write(config.path(), file, text.as_bytes());
    }
    if !track(config.path()) {
        return;
    }
    let output = out.path().join("card.img");
    let Some(done) = compose(config.path(), &output, temporary.path(), &[]) else { return };
    assert!(!done.err.contains("secret: "), "{}", done.err);
    assert_eq!(done.code, 0, "{}", done.err);
}

#[test]
fn a_secret_is_embedded_when_it_is_named_and_only_then() {
    let (config, out, temporary) = (temp(), temp(), temp());
    let text = "{\n  a.password = \"value-one\";\n  b.password = \"value-two\";\n}\n";
    write(config.path(), "x/users.nix", text.as_bytes());
    write(config.path(), "id_rsa", b"value-three\n");
    if !track(config.path()) {
        return;
    }
    let output = out.path().join("card.img");
    for (allowed, code) in [
        (&["x/users.nix:2"][..], 1),
        (&["x/users.nix:2", "x/users.nix:3"], 1),
        (&["users.nix", "id_rsa"], 1),
        (&["x/users.nix:2", "./x/users.nix:3", "id_rsa"], 0),
        (&["x/users.nix", "id_rsa"], 0),
    ] {
        let options: Vec<&str> =
            allowed.iter().flat_map(|path| ["--allow-secret", path]).chain(["-f"]).collect();
        let Some(done) = compose(config.path(), &output, temporary.path(), &options) else { return };
        assert_eq!(done.code, code, "{allowed:?}: {}", done.err);
        assert!(!done.err.contains("value-"), "{}", done.err);
        assert_eq!(output.exists(), code == 0, "{allowed:?}");
        let _ = std::fs::remove_file(&output);
    }
}

#[test]
fn a_file_that_git_crypt_has_decrypted_is_a_secret() {
    let (config, out, temporary) = (temp(), temp(), temp());
    write(
        config.path(),
        ".gitattributes",
        b"*.key filter=git-crypt diff=git-crypt\nold filter=git-crypt-two\n",
    );
    write(config.path(), "plain.key", b"in the clear\n");
    write(config.path(), "old", b"in the clear as well\n");
    write(config.path(), "locked.key", b"\0GITCRYPT\0abc");
    if !track(config.path()) {
        return;
    }
    let Some(done) = compose(config.path(), &out.path().join("card.img"), temporary.path(), &[]) else {
        return;
    };
    assert_eq!(done.code, 1);
    let told: Vec<&str> = done.err.lines().filter(|line| line.starts_with("secret: ")).collect();
    let of = |file: &str| format!("secret: {file}: a file that git-crypt has decrypted");
    assert_eq!(told, [of("old"), of("plain.key")]);
}

#[test]
fn hostile_files_are_gone_through_in_one_pass() {
    let scanner = nixflash::compose::secrets::Scanner::default();
    let starts = [
        "password = \"",
        "psk=",
        "-----BEGIN A ",
        "machine a ",
        "https://a:",
        "eyJ",
        "token=\"a",
        "$6$",
        "''",
    ];
    for start in starts {
        // Work that grew with the square of the length would not come to an end.
        let line = start.repeat((4 << 20) / start.len());
        assert!(
            scanner.scan("x.conf", line.as_bytes()).len() <= 1,
            "{start}: a line has at most one finding"
        );
        let lines = format!("{start}\n").repeat((4 << 20) / start.len());
        assert!(scanner.scan("x.conf", lines.as_bytes()).len() <= 101, "{start}: the list is bounded");
    }
}
