//! Closures out of a binary cache over http.

use crate::common::{Demo, Run, demo, nixflash, run, sha256, temp};
use nixflash::base_n::{to_base32, to_base64};
use nixflash::format::nix::narinfo::NarInfo;
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A server of a directory that keeps connections alive and counts what it was asked for.
struct Server {
    address: String,
    asked: Arc<Mutex<BTreeMap<String, u32>>>,
}

/// What a server does with a file before it sends it.
type Change = fn(&str, Vec<u8>) -> Option<Vec<u8>>;

impl Server {
    fn start(root: PathBuf, change: Change) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(BTreeMap::new()));
        let counts = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (root, counts) = (root.clone(), Arc::clone(&counts));
                std::thread::spawn(move || serve(&stream.unwrap(), &root, &counts, change));
            }
        });
        Self { address, asked }
    }

    fn nars(&self) -> u32 {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(name, _)| name.contains("nar/")).map(|(_, count)| *count).sum()
    }
}

fn serve(stream: &TcpStream, root: &Path, counts: &Mutex<BTreeMap<String, u32>>, change: Change) {
    let mut lines = BufReader::new(stream).lines();
    while let Some(Ok(first)) = lines.next() {
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        let name = first.split(' ').nth(1).unwrap_or("/").trim_start_matches('/').to_owned();
        *counts.lock().unwrap().entry(name.clone()).or_default() += 1;
        let body = std::fs::read(root.join(&name)).ok().and_then(|bytes| change(&name, bytes));
        let status = if body.is_some() { "200 OK" } else { "404 Not Found" };
        let body = body.unwrap_or_default();
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
        let mut out = stream;
        if out.write_all(head.as_bytes()).and_then(|()| out.write_all(&body)).is_err() {
            return;
        }
    }
}

fn compose(demo: &Demo, address: &str, kept: &Path, output: &Path, options: &[&str]) -> Run {
    let mut command = nixflash();
    command.args(["compose", "rpi4", "--system", &demo.top, "--store", address, "--force", "-o"]).arg(output);
    // A server cannot be asked what it has, so the firmware is named.
    command.args(["--firmware", &demo.at("root")]);
    run(command.args(options).env("XDG_CACHE_HOME", kept).env("NO_PROXY", "127.0.0.1"))
}

const UNSIGNED: &[&str] = &["--no-check-sigs"];

#[test]
fn a_cache_over_http_gives_the_same_image_and_what_was_fetched_is_kept() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let (expected, path, kept) =
        (dir.path().join("a.img"), dir.path().join("b.img"), dir.path().join("kept"));
    assert_eq!(run(&mut demo.compose("rpi4", &demo.at("root"), &expected)).code, 0);
    for kind in ["none", "xz", "zstd"] {
        let server = Server::start(demo.at(&format!("cache-{kind}")).into(), |_, bytes| Some(bytes));
        let done = compose(demo, &server.address, &kept, &path, UNSIGNED);
        assert_eq!(done.code, 0, "{}", done.err);
        assert!(
            done.err.contains("fetching 10 store paths") && done.err.contains("signatures are not checked"),
            "{}",
            done.err
        );
        assert_eq!(sha256(&path), sha256(&expected), "{kind}");
        assert_eq!(server.nars(), 10, "each NAR once");
        let done = compose(demo, &server.address, &kept, &path, UNSIGNED);
        assert!(done.code == 0 && server.nars() == 10, "nothing is fetched again");
        assert_eq!(sha256(&path), sha256(&expected));
    }
}

/// A copy of a cache whose narinfos a key has signed.
pub fn signed(demo: &Demo, to: &Path) -> String {
    let from = PathBuf::from(demo.at("cache-zstd"));
    std::fs::create_dir_all(to.join("nar")).unwrap();
    for entry in std::fs::read_dir(&from).unwrap().chain(std::fs::read_dir(from.join("nar")).unwrap()) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let target = to.join(path.strip_prefix(&from).unwrap());
        let Some(text) =
            path.extension().filter(|e| *e == "narinfo").map(|_| std::fs::read_to_string(&path).unwrap())
        else {
            std::fs::copy(&path, &target).unwrap();
            continue;
        };
        std::fs::write(target, sign(&text, 9)).unwrap();
    }
    format!("test-1:{}", to_base64(key(9).public_key().as_ref()))
}

fn key(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

/// A narinfo with a signature by the name of `test-1`, and no other.
pub fn sign(text: &str, seed: u8) -> String {
    let info = NarInfo::parse(text).unwrap();
    let references: Vec<String> = info.references.iter().map(ToString::to_string).collect();
    let (hash, references) = (to_base32(&info.nar_hash), references.join(","));
    let fingerprint = format!("1;{};sha256:{hash};{};{references}", info.path, info.nar_size);
    let signature = to_base64(key(seed).sign(fingerprint.as_bytes()).as_ref());
    let rest = text.lines().filter(|line| !line.starts_with("Sig: ")).map(|line| format!("{line}\n"));
    rest.chain([format!("Sig: test-1:{signature}\n")]).collect()
}

#[test]
fn only_what_a_trusted_key_has_signed_is_taken() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let (path, kept) = (dir.path().join("a.img"), dir.path().join("kept"));
    let key = signed(demo, &dir.path().join("cache"));
    let server = Server::start(dir.path().join("cache"), |_, bytes| Some(bytes));
    let done = compose(demo, &server.address, &kept, &path, &[]);
    assert!(
        done.code == 6 && done.err.contains("no signature of a trusted key (cache.nixos.org-1"),
        "{} {}",
        done.code,
        done.err
    );
    assert!(!path.exists() && server.nars() == 0);
    let done = compose(demo, &server.address, &kept, &path, &["--trusted-key", &key]);
    assert_eq!(done.code, 0, "{}", done.err);
    let done = compose(demo, &server.address, &kept, &path, &["--trusted-key", "test-1:AAAA"]);
    assert!(done.code == 2 && done.err.contains("is no public key"), "{}", done.err);
    let lying = Server::start(dir.path().join("cache"), |name, bytes| {
        let text = String::from_utf8(bytes.clone());
        Some(match text {
            Ok(text) if name.ends_with(".narinfo") => text.replace("NarSize: ", "NarSize: 1").into_bytes(),
            _ => bytes,
        })
    });
    let done = compose(demo, &lying.address, &dir.path().join("other"), &path, &["--trusted-key", &key]);
    assert!(done.code == 6 && done.err.contains("no signature"), "{} {}", done.code, done.err);
}

#[test]
fn a_server_that_lies_or_lacks_a_path_leaves_nothing() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let path = dir.path().join("a.img");
    let changes: [(Change, i32, &str); 3] = [
        (
            |name, mut bytes| {
                if name.contains("nar/") {
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 1;
                }
                Some(bytes)
            },
            6,
            "its FileHash is",
        ),
        (|name, bytes| (!name.contains("nar/")).then_some(bytes), 1, "the server answers 404"),
        (|name, bytes| (name != "nix-cache-info").then_some(bytes), 1, "it has no nix-cache-info"),
    ];
    for (number, (change, code, expected)) in changes.into_iter().enumerate() {
        let server = Server::start(demo.at("cache-zstd").into(), change);
        let done = compose(demo, &server.address, &dir.path().join(number.to_string()), &path, UNSIGNED);
        assert!(done.code == code && done.err.contains(expected), "{expected}: {} {}", done.code, done.err);
        assert!(!path.exists());
    }
    // A path is missing: which, and who refers to it.
    let cache = dir.path().join("cache");
    signed(demo, &cache);
    let leaf = std::fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path());
    let mut leaf = leaf.filter(|file| file.extension().is_some_and(|e| e == "narinfo"));
    let leaf = leaf.find(|file| !std::fs::read_to_string(file).unwrap().contains(&demo.top)).unwrap();
    std::fs::remove_file(&leaf).unwrap();
    let server = Server::start(cache.clone(), |_, bytes| Some(bytes));
    let done = compose(demo, &server.address, &dir.path().join("kept"), &path, UNSIGNED);
    assert!(
        done.code == 6 && done.err.contains("is in none of the stores") && done.err.contains("refers to it"),
        "{}",
        done.err
    );
    // What one store lacks, the next one gives.
    let other = Server::start(demo.at("cache-xz").into(), |_, bytes| Some(bytes));
    let done = compose(
        demo,
        &server.address,
        &dir.path().join("kept"),
        &path,
        &["--no-check-sigs", "--store", &other.address],
    );
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!(other.nars(), 1);
}

/// Longer than a server may be silent without being named.
const PAUSE: Duration = Duration::from_millis(6500);

#[test]
fn a_server_that_says_nothing_for_a_while_is_named_whatever_it_was_asked() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let slow_to_begin = Server::start(demo.at("cache-zstd").into(), |name, bytes| {
        std::thread::sleep(if name == "nix-cache-info" { PAUSE } else { Duration::ZERO });
        Some(bytes)
    });
    let slow_to_send = Server::start(demo.at("cache-zstd").into(), |name, bytes| {
        std::thread::sleep(if name.contains("nar/") { PAUSE } else { Duration::ZERO });
        Some(bytes)
    });
    std::thread::scope(|scope| {
        for (at, server) in [&slow_to_begin, &slow_to_send].into_iter().enumerate() {
            for style in ["plain", "json"] {
                let (kept, path) =
                    (dir.path().join(format!("{at}{style}")), dir.path().join(format!("{at}{style}.img")));
                scope.spawn(move || {
                    let options = ["--no-check-sigs", "--progress", style];
                    let done = compose(demo, &server.address, &kept, &path, &options);
                    let expected = match style {
                        "plain" => format!("nothing from {} for 5 s", server.address),
                        _ => format!("\"phase\":\"wait\",\"schema\":\"nixflash-progress/1\",\"silent\":{{\"seconds\":5,\"stores\":[\"{}\"]}}", server.address),
                    };
                    assert!(done.code == 0 && done.err.contains(&expected), "{at} {style}: {} {}", done.code, done.err);
                });
            }
        }
    });
}

#[test]
fn two_runs_at_once_share_what_they_fetch_and_the_oldest_makes_room() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let (expected, kept) = (dir.path().join("a.img"), dir.path().join("kept"));
    assert_eq!(run(&mut demo.compose("rpi4", &demo.at("root"), &expected)).code, 0);
    let server = Server::start(demo.at("cache-zstd").into(), |_, bytes| Some(bytes));
    std::thread::scope(|scope| {
        for n in 0..2 {
            let (kept, address, path) = (&kept, &server.address, dir.path().join(format!("{n}.img")));
            let expected = &expected;
            scope.spawn(move || {
                let done = compose(demo, address, kept, &path, UNSIGNED);
                assert_eq!(done.code, 0, "{}", done.err);
                assert_eq!(sha256(&path), sha256(expected));
            });
        }
    });
    let usage = || {
        let done = run(nixflash().args(["cache", "--json"]).env("XDG_CACHE_HOME", &kept));
        serde_json::from_slice::<serde_json::Value>(&done.out).unwrap()
    };
    let both = usage();
    // One path has a name that is no Unicode, so that it has no listing. What nobody has signed is not kept.
    assert!(both["nars"] == 10 && both["narinfos"] == 0 && both["listings"] == 9, "{both}");
    let left = std::fs::read_dir(kept.join("nixflash/nar")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().starts_with('.')), "nothing is half there");
    // Another closure that fills the limit drives the first one out, and not itself.
    let other = Server::start(demo.at("cache-xz").into(), |_, bytes| Some(bytes));
    let limited = ["--no-check-sigs", "--cache-size", "64KiB"];
    let done = compose(demo, &other.address, &kept, &dir.path().join("c.img"), &limited);
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(usage()["nars"] == 10 && other.nars() == 10, "{}", usage());
    // How many the two runs asked for depends on how well they met.
    let before = server.nars();
    let done = compose(demo, &server.address, &kept, &dir.path().join("d.img"), UNSIGNED);
    assert!(done.code == 0 && server.nars() > before, "what was driven out is fetched again");
}
