//! Closures out of exports and lists of paths, and out of databases that an ordinary user may only read.

use crate::common::{Demo, Tool, demo, nixflash, run, sha256, skip, temp};
use nixflash::format::nix::narinfo::NarInfo;
use nixflash::format::nix::wire::{put_bytes, put_number};
use rusqlite::Connection;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The paths of a cache of NARs that are not packed, each after those that it refers to.
fn sorted(cache: &str) -> Vec<(NarInfo, Vec<u8>)> {
    let files = std::fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path());
    let infos = files.filter(|file| file.extension().is_some_and(|e| e == "narinfo"));
    let mut left: Vec<NarInfo> =
        infos.map(|file| NarInfo::parse(&std::fs::read_to_string(file).unwrap()).unwrap()).collect();
    left.sort_by(|a, b| a.path.cmp(&b.path));
    let mut paths: Vec<(NarInfo, Vec<u8>)> = Vec::new();
    while !left.is_empty() {
        let done = |info: &NarInfo| {
            info.references.iter().all(|r| *r == info.path || paths.iter().any(|(other, _)| other.path == *r))
        };
        let at = left.iter().position(done).unwrap();
        let info = left.remove(at);
        let nar = std::fs::read(Path::new(cache).join(&info.url)).unwrap();
        paths.push((info, nar));
    }
    paths
}

/// One record of an export.
fn record(path: &str, nar: &[u8], references: &[String]) -> Vec<u8> {
    let mut out = 1u64.to_le_bytes().to_vec();
    out.extend_from_slice(nar);
    put_number(&mut out, 0x4558_494e);
    put_bytes(&mut out, path.as_bytes());
    put_number(&mut out, references.len() as u64);
    references.iter().for_each(|reference| put_bytes(&mut out, reference.as_bytes()));
    put_bytes(&mut out, b"");
    put_number(&mut out, 0);
    out
}

/// The demo closure as records of an export.
pub fn records(demo: &Demo) -> Vec<Vec<u8>> {
    let texts = |info: &NarInfo| info.references.iter().map(ToString::to_string).collect::<Vec<_>>();
    sorted(&demo.at("cache-none"))
        .iter()
        .map(|(info, nar)| record(&info.path.to_string(), nar, &texts(info)))
        .collect()
}

/// An export of records.
pub fn stream(records: &[Vec<u8>]) -> Vec<u8> {
    [records.concat(), vec![0; 8]].concat()
}

fn compose(demo: &Demo, store: &str, dir: &Path) -> Command {
    let mut command = demo.compose("rpi4", store, &dir.join("a.img"));
    command.arg("--force").env("XDG_CACHE_HOME", dir.join("kept"));
    command
}

/// The image that every source must give.
fn expected(demo: &Demo, dir: &Path) -> String {
    let done = run(&mut compose(demo, &demo.at("root"), dir));
    assert_eq!(done.code, 0, "{}", done.err);
    sha256(&dir.join("a.img"))
}

#[test]
fn an_export_from_a_file_or_a_pipe_packed_or_not_gives_the_same_image() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let expected = expected(demo, dir.path());
    let file = dir.path().join("closure.export");
    std::fs::write(&file, stream(&records(demo))).unwrap();
    let text = file.to_str().unwrap();
    for packer in ["zstd", "xz", "gzip"] {
        let Some(tool) = Tool::find(packer) else { continue };
        tool.passes(&["-q", "-k", text]);
    }
    let named = |suffix: &str| format!("export:{text}{suffix}");
    for store in [named(""), text.to_owned(), named(".zst"), named(".xz"), named(".gz")] {
        let done = run(&mut compose(demo, &store, dir.path()));
        assert_eq!((done.code, done.err.trim()), (0, ""), "{store}");
        assert_eq!(sha256(&dir.path().join("a.img")), expected, "{store}");
    }
    for piped in [file.clone(), dir.path().join("closure.export.zst")] {
        let mut cat = Command::new("cat").arg(&piped).stdout(Stdio::piped()).spawn().unwrap();
        let done = run(compose(demo, "export:-", dir.path()).stdin(cat.stdout.take().unwrap()));
        assert!(cat.wait().unwrap().success());
        assert_eq!((done.code, done.err.trim()), (0, ""), "{}", piped.display());
        assert_eq!(sha256(&dir.path().join("a.img")), expected);
    }
    let kept: Vec<_> = std::fs::read_dir(dir.path().join("kept/nixflash")).unwrap().collect();
    assert!(kept.is_empty(), "{kept:?}");
}

#[test]
fn an_export_that_is_cut_or_wrong_is_named() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let (records, file) = (records(demo), dir.path().join("bad.export"));
    let whole = stream(&records);
    let check = |bytes: &[u8], code: i32, message: &str| {
        std::fs::write(&file, bytes).unwrap();
        let done = run(&mut compose(demo, &format!("export:{}", file.display()), dir.path()));
        assert!(done.code == code && done.err.contains(message), "{message}: {} {}", done.code, done.err);
        assert!(!dir.path().join("a.img").exists());
    };
    for cut in [0, 7, 8, 9, 100, 500, whole.len() / 2, whole.len() - 9, whole.len() - 8, whole.len() - 1] {
        check(&whole[..cut], 6, "ends");
    }
    check(&stream(&[records.clone(), vec![records[0].clone()]].concat()), 6, "expected each path once");
    check(&[&whole[..], b"more"].concat(), 6, "what follows the last path is \"something else\"");
    check(b"\x02\0\0\0\0\0\0\0", 6, "the word before an archive is \"0x2\"");
    let paths = sorted(&demo.at("cache-none"));
    let is_needed = |(info, _): &(NarInfo, Vec<u8>)| {
        paths.iter().any(|(other, _)| other.path != info.path && other.references.contains(&info.path))
    };
    let mut fewer = records.clone();
    fewer.remove(paths.iter().position(is_needed).unwrap());
    check(&stream(&fewer), 6, "is in none of the stores");
    check(&[0; 8], 6, "is in none of the stores");
    let at = whole.windows(8).position(|word| word == 0x4558_494e_u64.to_le_bytes()).unwrap();
    let mut other = whole.clone();
    other[at] ^= 1;
    check(&other, 6, "the word behind an archive is");
    let place = whole.windows(11).skip(at).position(|word| word == b"/nix/store/").unwrap() + at;
    let mut other = whole.clone();
    other[place..place + 4].copy_from_slice(b"/gnu");
    check(&other, 6, "expected a path in /nix/store");
    let mut other = whole.clone();
    other[8..16].fill(0xff);
    check(&other, 6, "it is no Nix archive");
    // A path that others refer to refers to the system.
    let circle: Vec<Vec<u8>> = paths
        .iter()
        .map(|(info, nar)| {
            let mut references: Vec<String> = info.references.iter().map(ToString::to_string).collect();
            if references.is_empty() {
                references.push(demo.top.clone());
            }
            record(&info.path.to_string(), nar, &references)
        })
        .collect();
    check(&stream(&circle), 6, "references that go in a circle: /nix/store/");
    // Whatever byte is wrong: an error or an image, never a panic.
    for at in (0..whole.len()).step_by(whole.len() / 40) {
        let mut other = whole.clone();
        other[at] ^= 0x41;
        std::fs::write(&file, &other).unwrap();
        let done = run(&mut compose(demo, &format!("export:{}", file.display()), dir.path()));
        assert!([0, 1, 6].contains(&done.code) && !done.err.contains("panicked"), "{at}: {}", done.err);
        drop(std::fs::remove_file(dir.path().join("a.img")));
    }
}

fn copied(demo: &Demo, to: &Path) -> String {
    let done = run(Command::new("cp").args(["-a", &demo.at("root")]).arg(to));
    assert_eq!(done.code, 0, "{}", done.err);
    to.display().to_string()
}

/// Directories with the programs of Nix: this machine's, and a newer one where `NIXFLASH_NEW_NIX` names it.
#[expect(clippy::disallowed_methods, reason = "tests look at the environment")]
fn nixes() -> Vec<PathBuf> {
    let mut nixes = Vec::new();
    if Tool::find("nix-store").is_some() {
        nixes.push(PathBuf::from("/usr/bin"));
    }
    match std::env::var_os("NIXFLASH_NEW_NIX") {
        Some(directory) => nixes.push(directory.into()),
        None => skip("NIXFLASH_NEW_NIX names no newer Nix (see tests/testbed/get-new-nix)"),
    }
    nixes
}

#[test]
fn what_real_nix_exports_and_lists_gives_the_same_image() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let expected = expected(demo, dir.path());
    for (at, nix) in nixes().iter().enumerate() {
        let root = copied(demo, &dir.path().join(format!("root{at}")));
        let run_nix = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(nix.join(program));
            command.args(arguments).args(["--store", &root]).env_remove("NIX_REMOTE");
            command.env("NIX_CONFIG", "build-users-group =\nexperimental-features = nix-command");
            let done = run(&mut command);
            assert_eq!(done.code, 0, "{command:?}: {}", done.err);
            done.out
        };
        let check = |store: &str| {
            let mut command = compose(demo, store, dir.path());
            let done = run(command.args(["--store-dir", &root, "--firmware", &root]));
            assert_eq!(done.code, 0, "{store}: {}", done.err);
            assert_eq!(sha256(&dir.path().join("a.img")), expected, "{store}");
        };
        let closure = String::from_utf8(run_nix("nix-store", &["-qR", &demo.top])).unwrap();
        let mut arguments = vec!["--export"];
        arguments.extend(closure.lines());
        let export = dir.path().join(format!("{at}.export"));
        std::fs::write(&export, run_nix("nix-store", &arguments)).unwrap();
        check(&format!("export:{}", export.display()));
        let json = dir.path().join(format!("{at}.json"));
        std::fs::write(&json, run_nix("nix", &["path-info", "--json", "-r", &demo.top])).unwrap();
        check(json.to_str().unwrap());
        let registration = dir.path().join(format!("{at}.registration"));
        std::fs::write(&registration, run_nix("nix-store", &["--dump-db"])).unwrap();
        check(registration.to_str().unwrap());
    }
}

#[test]
fn a_closure_info_is_taken_with_the_store_that_it_is_in() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let expected = expected(demo, dir.path());
    let root = copied(demo, &dir.path().join("root"));
    let info = Path::new(&root).join("nix/store/3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-closure-info");
    std::fs::create_dir(&info).unwrap();
    std::fs::rename(Path::new(&root).join("registration"), info.join("registration")).unwrap();
    for store in [info.clone(), info.join("registration")] {
        let mut command = compose(demo, store.to_str().unwrap(), dir.path());
        let done = run(command.args(["--firmware", &root]));
        assert_eq!(done.code, 0, "{}: {}", store.display(), done.err);
        assert_eq!(sha256(&dir.path().join("a.img")), expected);
    }
    let json = dir.path().join("other.json");
    std::fs::write(&json, r#"{"version":2,"storeDir":"/gnu/store","info":{}}"#).unwrap();
    let done = run(&mut compose(demo, json.to_str().unwrap(), dir.path()));
    assert!(done.code == 6 && done.err.contains("expected \"/nix/store\""), "{}", done.err);
    std::fs::write(&json, [0xff, 0xfe, 0xfd]).unwrap();
    let done = run(&mut compose(demo, json.to_str().unwrap(), dir.path()));
    assert!(done.code == 6 && done.err.contains("it is not text"), "{}", done.err);
}

/// Plans an image as somebody who may write nowhere.
fn plan_as_user(demo: &Demo, root: &str) -> crate::common::Run {
    let mut command = nixflash();
    command.args(["compose", "rpi4", "--system", &demo.top, "--store", root, "--dry-run", "--json"]);
    if nix::unistd::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    run(&mut command)
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn a_database_is_read_by_a_user_who_may_not_write_beside_it() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    set_mode(dir.path(), 0o755);
    let root = copied(demo, &dir.path().join("root"));
    let db = Path::new(&root).join("nix/var/nix/db");
    let expected = plan_as_user(demo, &root);
    assert_eq!(expected.code, 0, "{}", expected.err);
    let listed = || {
        let mut names: Vec<_> = std::fs::read_dir(&db).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let same = |what: &str| {
        set_mode(&db, 0o555);
        let done = plan_as_user(demo, &root);
        set_mode(&db, 0o755);
        assert_eq!(done.code, 0, "{what}: {}", done.err);
        assert_eq!(done.out, expected.out, "{what}");
    };
    // A write-ahead log, and nobody there.
    let writer = Connection::open(db.join("db.sqlite")).unwrap();
    writer.execute_batch("pragma journal_mode = wal; update ValidPaths set registrationTime = 2").unwrap();
    drop(writer);
    let before = listed();
    same("nobody has it open");
    assert_eq!(listed(), before, "nothing is left behind");
    // Somebody is there, and what was written last is in the log only.
    let writer = Connection::open(db.join("db.sqlite")).unwrap();
    writer
        .execute_batch("pragma wal_autocheckpoint = 0; update ValidPaths set registrationTime = 3")
        .unwrap();
    same("somebody has it open");
    // Somebody crashed: the log is there, its index is not.
    let crashed = dir.path().join("crashed");
    let crashed_root = copied(demo, &crashed);
    let crashed_db = crashed.join("nix/var/nix/db");
    for file in ["db.sqlite", "db.sqlite-wal"] {
        std::fs::copy(db.join(file), crashed_db.join(file)).unwrap();
    }
    drop(writer);
    set_mode(&crashed_db, 0o555);
    let done = plan_as_user(demo, &crashed_root);
    assert!(
        done.code == 8 && done.err.contains("db.sqlite-wal: it has") && done.err.contains("nix-daemon"),
        "{} {}",
        done.code,
        done.err
    );
    // A database that may not be read at all.
    set_mode(&db.join("db.sqlite"), 0o000);
    let done = plan_as_user(demo, &root);
    assert!(done.code == 8 && done.err.contains("Permission denied"), "{} {}", done.code, done.err);
    // The daemon of that store knows.
    if !nix::unistd::geteuid().is_root() {
        skip("not root, so a daemon may read no more than its client");
        return;
    }
    if Tool::find("nix-daemon").is_some() {
        let socket = Path::new(&root).join("nix/var/nix/daemon-socket");
        std::fs::create_dir(&socket).unwrap();
        let listener = UnixListener::bind(socket.join("socket")).unwrap();
        set_mode(&socket.join("socket"), 0o666);
        let store = root.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let output = OwnedFd::from(stream.try_clone().unwrap());
                let mut daemon = Command::new("nix-daemon");
                daemon.args(["--stdio", "--store", &store]).stdin(OwnedFd::from(stream));
                std::thread::spawn(move || drop(daemon.stdout(output).status()));
            }
        });
        let done = plan_as_user(demo, &root);
        assert_eq!(done.code, 0, "{}", done.err);
        assert_eq!(done.out, expected.out, "what the daemon knows");
    }
}
