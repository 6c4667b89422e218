//! A fixed VHD: the disk as it is, and a footer.

use super::ondisk;

/// Azure takes only disks whose length is a multiple of this, in bytes.
pub const UNIT: u64 = 1 << 20;

/// The footer of a disk of `size` bytes, a multiple of [`UNIT`]; `id` is its UUID.
#[must_use]
pub fn footer(size: u64, id: [u8; 16]) -> [u8; ondisk::FOOTER_LEN] {
    let mut footer = [0; ondisk::FOOTER_LEN];
    footer[..ondisk::COOKIE.len()].copy_from_slice(ondisk::COOKIE);
    ondisk::FEATURES.put(&mut footer, ondisk::RESERVED);
    ondisk::FORMAT_VERSION.put(&mut footer, ondisk::VERSION_1);
    ondisk::DATA_OFFSET.put(&mut footer, ondisk::NO_DATA_OFFSET);
    // Some readers take the length from the geometry unless they know the program. QEMU's name for "the length is what
    // the footer says" is known to all of them.
    ondisk::CREATOR_APPLICATION.put(&mut footer, b"qem2");
    ondisk::CREATOR_VERSION.put(&mut footer, ondisk::VERSION_1);
    ondisk::CREATOR_HOST_OS.put(&mut footer, b"Wi2k");
    ondisk::ORIGINAL_SIZE.put(&mut footer, size);
    ondisk::CURRENT_SIZE.put(&mut footer, size);
    let (cylinders, heads, sectors) = geometry(size / 512);
    ondisk::CYLINDERS.put(&mut footer, cylinders);
    ondisk::HEADS.put(&mut footer, heads);
    ondisk::SECTORS_PER_TRACK.put(&mut footer, sectors);
    ondisk::DISK_TYPE.put(&mut footer, ondisk::FIXED);
    ondisk::UNIQUE_ID.put(&mut footer, &id);
    let sum = ondisk::checksum(&footer, ondisk::CHECKSUM);
    ondisk::CHECKSUM.put(&mut footer, sum);
    footer
}

/// Cylinders, heads and sectors of a track, as the appendix "CHS Calculation" of the specification has them.
fn geometry(sectors: u64) -> (u16, u8, u8) {
    let total = sectors.min(65535 * 16 * 255);
    let (heads, per_track) = if total >= 65535 * 16 * 63 {
        (16, 255)
    } else {
        let tracks = total / 17;
        let heads = tracks.div_ceil(1024).max(4);
        if tracks >= heads * 1024 || heads > 16 {
            let tracks = total / 31;
            if tracks >= 16 * 1024 { (16, 63) } else { (16, 31) }
        } else {
            (heads, 17)
        }
    };
    let cylinders = total / per_track / heads;
    let byte = |number: u64| u8::try_from(number).unwrap_or(u8::MAX);
    (u16::try_from(cylinders).unwrap_or(u16::MAX), byte(heads), byte(per_track))
}
