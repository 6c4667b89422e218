//! The configuration on a card is the one that was given: judged by git and debugfs, on systems of every kind.

use crate::common::{Run, Tool, cut, nixflash, partitions, run, sha256, temp};
use serde_json::Value;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const SYSTEM: &str = "nixos-system-demo-25.11.demo";

/// A demo system with files added to it: `NAME:FILE=TEXT`.
struct Demo {
    dir: tempfile::TempDir,
    top: String,
}

fn demo(added: &[&str]) -> Option<Demo> {
    demo_with(added, &[])
}

fn demo_with(added: &[&str], options: &[&str]) -> Option<Demo> {
    let dir = temp();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/make-demo");
    let root = dir.path().join("root").display().to_string();
    let mut arguments = [&[script, "--root", &root][..], options].concat();
    arguments.extend(added.iter().flat_map(|file| ["--add", file]));
    let top = Tool::find("python3")?.passes(&arguments).trim().to_owned();
    Some(Demo { dir, top })
}

impl Demo {
    fn command(&self, output: &Path) -> Command {
        self.command_for("rpi4", output)
    }

    fn command_for(&self, board: &str, output: &Path) -> Command {
        let mut command = nixflash();
        command.args(["compose", board, "--system", &self.top, "--progress", "none", "--store"]);
        command.arg(self.dir.path().join("root")).arg("-o").arg(output);
        command
    }

    fn compose(&self, options: &[&str]) -> (Run, PathBuf) {
        let output = self.dir.path().join("card.img");
        let done = run(self.command(&output).args(options).arg("--force"));
        (done, output)
    }
}

fn write(root: &Path, file: &str, text: &str) {
    let path = root.join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// A repository such as people have: a flake, machines, a script, a symlink, what is ignored and what is not added.
struct Repository {
    git: Tool,
    dir: tempfile::TempDir,
}

impl Repository {
    fn new() -> Option<Self> {
        let repository = Self { git: Tool::find("git")?, dir: temp() };
        let root = repository.dir.path();
        write(root, "flake.nix", "{ outputs = _: { }; }\n");
        write(root, "flake.lock", "{ \"version\": 7 }\n");
        write(root, "configuration.nix", "{ imports = [ ./hosts/pi/default.nix ]; }\n");
        write(root, "hosts/pi/default.nix", "{ }\n");
        write(root, "hosts/pi/n\u{e4}me with \"blanks\".nix", "{ }\r\n");
        write(root, "bin/deploy", "#!/bin/sh\n");
        write(root, "empty", "");
        write(root, ".gitignore", "result\n*.log\n");
        write(root, "build.log", "ignored\n");
        std::fs::set_permissions(root.join("bin/deploy"), PermissionsExt::from_mode(0o755)).unwrap();
        symlink("../hosts/pi", root.join("bin/pi")).unwrap();
        symlink("/nix/store/x", root.join("result")).unwrap();
        repository.run(&["init", "-q", "-b", "main"]);
        repository.run(&["add", "."]);
        repository.commit();
        Some(repository)
    }

    fn run(&self, arguments: &[&str]) -> String {
        let root = self.dir.path().to_str().unwrap();
        let who = ["-c", "user.name=x", "-c", "user.email=x@x", "-c", "commit.gpgsign=false"];
        self.git.passes(&[&["-C", root], &who[..], arguments].concat())
    }

    fn commit(&self) {
        self.run(&["commit", "-q", "-m", "x", "--date", "2001-02-03T04:05:06Z"]);
    }

    fn head(&self) -> String {
        self.run(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    fn path(&self) -> &str {
        self.dir.path().to_str().unwrap()
    }
}

/// The root of an image, cut out of it.
fn root_of(image: &Path) -> Option<PathBuf> {
    let root = image.with_extension("root");
    cut(image, *partitions(image)?.last().unwrap(), &root);
    Some(root)
}

/// What debugfs takes out of the root: the directory `path`, at `to`.
fn extract(image: &Path, path: &str, to: &Path) -> Option<()> {
    let root = root_of(image)?;
    Tool::find("debugfs")?.passes(&["-R", &format!("rdump {path} {}", to.display()), root.to_str().unwrap()]);
    Some(())
}

/// The line in which debugfs says mode and owner of a path; empty where there is nothing.
fn stat(image: &Path, path: &str) -> Option<String> {
    let root = root_of(image)?;
    let text = Tool::find("debugfs")?.passes(&["-R", &format!("stat {path}"), root.to_str().unwrap()]);
    let words: Vec<&str> = text.split_whitespace().collect();
    let after = |word: &str| words.iter().position(|w| *w == word).map_or("", |at| words[at + 1]);
    let mode = after("Mode:");
    Some(if mode.is_empty() {
        String::new()
    } else {
        format!("{mode} {}:{}", after("User:"), after("Group:"))
    })
}

fn manifest(image: &Path) -> Option<Value> {
    let root = root_of(image)?;
    let to = image.with_extension("json");
    let dump = format!("dump /nix/var/nixflash/manifest.json {}", to.display());
    Tool::find("debugfs")?.passes(&["-R", &dump, root.to_str().unwrap()]);
    Some(serde_json::from_slice(&std::fs::read(to).unwrap()).unwrap())
}

#[test]
fn the_tree_on_the_card_is_that_of_git_byte_for_byte() {
    let (Some(demo), Some(repository)) = (demo(&[]), Repository::new()) else { return };
    write(repository.dir.path(), "not-added.nix", "{ }\n");
    let (done, image) = demo.compose(&["--config", repository.path(), "--require-clean"]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.err.contains("not tracked by git and so not embedded: not-added.nix"), "{}", done.err);
    let out = temp();
    let Some(()) = extract(&image, "/etc/nixos", out.path()) else { return };
    let tree = out.path().join("nixos");
    // Git itself compares contents, symlinks and executable bits with the commit.
    let git_dir = repository.dir.path().join(".git");
    let status = repository.git.passes(&[
        "--git-dir",
        git_dir.to_str().unwrap(),
        "--work-tree",
        tree.to_str().unwrap(),
        "status",
        "--porcelain",
        "--ignored",
    ]);
    assert_eq!(status, "");
    assert!(!tree.join(".git").exists() && !tree.join("result").exists());
    let placed = &manifest(&image).unwrap()["configuration"];
    assert_eq!((&placed["path"], &placed["files"]), (&"/etc/nixos".into(), &9.into()));
    assert_eq!((&placed["revision"], &placed["dirty"]), (&repository.head().into(), &false.into()));
    assert_eq!(manifest(&image).unwrap()["revision"], repository.head());
    if let Some(nix) = Tool::find("nix-hash") {
        let hash = nix.passes(&["--type", "sha256", "--base32", tree.to_str().unwrap()]);
        assert_eq!(placed["narHash"], format!("sha256:{}", hash.trim()));
    }
    for (path, expected) in [
        ("/etc/nixos", "0755 0:0"),
        ("/etc/nixos/hosts/pi", "0755 0:0"),
        ("/etc/nixos/flake.nix", "0644 0:0"),
        ("/etc/nixos/bin/deploy", "0755 0:0"),
    ] {
        assert_eq!(stat(&image, path).unwrap(), expected, "{path}");
    }
    let (done, image) = demo.compose(&["--config", repository.path(), "--config-private"]);
    assert_eq!(done.code, 0, "{}", done.err);
    for (path, expected) in [
        ("/etc/nixos", "0700 0:0"),
        ("/etc/nixos/hosts/pi", "0700 0:0"),
        ("/etc/nixos/flake.nix", "0600 0:0"),
        ("/etc/nixos/bin/deploy", "0700 0:0"),
    ] {
        assert_eq!(stat(&image, path).unwrap(), expected, "{path}");
    }
}

#[test]
fn the_same_commit_gives_the_same_bits_wherever_and_however_it_was_checked_out() {
    let (Some(demo), Some(repository)) = (demo(&[]), Repository::new()) else { return };
    let (done, image) = demo.compose(&["--config", repository.path()]);
    assert_eq!(done.code, 0, "{}", done.err);
    let expected = sha256(&image);
    let other = temp();
    let clone = other.path().join("a clone");
    let script = "umask 077; git clone -q --no-local \"$1\" \"$2\" && touch -d 2003-04-05 \"$2\"/*";
    let cloned = Command::new("sh")
        .args(["-c", script, "sh", repository.path(), clone.to_str().unwrap()])
        .status()
        .unwrap();
    assert!(cloned.success());
    let mode = clone.join("flake.nix").metadata().unwrap().mode() & 0o777;
    assert_eq!(mode, 0o600, "the umask has its effect");
    write(&clone, "untracked", "x");
    let output = demo.dir.path().join("other.img");
    let mut command = demo.command(&output);
    command.arg("--config").arg(&clone).env("TZ", "Asia/Tokyo").env("GIT_DIR", "/nowhere");
    let done = run(&mut command);
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!(sha256(&output), expected);
    // And one byte in it makes a difference.
    write(&clone, "empty", "x");
    let done = run(command.arg("--force"));
    assert_eq!(done.code, 0, "{}", done.err);
    assert_ne!(sha256(&output), expected);
}

#[test]
fn changes_that_are_not_committed_are_said_recorded_and_refused_on_request() {
    let (Some(demo), Some(repository)) = (demo(&[]), Repository::new()) else { return };
    write(repository.dir.path(), "flake.nix", "{ outputs = _: { changed = 1; }; }\n");
    write(repository.dir.path(), "new.nix", "{ }\n");
    repository.run(&["add", "--intent-to-add", "new.nix"]);
    std::fs::remove_file(repository.dir.path().join("empty")).unwrap();
    let (done, image) = demo.compose(&["--config", repository.path()]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.err.contains("changes that are not committed"), "{}", done.err);
    let Some(said) = manifest(&image) else { return };
    assert_eq!(said["configuration"]["dirty"], true);
    assert_eq!(said["revision"], format!("{}-dirty", repository.head()));
    let out = temp();
    let Some(()) = extract(&image, "/etc/nixos", out.path()) else { return };
    let text = std::fs::read_to_string(out.path().join("nixos/flake.nix")).unwrap();
    assert!(text.contains("changed"), "the working tree counts, as for a flake");
    assert!(out.path().join("nixos/new.nix").exists() && !out.path().join("nixos/empty").exists());
    std::fs::remove_file(&image).unwrap();
    let (done, image) = demo.compose(&["--config", repository.path(), "--require-clean"]);
    assert_eq!((done.code, image.exists()), (1, false), "{}", done.err);
    let (done, _) = demo.compose(&["--config", repository.path(), "--revision", "v1.2"]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!(manifest(&image).unwrap()["revision"], "v1.2");
}

#[test]
fn a_system_of_another_revision_is_said() {
    let Some(repository) = Repository::new() else { return };
    let of = |revision: &str| {
        demo(&[&format!(
            "system-path:bin/nixos-version=#!/bin/sh\ncat <<'EOF'\n{{\"configurationRevision\":\"{revision}\",\"nixosVersion\":\"25.11\",\"nixpkgsRevision\":\"x\"}}\nEOF\n"
        )])
    };
    for (revision, doubted) in [(repository.head(), false), ("0123abcd".to_owned(), true)] {
        let Some(demo) = of(&revision) else { return };
        let (done, image) = demo.compose(&["--config", repository.path()]);
        assert_eq!(done.code, 0, "{}", done.err);
        let words = format!(
            "warning: the system was built from the revision {revision}, the configuration that is embedded is of {}",
            repository.head()
        );
        assert_eq!(done.err.contains(&words), doubted, "{}", done.err);
        assert_eq!(manifest(&image).unwrap()["configurationRevision"], revision);
        let (done, image) = demo.compose(&[]);
        assert_eq!(done.code, 0, "{}", done.err);
        assert_eq!(manifest(&image).unwrap()["revision"], revision, "of the system where none is embedded");
    }
}

#[test]
fn a_system_with_an_overlay_on_etc_has_it_where_the_overlay_looks() {
    let Some(repository) = Repository::new() else { return };
    let overlay = format!("{SYSTEM}:etc-metadata-image=x");
    let mutable = format!("{SYSTEM}:activate=mount -o redirect_dir=on,metacopy=on,upperdir=/.rw-etc/upper");
    let fixed = format!("{SYSTEM}:activate=mount -o redirect_dir=on,metacopy=on,ro");
    for (added, place) in [
        (&[&overlay[..]][..], "/.rw-etc/upper/nixos"),
        (&[&overlay, &mutable], "/.rw-etc/upper/nixos"),
        (&[&overlay, &fixed], "/nix/var/nixflash/nixos"),
    ] {
        let Some(demo) = demo(added) else { return };
        let (done, image) = demo.compose(&["--config", repository.path()]);
        assert_eq!(done.code, 0, "{}", done.err);
        let Some(said) = manifest(&image) else { return };
        assert_eq!(said["configuration"]["path"], place);
        let out = temp();
        let Some(()) = extract(&image, place, out.path()) else { return };
        let text = std::fs::read_to_string(out.path().join("nixos/flake.nix")).unwrap();
        assert_eq!(text, "{ outputs = _: { }; }\n");
        let parent = place.rsplit_once('/').unwrap().0;
        assert_eq!(stat(&image, parent).unwrap(), "0755 0:0");
        let (done, report) = verify(&image);
        assert_eq!((done.code, &report["verdict"]), (0, &"intact".into()), "{place}: {}", done.err);
        let taken = temp();
        let to = taken.path().join("config");
        let done = run(nixflash().arg("inspect").arg(&image).arg("--extract-config").arg(&to));
        assert_eq!(done.code, 0, "{place}: {}", done.err);
        assert!(to.join("flake.nix").exists(), "{place}");
    }
}

#[test]
fn a_system_whose_root_is_in_memory_has_it_below_nix() {
    let mounts =
        "tmpfs / tmpfs mode=755\nLABEL=nix /nix ext4 defaults\n/dev/disk/by-label/BOOT /boot vfat defaults\n";
    let (Some(demo), Some(repository)) = (demo_with(&[], &["--fstab", mounts]), Repository::new()) else {
        return;
    };
    let image = demo.dir.path().join("card.img");
    let done = run(demo.command_for("uefi-aarch64", &image).args(["--config", repository.path()]));
    assert_eq!(done.code, 0, "{}", done.err);
    let out = temp();
    // What is /nix/var on the machine is /var on its ext4.
    let Some(()) = extract(&image, "/var/nixflash", out.path()) else { return };
    let text = std::fs::read_to_string(out.path().join("nixflash/nixos/flake.nix")).unwrap();
    assert_eq!(text, "{ outputs = _: { }; }\n");
    let said = std::fs::read(out.path().join("nixflash/manifest.json")).unwrap();
    let said: Value = serde_json::from_slice(&said).unwrap();
    assert_eq!(said["configuration"]["path"], "/nix/var/nixflash/nixos");
    // Whoever looks at the card finds all of it where that system has it.
    let (done, report) = verify(&image);
    assert_eq!(
        (done.code, &report["verdict"], &report["storePaths"]),
        (0, &"intact".into(), &10.into()),
        "{}",
        done.err
    );
    let done = run(nixflash().arg("inspect").arg(&image).arg("--json"));
    let report: Value = serde_json::from_slice(&done.out).unwrap();
    assert_eq!((done.code, &report["problems"]), (0, &serde_json::json!([])), "{}", done.err);
    assert_eq!(
        (&report["nixos"]["toplevel"], &report["nixos"]["partition"]),
        (&demo.top.clone().into(), &2.into())
    );
    assert_eq!(report["nixos"]["configurationPath"], "/nix/var/nixflash/nixos");
    assert_eq!(
        (&report["nixos"]["storePaths"], &report["provenance"]["board"]),
        (&10.into(), &"uefi-aarch64".into())
    );
    let taken = out.path().join("taken");
    let done = run(nixflash().arg("inspect").arg(&image).arg("--extract-config").arg(&taken));
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!(std::fs::read_to_string(taken.join("flake.nix")).unwrap(), text);
    let done = run(nixflash().arg("reproduce").arg(&image).arg("--store").arg(demo.dir.path().join("root")));
    assert_eq!(done.code, 0, "{}", done.err);
    let other = demo.dir.path().join("other.img");
    assert_eq!(run(demo.command_for("uefi-aarch64", &other).arg("--no-config")).code, 0);
    let done = run(nixflash().arg("diff").arg(&image).arg(&other));
    assert_eq!(done.code, 3, "{}", done.err);
    let said = String::from_utf8_lossy(&done.out).into_owned();
    assert!(said.contains("~ configuration /nix/var/nixflash/nixos/flake.nix: SHA-256 "), "{said}");
    // A byte of the store, and of the configuration.
    for (path, expected) in [
        (format!("{}/nixos-version", demo.top), format!("{}: its contents are not those", demo.top)),
        (
            "/nix/var/nixflash/nixos/flake.nix".to_owned(),
            "/nix/var/nixflash/nixos/flake.nix: it is not what was embedded".to_owned(),
        ),
    ] {
        flip(&image, path.strip_prefix("/nix").unwrap());
        let (done, report) = verify(&image);
        assert_eq!((done.code, &report["verdict"]), (3, &"damaged".into()), "{}", done.err);
        assert!(done.err.contains(&expected), "{expected}: {}", done.err);
    }
}

fn verify(image: &Path) -> (Run, Value) {
    let done = run(nixflash().arg("verify").arg(image).arg("--json"));
    let report = serde_json::from_slice(&done.out).unwrap_or_default();
    (done, report)
}

/// Has debugfs do something to the root of an image.
fn fs(image: &Path, request: &str) -> String {
    let (start, _) = *partitions(image).unwrap().last().unwrap();
    let at = format!("{}?offset={start}", image.display());
    let said = Tool::find("debugfs").unwrap().passes(&["-w", "-R", request, &at]);
    assert!(!said.contains("not found"), "{request}: {said}");
    said
}

/// Changes the first byte of a file of the root.
fn flip(image: &Path, path: &str) {
    use std::os::unix::fs::FileExt;
    let said = fs(image, &format!("blocks {path}"));
    let block: u64 = said.lines().find_map(|line| line.split_whitespace().next()?.parse().ok()).unwrap();
    let at = partitions(image).unwrap().last().unwrap().0 + block * 4096;
    let file = std::fs::File::options().read(true).write(true).open(image).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

#[test]
fn what_is_done_to_the_configuration_is_told_by_path_as_damage_or_as_a_change() {
    let (Some(demo), Some(repository)) = (demo(&[]), Repository::new()) else { return };
    let (Some(_), Some(_)) = (Tool::find("debugfs"), Tool::find("sfdisk")) else { return };
    let (done, base) = demo.compose(&["--config", repository.path()]);
    assert_eq!(done.code, 0, "{}", done.err);
    let (done, report) = verify(&base);
    assert_eq!((done.code, &report["verdict"]), (0, &"intact".into()), "{}", done.err);
    let image = demo.dir.path().join("other.img");
    type Edit = fn(&Path);
    let edits: [(Edit, &str); 12] = [
        (
            |image| flip(image, "/etc/nixos/configuration.nix"),
            "/etc/nixos/configuration.nix: it is not what was embedded",
        ),
        (
            |image| drop(fs(image, "symlink /etc/nixos/more x")),
            "/etc/nixos/more: it was added to the configuration",
        ),
        (
            |image| drop(fs(image, "mkdir /etc/nixos/void")),
            "/etc/nixos/void: it is a directory that was not embedded",
        ),
        (
            |image| drop(fs(image, "rm /etc/nixos/hosts/pi/default.nix")),
            "/etc/nixos/hosts/pi/default.nix: it is missing",
        ),
        (
            |image| drop(fs(image, "sif /etc/nixos/empty mode 0100755")),
            "/etc/nixos/empty: it is executable, and was embedded as a file that is not",
        ),
        (
            |image| drop(fs(image, "sif /etc/nixos/flake.nix mode 0100666")),
            "/etc/nixos/flake.nix: its mode is 0666",
        ),
        (|image| drop(fs(image, "sif /etc/nixos mode 040777")), "/etc/nixos: its mode is 0777"),
        (
            |image| drop(fs(image, "sif /etc/nixos/flake.nix uid 1000")),
            "/etc/nixos/flake.nix: it is owned by 1000:0",
        ),
        (
            |image| {
                fs(image, "rm /etc/nixos/bin/pi");
                fs(image, "symlink /etc/nixos/bin/pi ../hosts");
            },
            "/etc/nixos/bin/pi: it is not what was embedded",
        ),
        (
            |image| {
                fs(image, "rm /etc/nixos/empty");
                fs(image, "symlink /etc/nixos/empty flake.nix");
            },
            "/etc/nixos/empty: it is a symlink, and was embedded as a file",
        ),
        (
            |image| drop(fs(image, "unlink /etc/nixos")),
            "/etc/nixos: the configuration that was embedded is gone",
        ),
        (
            |image| {
                fs(image, "unlink /etc/nixos");
                fs(image, "symlink /etc/nixos /tmp");
            },
            "/etc/nixos: it is no directory any more",
        ),
    ];
    for (edit, expected) in edits {
        for is_used in [false, true] {
            std::fs::copy(&base, &image).unwrap();
            if is_used {
                fs(&image, "set_super_value mnt_count 2");
            }
            edit(&image);
            let (done, report) = verify(&image);
            let verdict = if is_used { (0, "intact, changed since") } else { (3, "damaged") };
            assert_eq!((done.code, report["verdict"].as_str().unwrap()), verdict, "{expected}: {}", done.err);
            assert!(done.err.contains(expected), "{expected}: {}", done.err);
        }
    }
    // A private one is listed nowhere, since digests would help to guess it; that it differs is told.
    let (done, private) = demo.compose(&["--config", repository.path(), "--config-private"]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!(verify(&private).0.code, 0);
    let said = manifest(&private).unwrap();
    assert!(said["configuration"]["list"].is_null(), "{said:#}");
    flip(&private, "/etc/nixos/configuration.nix");
    let (done, report) = verify(&private);
    assert_eq!((done.code, &report["verdict"]), (3, &"damaged".into()), "{}", done.err);
    assert!(done.err.contains("/etc/nixos: it is not the configuration that was embedded"), "{}", done.err);
}

#[test]
fn a_system_that_manages_etc_nixos_itself_is_respected() {
    let (Some(demo), Some(repository)) = (demo(&["etc:etc/nixos/x=y"]), Repository::new()) else { return };
    let (done, image) = demo.compose(&["--config", repository.path()]);
    assert_eq!((done.code, image.exists()), (1, false));
    assert!(done.err.contains("has an etc/nixos of its own"), "{}", done.err);
    let (done, _) = demo.compose(&[]);
    assert_eq!(done.code, 0, "{}", done.err);
}

#[test]
fn what_the_system_carries_is_taken_unless_it_holds_a_secret() {
    let harmless = format!("{SYSTEM}:configuration.nix={{ }}");
    let secret = format!("{SYSTEM}:configuration.nix={{\n  x.password = \"value-one\";\n}}");
    for (added, options, expected) in
        [(&harmless, &[][..], Some(1)), (&harmless, &["--no-config"], None), (&secret, &[], None)]
    {
        let Some(demo) = demo(&[added]) else { return };
        let (done, image) = demo.compose(options);
        assert_eq!(done.code, 0, "{}", done.err);
        let Some(said) = manifest(&image) else { return };
        assert_eq!(said["configuration"]["files"].as_u64(), expected, "{added}");
        assert_eq!(
            done.err.contains("configuration.nix:2: a password"),
            added.contains("value"),
            "{}",
            done.err
        );
        assert!(!done.err.contains("value-one"));
    }
}

#[test]
fn the_flake_that_the_registry_names_with_the_revision_of_the_system_is_taken() {
    let version =
        "system-path:bin/nixos-version={\"configurationRevision\":\"abc123\",\"nixosVersion\":\"25.11\"}";
    let flakes = |rev: &str| {
        let entry =
            |path: &str| format!("{{\"to\":{{\"type\":\"path\",\"rev\":\"{rev}\",\"path\":\"{path}\"}}}}");
        format!("etc:etc/nix/registry.json={{\"flakes\":[{}]}}", entry("@path@"))
    };
    let added = ["bash-5.3p3:flake.nix={ }", "bash-5.3p3:hosts/pi.nix={ }"];
    let Some(first) = demo(&added) else { return };
    let store = first.dir.path().join("root/nix/store");
    let names =
        std::fs::read_dir(store).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: Vec<String> = names.collect();
    let of = |name: &str| format!("/nix/store/{}", names.iter().find(|path| path.ends_with(name)).unwrap());
    for (rev, path, files) in [
        ("abc123", of("bash-5.3p3"), Some(4)),
        ("other", of("bash-5.3p3"), None),
        ("abc123", of("glibc-2.40-66"), None),
        ("abc123", "/nix/store/00000000000000000000000000000000-source".to_owned(), None),
    ] {
        let registry = flakes(rev).replace("@path@", &path);
        let Some(demo) = demo(&[&added[..], &[version, &registry]].concat()) else { return };
        let (done, image) = demo.compose(&[]);
        assert_eq!(done.code, 0, "{}", done.err);
        let Some(said) = manifest(&image) else { return };
        assert_eq!(said["configuration"]["files"].as_u64(), files, "{rev} {path}");
        if files.is_some() {
            assert_eq!(said["revision"], "abc123");
            assert_eq!(stat(&image, "/etc/nixos/hosts/pi.nix").unwrap(), "0644 0:0");
            assert_eq!(stat(&image, "/etc/nixos/bin/bash").unwrap(), "0755 0:0");
        }
    }
}

#[test]
fn files_and_directories_without_git_are_taken_as_they_are() {
    let Some(demo) = demo(&[]) else { return };
    let dir = temp();
    write(dir.path(), "pi.nix", "{ one = 1; }\n");
    write(dir.path(), "sub/x.nix", "{ }\n");
    write(dir.path(), ".direnv/profile", "x");
    write(dir.path(), ".env", "TOKEN=value-one\n");
    write(dir.path(), "x.nix~", "x");
    symlink("sub/x.nix", dir.path().join("here.nix")).unwrap();
    symlink("/nix/store/abc", dir.path().join("result")).unwrap();
    let (done, image) = demo.compose(&["--config", dir.path().join("pi.nix").to_str().unwrap()]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.err.contains("pi.nix goes onto the card as configuration.nix"), "{}", done.err);
    let out = temp();
    let Some(()) = extract(&image, "/etc/nixos", out.path()) else { return };
    let names = |directory: &Path| {
        let entries = std::fs::read_dir(directory).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&out.path().join("nixos")), ["configuration.nix"]);
    let (done, image) = demo.compose(&["--config", dir.path().to_str().unwrap()]);
    assert_eq!(done.code, 0, "{}", done.err);
    let out = temp();
    let Some(()) = extract(&image, "/etc/nixos", out.path()) else { return };
    assert_eq!(names(&out.path().join("nixos")), ["here.nix", "pi.nix", "sub"]);
    for left_out in ["result", ".direnv", "x.nix~", ".env: a file of environment variables"] {
        assert!(done.err.contains(&format!("left out: {left_out}\n")), "{}", done.err);
    }
    let (done, _) = demo.compose(&["--config", dir.path().to_str().unwrap(), "--require-clean"]);
    assert_eq!(done.code, 1, "{}", done.err);
}

#[test]
fn what_cannot_be_embedded_is_refused_by_name() {
    let Some(demo) = demo(&[]) else { return };
    type Case<'a> = (&'a dyn Fn(&Path), &'a str);
    let cases: [Case<'_>; 5] = [
        (
            &|root| symlink("/etc/passwd", root.join("out.nix")).unwrap(),
            "out.nix is a symlink to /etc/passwd",
        ),
        (&|root| symlink("sub/../../x", root.join("up.nix")).unwrap(), "up.nix is a symlink to sub/../../x"),
        (
            // Each is inside by its words alone.
            &|root| {
                std::fs::create_dir_all(root.join("a/b")).unwrap();
                symlink("../..", root.join("a/b/top")).unwrap();
                symlink("top/..", root.join("a/b/out")).unwrap();
            },
            "a/b/out is a symlink to top/..",
        ),
        (&|root| symlink("loop", root.join("loop")).unwrap(), "loop is a symlink to loop"),
        (
            &|root| {
                let file = std::fs::File::create(root.join("large")).unwrap();
                file.set_len(65 << 20).unwrap();
            },
            "more than 64 MiB",
        ),
    ];
    for (make, expected) in cases {
        let dir = temp();
        make(dir.path());
        let (done, image) = demo.compose(&["--config", dir.path().to_str().unwrap()]);
        assert_eq!((done.code, image.exists()), (1, false), "{expected}: {}", done.err);
        assert!(done.err.contains(expected), "{expected}: {}", done.err);
    }
    let (done, _) = demo.compose(&["--config", "/nowhere/at/all"]);
    assert_eq!(done.code, 1, "{}", done.err);
    let Some(repository) = Repository::new() else { return };
    let sub = repository.dir.path().join("empty-dir");
    std::fs::create_dir(&sub).unwrap();
    let (done, _) = demo.compose(&["--config", sub.to_str().unwrap()]);
    assert_eq!(done.code, 1);
    assert!(done.err.contains("is tracked by the git repository"), "{}", done.err);
}

#[test]
fn submodules_are_named_and_left_out() {
    let (Some(demo), Some(repository), Some(inner)) = (demo(&[]), Repository::new(), Repository::new())
    else {
        return;
    };
    repository.run(&[
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        inner.path(),
        "vendor/inner",
    ]);
    repository.commit();
    let (done, image) = demo.compose(&["--config", repository.path()]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.err.contains("the submodule vendor/inner is not embedded"), "{}", done.err);
    assert_eq!(stat(&image, "/etc/nixos/vendor").unwrap(), "");
    assert_eq!(stat(&image, "/etc/nixos/.gitmodules").unwrap(), "0644 0:0");
}

#[test]
fn a_card_with_a_configuration_is_composed_again_out_of_itself() {
    let (Some(demo), Some(repository)) = (demo(&[]), Repository::new()) else { return };
    let (Some(_), Some(minisign)) = (Tool::find("debugfs"), Tool::find("minisign")) else { return };
    let (key, store) = (demo.dir.path().join("key.sec"), demo.dir.path().join("root"));
    let public = demo.dir.path().join("key.pub");
    minisign.passes(&["-G", "-f", "-W", "-p", public.to_str().unwrap(), "-s", key.to_str().unwrap()]);
    let reproduce = |image: &Path| {
        let done = run(nixflash().arg("reproduce").arg(image).arg("--json").arg("--store").arg(&store));
        let report: Value = serde_json::from_slice(&done.out).unwrap_or_default();
        (done, report)
    };
    let key = key.to_str().unwrap();
    for options in
        [&[][..], &["--sign-key", key], &["--config-private", "--revision", "v1"], &["--id-seed", "x"]]
    {
        let (done, image) = demo.compose(&[&["--config", repository.path()], options].concat());
        assert_eq!(done.code, 0, "{}", done.err);
        let (done, report) = reproduce(&image);
        assert_eq!((done.code, &report["identical"]), (0, &true.into()), "{options:?}: {}", done.err);
        let is_signed = options.contains(&key);
        assert_eq!(report["signature"].is_string(), is_signed, "{report:#}");
        assert_eq!(done.err.contains("only the key could make it again"), is_signed, "{}", done.err);
    }
    // What is not the configuration of the manifest composes nothing.
    let (_, image) = demo.compose(&["--config", repository.path()]);
    flip(&image, "/etc/nixos/configuration.nix");
    let (done, _) = reproduce(&image);
    assert_eq!(done.code, 3, "{}", done.err);
    assert!(done.err.contains("the configuration on it is not the one that was embedded"), "{}", done.err);
    assert!(done.err.contains("`nixflash verify` names the files"), "{}", done.err);
}
