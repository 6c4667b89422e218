//! Who vouches for the manifest: a signature of minisign beside it, and keys that the user trusts.

use super::findings::Findings;
use super::manifest::Manifest;
use super::place::Place;
use crate::format::file::minisign::{PublicKey, Signature};

/// Where the signature is on the root.
const SIGNATURE: &str = "/nix/var/nixflash/manifest.json.minisig";
/// The longest, in bytes.
const MAX_LEN: u64 = 64 << 10;

/// What the signature of a manifest is worth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Signed {
    /// There is none, or it is damaged.
    #[default]
    No,
    /// Signed by a key that is not known.
    Unknown {
        /// The number of the key, as minisign shows it.
        key: String,
    },
    /// Signed by a key that is trusted.
    By {
        /// The number of the key.
        key: String,
        /// The comment that it signed too.
        comment: String,
    },
}

/// Checks the signature. With keys, one of them must have signed; else the card is not theirs, for a reason that is
/// given.
pub fn check(
    places: &[Place<'_>],
    manifest: &Manifest,
    keys: &[PublicKey],
    findings: &mut Findings,
) -> (Signed, Option<String>) {
    if !manifest.is_ours() {
        return (Signed::No, None);
    }
    let root = places.iter().find(|place| place.root().is_some());
    let text = match root.map(|root| root.read(SIGNATURE, MAX_LEN)) {
        None | Some(Ok(None)) => {
            let is_wanted = !keys.is_empty();
            return (
                Signed::No,
                is_wanted.then(|| format!("its manifest is not signed, {}", expected(keys))),
            );
        }
        Some(Ok(Some(bytes))) => String::from_utf8(bytes).map_err(|_| "it is no text".to_owned()),
        Some(Err(error)) => Err(error),
    };
    let signature = match text.and_then(|text| Signature::parse(&text).map_err(|error| error.to_string())) {
        Ok(signature) => signature,
        Err(why) => {
            findings.bad(SIGNATURE, &why);
            return (Signed::No, None);
        }
    };
    let number = signature.key_number();
    let mut wrong = None;
    for key in keys.iter().filter(|key| key.number() == number) {
        // No bytes: then the root has no manifest, which is told already.
        match key.verify(manifest.bytes(), &signature) {
            Ok(comment) => return (Signed::By { key: number, comment: comment.to_owned() }, None),
            Err(error) => wrong = Some(error.to_string()),
        }
    }
    if let Some(why) = wrong {
        findings.bad(SIGNATURE, &why);
        return (Signed::No, None);
    }
    let other = || format!("its manifest is signed by the key {number}, {}", expected(keys));
    let reason = (!keys.is_empty()).then(other);
    (Signed::Unknown { key: number }, reason)
}

fn expected(keys: &[PublicKey]) -> String {
    let numbers: Vec<String> = keys.iter().map(PublicKey::number).collect();
    format!("expected a signature by {}", numbers.join(" or "))
}
