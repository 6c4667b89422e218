//! Which container a file is, by its first bytes or its last.

use super::kind::Kind;
use super::qcow2::ondisk as qcow2;
use super::vdi::ondisk as vdi;
use super::vhd::ondisk as vhd;
use super::vhdx::ondisk as vhdx;
use super::vmdk::ondisk as vmdk;

/// How many first bytes tell the kind.
pub const MAGIC_LEN: usize = 128;

/// The container that begins with `start`; one that is recognised by its end only is [`sniff_end`]'s.
#[must_use]
pub fn sniff(start: &[u8]) -> Option<Kind> {
    let is = |magic: &[u8]| start.starts_with(magic);
    if is(&qcow2::MAGIC) {
        Some(Kind::Qcow2)
    } else if is(vhdx::FILE_MAGIC) {
        Some(Kind::Vhdx)
    } else if is(vmdk::MAGIC) {
        Some(Kind::Vmdk)
    } else if is(vhd::COOKIE) {
        Some(Kind::Vhd)
    } else if vdi::SIGNATURE.get(start) == vdi::SIGNATURE_VALUE {
        Some(Kind::Vdi)
    } else {
        None
    }
}

/// The container that ends with `end`, its last 512 bytes: a disk with the footer of a fixed VHD behind it.
#[must_use]
pub fn sniff_end(end: &[u8]) -> Option<Kind> {
    let footer = end.len().checked_sub(vhd::FOOTER_LEN).and_then(|at| end.get(at..))?;
    footer.starts_with(vhd::COOKIE).then_some(Kind::Vhd)
}
