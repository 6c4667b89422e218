//! Keys that the user trusts: Nix's for store paths, minisign's for manifests.

use super::stores;
use crate::cli::exit::{Code, Failure};
use crate::format::file::minisign::PublicKey;
use crate::store::Keys;
use std::io::Read;

/// The longest file with a key, in bytes.
const MAX_LEN: u64 = 64 << 10;

/// What is trusted.
pub struct Trusted {
    /// Whose signatures of store paths count.
    pub keys: Keys,
    /// Whose signatures of manifests count.
    pub signers: Vec<PublicKey>,
}

/// Reads keys as they were given: NAME:BASE64, a public key of minisign, or a file with either.
pub fn read(given: &[String]) -> Result<Trusted, Failure> {
    let (mut of_nix, mut signers) = (Vec::new(), Vec::new());
    for words in given {
        if Keys::default().add(words).is_ok() {
            of_nix.push(words.clone());
            continue;
        }
        if let Ok(key) = PublicKey::parse(words) {
            signers.push(key);
            continue;
        }
        let text = file(words)?;
        match PublicKey::parse(&text) {
            Ok(key) => signers.push(key),
            Err(_) if Keys::default().add(&text).is_ok() => of_nix.push(text),
            Err(error) => return Err(Failure::new(Code::Usage, format!("{words}: {error}")).hint(FORMS)),
        }
    }
    Ok(Trusted { keys: stores::keys(&of_nix)?, signers })
}

const FORMS: &str =
    "--trusted-key takes NAME:BASE64 for store paths, a public key of minisign, or a file with one of them";

fn file(name: &str) -> Result<String, Failure> {
    let failed = |error: std::io::Error| {
        let text = format!("{name} is no public key, and no file with one: {error}");
        Failure::new(Code::Usage, text).hint(FORMS)
    };
    let mut text = String::new();
    let file = std::fs::File::open(name).map_err(failed)?;
    file.take(MAX_LEN).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}
