//! Flakes as `--system`: what Nix is asked, what becomes of its answer. A script plays Nix; real Nix judges.

use crate::common::{Run, Tool, demo, is_root, nixflash, run, skip, temp};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A directory with a `nix` that records its arguments and then does as told.
fn fake(script: &str) -> tempfile::TempDir {
    let dir = temp();
    let file = dir.path().join("nix");
    let log = dir.path().join("asked");
    std::fs::write(&file, format!("#!/bin/sh\necho \"$PWD: $*\" >> {}\n{script}\n", log.display())).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    dir
}

/// What `nix build --json` prints.
fn json(path: &str) -> String {
    format!(r#"[{{"drvPath":"/nix/store/x.drv","outputs":{{"out":"{path}"}}}}]"#)
}

fn asked(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("asked")).unwrap_or_default()
}

/// Composes a flake with a `nix` of our own first in the path.
fn compose(bin: &Path, output: &Path, arguments: &[&str]) -> Command {
    let mut command = nixflash();
    command.args(["compose", "rpi4", "--force", "-o"]).arg(output).args(arguments);
    command.env("PATH", format!("{}:/usr/bin:/bin", bin.display())).env_remove("SUDO_UID");
    command
}

#[test]
fn nix_builds_a_flake_for_the_machines_own_store_and_its_messages_are_shown() {
    let top = "/nix/store/3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-nixos-system-pi";
    let bin = fake(&format!("echo 'building the pi' >&2; echo '{}'", json(top)));
    let words = "build --no-link --json .#nixosConfigurations.pi.config.system.build.toplevel";
    for stores in [&[][..], &["--store", "auto"], &["--store", "https://127.0.0.1:9", "--store", "auto"]] {
        let arguments = [&["--system", ".#pi"], stores].concat();
        let done = run(compose(bin.path(), &bin.path().join("a.img"), &arguments).current_dir(bin.path()));
        // This system is in no store; what counts is that Nix was asked to put it into one.
        assert!(done.code != 0 && done.err.contains("building the pi\n"), "{}", done.err);
        assert!(!done.err.contains("nix says why above"), "{}", done.err);
        let line = asked(bin.path());
        assert!(
            line.contains(&format!("--extra-experimental-features nix-command flakes {words}")),
            "{line}"
        );
        std::fs::remove_file(bin.path().join("asked")).unwrap();
        let arguments = [&arguments[..], &["--no-build"]].concat();
        run(compose(bin.path(), &bin.path().join("a.img"), &arguments).current_dir(bin.path()));
        assert!(asked(bin.path()).contains(" eval --raw "), "{}", asked(bin.path()));
        std::fs::remove_file(bin.path().join("asked")).unwrap();
    }
}

#[test]
fn with_other_stores_a_flake_is_only_evaluated() {
    let Some(demo) = demo() else { return };
    let bin = fake(&format!("echo evaluating >&2; printf %s {}", demo.top));
    let image = bin.path().join("a.img");
    let root = demo.at("root");
    let done =
        run(compose(bin.path(), &image, &["--system", "#pi", "--store", &root]).current_dir(bin.path()));
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(image.exists());
    let wanted = "nix eval --raw .#nixosConfigurations.pi.config.system.build.toplevel.outPath";
    assert!(
        done.err.contains("evaluating") && done.err.contains(&format!("running: {wanted}")),
        "{}",
        done.err
    );
    let line = asked(bin.path());
    assert!(
        line.contains("eval --raw .#nixosConfigurations.pi.config.system.build.toplevel.outPath"),
        "{line}"
    );
    assert!(!line.contains("build --no-link"), "{line}");
    // What the stores lack has not been built either, and that is said.
    let bin = fake("printf %s /nix/store/3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-nixos-system-pi");
    let done =
        run(compose(bin.path(), &image, &["--system", ".#pi", "--store", &root]).current_dir(bin.path()));
    assert!(done.code == 6 && done.err.contains("only evaluated"), "{} {}", done.code, done.err);
}

#[test]
fn what_nix_cannot_do_is_explained() {
    let stop = "echo 'error: builder failed' >&2; exit 1";
    let old = "echo \"error: a 'aarch64-linux' with features {} is required to build '/nix/store/x.drv', but I am a \
               'x86_64-linux' with features {kvm}\" >&2; exit 1";
    let new = "printf 'error: Cannot build x.drv.\\n  Reason: required system or feature not available\\n' >&2; exit 1";
    let exec = "echo \"error: executing '/nix/store/x-bash/bin/bash': Exec format error\" >&2; exit 1";
    for (script, code, expected) in [
        (stop, 1, "failed (exit status: 1): nix says why above"),
        (old, 1, "three ways out"),
        (new, 1, "three ways out"),
        (exec, 1, "three ways out"),
        (r#"echo '[{"outputs":{"out":"/nix/store/a"}}]'"#, 1, "gives no store path"),
        (r#"echo '[{"outputs":{"a":"/nix/store/a","b":"/nix/store/b"}}]'"#, 2, "no path, or more than one"),
        (r#"echo '[{"outputs":{}},{"outputs":{}}]'"#, 2, "no path, or more than one"),
        ("true", 2, "no path, or more than one"),
        ("printf 'a\\033[31mb\\033[2J' >&2; exit 1", 1, "ab\\u{1b}[2J"),
        ("yes | head -c 10000000", 1, "failed (exit status: "),
    ] {
        let bin = fake(script);
        let done = run(
            compose(bin.path(), &bin.path().join("a.img"), &["--system", ".#pi"]).current_dir(bin.path())
        );
        assert!(done.code == code && done.err.contains(expected), "{script}: {} {}", done.code, done.err);
    }
    let bin = fake("exit 1");
    let command = |words: &'static str| compose(bin.path(), &bin.path().join("a.img"), &["--system", words]);
    for (words, expected) in [
        ("github:a/b", "name it: github:a/b#HOST"),
        (".#", "without a host"),
        (".", "which is not in /nix/store"),
    ] {
        let done = run(command(words).current_dir(bin.path()));
        assert!(done.code == 2 && done.err.contains(expected), "{words}: {} {}", done.code, done.err);
    }
    std::fs::write(bin.path().join("flake.nix"), "{}").unwrap();
    let done = run(command(".").current_dir(bin.path()));
    assert!(done.err.contains("it is a flake; name the host: .#HOST"), "{}", done.err);
    assert_eq!(asked(bin.path()), "", "nix is not run for any of these");
    let none = temp();
    let done = run(command(".#pi").env("PATH", none.path()));
    assert!(
        done.code == 2 && done.err.contains("there is no nix on this machine"),
        "{} {}",
        done.code,
        done.err
    );
}

#[test]
fn under_sudo_nix_is_not_run() {
    if !is_root() {
        return;
    }
    let bin = fake("exit 1");
    let mut command = compose(bin.path(), &bin.path().join("a.img"), &["--system", ".#pi"]);
    let done = run(command.env("SUDO_UID", "1000").current_dir(bin.path()));
    assert!(
        done.code == 8 && done.err.contains("build it first, as yourself: `nix build .#nixos"),
        "{}",
        done.err
    );
    assert_eq!(asked(bin.path()), "");
}

#[test]
fn a_signal_ends_nix_first_and_then_the_program() {
    let bin = fake("trap 'echo ended >&2; exit 1' TERM; echo ready >&2; while :; do sleep 0.05; done");
    let mut command = compose(bin.path(), &bin.path().join("a.img"), &["--system", ".#pi"]);
    let child =
        command.current_dir(bin.path()).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    for _ in 0..500 {
        if !asked(bin.path()).is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(300));
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(child.id().try_into().unwrap()),
        nix::sys::signal::Signal::SIGTERM,
    )
    .unwrap();
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{err}");
    assert!(err.contains("ready") && err.contains("ended") && err.contains("error: interrupted"), "{err}");
}

/// A flake whose toplevel is made by `/bin/sh`: real Nix evaluates it, without nixpkgs and without a network.
const FLAKE: &str = r#"{
  outputs = { self }:
    let
      host = system: {
        config.system.build.toplevel = derivation {
          name = "nixos-system-pi"; inherit system;
          builder = "/bin/sh"; args = [ "-c" "echo made by nix >&2; echo pi > $out; :" ];
        };
      };
    in {
      nixosConfigurations.here = host "SYSTEM";
      nixosConfigurations.there = host "mips64el-linux";
    };
}
"#;

/// What a real Nix of a chroot store is given.
struct Real {
    dir: tempfile::TempDir,
    nix: PathBuf,
}

impl Real {
    fn new() -> Option<Self> {
        let nix = match std::env::var_os("NIXFLASH_TEST_NIX") {
            Some(other) => PathBuf::from(other),
            None => PathBuf::from(Tool::find("nix")?.passes(&["--version"]).lines().next().map(|_| "nix")?),
        };
        let dir = temp();
        let system = format!("{}-linux", std::env::consts::ARCH);
        std::fs::create_dir(dir.path().join("flake")).unwrap();
        std::fs::write(dir.path().join("flake/flake.nix"), FLAKE.replace("SYSTEM", &system)).unwrap();
        // What nixflash finds first in the path: the real one, told where its store is and not to sandbox.
        std::fs::create_dir(dir.path().join("bin")).unwrap();
        let wrapper = dir.path().join("bin/nix");
        let path = std::env::var("PATH").unwrap();
        // One that runs beside its libraries cannot be its own build hook.
        let hook = if nix == Path::new("nix") { "" } else { "--option build-hook ''" };
        let text = format!(
            "#!/bin/sh\nPATH={path} HOME={} exec {} --store {} --option sandbox false --option sandbox-paths '/bin /lib /lib64 /usr' \
             --option build-users-group '' {hook} --option substitute false \"$@\"\n",
            dir.path().display(),
            nix.display(),
            dir.path().join("store").display()
        );
        std::fs::write(&wrapper, text).unwrap();
        std::fs::set_permissions(&wrapper, PermissionsExt::from_mode(0o755)).unwrap();
        Some(Self { dir, nix })
    }

    fn ask(&self, arguments: &[&str]) -> Run {
        let bin = self.dir.path().join("bin");
        run(compose(&bin, &self.dir.path().join("a.img"), arguments)
            .current_dir(self.dir.path().join("flake")))
    }
}

#[test]
fn real_nix_evaluates_builds_and_refuses_as_expected() {
    let Some(real) = Real::new() else { return };
    let store = real.dir.path().join("store");
    let store = store.display();
    let flake = "path:.#here";
    // Evaluated only: the path is known, and nothing is there.
    let done = real.ask(&["--system", flake, "--store", &format!("file://{}", real.dir.path().display())]);
    assert!(
        done.code == 6 && done.err.contains("only evaluated"),
        "{}: {} {}",
        real.nix.display(),
        done.code,
        done.err
    );
    assert!(done.err.contains("-nixos-system-pi is in none of the stores"), "{}", done.err);
    let done = real.ask(&["--system", flake]);
    if ["namespace", "not permitted"].iter().any(|word| done.err.contains(word)) {
        skip(&format!("nix cannot build in a chroot store here: {}", done.err.trim()));
        return;
    }
    assert!(
        done.err.contains("running: nix build path:.#nixosConf") && done.err.contains("building '"),
        "{}",
        done.err
    );
    assert!(!done.err.contains("nix says why above"), "{}", done.err);
    let built = std::fs::read_dir(format!("{store}/nix/store")).unwrap().map(|entry| entry.unwrap().path());
    let built: Vec<_> = built.filter(|path| path.to_string_lossy().ends_with("-nixos-system-pi")).collect();
    assert_eq!(std::fs::read_to_string(&built[0]).unwrap(), "pi\n");
    let done = real.ask(&["--system", "path:.#there"]);
    assert!(done.code == 1 && done.err.contains("three ways out"), "{} {}", done.code, done.err);
    let done = real.ask(&["--system", "path:.#nowhere"]);
    assert!(done.code == 1 && done.err.contains("nix says why above"), "{} {}", done.code, done.err);
}
