//! Caches over https: nginx with certificates of an authority of our own, good ones and others.

use crate::common::{Demo, Run, Tool, demo, is_root, nixflash, run, sha256, temp};
use crate::remote::signed;
use crate::servers::Nginx;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An authority that nobody else knows.
pub struct Authority {
    openssl: Tool,
    dir: PathBuf,
}

impl Authority {
    /// Makes one; `None`, having said so, without openssl.
    pub fn new(dir: &Path) -> Option<Self> {
        let openssl = Tool::find("openssl")?;
        std::fs::create_dir_all(dir).unwrap();
        let at = |name: &str| dir.join(name).display().to_string();
        let curve =
            ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=test"];
        let (key, file) = (at("ca.key"), at("ca.pem"));
        openssl.passes(&[&["req", "-x509"], &curve[..], &["-keyout", &key, "-out", &file]].concat());
        let (key, file) = (at("server.key"), at("server.csr"));
        openssl.passes(&[&["req", "-new"], &curve[..], &["-keyout", &key, "-out", &file]].concat());
        Some(Self { openssl, dir: dir.to_owned() })
    }

    /// The file with its certificate.
    pub fn file(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// Vouches for names, and gives what an nginx needs to be told of it.
    pub fn vouch(&self, name: &str, names: &str, days: &str) -> String {
        let at = |name: &str| self.dir.join(name).display().to_string();
        std::fs::write(at("names"), format!("subjectAltName={names}\n")).unwrap();
        let (request, authority, key) = (at("server.csr"), at("ca.pem"), at("ca.key"));
        let (file, extensions) = (at(&format!("{name}.pem")), at("names"));
        self.openssl.passes(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            &authority,
            "-CAkey",
            &key,
            "-CAcreateserial",
            "-out",
            &file,
            "-days",
            days,
            "-extfile",
            &extensions,
        ]);
        format!("ssl_certificate {file}; ssl_certificate_key {};", at("server.key"))
    }
}

/// A command without proxies and authorities of the environment that the tests run in.
pub fn plain(demo: &Demo, store: &str, kept: &Path, output: &Path) -> Command {
    let mut command = nixflash();
    command.args(["-q", "compose", "rpi4", "--system", &demo.top, "--store", store, "--force", "-o"]);
    command.arg(output).args(["--firmware", &demo.at("root")]);
    command.env("XDG_CACHE_HOME", kept).env("HOME", kept).env_remove("SUDO_UID");
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    command.env_remove("SSL_CERT_FILE").env_remove("NIX_SSL_CERT_FILE").env_remove("SSL_CERT_DIR");
    command
}

/// A cache with signatures, its key, and the image that it gives.
pub struct Cache {
    /// Where it is.
    pub root: PathBuf,
    /// Who has signed.
    pub key: String,
    /// What must come of it.
    pub image: String,
}

impl Cache {
    /// Makes one.
    pub fn new(demo: &Demo, dir: &Path) -> Self {
        let (root, image) = (dir.join("cache"), dir.join("expected.img"));
        let key = signed(demo, &root);
        let store = format!("file://{}", root.display());
        assert_eq!(run(&mut demo.compose("rpi4", &store, &image)).code, 0);
        Self { root, key, image: sha256(&image) }
    }

    /// The location of it in an nginx.
    pub fn location(&self) -> String {
        format!("location / {{ root {}; }}", self.root.display())
    }
}

fn fails(done: &Run, part: &str) {
    assert!(done.code == 1 && done.err.contains(part), "{} {}, expected {part}", done.code, done.err);
}

#[test]
fn a_cache_over_https_is_believed_when_a_known_authority_vouches_for_it() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let Some(authority) = Authority::new(&dir.path().join("ca")) else { return };
    let cache = Cache::new(demo, dir.path());
    let good = authority.vouch("good", "IP:127.0.0.1,DNS:localhost", "30");
    let Some(server) = Nginx::serve(&dir.path().join("a"), "ssl", &(good + &cache.location())) else {
        return;
    };
    let (image, file) = (dir.path().join("a.img"), authority.file());
    let mut kept = 0;
    let mut compose = |host: &str| {
        kept += 1;
        let kept = dir.path().join(format!("kept-{kept}"));
        let mut command = plain(demo, &format!("https://{host}:{}", server.port), &kept, &image);
        command.args(["--trusted-key", &cache.key]);
        command
    };
    let done = run(&mut compose("127.0.0.1"));
    fails(&done, "its certificate is from an authority that is not known here");
    assert!(done.err.contains("name the file with its certificate in SSL_CERT_FILE"), "{}", done.err);
    for host in ["127.0.0.1", "localhost"] {
        let done = run(compose(host).env("SSL_CERT_FILE", &file));
        assert_eq!(done.code, 0, "{}", done.err);
        assert_eq!(sha256(&image), cache.image);
    }
    // The one that is meant for Nix comes first.
    let both = |nix: &Path, other: &Path| {
        run(compose("localhost").env("NIX_SSL_CERT_FILE", nix).env("SSL_CERT_FILE", other))
    };
    let mut both = both;
    assert_eq!(both(&file, Path::new("/no-cert-file.crt")).code, 0);
    fails(&both(Path::new("/no-cert-file.crt"), &file), "NIX_SSL_CERT_FILE: /no-cert-file.crt: No such file");
    let key = dir.path().join("ca/ca.key");
    fails(&both(&key, &file), "it has no certificate in it");
    // Directories of certificates; what else lies in them is passed over.
    let certs = dir.path().join("certs");
    std::fs::create_dir_all(certs.join("below")).unwrap();
    std::fs::write(certs.join("README"), "no certificate\n").unwrap();
    std::fs::copy(&file, certs.join("0a1b2c3d.0")).unwrap();
    let of = |value: String| run(compose("localhost").env("SSL_CERT_DIR", value));
    let mut of = of;
    assert_eq!(of(format!("{}:{}", dir.path().display(), certs.display())).code, 0);
    fails(&of(certs.join("below").display().to_string()), "SSL_CERT_DIR: ");
    fails(&of("/no-certs".to_owned()), "SSL_CERT_DIR: /no-certs: No such file");
    // What nobody needs is not looked at.
    let mut local = demo.compose("rpi4", &demo.at("root"), &image);
    assert_eq!(run(local.arg("--force").env("SSL_CERT_FILE", "/no-cert-file.crt")).code, 0);
    if is_root() {
        let done =
            run(compose("localhost").env("SSL_CERT_FILE", &file).env("SUDO_UID", "1000").env("HOME", "/"));
        fails(&done, "an authority that is not known here");
    }
}

#[test]
fn a_certificate_that_has_expired_or_is_for_another_host_is_told() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let Some(authority) = Authority::new(&dir.path().join("ca")) else { return };
    let cache = Cache::new(demo, dir.path());
    for (name, names, days, expected) in [
        ("old", "IP:127.0.0.1", "-1", "has expired"),
        ("other", "DNS:elsewhere.example", "30", "is for another host"),
    ] {
        let site = authority.vouch(name, names, days) + &cache.location();
        let Some(server) = Nginx::serve(&dir.path().join(name), "ssl", &site) else { return };
        let store = format!("https://127.0.0.1:{}", server.port);
        let mut command = plain(demo, &store, &dir.path().join("kept"), &dir.path().join("a.img"));
        let start = std::time::Instant::now();
        let done = run(command.env("SSL_CERT_FILE", authority.file()));
        fails(&done, &format!("{store}/nix-cache-info: its certificate {expected}"));
        assert!(start.elapsed().as_secs() < 5, "no waiting makes it better");
    }
}

#[test]
fn https_never_becomes_http_and_a_login_stays_with_its_host() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let Some(authority) = Authority::new(&dir.path().join("ca")) else { return };
    let cache = Cache::new(demo, dir.path());
    let tls = authority.vouch("good", "IP:127.0.0.1,DNS:localhost", "30");
    let Some(plainly) = Nginx::serve(&dir.path().join("http"), "", &cache.location()) else { return };
    // The other host refuses whoever shows it a login.
    let other = format!("{tls} if ($http_authorization) {{ return 500; }} {}", cache.location());
    let Some(other) = Nginx::serve(&dir.path().join("other"), "ssl", &other) else { return };
    std::fs::write(dir.path().join("users"), "me:{PLAIN}secret\n").unwrap();
    let users = dir.path().join("users");
    let site = |to: String| {
        format!(
            "{tls} auth_basic x; auth_basic_user_file {}; location /nar/ {{ return 302 {to}$request_uri; }} {}",
            users.display(),
            cache.location()
        )
    };
    for (name, to, allowed) in [
        ("down", format!("http://127.0.0.1:{}", plainly.port), false),
        ("across", format!("https://localhost:{}", other.port), true),
    ] {
        let Some(server) = Nginx::serve(&dir.path().join(name), "ssl", &site(to)) else { return };
        let (kept, image) = (dir.path().join(format!("kept-{name}")), dir.path().join("a.img"));
        let store = format!("https://me:secret@127.0.0.1:{}", server.port);
        let mut command = plain(demo, &store, &kept, &image);
        let done = run(command.args(["--trusted-key", &cache.key]).env("SSL_CERT_FILE", authority.file()));
        assert!(!done.err.contains("secret"), "{}", done.err);
        if allowed {
            assert_eq!(done.code, 0, "{}", done.err);
            assert_eq!(sha256(&image), cache.image);
        } else {
            fails(&done, "redirected from https to http://127.0.0.1");
        }
    }
    assert_eq!(plainly.log(), "", "nobody asks in the open");
    assert_eq!(other.log().lines().filter(|line| line.contains("\" 200 ")).count(), 10, "{}", other.log());
}
