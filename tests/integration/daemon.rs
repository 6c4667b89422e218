//! Closures out of Nix daemons: one that does everything wrong, real ones on a socket, and real ones behind sshd.

use crate::common::{Demo, Run, Tool, demo, nixflash, run, sha256, skip, temp};
use crate::servers::Running;
use nixflash::base_n::to_base16;
use nixflash::format::nix::narinfo::NarInfo;
use nixflash::format::nix::store_path::StorePath;
use nixflash::format::nix::wire::{put_bytes, put_number};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

const LAST: u64 = 0x616c_7473;
const ERROR: u64 = 0x6378_7470;
const NEXT: u64 = 0x6f6c_6d67;

/// What a daemon does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Nothing,
    Greeting,
    Version,
    EndlessTalk,
    Refuses,
    ClosesInNar,
    /// Every third archive breaks off the first time.
    BreaksNowAndThen,
    OtherContents,
    LongerNar,
    NoNar,
    HugeLength,
    OtherStore,
    HashOfNothing,
    Circle,
}

/// A daemon over a cache of NARs that are not packed.
struct Fake {
    nars: BTreeMap<String, (NarInfo, Vec<u8>)>,
    fault: Fault,
    sent: AtomicU32,
    /// How often each archive was sent to its end.
    whole: Mutex<BTreeMap<String, u32>>,
    /// Archives that have broken off.
    broken: Mutex<BTreeSet<String>>,
}

impl Fake {
    fn start(cache: &str, socket: &Path, fault: Fault) -> Arc<Self> {
        let files = std::fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path());
        let infos = files.filter(|file| file.extension().is_some_and(|e| e == "narinfo"));
        let infos = infos.map(|file| NarInfo::parse(&std::fs::read_to_string(file).unwrap()).unwrap());
        let with_nar = |info: NarInfo| {
            let nar = std::fs::read(Path::new(cache).join(&info.url)).unwrap();
            (info.path.to_string(), (info, nar))
        };
        let fake = Arc::new(Self {
            nars: infos.map(with_nar).collect(),
            fault,
            sent: AtomicU32::new(0),
            whole: Mutex::default(),
            broken: Mutex::default(),
        });
        let listener = UnixListener::bind(socket).unwrap();
        let server = Arc::clone(&fake);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let server = Arc::clone(&server);
                // The client may go away whenever it likes.
                std::thread::spawn(move || drop(server.serve(&mut stream.unwrap())));
            }
        });
        fake
    }

    fn serve(&self, stream: &mut UnixStream) -> io::Result<()> {
        let mut out = Vec::new();
        put_number(&mut out, if self.fault == Fault::Greeting { 0x6c65_5720_2148_4921 } else { 0x6478_696f });
        put_number(&mut out, if self.fault == Fault::Version { 0x10a } else { 0x125 });
        stream.write_all(&out)?;
        // The greeting of the client, and its settings.
        for _ in 0..4 {
            number(stream)?;
        }
        out.clear();
        put_bytes(&mut out, b"2.99");
        put_number(&mut out, 1);
        put_number(&mut out, LAST);
        stream.write_all(&out)?;
        loop {
            let answer = match number(stream)? {
                23 => self.all(),
                26 => self.info(&string(stream)?),
                38 => {
                    let path = string(stream)?;
                    let answer = self.nar(&path);
                    if self.breaks(&path) {
                        stream.write_all(&answer[..answer.len() / 2])?;
                        return stream.shutdown(std::net::Shutdown::Both);
                    }
                    *self.whole.lock().unwrap().entry(path).or_default() += 1;
                    answer
                }
                other => panic!("operation {other}"),
            };
            stream.write_all(&answer)?;
            if self.fault == Fault::EndlessTalk {
                let mut talk = Vec::new();
                put_number(&mut talk, NEXT);
                put_bytes(&mut talk, &[b'x'; 60_000]);
                loop {
                    stream.write_all(&talk)?;
                }
            }
            if self.fault == Fault::ClosesInNar && self.sent.load(Ordering::Relaxed) > 0 {
                return stream.shutdown(std::net::Shutdown::Both);
            }
        }
    }

    fn breaks(&self, path: &str) -> bool {
        self.fault == Fault::BreaksNowAndThen
            && self.nars.keys().position(|name| name == path).unwrap() % 3 == 1
            && self.broken.lock().unwrap().insert(path.to_owned())
    }

    fn all(&self) -> Vec<u8> {
        let mut out = LAST.to_le_bytes().to_vec();
        strings(&mut out, self.nars.keys().cloned());
        out
    }

    fn info(&self, path: &str) -> Vec<u8> {
        let mut out = Vec::new();
        match self.fault {
            Fault::EndlessTalk => return out,
            Fault::Refuses => {
                put_number(&mut out, ERROR);
                put_bytes(&mut out, b"Error");
                put_number(&mut out, 0);
                put_bytes(&mut out, b"Error");
                put_bytes(&mut out, b"\x1b[31;1merror:\x1b[0m the disk is on fire");
                put_number(&mut out, 0);
                put_number(&mut out, 0);
                return out;
            }
            _ => put_number(&mut out, LAST),
        }
        let Some((info, _)) = self.nars.get(path) else {
            put_number(&mut out, 0);
            return out;
        };
        put_number(&mut out, 1);
        match self.fault {
            Fault::HugeLength => put_number(&mut out, u64::MAX),
            Fault::OtherStore => put_bytes(&mut out, path.replace("/nix/", "/gnu/").as_bytes()),
            _ => put_bytes(&mut out, b""),
        }
        let hash =
            if self.fault == Fault::HashOfNothing { "00".repeat(32) } else { to_base16(&info.nar_hash) };
        put_bytes(&mut out, hash.as_bytes());
        let circle = self.fault == Fault::Circle && info.references.is_empty();
        let more = if circle { self.nars.keys().rfind(|name| name.contains("nixos-system")) } else { None };
        strings(&mut out, info.references.iter().map(ToString::to_string).chain(more.cloned()));
        [1, info.nar_size, 1].iter().for_each(|number| put_number(&mut out, *number));
        strings(&mut out, info.signatures.iter().cloned());
        put_bytes(&mut out, b"");
        out
    }

    fn nar(&self, path: &str) -> Vec<u8> {
        let mut out = LAST.to_le_bytes().to_vec();
        let mut nar = self.nars[path].1.clone();
        self.sent.fetch_add(1, Ordering::Relaxed);
        match self.fault {
            Fault::ClosesInNar => nar.truncate(nar.len() / 2),
            Fault::OtherContents if nar.len() > 200 => nar[97] ^= 1,
            Fault::LongerNar => {
                nar = [&nar[..24], b"\x01\0\0\0\0\0\0\0(\0\0\0\0\0\0\0", &[0; 1 << 16]].concat();
                // Empty words for ever, which never close what is open.
                return [out, nar, vec![0; 8 << 20]].concat();
            }
            Fault::NoNar => nar = b"404 not found, and nothing of an archive".to_vec(),
            _ => {}
        }
        out.extend(nar);
        out
    }
}

fn strings(out: &mut Vec<u8>, texts: impl Iterator<Item = String>) {
    let texts: Vec<String> = texts.collect();
    put_number(out, texts.len() as u64);
    texts.iter().for_each(|text| put_bytes(out, text.as_bytes()));
}

fn number(stream: &mut UnixStream) -> io::Result<u64> {
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn string(stream: &mut UnixStream) -> io::Result<String> {
    let len = number(stream)? as usize;
    let mut bytes = vec![0; len.next_multiple_of(8)];
    stream.read_exact(&mut bytes)?;
    Ok(String::from_utf8(bytes[..len].to_vec()).unwrap())
}

fn compose(demo: &Demo, store: &str, kept: &Path, output: &Path) -> Command {
    let mut command = nixflash();
    command.args(["compose", "rpi4", "--system", &demo.top, "--store", store, "--force", "-o"]).arg(output);
    command.env("XDG_CACHE_HOME", kept).env_remove("NIX_SSHOPTS");
    command
}

/// The image that every source must give.
fn expected(demo: &Demo, store: &str, dir: &Path) -> String {
    let path = dir.join("expected.img");
    let done = run(&mut demo.compose("rpi4", store, &path));
    assert_eq!(done.code, 0, "{}", done.err);
    let hash = sha256(&path);
    std::fs::remove_file(path).unwrap();
    hash
}

fn kept_nars(kept: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(kept.join("nixflash/nar")).into_iter().flatten();
    let files = files.map(|entry| entry.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|e| e == "zstd")).collect()
}

#[test]
fn a_daemon_gives_the_same_image_and_each_archive_once() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let expected = expected(demo, &demo.at("root"), dir.path());
    let (socket, kept, path) = (dir.path().join("s"), dir.path().join("kept"), dir.path().join("a.img"));
    let fake = Fake::start(&demo.at("cache-none"), &socket, Fault::Nothing);
    let store = format!("unix://{}", socket.display());
    for _ in 0..2 {
        // The firmware is found among all that the daemon has.
        let done = run(&mut compose(demo, &store, &kept, &path));
        assert_eq!(done.code, 0, "{}", done.err);
        assert_eq!(sha256(&path), expected);
        let sent = fake.sent.load(Ordering::Relaxed);
        assert_eq!((sent as usize, sent), (kept_nars(&kept).len(), 12), "each archive once, none again");
    }
}

#[test]
fn a_connection_that_breaks_is_made_again_and_what_has_come_is_not_asked_for_again() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let expected = expected(demo, &demo.at("root"), dir.path());
    let (socket, kept, path) = (dir.path().join("s"), dir.path().join("kept"), dir.path().join("a.img"));
    let fake = Fake::start(&demo.at("cache-none"), &socket, Fault::BreaksNowAndThen);
    let done = run(&mut compose(demo, &format!("unix://{}", socket.display()), &kept, &path));
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!(sha256(&path), expected);
    let (whole, broken) = (fake.whole.lock().unwrap(), fake.broken.lock().unwrap());
    assert!(whole.len() == 12 && whole.values().all(|times| *times == 1), "{whole:?}");
    assert_eq!(broken.len(), 4, "{broken:?}");
}

#[test]
fn what_a_daemon_gave_and_was_damaged_since_is_fetched_again() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let expected = expected(demo, &demo.at("root"), dir.path());
    let (socket, kept, path) = (dir.path().join("s"), dir.path().join("kept"), dir.path().join("a.img"));
    let fake = Fake::start(&demo.at("cache-none"), &socket, Fault::Nothing);
    let store = format!("unix://{}", socket.display());
    let sent = || {
        let done = run(&mut compose(demo, &store, &kept, &path));
        assert_eq!(done.code, 0, "{}", done.err);
        assert_eq!(sha256(&path), expected);
        fake.sent.swap(0, Ordering::Relaxed)
    };
    assert_eq!((sent(), sent()), (12, 0));
    for (at, file) in kept_nars(&kept).iter().enumerate() {
        let mut bytes = std::fs::read(file).unwrap();
        let middle = bytes.len() / 2;
        match at % 4 {
            0 => bytes.truncate(middle),
            1 => bytes[middle] ^= 1,
            2 => bytes.push(0),
            _ => {
                // An older version kept no sums.
                std::fs::remove_file(format!("{}.sha256", file.display())).unwrap();
            }
        }
        std::fs::write(file, bytes).unwrap();
    }
    assert_eq!((sent(), sent()), (12, 0), "each once more");
    // What is kept of daemons is bounded as all else.
    let done = run(compose(demo, &store, &kept, &path).args(["--cache-size", "1KiB"]));
    assert_eq!(done.code, 0, "{}", done.err);
}

#[test]
fn a_daemon_that_lies_breaks_or_talks_for_ever_leaves_nothing() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let path = dir.path().join("a.img");
    for (at, (fault, code, message)) in [
        (Fault::Greeting, 6, "the greeting of a Nix daemon is \"!IH! Wel\""),
        (Fault::Version, 6, "the version of the protocol is \"1.10\", expected 1.21"),
        (Fault::EndlessTalk, 6, "bytes of messages and no answer"),
        (Fault::Refuses, 1, "the daemon says: the disk is on fire"),
        (Fault::ClosesInNar, 1, "broke and could not be made again: while reading the rest of an archive: "),
        (Fault::OtherContents, 6, "its NarHash is sha256:"),
        (Fault::LongerNar, 6, "its NarSize is"),
        (Fault::NoNar, 6, "it is no Nix archive"),
        (Fault::HugeLength, 6, "a derivation of 18446744073709551615, expected at most"),
        (Fault::OtherStore, 6, "expected a path in /nix/store"),
        (Fault::HashOfNothing, 6, "its NarHash is sha256:"),
        (Fault::Circle, 6, "references that go in a circle: /nix/store/"),
    ]
    .into_iter()
    .enumerate()
    {
        let socket = dir.path().join(format!("s{at}"));
        Fake::start(&demo.at("cache-none"), &socket, fault);
        let kept = dir.path().join(format!("kept{at}"));
        let done = run(&mut compose(demo, &format!("unix://{}", socket.display()), &kept, &path));
        assert!(done.code == code && done.err.contains(message), "{fault:?}: {} {}", done.code, done.err);
        assert!(!path.exists(), "{fault:?}");
        assert!(kept_nars(&kept).len() < 12, "{fault:?}");
        let partial = std::fs::read_dir(kept.join("nixflash/nar")).into_iter().flatten();
        for file in partial.map(|entry| entry.unwrap().path()) {
            let is_whole = file.extension().is_some_and(|e| e == "zstd" || e == "sha256");
            assert!(is_whole, "{fault:?} leaves {}", file.display());
        }
    }
    let done = run(&mut compose(demo, "unix:///nowhere/s", dir.path(), &path));
    assert!(done.code == 1 && done.err.contains("cannot connect: No such file"), "{}", done.err);
    let done = run(&mut compose(demo, "ssh://host", dir.path(), &path));
    assert!(done.code == 1 && done.err.contains("use ssh-ng://host"), "{}", done.err);
    let done = run(&mut compose(demo, "ssh-ng://-oProxyCommand=x", dir.path(), &path));
    assert!(done.code == 1 && done.err.contains("is no host"), "{}", done.err);
}

/// Directories with the programs of Nix: this machine's, and a newer one where `NIXFLASH_NEW_NIX` names it.
#[expect(clippy::disallowed_methods, reason = "tests look at the environment")]
pub fn nixes() -> Vec<PathBuf> {
    let mut nixes = Vec::new();
    if Tool::find("nix-daemon").is_some() {
        nixes.push(PathBuf::from("/usr/bin"));
    }
    match std::env::var_os("NIXFLASH_NEW_NIX") {
        Some(directory) => nixes.push(directory.into()),
        None => skip("NIXFLASH_NEW_NIX names no newer Nix (see tests/testbed/get-new-nix)"),
    }
    nixes.retain(|nix| nix.join("nix-daemon").is_file());
    nixes
}

/// A program of a Nix that has no users to build as.
pub fn nix(directory: &Path, program: &str) -> Command {
    let mut command = Command::new(directory.join(program));
    for name in ["NIX_REMOTE", "NIX_STORE_DIR"] {
        command.env_remove(name);
    }
    command.env("NIX_CONFIG", "build-users-group =\nexperimental-features = nix-command");
    command
}

fn passes(command: &mut Command) -> Vec<u8> {
    let Run { code, out, err } = run(command);
    assert_eq!(code, 0, "{command:?}: {err}");
    out
}

/// A store of its own with the demo closure, which a Nix may write to.
pub fn copied(demo: &Demo, to: &Path) -> String {
    passes(Command::new("cp").args(["-a", &demo.at("root")]).arg(to));
    to.display().to_string()
}

/// Runs a daemon of a store for whoever connects to a socket.
pub fn listen(directory: &Path, root: &str, socket: &Path) {
    let listener = UnixListener::bind(socket).unwrap();
    let (directory, root) = (directory.to_owned(), root.to_owned());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            let (input, output) = (OwnedFd::from(stream.try_clone().unwrap()), OwnedFd::from(stream));
            let mut daemon = nix(&directory, "nix-daemon");
            daemon.args(["--stdio", "--store", &root]).stdin(input).stdout(output);
            std::thread::spawn(move || drop(daemon.status()));
        }
    });
}

#[test]
fn real_daemons_give_the_same_image() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let expected = expected(demo, &demo.at("root"), dir.path());
    let path = dir.path().join("a.img");
    for (at, nix_directory) in nixes().into_iter().enumerate() {
        let root = copied(demo, &dir.path().join(format!("root{at}")));
        let socket = dir.path().join(format!("s{at}"));
        listen(&nix_directory, &root, &socket);
        let store = format!("unix://{}", socket.display());
        let done = run(&mut compose(demo, &store, &dir.path().join(format!("kept{at}")), &path));
        assert_eq!(done.code, 0, "{}: {}", nix_directory.display(), done.err);
        assert_eq!(sha256(&path), expected, "{}", nix_directory.display());
        let gone = demo.top.replace("/nix/store/k", "/nix/store/0");
        let done =
            run(nixflash().args(["compose", "rpi4", "--dry-run", "--system", &gone, "--store", &store]));
        assert!(done.code == 6 && done.err.contains("is in none of the stores"), "{}", done.err);
    }
}

/// A real sshd on loopback; it ends with the value.
pub struct Sshd {
    _child: Running,
    port: u16,
    dir: PathBuf,
}

impl Sshd {
    /// Starts one with keys of its own in `dir`; `None`, having said so, where there is none.
    pub fn start(dir: &Path) -> Option<Self> {
        let (keygen, _sshd, _ssh) = (Tool::find("ssh-keygen")?, Tool::find("sshd")?, Tool::find("ssh")?);
        for key in ["host", "user"] {
            keygen.passes(&["-q", "-t", "ed25519", "-N", "", "-f", dir.join(key).to_str().unwrap()]);
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = dir.display();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host\nAuthorizedKeysFile {at}/user.pub\n\
             StrictModes no\nPasswordAuthentication no\nUsePAM no\nPidFile none\nPermitRootLogin yes\n"
        );
        std::fs::write(dir.join("config"), config).unwrap();
        // Where sshd as root sheds its rights; packages make it when the service starts.
        if nix::unistd::geteuid().is_root() {
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let log = std::fs::File::create(dir.join("log")).unwrap();
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f"]).arg(dir.join("config")).stderr(log).stdin(Stdio::null());
        let child = command.spawn().unwrap();
        let sshd = Self { _child: Running(child), port, dir: dir.to_owned() };
        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(sshd);
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("sshd does not listen: {}", std::fs::read_to_string(dir.join("log")).unwrap());
    }

    /// A builder behind it.
    pub fn address(&self, settings: &str) -> String {
        format!("ssh-ng://127.0.0.1:{}?ssh-key={}/user&{settings}", self.port, self.dir.display())
    }

    /// Options of ssh that let a user in.
    pub fn login(&self) -> Vec<String> {
        let key = self.dir.join("user").display().to_string();
        vec!["-i".to_owned(), key, "-p".to_owned(), self.port.to_string()]
    }

    /// What ssh must be told of it.
    pub fn options(&self) -> String {
        format!(
            "-F /dev/null -o UserKnownHostsFile={}/known -o StrictHostKeyChecking=accept-new -o IdentitiesOnly=yes",
            self.dir.display()
        )
    }
}

#[test]
fn a_builder_behind_a_real_sshd_gives_what_a_trusted_key_has_signed() {
    let (Some(demo), nixes) = (demo(), nixes()) else { return };
    if nixes.is_empty() {
        return;
    }
    let dir = temp();
    let Some(sshd) = Sshd::start(dir.path()) else { return };
    let path = dir.path().join("a.img");
    for (at, nix_directory) in nixes.iter().enumerate() {
        let root = copied(demo, &dir.path().join(format!("root{at}")));
        let program = nix_directory.join("nix-daemon");
        let settings = format!("remote-store={root}&remote-program={}", program.display());
        let kept = dir.path().join(format!("kept{at}"));
        let ssh = |settings: &str, options: &[&str]| {
            let mut command = compose(demo, &sshd.address(settings), &kept, &path);
            run(command.args(options).env("NIX_SSHOPTS", sshd.options()))
        };
        let unsigned = expected(demo, &root, dir.path());
        let done = ssh(&settings, &[]);
        assert!(
            done.code == 6
                && done.err.contains("no signature of a trusted key")
                && done.err.contains("--trusted-key"),
            "{} {}",
            done.code,
            done.err
        );
        let done = ssh(&format!("{settings}&trusted=true"), &[]);
        assert_eq!(done.code, 0, "{}", done.err);
        assert_eq!(sha256(&path), unsigned);
        let done = ssh(&settings, &["--no-check-sigs"]);
        assert!(done.code == 0 && done.err.contains("signatures are not checked"), "{}", done.err);

        let key = dir.path().join(format!("key{at}"));
        let secret =
            passes(nix(nix_directory, "nix").args(["key", "generate-secret", "--key-name", "test-1"]));
        std::fs::write(&key, &secret).unwrap();
        let mut public = nix(nix_directory, "nix");
        let mut public = public
            .args(["key", "convert-secret-to-public"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        public.stdin.take().unwrap().write_all(&secret).unwrap();
        let public = String::from_utf8(public.wait_with_output().unwrap().stdout).unwrap();
        // The firmware is no part of the closure.
        let everything = Path::new(&root).join("nix/store");
        let paths = std::fs::read_dir(everything)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let paths: Vec<String> = paths
            .filter(|name| StorePath::from_base_name(name).is_ok())
            .map(|name| format!("/nix/store/{name}"))
            .collect();
        let mut sign = nix(nix_directory, "nix");
        passes(sign.args(["store", "sign", "-k"]).arg(&key).args(["--store", &root]).args(&paths));
        let signed = expected(demo, &root, dir.path());
        assert_ne!(signed, unsigned, "signatures go into the card's database");
        let done = ssh(&settings, &["--trusted-key", public.trim()]);
        assert_eq!(done.code, 0, "{}", done.err);
        assert_eq!(sha256(&path), signed);
    }
    std::fs::remove_file(&path).unwrap();
    for (settings, message) in [
        ("remote-program=/nowhere/nix-daemon", "the host has no nix-daemon that can be run"),
        ("remote-program=echo hello from a shell, and again", "the greeting of a Nix daemon is \"hello fr\""),
        ("remote-program=false", "ended with exit status 1"),
    ] {
        let mut command = compose(demo, &sshd.address(settings), dir.path(), &path);
        let done = run(command.env("NIX_SSHOPTS", sshd.options()));
        assert!(done.code != 0 && done.err.contains(message), "{settings}: {} {}", done.code, done.err);
    }
    let port = sshd.port;
    drop(sshd);
    let done = run(compose(demo, &format!("ssh-ng://127.0.0.1:{port}"), dir.path(), &path)
        .env("NIX_SSHOPTS", "-F /dev/null"));
    assert!(done.code == 1 && done.err.contains("ssh could not connect"), "{}", done.err);
    assert!(!path.exists());
}

/// A `nix-daemon` that has sshd killed in the middle of what it says: twice, then it is left alone.
const KILLED: &str = r#"#!/bin/sh
count=$(cat COUNT 2>/dev/null || echo 0)
echo $((count + 1)) > COUNT
[ "$count" -lt 2 ] || exec PROGRAM "$@"
PROGRAM "$@" | {
  dd bs=1 count=60000 2>/dev/null
  pid=$PPID
  while [ "$pid" -gt 1 ] && [ "$(cat /proc/$pid/comm)" != sshd ]; do pid=$(cut -d' ' -f4 /proc/$pid/stat); done
  [ "$pid" -le 1 ] || kill -9 $pid
}
"#;

#[test]
fn an_ssh_that_is_killed_in_the_middle_is_run_again() {
    let (Some(demo), nixes) = (demo(), nixes()) else { return };
    let dir = temp();
    let Some(sshd) = Sshd::start(dir.path()) else { return };
    let path = dir.path().join("a.img");
    for (at, nix_directory) in nixes.iter().enumerate() {
        let root = copied(demo, &dir.path().join(format!("root{at}")));
        let (script, count) = (dir.path().join(format!("killed{at}")), dir.path().join(format!("count{at}")));
        let program = nix_directory.join("nix-daemon").display().to_string();
        let text = KILLED.replace("PROGRAM", &program).replace("COUNT", &count.display().to_string());
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let settings = format!("remote-store={root}&remote-program={}&trusted=true", script.display());
        let mut command =
            compose(demo, &sshd.address(&settings), &dir.path().join(format!("kept{at}")), &path);
        let done = run(command.env("NIX_SSHOPTS", sshd.options()));
        assert_eq!(done.code, 0, "{}", done.err);
        assert_eq!(sha256(&path), expected(demo, &root, dir.path()));
        assert_eq!(std::fs::read_to_string(&count).unwrap().trim(), "3", "connections: {}", done.err);
    }
}
