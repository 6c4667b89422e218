//! Bytes as text: base 16, base 64, and the base 32 of Nix, whose digits come last first.

use data_encoding::{BASE64, BASE64_NOPAD, BitOrder, Encoding, HEXLOWER, HEXLOWER_PERMISSIVE, Specification};
use std::sync::LazyLock;

/// The digits of Nix's base 32, without those that make words: e, o, t and u (Nix `src/libutil/base-nix-32.cc`).
pub const NIX_BASE32: &str = "0123456789abcdfghijklmnpqrsvwxyz";

/// Nix's base 32 with its digits in the other order: the lowest five bits first.
static REVERSED: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification.symbols.push_str(NIX_BASE32);
    specification.bit_order = BitOrder::LeastSignificantFirst;
    // cannot fail: 32 digits, none twice, all of them ASCII
    specification.encoding().unwrap_or(data_encoding::BASE32_NOPAD)
});

/// Writes bytes in base 16, in lower case.
#[must_use]
pub fn to_base16(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

/// Reads base 16 in either case; `None` for anything else.
#[must_use]
pub fn from_base16(text: &str) -> Option<Vec<u8>> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()
}

/// Writes bytes in base 64 with padding (RFC 4648, 4).
#[must_use]
pub fn to_base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// Reads base 64, with or without its padding; `None` for anything else, also where bits are left that stand for
/// nothing.
#[must_use]
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    BASE64_NOPAD.decode(text.trim_end_matches('=').as_bytes()).ok()
}

/// Writes bytes in Nix's base 32: the lowest five bits last.
#[must_use]
pub fn to_base32(bytes: &[u8]) -> String {
    REVERSED.encode(bytes).chars().rev().collect()
}

/// Reads Nix's base 32 into exactly `N` bytes; `None` where the length, a digit or a surplus bit is wrong.
#[must_use]
pub fn from_base32<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits: Vec<u8> = text.bytes().rev().collect();
    REVERSED.decode(&digits).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_64_is_that_of_the_rfc_and_padding_may_be_left_out() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(to_base64(bytes.as_bytes()), text);
            assert_eq!(from_base64(text).unwrap(), bytes.as_bytes());
            assert_eq!(from_base64(text.trim_end_matches('=')).unwrap(), bytes.as_bytes());
        }
        for bad in ["Z", "Zh", "Zm9", "Zg=a", "Zm 8", "Zm8-"] {
            assert_eq!(from_base64(bad), None, "{bad}");
        }
    }

    #[test]
    fn base_16_is_read_in_either_case() {
        assert_eq!(to_base16(&[0, 0xab, 0xff]), "00abff");
        assert_eq!(from_base16("00aBfF").unwrap(), [0, 0xab, 0xff]);
        assert!(["0", "0g", "é"].iter().all(|bad| from_base16(bad).is_none()));
    }

    #[test]
    fn base32_is_that_of_nix() {
        // `nix hash to-base32` of the SHA-256 of nothing.
        let empty = [
            0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
            0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
        ];
        let text = "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73";
        assert_eq!(to_base32(&empty), text);
        assert_eq!(from_base32::<32>(text), Some(empty));
        assert_eq!(from_base32::<32>(&text.replace("0mdq", "zmdq")), None, "bits beyond the last byte");
        assert_eq!(from_base32::<32>(&text.replace('c', "e")), None, "e is not a digit");
        assert_eq!(from_base32::<32>(""), None);
    }
}
