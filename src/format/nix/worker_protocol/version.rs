//! Versions of the protocol, and what came with them.

/// A version of the protocol: 1 and this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub(super) u64);

/// The newest version that is spoken, that of Nix 2.24 and all later ones.
pub(super) const NEWEST: Version = Version(38);
/// The oldest, that of Nix 2.0.
pub(super) const OLDEST: Version = Version(21);

impl Version {
    /// Both sides say lists of features from here on.
    pub(super) const FEATURES: Self = Self(38);
    /// The daemon says whom it trusts from here on.
    pub(super) const TRUST: Self = Self(35);
    /// The daemon says which Nix it is from here on.
    pub(super) const NIX: Self = Self(33);
    /// Errors have a level and traces from here on.
    pub(super) const TRACES: Self = Self(26);
}
