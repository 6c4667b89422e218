//! Servers that others wrote.

use crate::common::{Demo, Run, Tool, demo, nixflash, run, sha256, skip, temp};
use crate::remote::signed;
use crate::remote_faults::add_listings;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

/// A program that is ended when dropped.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A server that ends when dropped.
pub struct Nginx {
    _child: Running,
    /// Where it listens.
    pub port: u16,
    dir: PathBuf,
}

impl Nginx {
    /// Serves `root` over http; `inside` goes into the configuration of its location.
    fn start(dir: &Path, root: &Path, inside: &str) -> Option<Self> {
        Self::serve(dir, "", &format!("location / {{ root {}; {inside} }}", root.display()))
    }

    /// Runs a server; `kind` follows the port that it listens on.
    pub fn serve(dir: &Path, kind: &str, server: &str) -> Option<Self> {
        Tool::find("nginx")?;
        std::fs::create_dir_all(dir).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = dir.display();
        let user = if nix::unistd::geteuid().is_root() { "user root;" } else { "" };
        let configuration = format!(
            "{user} daemon off; master_process off; pid {at}/pid; error_log {at}/error.log; events {{ }}\n\
             http {{ access_log {at}/access.log; client_body_temp_path {at}/a; proxy_temp_path {at}/b;\n\
             fastcgi_temp_path {at}/c; uwsgi_temp_path {at}/d; scgi_temp_path {at}/e;\n\
             server {{ listen 127.0.0.1:{port} {kind}; {server} }} }}\n"
        );
        std::fs::write(dir.join("nginx.conf"), configuration).unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut command = Command::new("nginx");
        command.env("PATH", format!("{}:/usr/sbin", path.to_string_lossy()));
        command.arg("-c").arg(dir.join("nginx.conf")).arg("-p").arg(dir);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let child = command.spawn().unwrap();
        let server = Self { _child: Running(child), port, dir: dir.to_owned() };
        if listens(port) {
            return Some(server);
        }
        skip(&format!("nginx does not start: {}", std::fs::read_to_string(dir.join("error.log")).unwrap()));
        None
    }

    fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it has logged of requests.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("access.log")).unwrap()
    }
}

/// Waits until somebody listens on a port of this machine.
pub fn listens(port: u16) -> bool {
    (0..300).any(|_| {
        let found = TcpStream::connect(("127.0.0.1", port)).is_ok();
        if !found {
            std::thread::sleep(Duration::from_millis(20));
        }
        found
    })
}

fn compose(demo: &Demo, (address, kept, output): (&str, &Path, &Path), options: &[&str]) -> Run {
    let mut command = nixflash();
    command.args(["-q", "compose", "rpi4", "--system", &demo.top, "--store", address, "--force", "-o"]);
    command.arg(output).args(["--firmware", &demo.at("root")]).args(options);
    run(command.env("XDG_CACHE_HOME", kept).env("NO_PROXY", "127.0.0.1").env("HOME", kept))
}

#[test]
fn nginx_with_a_cache_of_files_gives_the_same_image_with_listings_and_without() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let (expected, path) = (dir.path().join("a.img"), dir.path().join("b.img"));
    let cache = dir.path().join("cache");
    let key = signed(demo, &cache);
    // Signatures are on the card too.
    assert_eq!(run(&mut demo.compose("rpi4", &format!("file://{}", cache.display()), &expected)).code, 0);
    let Some(server) = Nginx::start(dir.path(), &cache, "") else { return };
    for listings in [false, true] {
        if listings {
            add_listings(&cache);
        }
        let kept = dir.path().join(format!("kept-{listings}"));
        for _ in 0..2 {
            let done = compose(demo, (&server.address(), &kept, &path), &["--trusted-key", &key]);
            assert_eq!(done.code, 0, "{}", done.err);
            assert_eq!(sha256(&path), sha256(&expected), "listings: {listings}");
        }
    }
    let log = server.log();
    let asked = |end: &str, status: &str| {
        log.lines().filter(|line| line.contains(&format!("{end} HTTP/1.1\" {status} "))).count()
    };
    assert_eq!(asked(".narinfo", "200"), 20, "each narinfo once for each of two directories");
    assert_eq!((asked(".ls", "404") > 0, asked(".ls", "200")), (true, 9), "{log}");
    assert_eq!(log.lines().filter(|line| line.contains("GET /nar/")).count(), 20, "{log}");
}

#[test]
fn a_password_in_the_address_of_an_image_is_shown_nowhere() {
    let dir = temp();
    let card = dir.path().join("card.img");
    std::fs::File::create(&card).unwrap().set_len(1 << 20).unwrap();
    std::fs::write(dir.path().join("page"), "<html>no image</html>\n").unwrap();
    let Some(server) = Nginx::start(dir.path(), dir.path(), "") else { return };
    for (port, name, expected) in [
        (9, "page", "connection refused"),
        (server.port, "gone", "404"),
        (server.port, "page", "expected a disk image"),
    ] {
        let address = format!("http://me:s3cret@127.0.0.1:{port}/{name}");
        let mut command = nixflash();
        command.args(["-v", "write", &address]).arg(&card).args(["--yes"]).env("NO_PROXY", "127.0.0.1");
        let done = run(&mut command);
        assert!(done.code == 6 && done.err.contains(expected), "{} {}", done.code, done.err);
        assert!(done.err.contains("127.0.0.1") && !done.err.contains("s3cret"), "{}", done.err);
    }
}

#[test]
fn nginx_that_wants_a_login_gets_that_of_the_netrc() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let cache = dir.path().join("cache");
    let key = signed(demo, &cache);
    std::fs::write(dir.path().join("users"), "me:{PLAIN}secret\n").unwrap();
    let inside = format!("auth_basic x; auth_basic_user_file {}/users;", dir.path().display());
    let Some(server) = Nginx::start(dir.path(), &cache, &inside) else { return };
    let address = server.address();
    let (kept, path, netrc) = (dir.path().join("kept"), dir.path().join("a.img"), dir.path().join("netrc"));
    let place = (address.as_str(), kept.as_path(), path.as_path());
    let key = ["--trusted-key", &key];
    let done = compose(demo, place, &key);
    assert!(
        done.code == 1 && done.err.contains("netrc has none for 127.0.0.1"),
        "{} {}",
        done.code,
        done.err
    );
    std::fs::write(&netrc, "machine 127.0.0.1\nlogin me\npassword secret\n").unwrap();
    let named = [&key[..], &["--netrc-file", netrc.to_str().unwrap()]].concat();
    let done = compose(demo, place, &named);
    assert_eq!(done.code, 0, "{}", done.err);
    std::fs::remove_dir_all(&kept).unwrap();
    std::fs::create_dir(&kept).unwrap();
    std::fs::copy(&netrc, kept.join(".netrc")).unwrap();
    assert_eq!(compose(demo, place, &key).code, 0, "the one of the home directory is found");
    std::fs::write(&netrc, "machine 127.0.0.1\nlogin me\nsecret\n").unwrap();
    let done = compose(demo, place, &named);
    assert!(done.code == 2 && done.err.contains("line 3") && !done.err.contains("secret"), "{}", done.err);
}
