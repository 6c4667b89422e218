//! Identifiers in the order of bytes that VDI and VHDX have: the first three fields little-endian.

/// The bytes of a UUID as they lie on disk.
pub(super) fn mixed(uuid: [u8; 16]) -> [u8; 16] {
    uuid::Uuid::from_bytes(uuid).to_bytes_le()
}
