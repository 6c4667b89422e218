//! Images of the demo closure: the same bits from every source, clean for every judge, accepted by real Nix.

use crate::common::{Demo, Mount, Tool, cut, demo, is_root, nixflash, partitions, run, sha256, temp};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const BOARDS: [&str; 4] = ["rpi3", "rpi4", "rpi-zero2w", "uefi-aarch64"];

fn image(demo: &Demo, board: &str, dir: &Path) -> PathBuf {
    let path = dir.join(format!("{board}.img"));
    let done = run(&mut demo.compose(board, &demo.at("root"), &path));
    assert_eq!((done.code, done.err.trim()), (0, ""), "{board}");
    path
}

#[test]
fn every_board_gives_an_image_that_all_judges_find_clean() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    for board in BOARDS {
        let path = image(demo, board, dir.path());
        let text = path.to_str().unwrap();
        if let Some(sfdisk) = Tool::find("sfdisk") {
            assert!(!sfdisk.passes(&["--verify", text]).to_lowercase().contains("overlap"), "{board}");
        }
        if board.starts_with("uefi")
            && let Some(sgdisk) = Tool::find("sgdisk")
        {
            assert!(sgdisk.passes(&["-v", text]).contains("No problems found"), "{board}");
        }
        let Some(parts) = partitions(&path) else { continue };
        let (fat, root) = (dir.path().join("fat"), dir.path().join("root"));
        cut(&path, parts[0], &fat);
        cut(&path, parts[1], &root);
        if let Some(fsck) = Tool::find("fsck.fat") {
            fsck.passes(&["-n", fat.to_str().unwrap()]);
        }
        if let Some(e2fsck) = Tool::find("e2fsck") {
            e2fsck.passes(&["-fn", root.to_str().unwrap()]);
        }
    }
}

#[test]
fn the_image_is_the_same_bits_from_every_source_and_under_every_circumstance() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let expected = sha256(&image(demo, "rpi4", dir.path()));
    let other = temp();
    let mut number = 0;
    let mut check = |what: &str, change: &dyn Fn(&Path) -> Command| {
        number += 1;
        let path = other.path().join(format!("{number}.img"));
        let done = run(&mut change(&path));
        assert_eq!(done.code, 0, "{what}: {}", done.err);
        assert_eq!(sha256(&path), expected, "{what}");
        std::fs::remove_file(path).unwrap();
    };
    for kind in ["none", "xz", "zstd", "bzip2"] {
        check(kind, &|path| {
            demo.compose("rpi4", &format!("file://{}", demo.at(&format!("cache-{kind}"))), path)
        });
    }
    check("a registration", &|path| demo.compose("rpi4", &demo.at("root/registration"), path));
    check("a store given twice", &|path| {
        let mut command = demo.compose("rpi4", &demo.at("cache-none"), path);
        command.args(["--store", &demo.at("root")]);
        command
    });
    check("firmware by --firmware", &|path| {
        let mut command = demo.compose("rpi4", &demo.at("cache-none"), path);
        command.args(["--firmware", &demo.at("root")]);
        command
    });
    for threads in ["1", "8"] {
        check(threads, &|path| {
            let mut command = demo.compose("rpi4", &demo.at("cache-xz"), path);
            command.args(["--threads", threads]);
            command
        });
    }
    check("another time zone, locale and directory", &|path| {
        let mut command = demo.compose("rpi4", &demo.at("root"), path);
        command
            .env("TZ", "Pacific/Kiritimati")
            .env("LC_ALL", "de_DE.UTF-8")
            .env("HOME", "/nowhere")
            .current_dir("/");
        command
    });
    check("another umask", &|path| {
        let mut command = Command::new("sh");
        let inner = demo.compose("rpi4", &demo.at("root"), path);
        command.args(["-c", "umask 077; exec \"$@\"", "sh"]).arg(inner.get_program()).args(inner.get_args());
        command
    });
    if Tool::find("faketime").is_some() {
        check("another clock", &|path| {
            let mut command = Command::new("faketime");
            let inner = demo.compose("rpi4", &demo.at("root"), path);
            command.arg("2001-02-03 04:05:06").arg(inner.get_program()).args(inner.get_args());
            command
        });
    }
}

#[test]
fn one_more_file_with_one_byte_changes_the_image() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let one = image(demo, "rpi4", dir.path());
    let top = std::fs::read_to_string(demo.at("changed/toplevel")).unwrap();
    let other = dir.path().join("other.img");
    let store = demo.at("changed");
    let done = run(nixflash()
        .args(["-q", "compose", "rpi4", "--system", top.trim(), "--store", &store, "-o"])
        .arg(&other));
    assert_eq!(done.code, 0, "{}", done.err);
    assert_ne!(sha256(&one), sha256(&other));
    let epoch = dir.path().join("epoch.img");
    let done = run(demo.compose("rpi4", &demo.at("root"), &epoch).env("SOURCE_DATE_EPOCH", "2"));
    assert_eq!(done.code, 0, "{}", done.err);
    assert_ne!(sha256(&one), sha256(&epoch));
}

#[test]
fn every_packing_holds_the_same_image_and_says_its_sums() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let expected = sha256(&image(demo, "rpi4", dir.path()));
    let unpack = |name: &str, tool: &str| {
        let path = dir.path().join(name);
        let done = run(demo.compose("rpi4", &demo.at("root"), &path).args(["--sha256", "--bmap"]));
        assert_eq!(done.code, 0, "{name}: {}", done.err);
        if Tool::find("sha256sum").is_some() {
            let beside = format!("{}.sha256", path.display());
            let checked =
                Command::new("sha256sum").args(["-c", &beside]).current_dir(dir.path()).output().unwrap();
            assert!(checked.status.success(), "{name}: {}", String::from_utf8_lossy(&checked.stdout));
        }
        let Some(tool) = Tool::find(tool) else { return };
        let raw = tool.run(&["-dc", path.to_str().unwrap()]);
        assert!(raw.status.success(), "{name}");
        let out = dir.path().join("unpacked");
        std::fs::write(&out, raw.stdout).unwrap();
        assert_eq!(sha256(&out), expected, "{name}");
    };
    unpack("a.img.zst", "zstd");
    unpack("a.img.xz", "xz");
    unpack("a.img.gz", "gzip");
    let raw = dir.path().join("sums.img");
    let done = run(demo.compose("rpi4", &demo.at("root"), &raw).args(["--sha256", "--bmap"]));
    assert_eq!(
        (done.code, sha256(&raw)),
        (0, expected.clone()),
        "written in order for its sum: {}",
        done.err
    );
    assert!(std::fs::read_to_string(dir.path().join("sums.img.sha256")).unwrap().starts_with(&expected));
    if let Some(bmaptool) = Tool::find("bmaptool") {
        // bmaptool checks the sum of each range, and writes no other.
        let copy = dir.path().join("copy.img");
        let bmap = dir.path().join("sums.img.bmap");
        bmaptool.passes(&[
            "copy",
            "--bmap",
            bmap.to_str().unwrap(),
            raw.to_str().unwrap(),
            copy.to_str().unwrap(),
        ]);
        assert_eq!(sha256(&copy), expected, "what the map leaves out is not needed");
    }
}

#[test]
fn a_zst_is_one_frame_with_size_and_checksum_whatever_the_threads() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    // With the match finder of our own, with jobs that are judged, with the library's own parameters.
    for level in ["3", "5", "13"] {
        let mut sums = Vec::new();
        for threads in ["1", "2", "8"] {
            let path = dir.path().join(format!("{level}-{threads}.img.zst"));
            let compose = demo.compose("rpi4", &demo.at("root"), &path);
            let done = run({ compose }.args(["--threads", threads, "--level", level]));
            assert_eq!(done.code, 0, "{}", done.err);
            sums.push(sha256(&path));
            let Some(zstd) = Tool::find("zstd") else { continue };
            let listing = zstd.passes(&["-lv", path.to_str().unwrap()]);
            assert!(
                listing.contains("Zstandard Frames: 1\n") && listing.contains("Check: XXH64"),
                "{listing}"
            );
            assert!(listing.contains("Decompressed Size:"), "{listing}");
            let window = listing.lines().find(|line| line.contains("Window Size")).unwrap();
            assert!(
                ["1.00 MiB", "2.00 MiB", "4.00 MiB", "8.00 MiB"].iter().any(|size| window.contains(size)),
                "{window}"
            );
        }
        assert!(sums.windows(2).all(|pair| pair[0] == pair[1]), "level {level}: {sums:?}");
    }
}

#[test]
fn a_pipe_gets_what_a_file_gets() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let expected = sha256(&image(demo, "uefi-aarch64", dir.path()));
    let piped = dir.path().join("piped.img");
    let mut command = demo.compose("uefi-aarch64", &demo.at("root"), Path::new("-"));
    let status = command.stdout(Stdio::from(std::fs::File::create(&piped).unwrap())).status().unwrap();
    assert!(status.success());
    assert_eq!(sha256(&piped), expected);
}

/// The root partition of a demo image, cut out.
fn root_of(demo: &Demo, board: &str, dir: &Path) -> Option<PathBuf> {
    let path = image(demo, board, dir);
    let parts = partitions(&path)?;
    let root = dir.join("root.ext4");
    cut(&path, *parts.last().unwrap(), &root);
    Some(root)
}

#[test]
fn the_kernel_and_ext4_view_see_the_store_as_it_was() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let Some(root) = root_of(demo, "rpi4", dir.path()) else { return };
    let view = ext4_view::Ext4::load(Box::new(std::fs::read(&root).unwrap())).unwrap();
    let top = format!("{}/nixos-version", demo.top);
    assert_eq!(view.read_to_string(&top[..]).unwrap(), "25.11.demo");
    assert_eq!(view.read_dir("/nix/store").unwrap().count(), 10 + 2, "the closure, and two dots");
    if !is_root() {
        return;
    }
    let Some(mount) = Mount::new(&root, "ro,loop") else { return };
    let closure = view
        .read_dir("/nix/store")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().as_str().unwrap().to_owned());
    let Some(diff) = Tool::find("diff") else { return };
    for name in closure.filter(|name| !name.starts_with('.')) {
        let (here, there) =
            (mount.dir.path().join("nix/store").join(&name), format!("{}/{name}", demo.at("root/nix/store")));
        diff.passes(&["-r", "--no-dereference", here.to_str().unwrap(), &there]);
    }
    let odd = Command::new("find")
        .arg(mount.dir.path().join("nix/store"))
        .args([
            "-mindepth",
            "1",
            "(",
            "!",
            "-user",
            "0",
            "-o",
            "!",
            "-group",
            "0",
            "-o",
            "(",
            "!",
            "-type",
            "l",
            "!",
            "-perm",
            "0444",
            "!",
            "-perm",
            "0555",
            ")",
            "-o",
            "!",
            "-newermt",
            "@0",
            "-o",
            "-newermt",
            "@1",
            ")",
        ])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&odd.stdout), "", "owner, mode or time");
    let stat = Command::new("stat")
        .args(["-c", "%a %u:%g"])
        .arg(mount.dir.path().join("nix/store"))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&stat.stdout).trim(), "1775 0:30000");
    for absent in ["etc/machine-id", "etc/ssh", "var/lib/systemd/random-seed", "nix/var/nix/db/db.sqlite-wal"]
    {
        assert!(!mount.dir.path().join(absent).exists(), "{absent}");
    }
    assert_eq!(
        std::fs::read(mount.dir.path().join("nix-path-registration")).unwrap(),
        b"",
        "the unit is in the toplevel"
    );
}

#[test]
fn real_nix_takes_the_root_for_its_own() {
    let Some(demo) = demo() else { return };
    if Tool::find("nix-store").is_none() || !is_root() {
        return;
    }
    let dir = temp();
    let Some(root) = root_of(demo, "rpi4", dir.path()) else { return };
    let Some(mount) = Mount::new(&root, "loop") else { return };
    let store = mount.dir.path().to_str().unwrap();
    // As on the machine: root without build users; Nix of this machine must not look at its own configuration.
    let nix = |arguments: &[&str]| {
        let mut command = Command::new("nix-store");
        command
            .args(["--store", store])
            .args(arguments)
            .env("NIX_CONFIG", "build-users-group =\nsubstituters =")
            .env("HOME", dir.path());
        let done = run(&mut command);
        assert_eq!(done.code, 0, "nix-store {arguments:?}: {}", done.err);
        format!("{}{}", String::from_utf8_lossy(&done.out), done.err)
    };
    let verified = nix(&["--verify", "--check-contents"]);
    assert!(!verified.contains("was modified") && !verified.contains("disappeared"), "{verified}");
    assert_eq!(nix(&["-qR", &demo.top]).lines().filter(|line| line.starts_with("/nix/store/")).count(), 10);
    assert!(nix(&["--gc", "--print-roots"]).contains("/nix/var/nix/profiles/system-1-link"));
    nix(&["--gc"]);
    assert_eq!(
        nix(&["-qR", &demo.top]).lines().filter(|line| line.starts_with("/nix/store/")).count(),
        10,
        "GC keeps the system"
    );
    let profile = mount.dir.path().join("nix/var/nix/profiles/system");
    let mut generations = Command::new("nix-env");
    generations
        .args(["--list-generations", "-p"])
        .arg(&profile)
        .env("NIX_STATE_DIR", mount.dir.path().join("nix/var/nix"));
    let listed = run(generations.env("NIX_CONFIG", "build-users-group =").env("HOME", dir.path()));
    assert!(String::from_utf8_lossy(&listed.out).contains("1   1970-01-01"), "{}", listed.err);
}

#[test]
fn a_database_with_a_log_is_read_by_who_may_only_read() {
    let Some(demo) = demo() else { return };
    let (Some(python), Some(setpriv)) = (Tool::find("python3"), Tool::find("setpriv")) else { return };
    if !is_root() {
        return;
    }
    let dir = temp();
    let store = dir.path().join("store");
    assert!(Command::new("cp").args(["-a", &demo.at("root")]).arg(&store).status().unwrap().success());
    let program = dir.path().join("nixflash");
    std::fs::copy(env!("CARGO_BIN_EXE_nixflash"), &program).unwrap();
    let db = store.join("nix/var/nix/db/db.sqlite");
    // As Nix leaves it: in WAL mode; the log and its index are there while a daemon runs, and gone after.
    python.passes(&[
        "-c",
        "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('pragma journal_mode=wal')",
        db.to_str().unwrap(),
    ]);
    assert_eq!(std::fs::read(&db).unwrap()[18..20], [2, 2]);
    assert!(Command::new("chmod").args(["-R", "go+rX,go-w"]).arg(dir.path()).status().unwrap().success());
    let dry = || {
        let arguments = [
            "--reuid=65534",
            "--clear-groups",
            program.to_str().unwrap(),
            "compose",
            "rpi4",
            "--system",
            &demo.top,
            "--store",
        ];
        setpriv.run(&[&arguments[..], &[store.to_str().unwrap(), "--dry-run"]].concat())
    };
    let done = dry();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(String::from_utf8_lossy(&done.stdout).contains("10 store paths"));
    // A log that holds something cannot be left out: better no answer than an old one.
    std::fs::write(db.with_file_name("db.sqlite-wal"), vec![0; 4096]).unwrap();
    assert!(
        Command::new("chmod").arg("644").arg(db.with_file_name("db.sqlite-wal")).status().unwrap().success()
    );
    let done = dry();
    assert!(
        !done.status.success() && String::from_utf8_lossy(&done.stderr).contains("db.sqlite"),
        "{:?}",
        done.status
    );
}

#[test]
fn firmware_is_found_in_a_package_named_by_a_relative_path() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let cache = dir.path().join("cache");
    assert!(Command::new("cp").args(["-r", &demo.at("cache-none")]).arg(&cache).status().unwrap().success());
    for entry in std::fs::read_dir(&cache).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        if text
            .lines()
            .next()
            .is_some_and(|line| line.contains("-raspberrypifw-") || line.contains("-uboot-"))
        {
            std::fs::remove_file(path).unwrap();
        }
    }
    let find = |part: &str| {
        let mut entries =
            std::fs::read_dir(demo.at("root/nix/store")).unwrap().map(|entry| entry.unwrap().path());
        entries.find(|path| path.to_string_lossy().contains(part)).unwrap()
    };
    // A plain directory with the files in it, a store path, and the root of a store.
    let plain = dir.path().join("fw");
    let boot = find("-raspberrypifw-").join("share/raspberrypi/boot");
    assert!(Command::new("cp").arg("-rL").arg(boot).arg(&plain).status().unwrap().success());
    let uboot = find("-uboot-rpi_4_defconfig");
    for firmware in [["fw", uboot.to_str().unwrap()], [&demo.at("root"), "fw"]] {
        let path = dir.path().join("a.img");
        let mut command = demo.compose("rpi4", cache.to_str().unwrap(), &path);
        command
            .args(["--force", "--firmware", firmware[0], "--firmware", firmware[1]])
            .current_dir(dir.path());
        let done = run(&mut command);
        assert_eq!(done.code, 0, "{firmware:?}: {}", done.err);
    }
    let done = run(demo
        .compose("rpi4", cache.to_str().unwrap(), &dir.path().join("b.img"))
        .args(["--firmware", "/nowhere"]));
    assert!(done.code == 1 && done.err.contains("cannot read /nowhere"), "{} {}", done.code, done.err);
}
