//! What the types of partitions mean.

/// The meaning of a type in an MBR.
pub const fn of_mbr(kind: u8) -> Option<&'static str> {
    Some(match kind {
        0x01 => "FAT12",
        0x04 | 0x06 | 0x0e => "FAT16",
        0x05 | 0x0f | 0x85 => "extended",
        0x07 => "NTFS or exFAT",
        0x0b | 0x0c => "FAT32",
        0x82 => "Linux swap",
        0x83 => "Linux",
        0x8e => "Linux LVM",
        0xea => "extended boot loader",
        0xee => "GPT",
        0xef => "EFI system",
        0xfd => "Linux RAID",
        _ => return None,
    })
}

/// The meaning of a type in a GPT: names of the Discoverable Partitions Specification and of sfdisk.
pub fn of_gpt(guid: &str) -> Option<&'static str> {
    Some(match guid {
        "c12a7328-f81f-11d2-ba4b-00a0c93ec93b" => "EFI system",
        "bc13c2ff-59e6-4262-a352-b275fd6f7172" => "extended boot loader",
        "21686148-6449-6e6f-744e-656564454649" => "BIOS boot",
        "b921b045-1df0-41c3-af44-4c6f280d3fae" => "Linux root (arm64)",
        "4f68bce3-e8cd-4db1-96e7-fbcaf984b709" => "Linux root (x86-64)",
        "72ec70a6-cf74-40e6-bd49-4bda08e8f224" => "Linux root (riscv64)",
        "69dad710-2ce4-4e3c-b16c-21a1d49abed3" => "Linux root (arm)",
        "933ac7e1-2eb4-4f13-b844-0e14e2aef915" => "Linux home",
        "0fc63daf-8483-4772-8e79-3d69d8477de4" => "Linux",
        "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f" => "Linux swap",
        "e6d6d379-f507-44c2-a23c-238f2a3df928" => "Linux LVM",
        "a19d880f-05fc-4d3b-a006-743f0f84911e" => "Linux RAID",
        "ca7d7ccb-63ed-4c53-861c-1742536059cc" => "Linux LUKS",
        "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7" => "basic data",
        _ => return None,
    })
}
