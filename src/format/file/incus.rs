//! What Incus and LXD want beside the disk of a virtual machine: a tar archive with `metadata.yaml` in it.
//!
//! Sources: Incus `doc/reference/image_format.md`; `getImageMetadata` in `cmd/incusd/images.go`: `architecture` and a
//! `creation_date` that is not 0 are required.

/// A virtual machine, in words.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    /// As Linux names it: `aarch64`.
    pub architecture: &'a str,
    /// The version of NixOS.
    pub release: &'a str,
}

impl Machine<'_> {
    /// `metadata.yaml`. JSON is YAML.
    #[must_use]
    pub fn metadata(&self) -> String {
        let Self { architecture, release } = self;
        let metadata = serde_json::json!({
            "architecture": architecture,
            "creation_date": 1,
            "properties": {
                "architecture": architecture,
                "description": format!("NixOS {release} {architecture}"),
                "name": format!("nixos-{release}-{architecture}"),
                "os": "nixos",
                "release": release,
                // The loader is not signed. Without this the firmware refuses it, and nobody says why.
                "requirements.secureboot": "false",
                "variant": "default",
            },
        });
        format!("{metadata:#}\n")
    }

    /// The archive, not yet packed.
    #[must_use]
    pub fn archive(&self) -> Vec<u8> {
        ustar("metadata.yaml", self.metadata().as_bytes())
    }
}

/// A tar archive (POSIX ustar) of one file of root's, mode 0644, of the first second.
fn ustar(name: &str, bytes: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 512;
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", bytes.len()));
    put(136, "00000000001\0");
    // The sum counts its own field as spaces.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.extend(bytes);
    // Two blocks of zeros are its end.
    archive.resize(archive.len().next_multiple_of(BLOCK) + 2 * BLOCK, 0);
    archive
}
