//! CRC32C as ext4 uses it: the raw register, seeded and never inverted at the end (kernel `fs/ext4/ext4.h`,
//! `ext4_chksum`). What a checksum is over stands beside the fields of what it is in.

/// Continues a raw register over `bytes`.
pub fn update(register: u32, bytes: &[u8]) -> u32 {
    // The crate inverts at both ends; undo it.
    !crc32c::crc32c_append(!register, bytes)
}

/// The seed of all checksums but the superblock's: over the file system's UUID.
pub fn file_system_seed(uuid: &[u8; 16]) -> u32 {
    update(u32::MAX, uuid)
}

/// The low 16 bits, for fields that hold no more.
pub fn low16(register: u32) -> u16 {
    let [a, b, ..] = register.to_le_bytes();
    u16::from_le_bytes([a, b])
}

/// The high 16 bits.
pub fn high16(register: u32) -> u16 {
    let [.., c, d] = register.to_le_bytes();
    u16::from_le_bytes([c, d])
}
