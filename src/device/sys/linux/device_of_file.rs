//! The disk that a file lies on.

use super::roots::DeviceNumber;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The device that a file or directory lies on; for a block device, the device itself.
pub(crate) fn device_of_file(path: &Path) -> Option<DeviceNumber> {
    let metadata = std::fs::metadata(path).ok()?;
    let is_device = metadata.file_type().is_block_device();
    Some(DeviceNumber::of_stat(if is_device { metadata.rdev() } else { metadata.dev() }))
}
