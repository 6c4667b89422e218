//! One closure in every form that a store can have: the same image out of each.

use crate::common::{Demo, Run, Tool, demo, is_root, nixflash, run, sha256, skip, temp};
use crate::daemon::{Sshd, copied, listen, nix, nixes};
use crate::export::{records, stream};
use crate::remote_faults::add_listings;
use crate::servers::Nginx;
use nixflash::format::nix::narinfo::NarInfo;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is composed, and what must come of it.
struct Judge<'a> {
    demo: &'a Demo,
    dir: &'a Path,
    expected: String,
    /// The kinds of stores that gave it.
    kinds: BTreeSet<&'static str>,
}

impl Judge<'_> {
    fn command(&self, store: &str) -> Command {
        let mut command = nixflash();
        command.args(["-q", "compose", "rpi4", "--system", &self.demo.top, "--store", store, "--force"]);
        command.arg("-o").arg(self.image()).args(["--firmware", &self.demo.at("root")]);
        // What was kept of one would be given by another.
        let kept = tempfile::tempdir_in(self.dir).unwrap().keep();
        command.env("XDG_CACHE_HOME", kept).env("NO_PROXY", "127.0.0.1").env_remove("NIX_SSHOPTS");
        command
    }

    fn image(&self) -> PathBuf {
        self.dir.join("a.img")
    }

    fn judge(&mut self, kind: &'static str, done: &Run) {
        assert_eq!(done.code, 0, "{kind}: {}", done.err);
        assert_eq!(sha256(&self.image()), self.expected, "{kind}");
        std::fs::remove_file(self.image()).unwrap();
        self.kinds.insert(kind);
    }

    fn check(&mut self, kind: &'static str, store: &str, options: &[&str]) {
        let done = run(self.command(store).args(options));
        self.judge(kind, &done);
    }
}

/// Packs a NAR; `None`, having said so, where the packer is missing.
fn pack(kind: &str, nar: &[u8]) -> Option<Vec<u8>> {
    match kind {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(nar).unwrap();
            Some(encoder.finish().unwrap())
        }
        "lz4" => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(nar).unwrap();
            Some(encoder.finish().unwrap())
        }
        _ => {
            Tool::find("brotli")?;
            let mut brotli = Command::new("brotli");
            let mut child =
                brotli.args(["-q", "2", "-c"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let (mut input, nar) = (child.stdin.take().unwrap(), nar.to_vec());
            let writer = std::thread::spawn(move || input.write_all(&nar).unwrap());
            let packed = child.wait_with_output().unwrap().stdout;
            writer.join().unwrap();
            Some(packed)
        }
    }
}

/// A copy of the cache of plain NARs, packed in another way.
fn packed(demo: &Demo, kind: &str, to: &Path) -> Option<()> {
    let from = PathBuf::from(demo.at("cache-none"));
    std::fs::create_dir_all(to.join("nar")).unwrap();
    for entry in std::fs::read_dir(&from).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.extension().is_none_or(|extension| extension != "narinfo") {
            continue;
        }
        let text = std::fs::read_to_string(&entry).unwrap();
        let info = NarInfo::parse(&text).unwrap();
        let bytes = pack(kind, &std::fs::read(from.join(&info.url)).unwrap())?;
        // Nothing but the field says how it is packed.
        let url = format!("nar/{}.nar.xz", info.path.hash_part());
        let hash = nixflash::base_n::to_base16(&Sha256::digest(&bytes));
        let lines = text.lines().map(|line| match line.split(": ").next().unwrap() {
            "URL" => format!("URL: {url}\n"),
            "Compression" => format!("Compression: {kind}\n"),
            "FileHash" => format!("FileHash: sha256:{hash}\n"),
            "FileSize" => format!("FileSize: {}\n", bytes.len()),
            _ => format!("{line}\n"),
        });
        std::fs::write(to.join(entry.file_name().unwrap()), lines.collect::<String>()).unwrap();
        std::fs::write(to.join(&url), &bytes).unwrap();
    }
    std::fs::write(to.join("nix-cache-info"), "StoreDir: /nix/store\n").unwrap();
    Some(())
}

/// Stores that are files and directories.
fn files(judge: &mut Judge<'_>) {
    let (demo, dir) = (judge.demo, judge.dir);
    judge.check("directory", &demo.at("root"), &[]);
    judge.check("registration", &demo.at("root/registration"), &["--store-dir", &demo.at("root")]);
    for kind in ["none", "xz", "zstd", "bzip2"] {
        judge.check(kind, &format!("file://{}", demo.at(&format!("cache-{kind}"))), &[]);
    }
    for kind in ["gzip", "lz4", "br"] {
        let cache = dir.join(format!("cache-{kind}"));
        if packed(demo, kind, &cache).is_some() {
            judge.check(kind, &format!("file://{}", cache.display()), &[]);
        }
    }
    let export = dir.join("export");
    std::fs::write(&export, stream(&records(demo))).unwrap();
    judge.check("export of a file", &format!("export:{}", export.display()), &[]);
    let pipe = std::fs::File::open(&export).unwrap();
    let mut cat = Command::new("cat").stdin(pipe).stdout(Stdio::piped()).spawn().unwrap();
    let done = run(judge.command("export:-").stdin(cat.stdout.take().unwrap()));
    assert!(cat.wait().unwrap().success());
    judge.judge("export through a pipe", &done);
}

/// A cache behind nginx, without listings and with them.
fn served(judge: &mut Judge<'_>) {
    let (demo, dir) = (judge.demo, judge.dir);
    for (kind, with_listings) in [("http", false), ("http with listings", true)] {
        let root = dir.join(kind);
        let copied = run(Command::new("cp").args(["-a", &demo.at("cache-zstd")]).arg(&root));
        assert_eq!(copied.code, 0, "{}", copied.err);
        if with_listings {
            add_listings(&root);
        }
        let location = format!("location / {{ root \"{}\"; }}", root.display());
        let Some(server) = Nginx::serve(&dir.join(format!("nginx-{with_listings}")), "", &location) else {
            return;
        };
        let address = format!("http://127.0.0.1:{}", server.port);
        judge.check(kind, &address, &["--no-check-sigs"]);
        assert_eq!(server.log().contains(".ls HTTP/1.1\" 200"), with_listings);
    }
}

/// Real daemons of each Nix that is here.
fn daemons(judge: &mut Judge<'_>) {
    let (demo, dir) = (judge.demo, judge.dir);
    let sshd = Sshd::start(dir);
    for (at, directory) in nixes().iter().enumerate() {
        let root = copied(demo, &dir.join(format!("root{at}")));
        let socket = dir.join(format!("s{at}"));
        listen(directory, &root, &socket);
        judge.check("unix://", &format!("unix://{}", socket.display()), &[]);
        if let Some(sshd) = &sshd {
            let program = directory.join("nix-daemon");
            let settings = format!("remote-store={root}&remote-program={}&trusted=true", program.display());
            let done = run(judge.command(&sshd.address(&settings)).env("NIX_SSHOPTS", sshd.options()));
            judge.judge("ssh-ng://", &done);
        }
        let mut list = nix(directory, "nix");
        let done = run(list.args(["path-info", "--json", "-r", "--store", &root, &demo.top]));
        assert_eq!(done.code, 0, "{}", done.err);
        let json = dir.join(format!("{at}.json"));
        std::fs::write(&json, done.out).unwrap();
        judge.check("path-info", json.to_str().unwrap(), &["--store-dir", &root]);
        own(judge, directory, &root);
    }
}

/// Runs a command where the store is that of the machine, beside a daemon of its own.
const OWN: &str = r#"
mount --bind "$1/nix" /nix || exit 77
rm -f /nix/var/nix/daemon-socket/socket
"$2/nix-daemon" &
daemon=$!
trap 'kill $daemon' EXIT
for n in $(seq 100); do [ -S /nix/var/nix/daemon-socket/socket ] && break; sleep 0.05; done
shift 2
"$@"
"#;

/// The machine's own store: by its database, and by its daemon.
fn own(judge: &mut Judge<'_>, directory: &Path, root: &str) {
    if !is_root() || !Path::new("/nix").is_dir() {
        skip("no /nix that could be mounted over");
        return;
    }
    for (kind, store) in [("auto", "auto"), ("daemon", "daemon")] {
        let inner = judge.command(store);
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", OWN, "sh", root]).arg(directory);
        command.arg(inner.get_program()).args(inner.get_args());
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("NIX_CONFIG", "build-users-group =").env_remove("NIX_REMOTE");
        let done = run(&mut command);
        if done.code == 77 {
            skip(&format!("nothing can be mounted: {}", done.err));
            return;
        }
        judge.judge(kind, &done);
    }
}

#[test]
fn every_source_of_one_closure_gives_the_same_image() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let image = dir.path().join("expected.img");
    assert_eq!(run(&mut demo.compose("rpi4", &demo.at("root"), &image)).code, 0);
    let expected = sha256(&image);
    let mut judge = Judge { demo, dir: dir.path(), expected, kinds: BTreeSet::new() };
    files(&mut judge);
    served(&mut judge);
    daemons(&mut judge);
    println!("the same image out of: {:?}", judge.kinds);
    assert!(judge.kinds.len() >= 10, "{:?}", judge.kinds);
}
