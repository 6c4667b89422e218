//! What failures of planning and moving are to the user: an exit status, and a hint.

use crate::cli::exit::{Code, Failure};
use crate::compose;
use crate::image::{CopyError, SourceError};
use crate::net;
use crate::store;

/// What helps where the certificate of a server does not count.
pub const DISTRUSTED: &str = "whoever answers there may be somebody else; where a company's own authority vouches for it, name the file \
     with its certificate in SSL_CERT_FILE, or as ssl-cert-file in nix.conf";

/// A failure to plan, with its code and a hint.
pub fn refused(error: &compose::Error) -> Failure {
    use compose::Error as E;
    match error {
        E::Store(store::Error::Untrusted { .. }) => Failure::of(Code::Source, error).hint(
            "name its key with --trusted-key, sign it with `nix store sign`, or trust all that the store has with --no-check-sigs",
        ),
        E::Store(store::Error::Http { source: net::Error::Certificate(_), .. }) => {
            Failure::of(Code::Other, error).hint(DISTRUSTED)
        }
        E::Store(inner) if inner.is_bad_source() => Failure::of(Code::Source, error),
        E::Toplevel { .. } => Failure::of(Code::Source, error),
        E::Demand { .. } => Failure::of(Code::Other, error).in_lines(),
        E::Firmware(missing) => Failure::of(Code::Source, error)
            .hint(format!(
            "make it with `{}` and name it with --firmware; or take it from a channel, as in --channel nixos-25.11",
            missing.command
        )),
        E::Ext4(crate::format::disk::ext4::Error::TooSmall { .. }) | E::NoRoot { .. } => {
            Failure::of(Code::TooSmall, error)
        }
        E::Store(store::Error::Io { source, .. }) | E::Read { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            Failure::of(Code::Permission, error)
        }
        _ => Failure::of(Code::Other, error),
    }
}

/// A failure to move an image; `left` says what an interrupted run leaves.
pub fn copy_failed(error: &CopyError, left: &str) -> Failure {
    match error {
        CopyError::Source(SourceError::Bad(_)) => Failure::of(Code::Source, error),
        CopyError::Source(SourceError::Io(_)) => Failure::of(Code::Other, error),
        CopyError::Sink(_) => Failure::of(Code::Target, error),
        CopyError::Interrupted => Failure::new(Code::Interrupted, format!("interrupted; {left}")),
    }
}
