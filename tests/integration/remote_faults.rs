//! Servers that fail, lie and stall: each fault is retried or a clear error, and what is kept stays right.

use crate::common::{Demo, demo, sha256, temp};
use crate::fault_table::{connections, lies, narinfo, pack, status, statuses, unsigned_lies};
use crate::faulty::{Reply, Server};
use crate::remote::signed;
use nixflash::base_n::to_base16;
use nixflash::format::nix::nar::Room;
use nixflash::format::nix::narinfo::NarInfo;
use nixflash::format::nix::{listing, nar_hash};
use nixflash::net::{Client, Netrc, Patience, Settings};
use nixflash::store::{self, Error, Keys, Payload, Remote};
use nixflash::stream::decompress::Compression;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Takes a closure as compose does: narinfos, trees, then every byte, judged.
fn take(demo: &Demo, address: &str, kept: &Path, keys: Option<&Keys>) -> Result<u64, Error> {
    take_with(client_with(Settings::default()), (demo, address, kept, keys))
}

/// A client that does not wait for long.
fn client_with(settings: Settings) -> Client {
    let patience = Patience {
        connect: Duration::from_secs(10),
        silence: Duration::from_secs(2),
        pause: Duration::from_millis(20),
    };
    Client::new(&Arc::default(), Settings { patience, ..settings })
}

fn with_logins(logins: Netrc) -> Client {
    client_with(Settings { logins, ..Settings::default() })
}

fn take_with(
    client: Client,
    (demo, address, kept, keys): (&Demo, &str, &Path, Option<&Keys>),
) -> Result<u64, Error> {
    let remote = Remote {
        client,
        kept: kept.to_owned(),
        most: 1 << 30,
        keys: keys.cloned(),
        fetched: Arc::default(),
        ssh: Arc::new(crate::formats::NoSsh),
    };
    let stores = [store::open(address, None, &remote)?];
    let top = nixflash::format::nix::store_path::StorePath::from_absolute(&demo.top).unwrap();
    let closure = store::closure(&stores, &[top])?;
    let paths: Vec<_> = closure.paths.iter().map(|member| member.info.path.clone()).collect();
    stores[0].prefetch(&paths)?;
    let room = Room::default();
    let mut bytes = 0;
    for member in &closure.paths {
        let tree = store::index(&*stores[0], &member.info, &room)?;
        let read = || -> Result<u64, Error> {
            let mut payload = Payload::new(stores[0].open_nar(&member.info.path)?, &member.info, &tree);
            let mut bytes = 0;
            while let Some(file) = payload.next_file()? {
                bytes += file.len;
            }
            payload.finish()?;
            Ok(bytes)
        };
        match read() {
            Ok(read) => {
                bytes += read;
                stores[0].confirm(&member.info.path, &|| listing::encode(&tree));
            }
            Err(error) => {
                stores[0].refute(&member.info.path)?;
                return Err(error);
            }
        }
    }
    Ok(bytes)
}

/// Every file that is kept has its own sum beside it; and the NarHash of its name, if it is one of `read`. What was
/// still on its way when a run ended may lie there under a name that is a lie: who reads it will see that.
fn check_kept(kept: &Path, read: &BTreeSet<String>) {
    for entry in std::fs::read_dir(kept.join("nar")).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with(".part-") || name.ends_with(".sha256") {
            continue;
        }
        let (hash, kind) = name.split_once('.').unwrap();
        let sum = std::fs::read_to_string(path.with_file_name(format!("{name}.sha256"))).unwrap();
        assert_eq!(sum.lines().next().unwrap(), sha256(&path), "{name}");
        let Some(compression) = Compression::of_word(kind).filter(|_| read.contains(&name)) else {
            continue;
        };
        let packed = BufReader::new(File::open(&path).unwrap());
        let mut nar = Vec::new();
        compression.open(Box::new(packed)).unwrap().read_to_end(&mut nar).unwrap();
        assert_eq!(hash, to_base16(&Sha256::digest(&nar)), "{name}");
    }
}

/// A cache with signatures, and the key that made them.
fn cache(demo: &Demo, dir: &Path) -> (PathBuf, Keys) {
    let root = dir.join("cache");
    let key = signed(demo, &root);
    let mut keys = Keys::default();
    keys.add(&key).unwrap();
    (root, keys)
}

/// Adds a listing of each path that can have one to a cache.
pub fn add_listings(root: &Path) {
    let remote = Remote {
        client: Client::new(&Arc::default(), Settings::default()),
        kept: root.join("unused"),
        most: 0,
        keys: None,
        fetched: Arc::default(),
        ssh: Arc::new(crate::formats::NoSsh),
    };
    let cache = store::open(&format!("file://{}", root.display()), None, &remote).unwrap();
    for path in cache.names().unwrap() {
        let info = cache.path_info(&path).unwrap().unwrap();
        let tree = store::index(&*cache, &info, &Room::default()).unwrap();
        // JSON has no word for a name that is no Unicode.
        if let Some(text) = listing::encode(&tree) {
            std::fs::write(root.join(format!("{}.ls", path.hash_part())), text).unwrap();
        }
    }
}

#[test]
fn each_fault_is_got_over_or_told_and_leaves_what_is_kept_right() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let (root, keys) = cache(demo, dir.path());
    let plain = dir.path().join("plain");
    let good =
        take(demo, &Server::start(&root, Box::new(|_| Reply::Good)).address, &plain, Some(&keys)).unwrap();
    add_listings(&root);
    let read: BTreeSet<String> = std::fs::read_dir(plain.join("nar"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".sha256"))
        .collect();
    assert_eq!(read.len(), 10);
    let signed = statuses().into_iter().chain(connections()).chain(lies()).map(|case| (case, Some(&keys)));
    let cases: Vec<_> = signed.chain(unsigned_lies().into_iter().map(|case| (case, None))).collect();
    let many = cases.len();
    std::thread::scope(|scope| {
        for (number, ((name, expected, fault), keys)) in cases.into_iter().enumerate() {
            let (root, read, kept) = (&root, &read, dir.path().join(format!("kept-{number}")));
            scope.spawn(move || {
                let server = Server::start(root, fault);
                let result = take(demo, &server.address, &kept, keys);
                match (expected, result) {
                    (None, Ok(bytes)) => assert_eq!(bytes, good, "{name}"),
                    (Some(part), Err(error)) => {
                        assert!(error.to_string().contains(part), "{name}: {error}, expected {part}");
                    }
                    (expected, result) => panic!("{name}: {result:?}, expected {expected:?}"),
                }
                check_kept(&kept, &BTreeSet::new());
                server.broken.store(false, Ordering::Relaxed);
                let after = take(demo, &server.address, &kept, keys);
                assert_eq!(
                    after.unwrap_or_else(|error| panic!("{name}: afterwards: {error}")),
                    good,
                    "{name}"
                );
                check_kept(&kept, read);
            });
        }
    });
    assert!(many > 70, "{many} faults");
}

#[test]
fn logins_go_to_their_host_and_nowhere_else() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let (root, keys) = cache(demo, dir.path());
    let other = Server::start(&root, Box::new(|_| Reply::Good));
    let there = other.address.replace("127.0.0.1", "localhost");
    let server = Server::start(
        &root,
        Box::new(move |ask| match &ask.login {
            // me:secret
            Some(login) if login == "Basic bWU6c2VjcmV0" => {
                status(ask.is_nar(), "302 Found", &format!("Location: {there}/{}\r\n", ask.name))
            }
            _ => status(true, "401 Who", ""),
        }),
    );
    let netrc = Netrc::parse("machine 127.0.0.1 login me password secret").unwrap();
    let client = with_logins(netrc);
    let take_as = |client, address: &str, kept: &str| {
        take_with(client, (demo, address, &dir.path().join(kept), Some(&keys)))
    };
    take_as(client, &server.address, "kept-1").unwrap();
    let seen = other.logins.lock().unwrap().clone();
    assert!(seen.len() >= 10 && seen.iter().all(|(_, login)| login.is_none()), "{seen:?}");
    // A login in the address is as good, and no message shows it.
    let plain = || client_with(Settings::default());
    let with = |login: &str| server.address.replace("http://", &format!("http://{login}@"));
    take_as(plain(), &with("me:secret"), "kept-2").unwrap();
    for wrong in ["me:wr0ng", "wr0ng"] {
        let error = take_as(plain(), &with(wrong), "kept-3").unwrap_err().to_string();
        assert!(
            error.contains("does not take the login in the address") && !error.contains("wr0ng"),
            "{error}"
        );
    }
    let netrc = Netrc::parse("default login me password wr0ng").unwrap();
    let error = take_as(with_logins(netrc), &server.address, "kept-4").unwrap_err().to_string();
    assert!(error.contains("the login that netrc has") && !error.contains("wr0ng"), "{error}");
}

#[test]
fn what_is_damaged_on_this_machine_is_fetched_again() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let (root, keys) = cache(demo, dir.path());
    // Some caches do not say the hash of the file.
    for with_hashes in [true, false] {
        let server = Server::start(
            &root,
            Box::new(move |ask| {
                narinfo(ask, |text| {
                    let lines = text.lines().filter(|line| with_hashes || !line.starts_with("File"));
                    lines.map(|line| format!("{line}\n")).collect()
                })
            }),
        );
        let kept = dir.path().join(format!("kept-{with_hashes}"));
        let good = take(demo, &server.address, &kept, Some(&keys)).unwrap();
        let asked =
            || server.logins.lock().unwrap().iter().filter(|(name, _)| name.starts_with("nar/")).count();
        assert_eq!(asked(), 10);
        take(demo, &server.address, &kept, Some(&keys)).unwrap();
        assert_eq!(asked(), 10, "nothing is fetched twice");
        let nars = std::fs::read_dir(kept.join("nar")).unwrap().map(|entry| entry.unwrap().path());
        let nars: Vec<PathBuf> = nars.filter(|path| path.extension().unwrap() == "zstd").collect();
        for (n, path) in nars.iter().enumerate() {
            let mut bytes = std::fs::read(path).unwrap();
            match n % 3 {
                0 => bytes.truncate(20),
                1 => bytes[30] ^= 1,
                _ => bytes.push(0),
            }
            std::fs::write(path, bytes).unwrap();
        }
        for path in std::fs::read_dir(kept.join("listing")).unwrap().map(|entry| entry.unwrap().path()) {
            std::fs::write(path, "{").unwrap();
        }
        assert_eq!(take(demo, &server.address, &kept, Some(&keys)).unwrap(), good);
        assert_eq!(asked(), 20, "each once more");
    }
}

#[test]
fn a_server_is_not_asked_again_at_once() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let (root, keys) = cache(demo, dir.path());
    let server = Server::start(
        &root,
        Box::new(|ask| {
            status(ask.name == "nix-cache-info" && ask.nth == 1, "429 Slow", "Retry-After: 2\r\n")
        }),
    );
    let start = Instant::now();
    take(demo, &server.address, &dir.path().join("kept"), Some(&keys)).unwrap();
    assert!(start.elapsed() >= Duration::from_secs(2));
}

#[test]
fn a_narinfo_that_is_kept_is_renewed_when_the_server_has_packed_the_nar_anew() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let (root, keys) = cache(demo, dir.path());
    let server = Server::start(&root, Box::new(|_| Reply::Good));
    let kept = dir.path().join("kept");
    let good = take(demo, &server.address, &kept, Some(&keys)).unwrap();
    for path in std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()) {
        if path.extension().is_none_or(|extension| extension != "narinfo") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let info = NarInfo::parse(&text).unwrap();
        let nar = zstd::decode_all(&std::fs::read(root.join(&info.url)).unwrap()[..]).unwrap();
        std::fs::remove_file(root.join(&info.url)).unwrap();
        let packed = pack("gzip", &nar);
        std::fs::write(root.join(format!("nar/{}.new", info.path.hash_part())), &packed).unwrap();
        let hash = nar_hash::show(
            &sha2::Digest::finalize(<sha2::Sha256 as sha2::Digest>::new_with_prefix(&packed)).into(),
        );
        let lines = text.lines().map(|line| match line.split(": ").next().unwrap() {
            "URL" => format!("URL: nar/{}.new\n", info.path.hash_part()),
            "Compression" => "Compression: gzip\n".to_owned(),
            "FileHash" => format!("FileHash: {hash}\n"),
            "FileSize" => format!("FileSize: {}\n", packed.len()),
            _ => format!("{line}\n"),
        });
        std::fs::write(&path, lines.collect::<String>()).unwrap();
    }
    std::fs::remove_dir_all(kept.join("nar")).unwrap();
    assert_eq!(take(demo, &server.address, &kept, Some(&keys)).unwrap(), good);
}
