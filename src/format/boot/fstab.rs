//! `/etc/fstab` as NixOS writes it.
//!
//! ```text
//! SPEC MOUNT-POINT TYPE [OPTION,...] [DUMP] [PASS]      blank, tab, line feed and backslash as \040 \011 \012 \134
//! ```
//! Names of links below `/dev/disk/by-*` have udev's escapes: `\x20`. Sources: fstab(5), nixpkgs
//! `nixos/modules/tasks/filesystems.nix`, systemd `src/shared/udev-util.c` (`encode_devnode_name`).

/// What a line says is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// `LABEL=`, `/dev/disk/by-label/`.
    Label(String),
    /// `UUID=`, `/dev/disk/by-uuid/`.
    Uuid(String),
    /// `PARTLABEL=`, `/dev/disk/by-partlabel/`.
    PartLabel(String),
    /// `PARTUUID=`, `/dev/disk/by-partuuid/`.
    PartUuid(String),
    /// Anything else: a device, `tmpfs`, `none`.
    Path(String),
}

/// A line that mounts something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which line it is, counted from 1.
    pub line: usize,
    /// The first field as written.
    pub spec: String,
    /// What it means.
    pub device: Device,
    /// Where it is mounted.
    pub mount_point: String,
    /// The kind of file system.
    pub fs_type: String,
    /// The options.
    pub options: Vec<String>,
    /// Whether dump(8) saves it, 0 where nothing is said.
    pub dump: u32,
    /// When fsck(8) checks it: never, with the root, or after it.
    pub pass: u32,
}

impl Entry {
    /// Whether it has an option, with or without a value.
    #[must_use]
    pub fn has_option(&self, name: &str) -> bool {
        self.options.iter().any(|option| option.split('=').next() == Some(name))
    }
}

/// A line has too few fields.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} has {found} fields, expected at least 3: {text:?}")]
pub struct Error {
    /// Counted from 1.
    pub line: usize,
    /// How many fields it has.
    pub found: usize,
    /// The line as it is written.
    pub text: String,
}

impl Device {
    /// Understands a device specification.
    #[must_use]
    pub fn parse(spec: &str) -> Self {
        type Make = fn(String) -> Device;
        const KINDS: [(&str, &str, Make); 4] = [
            ("LABEL=", "/dev/disk/by-label/", Device::Label),
            ("UUID=", "/dev/disk/by-uuid/", Device::Uuid),
            ("PARTLABEL=", "/dev/disk/by-partlabel/", Device::PartLabel),
            ("PARTUUID=", "/dev/disk/by-partuuid/", Device::PartUuid),
        ];
        for (tag, directory, make) in KINDS {
            if let Some(value) = spec.strip_prefix(tag) {
                // Some quote the value; NixOS does not.
                let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
                return make(quoted.unwrap_or(value).to_owned());
            }
            if let Some(name) = spec.strip_prefix(directory) {
                return make(unescape(name, "\\x", 16, 2));
            }
        }
        Self::Path(spec.to_owned())
    }
}

/// Parses all lines but comments and empty ones.
pub fn parse(text: &str) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        let fields: Vec<&str> = content.split_ascii_whitespace().collect();
        if fields.first().is_none_or(|field| field.starts_with('#')) {
            continue;
        }
        let [spec, mount_point, fs_type, rest @ ..] = &fields[..] else {
            return Err(Error { line, found: fields.len(), text: content.to_owned() });
        };
        let octal = |field: &str| unescape(field, "\\", 8, 3);
        let spec = octal(spec);
        entries.push(Entry {
            line,
            device: Device::parse(&spec),
            spec,
            mount_point: octal(mount_point),
            fs_type: octal(fs_type),
            dump: rest.get(1).and_then(|dump| dump.parse().ok()).unwrap_or(0),
            pass: rest.get(2).and_then(|pass| pass.parse().ok()).unwrap_or(0),
            options: rest.first().map(|options| options.split(',').map(octal).collect()).unwrap_or_default(),
        });
    }
    Ok(entries)
}

/// The name of the link that udev makes for a label: letters, digits, `#+-.:=@_` and UTF-8 of several bytes stay, all
/// else becomes `\\x` and two digits. Source: systemd `src/shared/udev-util.c`, `encode_devnode_name`.
#[must_use]
pub fn link_name(label: &str) -> String {
    let mut out = String::new();
    for c in label.chars() {
        if !c.is_ascii() || c.is_ascii_alphanumeric() || "#+-.:=@_".contains(c) {
            out.push(c);
        } else {
            out.push_str(&format!("\\x{:02x}", u32::from(c)));
        }
    }
    out
}

/// Replaces escapes, a prefix and some digits, by the byte that they stand for.
fn unescape(text: &str, prefix: &str, radix: u32, digits: usize) -> String {
    let mut out = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let number = rest.strip_prefix(prefix).and_then(|tail| tail.get(..digits));
        let byte = number.and_then(|number| u8::from_str_radix(number, radix).ok());
        let len = match byte {
            Some(byte) => {
                out.push(byte);
                prefix.len() + digits
            }
            None => {
                let len = rest.chars().next().map_or(1, char::len_utf8);
                out.extend_from_slice(&rest.as_bytes()[..len]);
                len
            }
        };
        rest = &rest[len..];
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_nixos_parse() {
        let text = "# made by NixOS\n\n/dev/disk/by-label/NIXOS_SD / ext4 x-initrd.mount,noatime 0 1\n\
            /dev/disk/by-label/my\\x20card /a\\040b vfat nofail 0 2\nUUID=ABCD-1234 /boot vfat\ntmpfs /tmp tmpfs defaults 0 0\n";
        let entries = parse(text).unwrap();
        assert_eq!(entries[0].device, Device::Label("NIXOS_SD".to_owned()));
        assert_eq!(entries[0].options, ["x-initrd.mount", "noatime"]);
        assert_eq!(
            (&entries[1].device, &entries[1].mount_point[..]),
            (&Device::Label("my card".to_owned()), "/a b")
        );
        assert_eq!((entries[0].dump, entries[0].pass, entries[1].pass), (0, 1, 2));
        assert!(entries[0].has_option("noatime") && !entries[0].has_option("x-initrd"));
        assert_eq!(entries[2].device, Device::Uuid("ABCD-1234".to_owned()));
        assert_eq!((&entries[2].options[..], entries[2].pass), (&[][..], 0));
        assert_eq!(entries[3].device, Device::Path("tmpfs".to_owned()));
        assert_eq!(entries.iter().map(|entry| entry.line).collect::<Vec<_>>(), [3, 4, 5, 6]);
        for (spec, device) in [
            ("PARTUUID=2178694e-02", Device::PartUuid("2178694e-02".to_owned())),
            ("/dev/disk/by-partuuid/2178694e-02", Device::PartUuid("2178694e-02".to_owned())),
            ("PARTLABEL=disk-main-root", Device::PartLabel("disk-main-root".to_owned())),
            ("/dev/disk/by-partlabel/EFI\\x20System", Device::PartLabel("EFI System".to_owned())),
            ("LABEL=\"a b\"", Device::Label("a b".to_owned())),
            ("/dev/disk/by-label/\\xc3\\xa9\\x2f\\x", Device::Label("\u{e9}/\\x".to_owned())),
            ("/dev/disk/by-id/usb-x", Device::Path("/dev/disk/by-id/usb-x".to_owned())),
            ("/dev/mmcblk0p2", Device::Path("/dev/mmcblk0p2".to_owned())),
        ] {
            assert_eq!(Device::parse(spec), device, "{spec}");
        }
        assert_eq!(
            parse("/dev/sda1 /\n").unwrap_err().to_string(),
            "line 1 has 2 fields, expected at least 3: \"/dev/sda1 /\""
        );
        assert_eq!(parse("\\0 \\é /\\\n").unwrap()[0].spec, "\\0", "an escape cut short stands for itself");
    }
}
