//! Signatures of minisign: Ed25519 over the BLAKE2b-512 of a file, with a comment that is signed too.
//!
//! ```text
//! public key   untrusted comment: ...
//!              base64("Ed" | key number 8 | public key 32)
//! secret key   untrusted comment: ...
//!              base64("Ed" | kdf 2 | "B2" | salt 32 | opslimit u64 | memlimit u64 | box 104)
//!              box = key number 8 | seed 32 | public key 32 | BLAKE2b-256("Ed" | key number | seed | public key)
//!              kdf "\0\0": the box is plain; "Sc": it is XORed with scrypt(password, salt)
//! signature    untrusted comment: ...
//!              base64(algorithm 2 | key number 8 | signature 64)
//!              trusted comment: ...
//!              base64(Ed25519(signature | trusted comment))
//! ```
//! The algorithm is "ED" for a signature over the BLAKE2b-512, "Ed" for an older one over the file itself.
//! Source: <https://jedisct1.github.io/minisign/>; integers are little-endian. A plain box made by minisign 0.11 has
//! zeros for its checksum. Signing takes no random numbers, so that the same card is signed by the same bits.

use crate::base_n::{from_base64, to_base64};
use blake2::digest::consts::U32;
use blake2::{Blake2b, Blake2b512, Digest};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

const PREHASHED: &[u8; 2] = b"ED";
const LEGACY: &[u8; 2] = b"Ed";
const UNTRUSTED: &str = "untrusted comment: ";
const TRUSTED: &str = "trusted comment: ";
/// The most memory that a password may cost, in bytes: what minisign itself takes.
const MAX_MEMORY: u64 = 1 << 30;
/// The longest comment, in bytes, as in minisign.
const MAX_COMMENT: usize = 8192;

/// A key or a signature cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not of the form.
    #[error("it is no {what} of minisign: {message}")]
    Form {
        /// What was expected.
        what: &'static str,
        /// What is wrong.
        message: &'static str,
    },
    /// The password is wrong.
    #[error("the password is not that of the key")]
    Password,
    /// The key must be decrypted.
    #[error("the key is encrypted and needs its password")]
    Encrypted,
    /// Another key signed.
    #[error("it is signed by the key {found}, expected {expected}")]
    OtherKey {
        /// The number of the key that is trusted.
        expected: String,
        /// The number in the signature.
        found: String,
    },
    /// The contents are not those that were signed.
    #[error("the signature of {0} is wrong: the contents are not those that were signed")]
    Contents(String),
    /// The comment is not the one that was signed.
    #[error("the trusted comment is not the one that {0} signed")]
    Comment(String),
}

const fn form(what: &'static str, message: &'static str) -> Error {
    Error::Form { what, message }
}

/// The number of a key as minisign shows it.
fn shown(number: [u8; 8]) -> String {
    format!("{:016X}", u64::from_le_bytes(number))
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    number: [u8; 8],
    key: [u8; 32],
}

impl PublicKey {
    /// Parses the contents of a `.pub` file, or its second line alone.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bad = |message| form("public key", message);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with(UNTRUSTED));
        let bytes = line.and_then(from_base64).ok_or_else(|| bad("expected a line of base 64"))?;
        let bytes: [u8; 42] = bytes.try_into().map_err(|_| bad("expected 42 bytes"))?;
        if bytes[..2] != *LEGACY {
            return Err(bad("its algorithm is not Ed25519"));
        }
        let mut key = Self { number: [0; 8], key: [0; 32] };
        key.number.copy_from_slice(&bytes[2..10]);
        key.key.copy_from_slice(&bytes[10..]);
        Ok(key)
    }

    /// Its number, as minisign shows it.
    #[must_use]
    pub fn number(&self) -> String {
        shown(self.number)
    }

    /// Checks that `contents` and the trusted comment are what this key signed; gives the comment.
    pub fn verify<'a>(&self, contents: &[u8], signature: &'a Signature) -> Result<&'a str, Error> {
        if signature.number != self.number {
            return Err(Error::OtherKey { expected: self.number(), found: signature.key_number() });
        }
        let key = UnparsedPublicKey::new(&ED25519, &self.key);
        let signed = if signature.prehashed {
            key.verify(&Blake2b512::digest(contents), &signature.signature)
        } else {
            key.verify(contents, &signature.signature)
        };
        signed.map_err(|_| Error::Contents(self.number()))?;
        let commented = [&signature.signature[..], signature.comment.as_bytes()].concat();
        key.verify(&commented, &signature.global).map_err(|_| Error::Comment(self.number()))?;
        Ok(&signature.comment)
    }
}

/// A signature with its trusted comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    prehashed: bool,
    number: [u8; 8],
    signature: [u8; 64],
    comment: String,
    global: [u8; 64],
}

impl Signature {
    /// Parses the contents of a `.minisig` file.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bad = |message| form("signature", message);
        let mut lines = text.lines();
        if !lines.next().is_some_and(|line| line.starts_with(UNTRUSTED)) {
            return Err(bad("expected an untrusted comment in its first line"));
        }
        let bytes = lines.next().and_then(from_base64).and_then(|bytes| <[u8; 74]>::try_from(bytes).ok());
        let bytes = bytes.ok_or_else(|| bad("expected 74 bytes as base 64 in its second line"))?;
        let comment = lines.next().and_then(|line| line.strip_prefix(TRUSTED));
        let comment = comment.ok_or_else(|| bad("expected a trusted comment in its third line"))?;
        if comment.len() > MAX_COMMENT {
            return Err(bad("its trusted comment is too long"));
        }
        let global = lines.next().and_then(from_base64).and_then(|bytes| bytes.try_into().ok());
        let global = global.ok_or_else(|| bad("expected 64 bytes as base 64 in its fourth line"))?;
        if lines.any(|line| !line.trim().is_empty()) {
            return Err(bad("expected four lines"));
        }
        let prehashed = match &bytes[..2] {
            alg if alg == PREHASHED => true,
            alg if alg == LEGACY => false,
            _ => return Err(bad("its algorithm is not Ed25519")),
        };
        let mut parsed =
            Self { prehashed, number: [0; 8], signature: [0; 64], comment: comment.to_owned(), global };
        parsed.number.copy_from_slice(&bytes[2..10]);
        parsed.signature.copy_from_slice(&bytes[10..]);
        Ok(parsed)
    }

    /// The number of the key that it names.
    #[must_use]
    pub fn key_number(&self) -> String {
        shown(self.number)
    }
}

/// A secret key as it is in its file, perhaps encrypted.
pub struct SealedKey {
    is_encrypted: bool,
    salt: [u8; 32],
    opslimit: u64,
    memlimit: u64,
    sealed: [u8; 104],
}

impl SealedKey {
    /// Parses the contents of a secret key file.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bad = |message| form("secret key", message);
        let mut lines = text.lines();
        if !lines.next().is_some_and(|line| line.starts_with(UNTRUSTED)) {
            return Err(bad("expected an untrusted comment in its first line"));
        }
        let bytes = lines.next().map(str::trim).and_then(from_base64);
        let bytes: [u8; 158] = bytes
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| bad("expected 158 bytes as base 64 in its second line"))?;
        let is_encrypted = match &bytes[..6] {
            b"Ed\0\0B2" => false,
            b"EdScB2" => true,
            _ => return Err(bad("its algorithms are not Ed25519, scrypt and BLAKE2b")),
        };
        let number = |at: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(number)
        };
        let (opslimit, memlimit) = (number(38), number(46));
        let mut key = Self { is_encrypted, salt: [0; 32], opslimit, memlimit, sealed: [0; 104] };
        key.salt.copy_from_slice(&bytes[6..38]);
        key.sealed.copy_from_slice(&bytes[54..]);
        Ok(key)
    }

    /// Whether it needs a password.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// Opens it. A password takes a second and up to a GiB of memory: that is what makes guessing dear.
    pub fn open(&self, password: Option<&str>) -> Result<SecretKey, Error> {
        let mut plain = self.sealed;
        if self.is_encrypted {
            let password = password.ok_or(Error::Encrypted)?;
            let mut stream = [0; 104];
            scrypt::scrypt(password.as_bytes(), &self.salt, &self.costs()?, &mut stream)
                .map_err(|_| form("secret key", "its costs of scrypt are out of bounds"))?;
            plain.iter_mut().zip(stream).for_each(|(byte, key)| *byte ^= key);
        }
        let (keys, checksum) = plain.split_at(72);
        let expected = Blake2b::<U32>::new().chain_update(LEGACY).chain_update(keys).finalize();
        let unchecked = !self.is_encrypted && checksum.iter().all(|byte| *byte == 0);
        if *checksum != *expected && !unchecked {
            let damaged = form("secret key", "its checksum is wrong");
            return Err(if self.is_encrypted { Error::Password } else { damaged });
        }
        let pair = Ed25519KeyPair::from_seed_and_public_key(&keys[8..40], &keys[40..])
            .map_err(|_| form("secret key", "its halves do not belong together"))?;
        let mut number = [0; 8];
        number.copy_from_slice(&keys[..8]);
        Ok(SecretKey { number, pair })
    }

    /// The parameters that libsodium picks for these limits.
    fn costs(&self) -> Result<scrypt::Params, Error> {
        if self.memlimit > MAX_MEMORY {
            return Err(form("secret key", "its password would take more than 1 GiB of memory"));
        }
        let opslimit = self.opslimit.max(32768);
        let log2 = |most: u64| (most.max(2).ilog2()).min(20);
        let (log_n, p) = if opslimit < self.memlimit / 32 {
            (log2(opslimit / 32), 1)
        } else {
            let log_n = log2(self.memlimit / 1024);
            (log_n, ((opslimit / 4) >> log_n).min(0x3fff_ffff) / 8)
        };
        let out_of_bounds = form("secret key", "its costs of scrypt are out of bounds");
        let (Ok(log_n), Ok(p @ 1..=64)) = (u8::try_from(log_n), u32::try_from(p)) else {
            return Err(out_of_bounds);
        };
        scrypt::Params::new(log_n, 8, p).map_err(|_| out_of_bounds)
    }
}

/// A secret key that can sign.
pub struct SecretKey {
    number: [u8; 8],
    pair: Ed25519KeyPair,
}

impl SecretKey {
    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let mut key = [0; 32];
        key.copy_from_slice(self.pair.public_key().as_ref());
        PublicKey { number: self.number, key }
    }

    /// The contents of a `.minisig` file for `contents`; a comment is one line.
    #[must_use]
    pub fn sign(&self, contents: &[u8], untrusted: &str, trusted: &str) -> String {
        let signature = self.pair.sign(&Blake2b512::digest(contents));
        let global = self.pair.sign(&[signature.as_ref(), trusted.as_bytes()].concat());
        let signed = to_base64(&[&PREHASHED[..], &self.number, signature.as_ref()].concat());
        let global = to_base64(global.as_ref());
        format!("{UNTRUSTED}{untrusted}\n{signed}\n{TRUSTED}{trusted}\n{global}\n")
    }
}
