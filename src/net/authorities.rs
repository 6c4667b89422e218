//! Who vouches for servers over https: certificates of authorities, in PEM (RFC 7468).

use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

/// The authorities that count.
#[derive(Clone, Debug, Default)]
pub struct Authorities {
    /// Those of a file; Mozilla's, which are built in, where there is none.
    roots: Option<RootCerts>,
}

/// A file has no authorities in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAuthorities {
    /// It is no PEM.
    #[error("certificate {number} is damaged: {message}")]
    Damaged {
        /// Counted from 1.
        number: usize,
        /// What the parser says.
        message: String,
    },
    /// It is something else.
    #[error("it has no certificate in it, expected -----BEGIN CERTIFICATE-----")]
    None,
}

impl Authorities {
    /// Takes all certificates of a file, and no others. Text between them is ignored, as curl does.
    pub fn parse(pem: &[u8]) -> Result<Self, BadAuthorities> {
        let mut certificates: Vec<Certificate<'static>> = Vec::new();
        for item in parse_pem(pem) {
            match item {
                Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
                Ok(_) => {}
                Err(error) => {
                    let (number, message) = (certificates.len() + 1, error.to_string());
                    return Err(BadAuthorities::Damaged { number, message });
                }
            }
        }
        if certificates.is_empty() {
            return Err(BadAuthorities::None);
        }
        Ok(Self { roots: Some(RootCerts::new_with_certs(&certificates)) })
    }

    pub(super) fn roots(&self) -> RootCerts {
        self.roots.clone().unwrap_or(RootCerts::WebPki)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_whole_certificate_is_refused() {
        assert_eq!(Authorities::parse(b"").unwrap_err(), BadAuthorities::None);
        assert_eq!(Authorities::parse(b"<html>").unwrap_err(), BadAuthorities::None);
        let cut = b"# mine\n-----BEGIN CERTIFICATE-----\nMIIB\n";
        assert!(matches!(Authorities::parse(cut), Err(BadAuthorities::Damaged { number: 1, .. })));
    }
}
