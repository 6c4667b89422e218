//! Signed manifests: minisign believes ours, and we believe its; neither believes what was changed.

use crate::common::{Demo, Run, Tool, cut, demo, nixflash, partitions, run, sha256, temp};
use nixflash::format::file::minisign::{Error, PublicKey, SealedKey, Signature};
use std::path::{Path, PathBuf};

/// A pair of minisign's own making, without a password or with one.
fn pair(minisign: &Tool, dir: &Path, password: Option<&str>) -> (PathBuf, PathBuf) {
    let (public, secret) = (dir.join("key.pub"), dir.join("key.sec"));
    let names = ["-p", public.to_str().unwrap(), "-s", secret.to_str().unwrap()];
    match password {
        None => drop(minisign.passes(&[&["-G", "-f", "-W"], &names[..]].concat())),
        Some(password) => {
            // Where there is no terminal, minisign reads the password from its standard input, twice.
            let mut child = std::process::Command::new("minisign")
                .args(["-G", "-f"])
                .args(names)
                .stdin(std::process::Stdio::piped())
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap();
            let words = format!("{password}\n{password}\n");
            std::io::Write::write_all(&mut child.stdin.take().unwrap(), words.as_bytes()).unwrap();
            assert!(child.wait().unwrap().success());
        }
    }
    (public, secret)
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn minisign_verifies_what_nixflash_signed() {
    let Some(minisign) = Tool::find("minisign") else { return };
    let dir = temp();
    let (public, secret) = pair(&minisign, dir.path(), None);
    let key = SealedKey::parse(&text(&secret)).unwrap().open(None).unwrap();
    assert_eq!(key.public(), PublicKey::parse(&text(&public)).unwrap());
    let file = dir.path().join("file");
    for contents in [&b""[..], b"x", &[7; 100_000]] {
        std::fs::write(&file, contents).unwrap();
        let signed = key.sign(contents, "who", "what it is");
        std::fs::write(dir.path().join("file.minisig"), &signed).unwrap();
        let said = minisign.passes(&["-V", "-p", public.to_str().unwrap(), "-m", file.to_str().unwrap()]);
        assert!(said.contains("what it is"), "{said}");
        assert_eq!(signed, key.sign(contents, "who", "what it is"), "no chance in it");
    }
}

#[test]
fn nixflash_verifies_what_minisign_signed_and_nothing_else() {
    let Some(minisign) = Tool::find("minisign") else { return };
    let dir = temp();
    let (public, secret) = pair(&minisign, dir.path(), None);
    let key = PublicKey::parse(&text(&public)).unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, b"contents").unwrap();
    for form in [&["-S"][..], &["-S", "-l"]] {
        minisign.passes(
            &[form, &["-s", secret.to_str().unwrap(), "-m", file.to_str().unwrap(), "-t", "said"]].concat(),
        );
        let written = text(&dir.path().join("file.minisig"));
        let signature = Signature::parse(&written).unwrap();
        assert_eq!(key.verify(b"contents", &signature), Ok("said"), "{form:?}");
        assert_eq!(key.verify(b"content", &signature), Err(Error::Contents(key.number())));
        let other = Signature::parse(&written.replace("said", "sand")).unwrap();
        assert_eq!(key.verify(b"contents", &other), Err(Error::Comment(key.number())));
        let elsewhere = temp();
        let stranger = PublicKey::parse(&text(&pair(&minisign, elsewhere.path(), None).0)).unwrap();
        assert!(matches!(stranger.verify(b"contents", &signature), Err(Error::OtherKey { .. })));
        // Cut anywhere, it is no signature, or not of these contents.
        for end in 0..written.trim_end().trim_end_matches('=').len() {
            let Some(part) = written.get(..end) else { continue };
            let believed = Signature::parse(part).is_ok_and(|cut| key.verify(b"contents", &cut).is_ok());
            assert!(!believed, "{end} bytes of it");
        }
    }
}

#[test]
fn a_key_with_a_password_opens_with_it_alone() {
    let Some(minisign) = Tool::find("minisign") else { return };
    let dir = temp();
    let (public, secret) = pair(&minisign, dir.path(), Some("correct horse"));
    let sealed = SealedKey::parse(&text(&secret)).unwrap();
    assert!(sealed.is_encrypted());
    assert_eq!(sealed.open(None).err(), Some(Error::Encrypted));
    let opened = sealed.open(Some("correct horse")).unwrap();
    assert_eq!(opened.public(), PublicKey::parse(&text(&public)).unwrap());
    assert_eq!(sealed.open(Some("correct horsf")).err(), Some(Error::Password));
}

#[test]
fn damaged_keys_and_signatures_are_errors() {
    let Some(minisign) = Tool::find("minisign") else { return };
    let dir = temp();
    let (public, secret) = pair(&minisign, dir.path(), None);
    let (public, secret) = (text(&public), text(&secret));
    for words in
        ["", "\n", "x", "untrusted comment: x", "untrusted comment: x\n", "untrusted comment: x\nRWR="]
    {
        assert!(PublicKey::parse(words).is_err() && SealedKey::parse(words).is_err(), "{words:?}");
        assert!(Signature::parse(words).is_err(), "{words:?}");
    }
    assert!(PublicKey::parse(&secret).is_err() && SealedKey::parse(&public).is_err());
    let line = secret.lines().nth(1).unwrap();
    for at in 72..line.len() - 44 {
        let mut changed = line.as_bytes().to_vec();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = format!("untrusted comment: x\n{}\n", String::from_utf8(changed).unwrap());
        let opened = SealedKey::parse(&changed).and_then(|key| key.open(None));
        // The number of the key is protected by nothing in a key without a password.
        let number = 72..=83;
        assert!(number.contains(&at) || opened.is_err(), "digit {at}");
    }
}

/// The manifest of an image and its signature.
fn signed_manifest(image: &Path) -> Option<(PathBuf, PathBuf)> {
    let root = image.with_extension("root");
    cut(image, *partitions(image)?.last().unwrap(), &root);
    let debugfs = Tool::find("debugfs")?;
    let take = |name: &str| {
        let to = image.with_file_name(name);
        debugfs.passes(&[
            "-R",
            &format!("dump /nix/var/nixflash/{name} {}", to.display()),
            root.to_str().unwrap(),
        ]);
        to
    };
    Some((take("manifest.json"), take("manifest.json.minisig")))
}

fn sign(demo: &Demo, image: &Path, key: &Path, options: &[&str]) -> crate::common::Run {
    let mut command = demo.compose("rpi4", &demo.at("root"), image);
    run(command.arg("--force").arg("--sign-key").arg(key).args(options))
}

#[test]
fn a_card_carries_its_manifest_signed() {
    let (Some(minisign), Some(demo)) = (Tool::find("minisign"), demo()) else { return };
    let dir = temp();
    let (public, secret) = pair(&minisign, dir.path(), None);
    let image = dir.path().join("card.img");
    let done = sign(demo, &image, &secret, &[]);
    assert_eq!((done.code, done.err.trim()), (0, ""));
    let Some((manifest, _)) = signed_manifest(&image) else { return };
    let said = minisign.passes(&["-V", "-p", public.to_str().unwrap(), "-m", manifest.to_str().unwrap()]);
    let name = demo.top.rsplit('/').next().unwrap();
    assert!(said.contains(&format!("Trusted comment: nixflash manifest of {name}")), "{said}");
    let first = sha256(&image);
    assert_eq!(sign(demo, &image, &secret, &[]).code, 0);
    assert_eq!(sha256(&image), first, "the same bits, signed again");
    let done = sign(demo, &image, &public, &[]);
    assert_eq!(done.code, 2, "{}", done.err);
    assert!(done.err.contains("it is no secret key of minisign"), "{}", done.err);
}

#[test]
fn the_password_of_a_key_comes_from_a_file_and_is_told_to_nobody() {
    let (Some(minisign), Some(demo)) = (Tool::find("minisign"), demo()) else { return };
    let dir = temp();
    let (public, secret) = pair(&minisign, dir.path(), Some("correct horse"));
    let (image, word) = (dir.path().join("card.img"), dir.path().join("word"));
    std::fs::write(&word, "correct horse\n").unwrap();
    let done = sign(demo, &image, &secret, &["--sign-password", word.to_str().unwrap()]);
    assert_eq!((done.code, done.err.trim()), (0, ""));
    let Some((manifest, _)) = signed_manifest(&image) else { return };
    minisign.passes(&["-V", "-p", public.to_str().unwrap(), "-m", manifest.to_str().unwrap()]);
    std::fs::write(&word, "wrong horse\n").unwrap();
    let done = sign(demo, &image, &secret, &["--sign-password", word.to_str().unwrap()]);
    assert_eq!(done.code, 2);
    assert!(
        done.err.contains("the password is not that of the key") && !done.err.contains("horse"),
        "{}",
        done.err
    );
}

fn verify(image: &Path, keys: &[&str]) -> (Run, serde_json::Value) {
    let mut command = nixflash();
    command.arg("verify").arg(image).arg("--json");
    let done = run(command.args(keys.iter().flat_map(|key| ["--trusted-key", key])));
    let report = serde_json::from_slice(&done.out).unwrap_or_default();
    (done, report)
}

/// Puts a file on the root in place of another.
fn replace(image: &Path, path: &str, bytes: &[u8]) -> Option<()> {
    let debugfs = Tool::find("debugfs")?;
    let (start, _) = *partitions(image)?.last()?;
    let (from, at) = (image.with_extension("from"), format!("{}?offset={start}", image.display()));
    std::fs::write(&from, bytes).unwrap();
    let write = format!("write {} {path}", from.display());
    for request in [&format!("rm {path}"), &write, &format!("sif {path} mode 0100644")] {
        debugfs.passes(&["-w", "-R", request, &at]);
    }
    Some(())
}

#[test]
fn a_card_is_ours_when_a_trusted_key_has_signed_its_manifest() {
    let (Some(minisign), Some(demo)) = (Tool::find("minisign"), demo()) else { return };
    let (dir, elsewhere) = (temp(), temp());
    let (public, secret) = pair(&minisign, dir.path(), None);
    let (stranger, _) = pair(&minisign, elsewhere.path(), None);
    let (file, line) = (public.to_str().unwrap(), text(&public).lines().nth(1).unwrap().to_owned());
    let stranger = stranger.to_str().unwrap();
    let number = PublicKey::parse(&line).unwrap().number();
    let image = dir.path().join("card.img");
    assert_eq!(sign(demo, &image, &secret, &[]).code, 0);
    let (done, report) = verify(&image, &[]);
    assert_eq!((done.code, &report["verdict"]), (0, &"intact".into()), "{}", done.err);
    assert_eq!(report["manifestSignature"]["trusted"], false);
    assert!(done.err.contains(&format!("signed by the key {number}, which is not known")), "{}", done.err);
    for keys in [
        &[file][..],
        &[&line],
        &[stranger, file],
        &["cache.example-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", &line],
    ] {
        let (done, report) = verify(&image, keys);
        assert_eq!((done.code, &report["verdict"]), (0, &"intact".into()), "{keys:?}: {}", done.err);
        assert_eq!(report["manifestSignature"]["key"], number);
        assert_eq!(report["manifestSignature"]["trusted"], true);
        assert!(done.err.contains(": nixflash manifest of "), "{}", done.err);
    }
    let (done, report) = verify(&image, &[stranger]);
    assert_eq!((done.code, &report["verdict"]), (3, &"not ours".into()), "{}", done.err);
    assert!(
        done.err.contains(&format!("is not ours: its manifest is signed by the key {number}, expected")),
        "{}",
        done.err
    );
    let bare = dir.path().join("bare.img");
    assert_eq!(run(&mut demo.compose("rpi4", &demo.at("root"), &bare)).code, 0);
    let (done, report) = verify(&bare, &[file]);
    assert_eq!((done.code, &report["verdict"]), (3, &"not ours".into()), "{}", done.err);
    assert!(
        done.err.contains("is not ours: its manifest is not signed, expected a signature by"),
        "{}",
        done.err
    );
    for words in ["nonsense", "/nowhere/key.pub", secret.to_str().unwrap()] {
        let (done, _) = verify(&image, &[words]);
        assert!(done.code == 2 && done.err.contains("--trusted-key takes"), "{words}: {}", done.err);
    }
}

#[test]
fn a_signature_that_is_not_of_the_manifest_is_damage() {
    let (Some(minisign), Some(demo)) = (Tool::find("minisign"), demo()) else { return };
    let dir = temp();
    let (public, secret) = pair(&minisign, dir.path(), None);
    let key = public.to_str().unwrap();
    let image = dir.path().join("card.img");
    let path = "/nix/var/nixflash/manifest.json.minisig";
    assert_eq!(sign(demo, &image, &secret, &[]).code, 0);
    let Some((_, signature)) = signed_manifest(&image) else { return };
    let right = text(&signature);
    // Of another manifest, by the very key: both are whole, and do not belong together.
    assert_eq!(sign(demo, &image, &secret, &["--id-seed", "other"]).code, 0);
    let Some(()) = replace(&image, path, right.as_bytes()) else { return };
    let (done, report) = verify(&image, &[key]);
    assert_eq!((done.code, &report["verdict"]), (3, &"damaged".into()), "{}", done.err);
    assert!(done.err.contains(&format!("{path}: the signature of ")), "{}", done.err);
    // Without the key nobody can tell.
    assert_eq!(verify(&image, &[]).0.code, 0);
    assert_eq!(sign(demo, &image, &secret, &[]).code, 0);
    for (wrong, expected) in [
        (right.replace("nixflash manifest of", "nixflash manifest or"), "the trusted comment is not the one"),
        (right[..right.len() / 2].to_owned(), "it is no signature of minisign"),
        (String::new(), "it is no signature of minisign"),
    ] {
        replace(&image, path, wrong.as_bytes());
        let (done, report) = verify(&image, &[key]);
        assert_eq!((done.code, &report["verdict"]), (3, &"damaged".into()), "{}", done.err);
        assert!(done.err.contains(&format!("{path}: {expected}")), "{}", done.err);
    }
}
