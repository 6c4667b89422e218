//! Identifiers that derive from what is composed: the same closure on the same board has the same ones, any other
//! closure has others.

use crate::compose::closure::Packed;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The namespace of all identifiers that nixflash derives; made once at random.
const NAMESPACE: Uuid = Uuid::from_u128(0x6d0f_6b1e_43a5_4f0c_9a5e_2c64_9f31_77d8);

/// Gives identifiers for one composition.
pub struct Identity {
    digest: [u8; 32],
}

impl Identity {
    /// Derives from the board, every store path with its contents, and a word of the user's.
    pub fn new<'a>(board: &str, closure: impl Iterator<Item = &'a Packed>, seed: Option<&str>) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(board.as_bytes());
        if let Some(seed) = seed {
            hasher.update(b"\0seed\0");
            hasher.update(seed.as_bytes());
        }
        for packed in closure {
            hasher.update([0]);
            hasher.update(packed.info.path.base_name().as_bytes());
            hasher.update([0]);
            hasher.update(packed.info.nar_hash);
        }
        Self { digest: hasher.finalize().into() }
    }

    /// The UUID (version 5) for a purpose.
    pub fn uuid(&self, purpose: &str) -> Uuid {
        let name = [&self.digest[..], purpose.as_bytes()].concat();
        Uuid::new_v5(&NAMESPACE, &name)
    }

    /// 32 bits for a purpose, never 0.
    pub fn id32(&self, purpose: &str) -> u32 {
        let [a, b, c, d, ..] = *self.uuid(purpose).as_bytes();
        u32::from_be_bytes([a, b, c, d]).max(1)
    }
}
