//! The label of a volume.

use super::error::Error;
use crate::format::disk::fat::ondisk::name::SPECIAL;

/// What the boot sector says of a volume without a label.
const NONE: [u8; 11] = *b"NO NAME    ";

/// A volume label as it is on disk: 11 bytes, padded with spaces. Letters stay as they are, as `mkfs.fat -n boot` and
/// `fatlabel` leave them and udev links them; Windows shows them all in upper case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label([u8; 11]);

impl Label {
    /// Checks a label; an empty one means none.
    pub fn new(label: &str) -> Result<Self, Error> {
        let mut bytes = [b' '; 11];
        let allowed = |b: &u8| b.is_ascii_alphanumeric() || *b == b' ' || SPECIAL.contains(b);
        let plain = label.bytes().all(|b| allowed(&b)) && !label.starts_with(' ') && !label.ends_with(' ');
        match bytes.get_mut(..label.len()) {
            Some(_) if label.is_empty() => return Ok(Self(NONE)),
            Some(front) if plain => front.copy_from_slice(label.as_bytes()),
            _ => return Err(Error::Label(label.to_owned())),
        }
        Ok(Self(bytes))
    }

    /// The field of the boot sector.
    pub(crate) const fn field(&self) -> &[u8; 11] {
        &self.0
    }

    /// The slot of the root, if there is a label.
    pub(crate) fn slot(&self) -> Option<&[u8; 11]> {
        (self.0 != NONE).then_some(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_what_it_says_or_refused() {
        assert_eq!(Label::new("FIRMWARE").unwrap().field(), b"FIRMWARE   ");
        assert_eq!(Label::new("MY DISK-1").unwrap().slot(), Some(b"MY DISK-1  "));
        assert_eq!(Label::new("boot").unwrap().slot(), Some(b"boot       "));
        assert_eq!(Label::new("").unwrap().slot(), None);
        for bad in ["TWELVE-BYTES", " A", "A ", "A.B", "É", "A\n", "A*B", "A/B"] {
            assert_eq!(Label::new(bad), Err(Error::Label(bad.to_owned())));
        }
    }
}
