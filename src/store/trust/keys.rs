//! Why contents from elsewhere may be believed: a signature of a trusted key, or a path that its contents name.
//!
//! Sources: Nix `src/libstore/path-info.cc` (fingerprint, content addresses), `src/libstore/path.cc` and
//! `store-api.cc` (`makeStorePath`). A fingerprint is `1;PATH;sha256:NARHASH;NARSIZE;REF,REF`, with full paths.

use super::content_address;
use crate::base_n::{from_base32, from_base64, to_base16, to_base32};
use crate::format::nix::nar_hash;
use crate::format::nix::narinfo::NarInfo;
use crate::format::nix::store_path::{STORE_DIR, StorePath};
use crate::store::interface::PathInfo;
use ring::signature::{ED25519, UnparsedPublicKey};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The key of cache.nixos.org.
const NIXOS: &str = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=";

/// A key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no public key, expected NAME:BASE64 of 32 bytes")]
pub struct BadKey(pub String);

/// Public keys by name.
#[derive(Clone, Debug, Default)]
pub struct Keys(BTreeMap<String, Vec<u8>>);

impl Keys {
    /// The key of cache.nixos.org.
    #[must_use]
    pub fn nixos() -> Self {
        let mut keys = Self::default();
        // cannot fail: a test parses it
        drop(keys.add(NIXOS));
        keys
    }

    /// Trusts a key, written as Nix writes it.
    pub fn add(&mut self, text: &str) -> Result<(), BadKey> {
        let bad = || BadKey(text.to_owned());
        let (name, key) = text.trim().split_once(':').ok_or_else(bad)?;
        let key = from_base64(key).filter(|key| key.len() == 32).ok_or_else(bad)?;
        if name.is_empty() {
            return Err(bad());
        }
        self.0.insert(name.to_owned(), key);
        Ok(())
    }

    /// The names, for messages.
    #[must_use]
    pub fn names(&self) -> String {
        self.0.keys().cloned().collect::<Vec<_>>().join(", ")
    }

    /// Whether a path may be believed.
    #[must_use]
    pub fn trust(&self, info: &PathInfo) -> bool {
        is_content_addressed(info, Own::WhileRead)
            || info.signatures.iter().any(|signature| self.has_signed(info, signature))
    }

    /// What the signatures of a path are worth, each by the name of its key.
    #[must_use]
    pub fn judge(&self, info: &PathInfo) -> Judged {
        let mut judged =
            Judged { content_addressed: is_content_addressed(info, Own::Never), ..Judged::default() };
        for signature in &info.signatures {
            let name = signature.split_once(':').map_or(&**signature, |(name, _)| name).to_owned();
            match (self.0.contains_key(&name), self.has_signed(info, signature)) {
                (_, true) => judged.good.push(name),
                (true, false) => judged.bad.push(name),
                (false, false) => judged.unknown.push(name),
            }
        }
        judged
    }

    fn has_signed(&self, info: &PathInfo, signature: &str) -> bool {
        let Some((name, signature)) = signature.split_once(':') else { return false };
        let (Some(key), Some(signature)) = (self.0.get(name), from_base64(signature)) else {
            return false;
        };
        UnparsedPublicKey::new(&ED25519, key).verify(fingerprint(info).as_bytes(), &signature).is_ok()
    }
}

/// The signatures of a path, by the names of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Those that are right.
    pub good: Vec<String>,
    /// Those of a known key that are wrong.
    pub bad: Vec<String>,
    /// Those of keys that are not known.
    pub unknown: Vec<String>,
    /// Whether the path follows from its contents.
    pub content_addressed: bool,
}

/// What a signature is over.
fn fingerprint(info: &PathInfo) -> String {
    let references: Vec<String> = info.references.iter().map(ToString::to_string).collect();
    let (hash, size) = (to_base32(&info.nar_hash), info.nar_size);
    format!("1;{};sha256:{hash};{size};{}", info.path, references.join(","))
}

/// When the contents of a path that refers to itself are held against its address, which a NarHash says nothing of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    /// When its NAR is read ([`super::hash_modulo`]).
    WhileRead,
    /// They are not: it counts as any other.
    Never,
}

/// What a narinfo says of its path, with a content address only where that makes this very path. No signature is over the
/// address, and Nix refuses a database in which it is something else.
#[must_use]
pub fn facts(narinfo: NarInfo) -> PathInfo {
    let address = narinfo.content_address;
    let mut info = PathInfo {
        path: narinfo.path,
        nar_hash: narinfo.nar_hash,
        nar_size: narinfo.nar_size,
        references: narinfo.references,
        deriver: narinfo.deriver,
        signatures: narinfo.signatures,
        content_address: None,
    };
    let is_right = |address: &String| {
        let path = expected_path(address, &info, Own::WhileRead).or_else(|| older_path(address, &info));
        path.is_some_and(|path| path == info.path)
    };
    info.content_address = address.filter(is_right);
    info
}

/// The path of a fixed output whose hash is no SHA-256, as tarballs once had.
fn older_path(address: &str, info: &PathInfo) -> Option<StorePath> {
    let rest = address.strip_prefix("fixed:")?;
    let (recursive, rest) = rest.strip_prefix("r:").map_or(("", rest), |rest| ("r:", rest));
    let (kind, hash) = rest.split_once(':')?;
    let hash = match kind {
        "md5" => to_base16(&from_base32::<16>(hash)?),
        "sha1" => to_base16(&from_base32::<20>(hash)?),
        "sha512" => to_base16(&from_base32::<64>(hash)?),
        _ => return None,
    };
    let output = Sha256::digest(format!("fixed:out:{recursive}{kind}:{hash}:"));
    info.references.is_empty().then(|| path_of("output:out", &output.into(), info))?
}

/// Whether the path follows from its contents, so that nobody has to vouch for it.
fn is_content_addressed(info: &PathInfo, own: Own) -> bool {
    let address = info.content_address.as_deref();
    address.and_then(|address| expected_path(address, info, own)).is_some_and(|path| path == info.path)
}

/// The path that contents with this address must have, of the kinds with a SHA-256. Whether the contents have the
/// address is judged by the NAR hash here, or while they are read (see [`super::content_address`]).
fn expected_path(address: &str, info: &PathInfo, own: Own) -> Option<StorePath> {
    if let Some(hash) = address.strip_prefix("fixed:r:") {
        let is_own = own == Own::WhileRead && info.references.contains(&info.path);
        let hash = nar_hash::parse(hash).filter(|hash| is_own || *hash == info.nar_hash)?;
        return path_of(&with_references("source", info, true)?, &hash, info);
    }
    let hash = content_address::hash_of(address)?;
    if address.starts_with("text:") {
        return path_of(&with_references("text", info, false)?, &hash, info);
    }
    let output = Sha256::digest(format!("fixed:out:sha256:{}:", to_base16(&hash)));
    info.references.is_empty().then(|| path_of("output:out", &output.into(), info))?
}

/// The kind of a path with its references; `None` where it refers to itself and may not.
fn with_references(kind: &str, info: &PathInfo, may_refer_to_itself: bool) -> Option<String> {
    let mut text = kind.to_owned();
    for reference in info.references.iter().filter(|reference| **reference != info.path) {
        text.push_str(&format!(":{reference}"));
    }
    if info.references.contains(&info.path) {
        if !may_refer_to_itself {
            return None;
        }
        text.push_str(":self");
    }
    Some(text)
}

fn path_of(kind: &str, hash: &[u8; 32], info: &PathInfo) -> Option<StorePath> {
    let text = format!("{kind}:sha256:{}:{STORE_DIR}:{}", to_base16(hash), info.path.name());
    let digest = Sha256::digest(text);
    // Folded to 160 bits, as Nix's compressHash does.
    let mut folded = [0; 20];
    for (at, byte) in digest.iter().enumerate() {
        folded[at % 20] ^= byte;
    }
    StorePath::from_base_name(&format!("{}-{}", to_base32(&folded), info.path.name())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    fn info() -> PathInfo {
        let path = |name: &str| {
            StorePath::from_base_name(&format!("3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-{name}")).unwrap()
        };
        PathInfo {
            path: path("x"),
            nar_hash: [7; 32],
            nar_size: 1000,
            references: vec![path("a"), path("b")],
            deriver: None,
            signatures: Vec::new(),
            content_address: None,
        }
    }

    fn base64(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut out = String::new();
        for chunk in bytes.chunks(3) {
            let mut word = [0; 3];
            word[..chunk.len()].copy_from_slice(chunk);
            let bits = u32::from_be_bytes([0, word[0], word[1], word[2]]);
            for n in 0..4 {
                let digit = char::from(DIGITS[(bits >> (18 - 6 * n) & 63) as usize]);
                out.push(if n <= chunk.len() { digit } else { '=' });
            }
        }
        out
    }

    #[test]
    fn only_a_trusted_key_over_the_very_same_facts_is_believed() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[3; 32]).unwrap();
        let mut keys = Keys::nixos();
        assert_eq!(keys.names(), "cache.nixos.org-1");
        keys.add(&format!("mine:{}", base64(pair.public_key().as_ref()))).unwrap();
        let mut signed = info();
        assert!(!keys.trust(&signed));
        let signature = base64(pair.sign(fingerprint(&signed).as_bytes()).as_ref());
        signed.signatures = vec!["other:AAAA".into(), format!("mine:{signature}")];
        assert!(keys.trust(&signed));
        for change in [
            |info: &mut PathInfo| info.nar_hash[0] ^= 1,
            |info: &mut PathInfo| info.nar_size += 1,
            |info: &mut PathInfo| drop(info.references.pop()),
            |info: &mut PathInfo| info.signatures[1].replace_range(0..4, "evil"),
            |info: &mut PathInfo| info.content_address = Some("fixed:r:sha256:00".into()),
        ] {
            let mut changed = signed.clone();
            change(&mut changed);
            assert_eq!(keys.trust(&changed), changed.content_address.is_some());
        }
        assert!(!Keys::nixos().trust(&signed));
        for bad in ["", "x", "x:AAAA", ":6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY="] {
            assert!(keys.add(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_that_its_contents_name_needs_no_signature() {
        let mut info = info();
        let address = format!("fixed:r:{}", nar_hash::show(&info.nar_hash));
        info.content_address = Some(address.clone());
        assert!(!Keys::default().trust(&info), "the path is not that of its contents");
        let path = expected_path(&address, &info, Own::Never).unwrap();
        info.path = path;
        assert!(Keys::default().trust(&info));
        info.nar_hash[1] ^= 1;
        assert!(!Keys::default().trust(&info));
    }

    #[test]
    fn a_path_that_one_file_names_is_that_of_nix() {
        // nix-store --add-fixed sha256 on a file `hello` with "hello\n"; builtins.toFile "t" "text".
        for (address, path) in [
            (
                "fixed:sha256:00xyyr3fi8l6hb839bv3f7yb86yjv7xi1cgh1xnhipym4asvb4aq",
                "/nix/store/8zv8i345w2xn27jrxj4cyjc6x3b4am1q-hello",
            ),
            (
                "text:sha256:1lf969yddshzhld7sr1vbagr07bnygg99lgl6gk5kxcnp4z9wbcq",
                "/nix/store/gmzdrk8k0jbnbvvdf0517iyixgkvqnil-t",
            ),
        ] {
            let mut info = info();
            info.references.clear();
            (info.path, info.content_address) =
                (StorePath::from_absolute(path).unwrap(), Some(address.to_owned()));
            assert!(Keys::default().trust(&info), "{address}");
            info.content_address = Some(address.replace('y', "z"));
            assert!(!Keys::default().trust(&info), "another hash");
            info.content_address = Some(address.to_owned());
            info.references = vec![info.path.clone()];
            assert!(!Keys::default().trust(&info), "it cannot refer to itself");
        }
    }
}
