//! Every absolute path that nixflash puts on a card or looks for on one.

/// The system profile: a symlink to the generation that boots.
pub const SYSTEM_PROFILE: &str = "/nix/var/nix/profiles/system";
/// The directory of profiles and their generations.
pub const PROFILES: &str = "/nix/var/nix/profiles";
/// The manifest on the root.
pub const MANIFEST: &str = "/nix/var/nixflash/manifest.json";
/// The signature of the manifest on the root.
pub const MANIFEST_SIGNATURE: &str = "/nix/var/nixflash/manifest.json.minisig";
/// The shorter manifest on the FAT.
pub const MANIFEST_ON_FAT: &str = "/nixflash.json";
/// What `nixflash firmware` has put onto the FAT since the card was composed.
pub const FIRMWARE_RECORD: &str = "/nixflash-firmware.json";

/// The path of a generation of the system profile.
#[must_use]
pub fn generation(number: impl std::fmt::Display) -> String {
    format!("{PROFILES}/{}", generation_name(number))
}

/// The name of a generation's symlink: `system-N-link`.
#[must_use]
pub fn generation_name(number: impl std::fmt::Display) -> String {
    format!("system-{number}-link")
}

/// The number in a name that [`generation_name`] makes; `None` for any other name, `system-01-link` among them.
#[must_use]
pub fn generation_number(name: &str) -> Option<u64> {
    let number = name.strip_prefix("system-")?.strip_suffix("-link")?;
    let value = number.parse().ok()?;
    (generation_name(value) == name).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_generations_are_read_in_the_one_form_that_nix_writes() {
        assert_eq!(generation(7), "/nix/var/nix/profiles/system-7-link");
        assert_eq!(generation_number("system-12-link"), Some(12));
        for name in
            ["system-012-link", "system-+1-link", "system--link", "system", "system-1-link~", "per-user"]
        {
            assert_eq!(generation_number(name), None, "{name}");
        }
    }
}
