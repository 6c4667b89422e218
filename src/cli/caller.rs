//! Who runs this program, and what of the environment is theirs.

/// Whether the environment is that of the user who answers for it: under sudo it may be another's.
#[expect(clippy::disallowed_methods, reason = "cli is where the environment is read")]
pub(super) fn trusts_environment() -> bool {
    std::env::var_os("SUDO_UID").is_none() || !nix::unistd::geteuid().is_root()
}

/// Who called sudo, where this is root by it.
#[expect(clippy::disallowed_methods, reason = "cli is where the environment is read")]
pub(super) fn sudo_uid() -> Option<u32> {
    if trusts_environment() {
        return None;
    }
    std::env::var("SUDO_UID").ok()?.parse().ok()
}

/// Where what is unpacked goes for a while.
pub(super) fn scratch() -> std::path::PathBuf {
    if trusts_environment() { std::env::temp_dir() } else { "/var/tmp".into() }
}
