//! Project files, firmware out of channels, lock files.

use crate::common::{Demo, Run, demo, is_root, nixflash, run, sha256, temp};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// A server of a directory that tells what it was asked for.
struct Server {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(root: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (root, log, stream) = (root.clone(), Arc::clone(&log), stream.unwrap());
                std::thread::spawn(move || {
                    let mut lines = BufReader::new(&stream).lines();
                    while let Some(Ok(first)) = lines.next() {
                        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                        let name = first.split(' ').nth(1).unwrap_or("/").trim_start_matches('/').to_owned();
                        let body = std::fs::read(root.join(&name)).ok();
                        log.lock().unwrap().push(name);
                        let status = if body.is_some() { "200 OK" } else { "404 Not Found" };
                        let body = body.unwrap_or_default();
                        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
                        let mut out = &stream;
                        if out.write_all(head.as_bytes()).and_then(|()| out.write_all(&body)).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, asked }
    }

    /// What was asked for since the last time.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// A channel and its cache behind a server, and a store that has the closure without any firmware.
struct World {
    dir: tempfile::TempDir,
    server: Server,
    demo: &'static Demo,
}

fn is_firmware(text: &str) -> bool {
    let path = text.lines().find_map(|line| line.strip_prefix("StorePath: ")).unwrap_or_default();
    path.contains("raspberrypifw") || path.contains("uboot")
}

impl World {
    fn new() -> Option<Self> {
        let demo = demo()?;
        let dir = temp();
        for name in ["served/channel", "served/cache/nar", "closure/nar", "work"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let cache = PathBuf::from(demo.at("cache-zstd"));
        let served = dir.path().join("served");
        let mut listing = String::from("/nix/store/00000000000000000000000000000000-hello-2.12\n");
        for entry in std::fs::read_dir(&cache).unwrap().chain(std::fs::read_dir(cache.join("nar")).unwrap()) {
            let path = entry.unwrap().path();
            let inner = path.strip_prefix(&cache).unwrap();
            if path.is_dir() {
                continue;
            }
            std::fs::copy(&path, served.join("cache").join(inner)).unwrap();
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            if is_firmware(&text) {
                let store_path = text.lines().find_map(|line| line.strip_prefix("StorePath: ")).unwrap();
                listing.push_str(&format!("{store_path}\n"));
            } else {
                std::fs::copy(&path, dir.path().join("closure").join(inner)).unwrap();
            }
        }
        let server = Server::start(served);
        let world = Self { dir, server, demo };
        world.list(&listing);
        let cache = format!("{}/cache", world.server.address);
        std::fs::write(world.at("served/channel/binary-cache-url"), cache).unwrap();
        Some(world)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn channel(&self) -> String {
        format!("{}/channel", self.server.address)
    }

    fn list(&self, text: &str) {
        let file = std::fs::File::create(self.at("served/channel/store-paths.xz")).unwrap();
        let mut encoder = liblzma::write::XzEncoder::new(file, 6);
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap();
    }

    fn listed(&self) -> String {
        let mut text = String::new();
        let file = std::fs::File::open(self.at("served/channel/store-paths.xz")).unwrap();
        std::io::Read::read_to_string(&mut liblzma::read::XzDecoder::new(file), &mut text).unwrap();
        text
    }

    /// Adds a package with the contents of another one to the cache and the listing.
    fn copy(&self, like: &str, hash: char, name: &str) {
        let text = self.listed();
        let path = text.lines().find(|line| line.contains(like)).unwrap().to_owned();
        let narinfo = |path: &str| self.at(&format!("served/cache/{}.narinfo", &path[11..43]));
        let new = format!("/nix/store/{}-{name}", hash.to_string().repeat(32));
        let old = std::fs::read_to_string(narinfo(&path)).unwrap();
        std::fs::write(narinfo(&new), old.replace(&path, &new)).unwrap();
        self.list(&format!("{text}{new}\n"));
    }

    fn nixflash(&self) -> Command {
        let mut command = nixflash();
        command.env("XDG_CACHE_HOME", self.at("kept")).env("NO_PROXY", "127.0.0.1").env_remove("SUDO_UID");
        command.current_dir(self.at("work"));
        command
    }

    fn compose(&self, arguments: &[&str]) -> Run {
        let mut command = self.nixflash();
        command.args(["compose", "rpi4", "--system", &self.demo.top, "--force", "-o", "a.img"]);
        command.arg("--store").arg(format!("file://{}", self.at("closure").display())).args(arguments);
        run(&mut command)
    }

    fn sum(&self) -> String {
        sha256(&self.at("work/a.img"))
    }
}

#[test]
fn firmware_of_a_channel_is_pinned_and_then_the_same_whatever_the_channel_has() {
    let Some(world) = World::new() else { return };
    let expected = world.at("expected.img");
    assert_eq!(run(&mut world.demo.compose("rpi4", &world.demo.at("root"), &expected)).code, 0);
    let channel = world.channel();
    let lock = world.at("work/nixflash.lock");
    let done = world.compose(&[]);
    assert!(done.code == 6 && done.err.contains("--channel nixos-25.11"), "{} {}", done.code, done.err);
    // Who vouches for the closure does not vouch for the channel's cache.
    let done = world.compose(&["--channel", &channel]);
    assert!(
        done.code == 6 && done.err.contains("no signature of a trusted key"),
        "{} {}",
        done.code,
        done.err
    );
    let done = world.compose(&["--channel", &channel, "--no-check-sigs", "--dry-run"]);
    assert!(done.code == 0 && !lock.exists(), "{}", done.err);
    let done = world.compose(&["--channel", &channel, "--no-check-sigs"]);
    assert!(done.code == 0 && done.err.contains("nixflash.lock: pinned"), "{}", done.err);
    assert_eq!(world.sum(), sha256(&expected), "the same image as from a store that has all");
    let text = std::fs::read_to_string(&lock).unwrap();
    assert_eq!(text.matches("[[package]]").count(), 3, "{text}");
    assert!(text.contains("raspberrypifw-1.20250915") && text.contains("package = \"armstub\""), "{text}");
    world.server.asked();

    // The channel moves on: what is pinned stays, and the channel is not asked.
    world.list("/nix/store/00000000000000000000000000000000-hello-2.13\n");
    std::fs::remove_dir_all(world.at("kept")).unwrap();
    let done = world.compose(&["--channel", &channel, "--no-check-sigs"]);
    assert!(done.code == 0 && !done.err.contains("pinned"), "{}", done.err);
    assert!(world.server.asked().iter().all(|name| !name.starts_with("channel/")));
    assert_eq!((world.sum(), std::fs::read_to_string(&lock).unwrap()), (sha256(&expected), text.clone()));
    let done = world.compose(&["--channel", &channel, "--no-check-sigs", "--update-lock"]);
    let nothing = "nothing in the channel";
    assert!(
        done.code == 6 && done.err.contains(nothing) && done.err.contains("raspberrypifw-*"),
        "{}",
        done.err
    );
    assert_eq!(std::fs::read_to_string(&lock).unwrap(), text, "a failure leaves the lock file");

    // Another channel than the pinned one, another hash than the pinned one, a lock file that is none.
    let done = world.compose(&["--channel", "nixos-25.11"]);
    assert!(done.code == 2 && done.err.contains("pins what http://"), "{} {}", done.code, done.err);
    let at = text.rfind("nar_hash = \"sha256:").unwrap() + 19;
    let other = if &text[at..=at] == "0" { "1" } else { "0" };
    std::fs::write(&lock, format!("{}{other}{}", &text[..at], &text[at + 1..])).unwrap();
    let done = world.compose(&["--channel", &channel, "--no-check-sigs"]);
    assert!(done.code == 6 && done.err.contains("pinned in the lock file"), "{} {}", done.code, done.err);
    std::fs::write(&lock, "version = 1\n[[packages]]\n").unwrap();
    let done = world.compose(&["--channel", &channel, "--no-check-sigs"]);
    assert!(done.code == 6 && done.err.contains("nixflash.lock: line 2: "), "{} {}", done.code, done.err);
}

#[test]
fn what_a_channel_has_twice_is_named_unless_it_is_the_same() {
    let Some(world) = World::new() else { return };
    let channel = world.channel();
    let compose =
        |more: &[&str]| world.compose(&[&["--channel", &channel, "--no-check-sigs"], more].concat());
    // As the firmware of two platforms in a real channel: other paths, the same contents.
    world.copy("raspberrypifw", '0', "raspberrypifw-1.20250915");
    let done = compose(&["--dry-run"]);
    assert!(done.code == 0, "{}", done.err);
    assert!(String::from_utf8_lossy(&done.out).contains("00000000000000000000000000000000-raspberrypifw"));
    // A package of that name without the files is none.
    world.copy("raspberrypifw", '2', "uboot-rpi_4_defconfig-2025.10-dev");
    assert_eq!(compose(&["--dry-run"]).code, 0);
    world.copy("uboot-rpi_3", '3', "uboot-rpi_4_defconfig-2025.11");
    let done = compose(&["--dry-run"]);
    assert!(
        done.code == 6
            && done
                .err
                .contains("33333333333333333333333333333333-uboot-rpi_4_defconfig-2025.11 and /nix/store/")
            && done.err.contains("would do; name the right one with --firmware"),
        "{} {}",
        done.code,
        done.err
    );
    let path = format!("/nix/store/{}-uboot-rpi_4_defconfig-2025.11", "3".repeat(32));
    let cache = format!("{}/cache", world.server.address);
    let done = compose(&["--dry-run", "--store", &cache, "--firmware", &path]);
    assert!(done.code == 0 && String::from_utf8_lossy(&done.out).contains(&path), "{}", done.err);
    let done = compose(&["--dry-run", "--firmware", &path]);
    assert!(done.code == 6 && done.err.contains("is in none of the stores"), "{} {}", done.code, done.err);
}

#[test]
fn a_channel_that_lies_leaves_nothing() {
    let Some(world) = World::new() else { return };
    let channel = world.channel();
    let listing = world.at("served/channel/store-paths.xz");
    let good = std::fs::read(&listing).unwrap();
    let cut = good[..good.len() - 9].to_vec();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 0x10;
    for (bytes, expected) in
        [(cut, "store-paths.xz"), (flipped, "store-paths.xz"), (b"<html>".to_vec(), "store-paths.xz")]
    {
        std::fs::write(&listing, bytes).unwrap();
        let done = world.compose(&["--channel", &channel, "--no-check-sigs"]);
        assert!(done.code == 6 && done.err.contains(expected), "{} {}", done.code, done.err);
    }
    for (text, code, expected) in [
        ("<html>\n", 6, "line 1: \"<html>\" is not in /nix/store"),
        ("/nix/store/00000000000000000000000000000000-uboot-rpi_4-1\n", 6, "nothing in the channel"),
    ] {
        world.list(text);
        let done = world.compose(&["--channel", &channel, "--no-check-sigs"]);
        assert!(done.code == code && done.err.contains(expected), "{} {}", done.code, done.err);
    }
    std::fs::write(&listing, &good).unwrap();
    let address = world.at("served/channel/binary-cache-url");
    for text in ["file:///etc", "", "http://a b", "/nix"] {
        std::fs::write(&address, text).unwrap();
        let done = world.compose(&["--channel", &channel, "--no-check-sigs"]);
        assert!(
            done.code == 6 && done.err.contains("binary-cache-url: the cache is"),
            "{text}: {}",
            done.err
        );
    }
    std::fs::remove_file(&address).unwrap();
    let done = world.compose(&["--channel", &channel, "--no-check-sigs"]);
    assert!(done.code == 1 && done.err.contains("the server answers 404"), "{} {}", done.code, done.err);
    let done = world.compose(&["--channel", "no channel"]);
    assert!(done.code == 2 && done.err.contains("expected a name such as nixos-25.11"), "{}", done.err);
    for option in ["--update-lock", "--lock=x.lock"] {
        let done = world.compose(&[option]);
        assert!(done.code == 2 && done.err.contains("--channel"), "{option}: {}", done.err);
    }
    assert!(std::fs::read_dir(world.at("work")).unwrap().next().is_none(), "nothing is left");
}

/// A project file for the world.
fn project(world: &World) -> String {
    format!(
        "board = \"rpi4\"\nsystem = {:?}\nstores = [\"file://../closure\", \"{}/cache\"]\nfirmware = [{:?}]\n\
         output = \"pi.img.zst\"\nboot_size = \"32MiB\"\nsha256 = true\n",
        world.demo.top,
        world.server.address,
        world.demo.at("root"),
    )
}

#[test]
fn a_project_file_says_what_is_composed_and_options_say_it_louder() {
    let Some(world) = World::new() else { return };
    let file = world.at("work/nixflash.toml");
    std::fs::write(&file, project(&world)).unwrap();
    // No option lets a file turn off signatures; this one has stores of files only in what it needs.
    let compose =
        |arguments: &[&str]| run(world.nixflash().args(["compose", "--no-check-sigs"]).args(arguments));
    let done = compose(&[]);
    assert!(done.code == 0 && done.err.contains("using nixflash.toml: system /nix/store/"), "{}", done.err);
    let image = world.at("work/pi.img.zst");
    let sum = std::fs::read_to_string(world.at("work/pi.img.zst.sha256")).unwrap();
    assert!(sum.starts_with(&sha256(&image)), "{sum}");
    // The same by options alone, elsewhere.
    let explicit = world.at("explicit.img.zst");
    let mut command = world.demo.compose("rpi4", &world.demo.at("root"), &explicit);
    assert_eq!(run(command.args(["--boot-size", "32MiB"])).code, 0);
    assert_eq!(sha256(&image), sha256(&explicit));
    // Options override, and what is relative starts from the file.
    let done = compose(&["uefi-aarch64", "-o", "other.img", "--dry-run", "--json"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let plan: serde_json::Value = serde_json::from_slice(&done.out).unwrap();
    assert_eq!(plan["board"], "uefi-aarch64");
    let done = compose(&["-o", "other.img", "--boot-size", "40MiB"]);
    assert!(done.code == 0 && world.at("work/other.img").exists(), "{}", done.err);
    let mut command = world.nixflash();
    command
        .args(["compose", "--no-check-sigs", "--force", "--project", "work"])
        .current_dir(world.dir.path());
    let done = run(&mut command);
    assert!(done.code == 0 && done.err.contains("using work/nixflash.toml"), "{}", done.err);
    assert_eq!(sha256(&image), sha256(&explicit));
    let done = compose(&["--no-project", "--dry-run"]);
    assert!(done.code == 2 && done.err.contains("no board"), "{}", done.err);
    let mut above = world.nixflash();
    std::fs::create_dir(world.at("work/inner")).unwrap();
    let done = run(above.args(["compose", "--dry-run"]).current_dir(world.at("work/inner")));
    assert!(done.code == 2 && done.err.contains("no board"), "a parent's file is not used: {}", done.err);
    // Mistakes have a line; what is missing is said.
    for (text, expected) in [
        ("board = \"rpi4\"\nsize = \"big\"\n", "nixflash.toml: line 2: size: \"big\""),
        ("board = \"rpi4\"\n", "no system"),
        ("board = \"rpi4\"\nsystem = \"/nix/store/x\"\n", "no output"),
        ("no_check_sigs = true\n", "nixflash.toml: line 1: `no_check_sigs = true`: unknown field"),
    ] {
        std::fs::write(&file, text).unwrap();
        let done = compose(&[]);
        assert!(done.code == 2 && done.err.contains(expected), "{expected}: {} {}", done.code, done.err);
    }
}

#[test]
fn a_project_file_names_the_configuration_and_each_key_has_an_option_that_overrides_it() {
    let Some(world) = World::new() else { return };
    std::fs::create_dir(world.at("work/nixos")).unwrap();
    std::fs::write(world.at("work/nixos/configuration.nix"), "{ }\n").unwrap();
    std::fs::write(world.at("work/nixos/wifi.nix"), "{ psk = \"correct horse battery\"; }\n").unwrap();
    std::fs::write(world.at("work/more.txt"), "dtparam=i2c_arm=on\n").unwrap();
    let text = project(&world).replace("pi.img.zst", "pi.img")
        + "config = \"nixos\"\nconfig_private = true\nallow_secrets = [\"wifi.nix\"]\n\
           config_txt = [\"dtparam=audio=on\", \"more.txt\"]\ncache_size = \"1GiB\"\nrecord_stores = true\n";
    std::fs::write(world.at("work/nixflash.toml"), &text).unwrap();
    let compose = |arguments: &[&str]| {
        let mut command = world.nixflash();
        command.args(["compose", "--no-check-sigs", "--force", "--project", "work"]).args(arguments);
        run(command.current_dir(world.dir.path()))
    };
    let manifest = || {
        let done = run(world.nixflash().args(["inspect", "--json", "pi.img"]));
        assert_eq!(done.code, 0, "{}", done.err);
        let report: serde_json::Value = serde_json::from_slice(&done.out).unwrap();
        report["provenance"].clone()
    };
    let done = compose(&[]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.err.contains("wifi.nix:1") && done.err.contains("embedded as you allowed"), "{}", done.err);
    let found = manifest();
    assert!(found["sources"].is_array() || found.to_string().contains(&world.server.address), "{found}");
    assert!(found.to_string().contains("dtparam=i2c_arm=on"), "{found}");
    let extracted = world.at("extracted");
    let done = run(world.nixflash().args(["inspect", "pi.img", "--extract-config"]).arg(&extracted));
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!(std::fs::read_to_string(extracted.join("configuration.nix")).unwrap(), "{ }\n");
    assert!(world.at("work/pi.img.sha256").exists());

    // Every key is overridden by its option.
    let done = compose(&["--allow-secret", "other.nix"]);
    assert!(done.code == 1 && done.err.contains("secret: wifi.nix:1"), "{} {}", done.code, done.err);
    std::fs::remove_file(world.at("work/pi.img.sha256")).unwrap();
    let done =
        compose(&["--no-config", "--record-stores=no", "--sha256=no", "--config-txt", "dtparam=spi=on"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let found = manifest().to_string();
    assert!(!found.contains(&world.server.address) && !found.contains("i2c_arm"), "{found}");
    assert!(found.contains("dtparam=spi=on") && !world.at("work/pi.img.sha256").exists(), "{found}");
    let done =
        compose(&["--config", "work/nixos/configuration.nix", "--config-private=no", "--cache-size", "2GiB"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let done = compose(&["--require-clean"]);
    assert!(done.code == 1 && done.err.contains("is in no git repository"), "{} {}", done.code, done.err);
    for (option, expected) in
        [("--config-private", "there is no --config"), ("--sign-password=x", "there is no --sign-key")]
    {
        let done = world.compose(&["--no-project", option]);
        assert!(done.code == 2 && done.err.contains(expected), "{option}: {} {}", done.code, done.err);
    }
}

#[test]
fn what_is_pinned_is_renewed_when_somebody_asks_for_it() {
    let Some(world) = World::new() else { return };
    let lock = world.at("work/nixflash.lock");
    let text = format!(
        "board = \"rpi4\"\nsystem = {:?}\nstores = [\"file://../closure\"]\nchannel = {:?}\noutput = \"pi.img\"\nboot_size = \"32MiB\"\n",
        world.demo.top,
        world.channel(),
    );
    std::fs::write(world.at("work/nixflash.toml"), text).unwrap();
    let ask = |command: &str, arguments: &[&str]| {
        run(world.nixflash().args([command, "--no-check-sigs"]).args(arguments))
    };
    let done = ask("lock", &["--dry-run"]);
    assert!(done.code == 0 && !lock.exists(), "{}", done.err);
    let done = ask("lock", &[]);
    let out = String::from_utf8_lossy(&done.out).into_owned();
    assert!(done.code == 0 && done.err.contains("nixflash.lock: pinned"), "{}", done.err);
    assert!(out.contains("firmware of rpi4: /nix/store/") && out.contains("armstub of rpi4: none"), "{out}");
    let pinned = std::fs::read_to_string(&lock).unwrap();
    // The image has just that, and the lock file stays as it is.
    assert_eq!(ask("compose", &[]).code, 0);
    assert_eq!(std::fs::read_to_string(&lock).unwrap(), pinned);
    let done = ask("lock", &[]);
    let out = String::from_utf8_lossy(&done.out).into_owned();
    assert!(done.code == 0 && out.matches(", as before").count() == 3, "{out} {}", done.err);
    // The channel moves on: only who asks for it gets the newer one.
    let old = world.listed();
    let path = old.lines().find(|line| line.contains("-uboot-rpi_4")).unwrap().to_owned();
    world.copy("-uboot-rpi_4", '7', "uboot-rpi_4_defconfig-2099.01");
    world.list(&world.listed().replace(&format!("{path}\n"), ""));
    assert_eq!(ask("compose", &["--force"]).code, 0);
    assert_eq!(std::fs::read_to_string(&lock).unwrap(), pinned);
    let new = format!("/nix/store/{}-uboot-rpi_4_defconfig-2099.01", "7".repeat(32));
    let done = ask("lock", &[]);
    let out = String::from_utf8_lossy(&done.out).into_owned();
    assert!(done.code == 0 && out.contains(&format!("uboot of rpi4: {path} -> {new}")), "{out} {}", done.err);
    assert!(std::fs::read_to_string(&lock).unwrap().contains(&new));
    // A card that exists gets the firmware of the channel too, as it is pinned.
    let channel = world.channel();
    let done = ask("firmware", &["rpi4", "pi.img", "--channel", &channel, "--dry-run"]);
    assert!(done.code == 0 && done.err.contains("are those of this firmware"), "{} {}", done.code, done.err);
    // A lock file that cannot be read is made anew; without a channel or a board nothing is pinned.
    std::fs::write(&lock, "version = 7\n").unwrap();
    assert_eq!(ask("lock", &[]).code, 0);
    std::fs::remove_file(world.at("work/nixflash.toml")).unwrap();
    for (arguments, expected) in
        [(&[][..], "no board"), (&["rpi4"], "no channel: only what is taken from one is pinned")]
    {
        let done = ask("lock", arguments);
        assert!(done.code == 2 && done.err.contains(expected), "{} {}", done.code, done.err);
    }
}

#[test]
fn a_card_is_written_from_a_project_that_was_named_and_never_from_one_that_lies_about() {
    let Some(world) = World::new() else { return };
    std::fs::write(world.at("work/nixflash.toml"), project(&world)).unwrap();
    let card = world.at("work/card.img");
    let write = |arguments: &[&str]| {
        run(world.nixflash().args(["write", "--yes", "--no-check-sigs"]).args(arguments))
    };
    std::fs::File::create(&card).unwrap().set_len(1 << 30).unwrap();
    let done = write(&["--project", "nixflash.toml", "card.img"]);
    assert!([0, 9].contains(&done.code), "{} {}", done.code, done.err);
    let done = run(world.nixflash().args(["inspect", "--json", "card.img"]));
    assert!(done.code == 0 && String::from_utf8_lossy(&done.out).contains(&world.demo.top), "{}", done.err);
    // Unnamed, the words are what they always were: an image and a card.
    std::fs::write(world.at("work/small.img"), vec![7; 4096]).unwrap();
    let done = write(&["--raw-anyway", "--force", "small.img", "card.img"]);
    assert!([0, 9].contains(&done.code) && !done.err.contains("using nixflash.toml"), "{}", done.err);
    for device in ["loop0", "sda", "vda", "nvme0n1"] {
        let device = format!("/dev/{device}");
        if Path::new(&device).exists() {
            let done = write(&[&device]);
            let hint = format!("nixflash write --project nixflash.toml {device}");
            assert!(done.code == 2 && done.err.contains(&hint), "{} {}", done.code, done.err);
        }
    }
    std::fs::write(world.at("work/nixflash.toml"), "board = \"rpi4\"\n").unwrap();
    let done = write(&["--project", "nixflash.toml", "card.img"]);
    assert!(done.code == 2 && done.err.contains("must name a board and a system"), "{}", done.err);
}

#[test]
fn a_project_file_of_a_stranger_is_not_used() {
    if !is_root() {
        return;
    }
    let Some(world) = World::new() else { return };
    let file = world.at("work/nixflash.toml");
    std::fs::write(&file, project(&world)).unwrap();
    let compose = |sudo: Option<&str>, arguments: &[&str]| {
        let mut command = world.nixflash();
        sudo.map(|uid| command.env("SUDO_UID", uid).env("SUDO_GID", uid));
        run(command.args(["compose", "--no-check-sigs", "--dry-run"]).args(arguments))
    };
    for (owner, sudo, named, good) in [
        (0, None, false, true),
        (0, Some("4321"), false, true),
        (4321, Some("4321"), false, true),
        (4321, Some("4321"), true, true),
        (4321, None, false, false),
        (4321, None, true, true),
        (4322, Some("4321"), false, false),
        (4322, Some("4321"), true, false),
    ] {
        std::os::unix::fs::chown(&file, Some(owner), None).unwrap();
        let done = compose(sudo, if named { &["--project", "nixflash.toml"] } else { &[] });
        let expected = if good { 0 } else { 8 };
        assert_eq!(done.code, expected, "{owner} {sudo:?} {named}: {}", done.err);
        assert!(good || done.err.contains(&format!("belongs to user {owner}")), "{}", done.err);
    }
}
