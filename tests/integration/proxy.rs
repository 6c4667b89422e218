//! Proxies: one of our own that refuses, tinyproxy, and ssh as a SOCKS proxy.

use crate::common::{Demo, Run, Tool, demo, run, sha256, skip, temp};
use crate::daemon::Sshd;
use crate::servers::{Nginx, Running, listens};
use crate::tls::{Authority, Cache, plain};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

/// A proxy that writes down what it is asked, and may refuse.
struct Proxy {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// `login` is what it wants to hear, `refusal` what it answers instead of doing anything.
    fn start(login: Option<&'static str>, refusal: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let log = Arc::clone(&log);
                std::thread::spawn(move || pass(&stream.unwrap(), login, refusal, &log));
            }
        });
        Self { port, asked }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

/// Serves one connection; requests on it that follow the first are for the same server.
fn pass(
    client: &TcpStream,
    login: Option<&str>,
    refusal: Option<&str>,
    log: &Mutex<Vec<String>>,
) -> Option<()> {
    let mut reader = BufReader::new(client);
    let mut server: Option<TcpStream> = None;
    loop {
        let mut first = String::new();
        reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
        log.lock().unwrap().push(first.trim().to_owned());
        let mut headers = String::new();
        let mut given = None;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            match line.strip_prefix("Proxy-Authorization: ") {
                Some(value) => given = Some(value.trim().to_owned()),
                None => headers.push_str(&line),
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut out = client;
        let mut say = |status: &str| {
            out.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes())
        };
        if login.is_some() && login != given.as_deref() {
            say("407 Proxy Authentication Required").ok()?;
            continue;
        }
        if let Some(status) = refusal {
            say(status).ok()?;
            continue;
        }
        let mut words = first.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        if method == "CONNECT" {
            let server = TcpStream::connect(target).ok()?;
            out.write_all(b"HTTP/1.1 200 Yes\r\n\r\n").ok()?;
            let (mut up, mut down) = (server.try_clone().ok()?, client.try_clone().ok()?);
            let (mut from, mut to) = (server, client.try_clone().ok()?);
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            std::io::copy(&mut down, &mut up).ok()?;
            return up.shutdown(std::net::Shutdown::Both).ok();
        }
        let (host, path) = target.strip_prefix("http://")?.split_once('/')?;
        let mut up = match server.take() {
            Some(server) => server,
            None => TcpStream::connect(host).ok()?,
        };
        up.write_all(format!("{method} /{path} HTTP/1.1\r\n{headers}").as_bytes()).ok()?;
        relay(&up, client)?;
        server = Some(up);
    }
}

/// Passes an answer on: head, and as many bytes as it says.
fn relay(from: &TcpStream, mut to: &TcpStream) -> Option<()> {
    let mut reader = BufReader::new(from);
    let mut len = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            len = value.trim().parse().ok()?;
        }
        to.write_all(line.as_bytes()).ok()?;
        if line == "\r\n" {
            break;
        }
    }
    std::io::copy(&mut reader.take(len), &mut to).ok()?;
    Some(())
}

/// A cache behind http and https.
struct Site {
    cache: Cache,
    authority: Authority,
    http: Nginx,
    https: Nginx,
    dir: tempfile::TempDir,
}

impl Site {
    fn start(demo: &Demo) -> Option<Self> {
        let dir = temp();
        let authority = Authority::new(&dir.path().join("ca"))?;
        let cache = Cache::new(demo, dir.path());
        // Nobody but the proxy may hear of its login.
        let location = format!("if ($http_proxy_authorization) {{ return 500; }} {}", cache.location());
        let http = Nginx::serve(&dir.path().join("http"), "", &location)?;
        let tls = authority.vouch("good", "IP:127.0.0.1", "30");
        let https = Nginx::serve(&dir.path().join("https"), "ssl", &(tls + &location))?;
        Some(Self { cache, authority, http, https, dir })
    }

    fn address(&self, scheme: &str) -> String {
        let server = if scheme == "https" { &self.https } else { &self.http };
        format!("{scheme}://127.0.0.1:{}", server.port)
    }

    /// Composes with variables, from the beginning.
    fn compose(&self, demo: &Demo, scheme: &str, variables: &[(&str, &str)]) -> Run {
        let kept = tempfile::tempdir_in(self.dir.path()).unwrap();
        let image = kept.path().join("a.img");
        let mut command = plain(demo, &self.address(scheme), kept.path(), &image);
        command.args(["--trusted-key", &self.cache.key]).env("SSL_CERT_FILE", self.authority.file());
        command.envs(variables.iter().copied());
        let done = run(&mut command);
        if done.code == 0 {
            assert_eq!(sha256(&image), self.cache.image, "{variables:?}");
        }
        done
    }
}

#[test]
fn what_the_environment_says_of_proxies_is_done() {
    let Some(demo) = demo() else { return };
    let Some(site) = Site::start(demo) else { return };
    let proxy = Proxy::start(None, None);
    let (address, bare) = (format!("http://127.0.0.1:{}", proxy.port), format!("127.0.0.1:{}", proxy.port));
    let nobody = "http://127.0.0.1:9";
    for (scheme, variables, through) in [
        ("http", &[("http_proxy", address.as_str())][..], true),
        ("http", &[("HTTP_PROXY", &bare)], true),
        ("http", &[("all_proxy", &address)], true),
        ("http", &[("http_proxy", &address), ("HTTP_PROXY", nobody), ("ALL_PROXY", nobody)], true),
        ("http", &[("https_proxy", nobody)], false),
        ("http", &[("http_proxy", nobody), ("no_proxy", "example.org, 127.0.0.0/8")], false),
        ("http", &[("http_proxy", nobody), ("NO_PROXY", "*")], false),
        ("http", &[("http_proxy", ""), ("all_proxy", nobody)], false),
        ("https", &[("https_proxy", &address)], true),
        ("https", &[("HTTPS_PROXY", &bare)], true),
        ("https", &[("ALL_PROXY", &address)], true),
        ("https", &[("http_proxy", nobody)], false),
        ("https", &[("https_proxy", nobody), ("no_proxy", "127.0.0.1")], false),
    ] {
        let done = site.compose(demo, scheme, variables);
        assert_eq!(done.code, 0, "{variables:?}: {}", done.err);
        let asked = proxy.asked();
        assert_eq!(!asked.is_empty(), through, "{variables:?}: {asked:?}");
        let own = match scheme {
            "https" => format!("CONNECT 127.0.0.1:{} ", site.https.port),
            _ => format!("GET http://127.0.0.1:{}/", site.http.port),
        };
        assert!(asked.iter().all(|line| line.starts_with(&own)), "{asked:?}");
        let expected = if scheme == "https" { 1..=32 } else { 21..=25 };
        assert!(!through || expected.contains(&asked.len()), "{scheme}: {} {asked:?}", asked.len());
    }
}

#[test]
fn a_proxy_that_wants_a_login_gets_it_and_nobody_else() {
    let Some(demo) = demo() else { return };
    let Some(site) = Site::start(demo) else { return };
    // me:s@cret
    let proxy = Proxy::start(Some("Basic bWU6c0BjcmV0"), None);
    let with = |login: &str| format!("http://{login}127.0.0.1:{}", proxy.port);
    let shown = with("");
    for scheme in ["http", "https"] {
        let variable = format!("{scheme}_proxy");
        let compose = |login: &str| site.compose(demo, scheme, &[(&variable, &with(login))]);
        let done = compose("me:s%40cret@");
        assert_eq!(done.code, 0, "{}", done.err);
        for (login, why) in
            [("", "it wants a login, as in"), ("me:wr0ng@", "it does not take the login in its address")]
        {
            let done = compose(login);
            let expected =
                format!("{}/nix-cache-info: the proxy {shown} answers 407: {why}", site.address(scheme));
            assert!(
                done.code == 1 && done.err.contains(&expected),
                "{} {}, expected {expected}",
                done.code,
                done.err
            );
            assert!(!done.err.contains("wr0ng"), "{}", done.err);
        }
    }
}

/// Takes TLS off a connection and passes it on: what stands before a proxy that speaks https itself.
const TERMINATOR: &str = "
import asyncio, ssl, sys
certificate, key, port, to = sys.argv[1:]
async def copy(source, sink):
    try:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    except OSError:
        pass
    finally:
        sink.close()
async def serve(reader, writer):
    up, down = await asyncio.open_connection('127.0.0.1', int(to))
    await asyncio.gather(copy(reader, down), copy(up, writer))
async def main():
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    server = await asyncio.start_server(serve, '127.0.0.1', int(port), ssl=tls)
    await server.serve_forever()
asyncio.run(main())
";

struct Terminator {
    _child: Running,
    port: u16,
}

impl Terminator {
    fn start(certificate: &Path, key: &Path, to: u16) -> Option<Self> {
        Tool::find("python3")?;
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("python3");
        command.args(["-c", TERMINATOR]).args([certificate, key]).args([port.to_string(), to.to_string()]);
        let child = command.stderr(Stdio::null()).spawn().unwrap();
        let terminator = Self { _child: Running(child), port };
        assert!(listens(port), "the terminator of TLS does not start");
        Some(terminator)
    }
}

#[test]
fn a_proxy_that_speaks_https_itself_needs_a_certificate_as_any_server_does() {
    let Some(demo) = demo() else { return };
    let Some(site) = Site::start(demo) else { return };
    let proxy = Proxy::start(Some("Basic bWU6c0BjcmV0"), None);
    let at = |name: &str| site.dir.path().join("ca").join(name);
    let Some(tls) = Terminator::start(&at("good.pem"), &at("server.key"), proxy.port) else { return };
    let with = |host: &str| [("all_proxy", format!("https://me:s%40cret@{host}:{}", tls.port))];
    for scheme in ["http", "https"] {
        let variables = with("127.0.0.1");
        let done =
            site.compose(demo, scheme, &variables.each_ref().map(|(name, value)| (*name, value.as_str())));
        assert_eq!(done.code, 0, "{scheme}: {}", done.err);
        let asked = proxy.asked();
        let own = match scheme {
            "https" => format!("CONNECT 127.0.0.1:{} ", site.https.port),
            _ => format!("GET http://127.0.0.1:{}/", site.http.port),
        };
        assert!(!asked.is_empty() && asked.iter().all(|line| line.starts_with(&own)), "{scheme}: {asked:?}");
        // The certificate names an address, not this name: nobody hears of the login.
        let variables = with("localhost");
        let done =
            site.compose(demo, scheme, &variables.each_ref().map(|(name, value)| (*name, value.as_str())));
        let whose = if scheme == "http" { "the certificate" } else { "its certificate or that" };
        let expected = format!("{whose} of the proxy https://localhost:{} is for another host", tls.port);
        assert!(done.code == 1 && done.err.contains(&expected), "{scheme}: {} {}", done.code, done.err);
        assert!(!done.err.contains("cret"), "{scheme}: {}", done.err);
        assert_eq!(proxy.asked(), [""; 0], "{scheme}");
    }
}

#[test]
fn a_proxy_that_does_not_help_is_named() {
    let Some(demo) = demo() else { return };
    let Some(site) = Site::start(demo) else { return };
    for (scheme, status, expected) in [
        ("http", "403 Forbidden", "it has no nix-cache-info, asked through the proxy PROXY"),
        ("http", "502 Bad Gateway", "the server answers 502 Bad Gateway, through the proxy PROXY"),
        ("http", "400 Bad Request", "the server answers 400 Bad Request, through the proxy PROXY"),
        ("https", "403 Forbidden", "the proxy PROXY answers 403: it lets nobody through to SITE"),
        ("https", "502 Bad Gateway", "the proxy PROXY answers 502: it does not reach SITE"),
    ] {
        let proxy = Proxy::start(None, Some(status));
        let address = format!("http://127.0.0.1:{}", proxy.port);
        let done = site.compose(demo, scheme, &[("all_proxy", &address)]);
        let expected = expected.replace("PROXY", &address).replace("SITE", &site.address(scheme));
        assert!(
            done.code == 1 && done.err.contains(&expected),
            "{} {}, expected {expected}",
            done.code,
            done.err
        );
        let tries = if status.starts_with("502") { 5 } else { 1 };
        assert_eq!(proxy.asked().len(), tries, "{scheme} {status}");
    }
    for (variables, expected) in [
        (("http", "http://127.0.0.1:9"), "the proxy http://127.0.0.1:9: connection refused"),
        (("https", "http://127.0.0.1:9"), "the proxy http://127.0.0.1:9: connection refused"),
        (("https", "socks5h://127.0.0.1:9"), "the proxy socks5h://127.0.0.1:9: connection refused"),
        (("https", "http://nowhere.invalid:9"), "the proxy http://nowhere.invalid:9: host not found"),
        (("http", "ftp://me:s3cret@host"), "all_proxy: \"ftp://host\" is no proxy, expected"),
    ] {
        let done = site.compose(demo, variables.0, &[("all_proxy", variables.1)]);
        assert!(
            done.code == 1 && done.err.contains(expected),
            "{} {}, expected {expected}",
            done.code,
            done.err
        );
        assert!(!done.err.contains("s3cret"), "{}", done.err);
    }
}

/// tinyproxy; it ends when dropped.
struct Tiny {
    _child: Running,
    port: u16,
}

impl Tiny {
    fn start(dir: &Path, more: &str) -> Option<Self> {
        Tool::find("tinyproxy")?;
        std::fs::create_dir_all(dir).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = dir.join("log");
        let configuration = format!(
            "Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 100\nAllow 127.0.0.1\nLogLevel Connect\nLogFile \"{}\"\n{more}\n",
            log.display()
        );
        std::fs::write(dir.join("conf"), configuration).unwrap();
        let mut command = Command::new("tinyproxy");
        let command =
            command.arg("-d").arg("-c").arg(dir.join("conf")).stdout(Stdio::null()).stderr(Stdio::null());
        let tiny = Self { _child: Running(command.spawn().unwrap()), port };
        if listens(port) {
            return Some(tiny);
        }
        skip("tinyproxy does not start");
        None
    }
}

#[test]
fn tinyproxy_passes_a_cache_on_and_is_named_when_it_does_not() {
    let Some(demo) = demo() else { return };
    let Some(site) = Site::start(demo) else { return };
    let dir = temp();
    // As Debian has it, tunnels lead to port 443 only, so that plain http must come without one.
    let Some(strict) = Tiny::start(&dir.path().join("strict"), "ConnectPort 443") else { return };
    let Some(open) = Tiny::start(&dir.path().join("open"), "BasicAuth me secret") else { return };
    let strict = format!("http://127.0.0.1:{}", strict.port);
    let with_login = format!("http://me:secret@127.0.0.1:{}", open.port);
    for (scheme, proxy, expected) in [
        ("http", strict.as_str(), None),
        ("https", &strict, Some("answers 403: it lets nobody through to https://127.0.0.1")),
        ("http", &with_login, None),
        ("https", &with_login, None),
        ("https", &with_login.replace("secret", "wr0ng"), Some("answers 40")),
        ("http", &with_login.replace("me:secret@", ""), Some("answers 407: it wants a login")),
    ] {
        let done = site.compose(demo, scheme, &[("all_proxy", proxy)]);
        match expected {
            None => assert_eq!(done.code, 0, "{scheme} {proxy}: {}", done.err),
            Some(part) => {
                assert!(done.code == 1 && done.err.contains(part), "{scheme} {proxy}: {}", done.err)
            }
        }
    }
}

/// `ssh -D`, which is a SOCKS proxy; it ends when dropped.
struct Dynamic {
    _child: Running,
    port: u16,
}

impl Dynamic {
    fn start(sshd: &Sshd) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("ssh");
        command.args(sshd.options().split(' ')).args(sshd.login()).args([
            "-N",
            "-D",
            &format!("127.0.0.1:{port}"),
        ]);
        let child = command.arg("127.0.0.1").stdin(Stdio::null()).spawn().unwrap();
        let dynamic = Self { _child: Running(child), port };
        if listens(port) {
            return Some(dynamic);
        }
        skip("ssh -D does not listen");
        None
    }
}

#[test]
fn ssh_as_a_socks_proxy_leads_to_a_cache() {
    let Some(demo) = demo() else { return };
    let Some(site) = Site::start(demo) else { return };
    let dir = temp();
    let Some(sshd) = Sshd::start(dir.path()) else { return };
    let Some(dynamic) = Dynamic::start(&sshd) else { return };
    let proxy = |kind: &str| format!("{kind}://127.0.0.1:{}", dynamic.port);
    let cases = [("http", "socks5h"), ("https", "socks5h"), ("https", "socks5"), ("http", "socks4a")];
    for (scheme, kind) in cases {
        let done = site.compose(demo, scheme, &[("ALL_PROXY", &proxy(kind))]);
        assert_eq!(done.code, 0, "{scheme} {kind}: {}", done.err);
    }
    let gone = proxy("socks5h");
    drop(dynamic);
    let done = site.compose(demo, "https", &[("ALL_PROXY", &gone)]);
    let expected = format!("the proxy {gone}: connection refused");
    assert!(done.code == 1 && done.err.contains(&expected), "{} {}", done.code, done.err);
}
