//! The text in a VMDK.

/// What is read of one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Descriptor {
    /// `createType`.
    pub kind: String,
    /// Whether `parentCID` names another image.
    pub has_parent: bool,
    /// How many lines say where a part of the disk lies.
    pub extents: usize,
}

impl Descriptor {
    /// Reads a text; what is not known is passed over.
    pub fn parse(text: &str) -> Self {
        let mut found = Self { kind: String::new(), has_parent: false, extents: 0 };
        for line in text.lines().map(str::trim) {
            if let Some((key, value)) = line.split_once('=') {
                let value = value.trim().trim_matches('"');
                match key.trim() {
                    "createType" => value.clone_into(&mut found.kind),
                    "parentCID" => found.has_parent = !value.eq_ignore_ascii_case("ffffffff"),
                    _ => {}
                }
            } else if ["RW ", "RDONLY ", "NOACCESS "].iter().any(|access| line.starts_with(access)) {
                found.extents += 1;
            }
        }
        found
    }
}

/// The text of a stream of so many sectors.
pub(super) fn text(sectors: u64, cid: u32) -> String {
    // Geometry as VMware gives it to disks of its SCSI adapters.
    let cylinders = (sectors / (255 * 63)).clamp(1, 65535);
    format!(
        "# Disk DescriptorFile\nversion=1\nCID={cid:08x}\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\n\n\
         # Extent description\nRW {sectors} SPARSE \"disk.vmdk\"\n\n\
         # The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\nddb.adapterType = \"lsilogic\"\n\
         ddb.geometry.cylinders = \"{cylinders}\"\nddb.geometry.heads = \"255\"\nddb.geometry.sectors = \"63\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_of_a_descriptor_is_read() {
        let own = Descriptor::parse(&text(2048, 7));
        assert_eq!(own, Descriptor { kind: "streamOptimized".into(), has_parent: false, extents: 1 });
        let other = Descriptor::parse(
            "createType = \"monolithicSparse\"\r\nparentCID=12345678\r\nRW 1 FLAT \"a\"\r\nRW 1 ZERO",
        );
        assert_eq!(other, Descriptor { kind: "monolithicSparse".into(), has_parent: true, extents: 2 });
    }
}
