//! Partition tables, judged by `sfdisk`, `sgdisk` and the crates `gpt` and `mbrman`; and hostile ones.
#![expect(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "tests")]

use crate::common::{Tool, temp};
use nixflash::format::disk::partition_table::{
    Gpt, GptCopy, GptPartition, HeaderFault, Mbr, MbrPartition, Problem, Reading, SectorSize, Table, encode,
    read, read_with,
};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use uuid::{Uuid, uuid};

const ESP: Uuid = uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
const ROOT_ARM64: Uuid = uuid!("b921b045-1df0-41c3-af44-4c6f280d3fae");
const DISK: Uuid = uuid!("0867da16-f251-457d-a9e8-c31f9a3c220b");
const GIB: u64 = 1 << 30;

/// The table of NixOS's sd-image.
fn sd_image() -> Table {
    let firmware = MbrPartition { number: 1, start: 16_384, sectors: 61_440, kind: 0x0b, active: false };
    let root = MbrPartition { number: 2, start: 77_824, sectors: 27_384, kind: 0x83, active: true };
    Table::Mbr(Mbr { disk_id: 0x2178_694e, partitions: vec![firmware, root] })
}

/// An ESP and a root, in units of so many bytes, up to the last usable MiB.
fn efi(sector: SectorSize, len: u64) -> Table {
    let mib = (1 << 20) / sector.bytes();
    let partition = |number: u32, start: u64, sectors: u64, type_guid, name: &str| GptPartition {
        number,
        start,
        sectors,
        type_guid,
        unique_guid: Uuid::from_u128(0x1c06_f03b_704e_4657_b9cd_681a_087a_2f00 + u128::from(number)),
        name: name.to_owned(),
        attributes: if number == 1 { 1 << 2 } else { 0 },
    };
    let root = len / sector.bytes() - 18 * mib;
    let partitions =
        vec![partition(1, mib, 16 * mib, ESP, "ESP"), partition(3, 17 * mib, root, ROOT_ARM64, "naïve 根 𝄞")];
    Table::Gpt(Gpt { disk_guid: DISK, partitions })
}

fn write(table: &Table, len: u64, sector: SectorSize, path: &Path) {
    let file = std::fs::File::create(path).unwrap();
    file.set_len(len).unwrap();
    for (offset, bytes) in encode(table, len, sector).unwrap() {
        file.write_all_at(&bytes, offset).unwrap();
    }
}

fn in_memory(table: &Table, len: u64, sector: SectorSize) -> Vec<u8> {
    let mut disk = vec![0; len as usize];
    for (offset, bytes) in encode(table, len, sector).unwrap() {
        disk[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
    }
    disk
}

/// Makes a table with sfdisk; `None` when there is no sfdisk.
fn sfdisk(script: &str, len: u64) -> Option<Vec<u8>> {
    Tool::find("sfdisk")?;
    let dir = temp();
    let path = dir.path().join("disk.img");
    std::fs::File::create(&path).unwrap().set_len(len).unwrap();
    let mut command = Command::new("sfdisk");
    command.args(["-q", path.to_str().unwrap()]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let search = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let mut child = command.env("PATH", search).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    Some(std::fs::read(path).unwrap())
}

/// What sfdisk says of a disk, one line a partition: start, size, type, uuid, name.
fn sfdisk_json(tool: &Tool, path: &str, extra: &[&str]) -> (String, Vec<String>) {
    let said = tool.passes(&[extra, &["-J", path]].concat());
    let said = said.find('{').map_or("", |start| &said[start..]);
    let json: serde_json::Value = serde_json::from_str(said).unwrap();
    let table = &json["partitiontable"];
    let text = |value: &serde_json::Value| value.to_string().trim_matches('"').to_lowercase();
    let line =
        |p: &serde_json::Value| ["start", "size", "type", "uuid", "name"].map(|key| text(&p[key])).join(" ");
    let lines = table["partitions"].as_array().map_or(Vec::new(), |all| all.iter().map(line).collect());
    (text(&table["id"]), lines)
}

#[test]
fn sfdisk_and_sgdisk_find_nothing_wrong() {
    let dir = temp();
    let path = dir.path().join("disk.img");
    let name = path.to_str().unwrap();
    for (table, len) in [
        (sd_image(), 105_208 * 512),
        (sd_image(), GIB),
        (efi(SectorSize::S512, GIB), GIB),
        (efi(SectorSize::S512, 3 << 40), 3 << 40),
        (efi(SectorSize::S512, GIB + 512), GIB + 512),
    ] {
        write(&table, len, SectorSize::S512, &path);
        if let Some(sfdisk) = Tool::find("sfdisk") {
            let said = sfdisk.passes(&["--verify", name]);
            assert!(said.contains("No errors detected"), "{said}");
            let (id, lines) = sfdisk_json(&sfdisk, name, &[]);
            match &table {
                Table::Mbr(_) => {
                    assert_eq!(id, "0x2178694e");
                    assert_eq!(lines, ["16384 61440 b null null", "77824 27384 83 null null"]);
                }
                Table::Gpt(gpt) => {
                    assert_eq!(id, DISK.to_string());
                    let line = |p: &GptPartition| {
                        format!(
                            "{} {} {} {} {}",
                            p.start,
                            p.sectors,
                            p.type_guid,
                            p.unique_guid,
                            p.name.to_lowercase()
                        )
                    };
                    assert_eq!(lines.len(), 2);
                    assert_eq!(lines[0], line(&gpt.partitions[0]));
                    // sfdisk 2.38 does not print what is beyond 16 bits.
                    assert!(line(&gpt.partitions[1]).starts_with(lines[1].rsplit_once(' ').unwrap().0));
                }
            }
        }
        if let (Table::Gpt(_), Some(sgdisk)) = (&table, Tool::find("sgdisk")) {
            let said = sgdisk.passes(&["-v", name]);
            assert!(said.contains("No problems found"), "{said}");
        }
        let file = std::fs::File::open(&path).unwrap();
        let reading = read(&File(&file, len)).unwrap();
        assert_eq!(reading, Reading { table: Some(table), sector: SectorSize::S512, problems: Vec::new() });
    }
}

/// A file as something to read.
struct File<'a>(&'a std::fs::File, u64);

impl nixflash::stream::ReadAt for File<'_> {
    fn size(&self) -> u64 {
        self.1
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<()> {
        FileExt::read_exact_at(self.0, buf, offset)
    }
}

#[test]
fn sfdisk_finds_nothing_wrong_with_sectors_of_4096_bytes() {
    let dir = temp();
    let path = dir.path().join("disk.img");
    let (name, sector) = (path.to_str().unwrap(), SectorSize::S4096);
    let table = efi(sector, GIB);
    write(&table, GIB, sector, &path);
    let bytes = in_memory(&table, GIB, sector);
    let expected = Reading { table: Some(table), sector, problems: Vec::new() };
    assert_eq!(read(&&bytes[..]).unwrap(), expected);
    assert_eq!(read_with(&&bytes[..], SectorSize::S512).unwrap().table, None);
    let Some(sfdisk) = Tool::find("sfdisk") else { return };
    let help = sfdisk.passes(&["--help"]);
    if !help.contains("--sector-size") {
        // Not a missing tool: util-linux has it since 2.40, and `gpt` judges this sector size below.
        println!("skipped: this sfdisk has no --sector-size");
        return;
    }
    let (id, lines) = sfdisk_json(&sfdisk, name, &["--sector-size", "4096"]);
    assert_eq!((id, lines.len()), (DISK.to_string(), 2));
    assert!(lines[0].starts_with("256 4096 "), "{lines:?}");
}

#[test]
fn tables_are_those_of_sfdisk_byte_by_byte() {
    let script = "label: dos\nlabel-id: 0x2178694e\nunit: sectors\nstart=16384, size=61440, type=b\nstart=77824, size=27384, type=83, bootable\n";
    if let Some(theirs) = sfdisk(script, 105_208 * 512) {
        assert!(in_memory(&sd_image(), 105_208 * 512, SectorSize::S512) == theirs);
    }
    let len = 64 << 20;
    let table = efi(SectorSize::S512, len);
    let Table::Gpt(gpt) = &table else { panic!("no GPT") };
    let mut script = format!("label: gpt\nlabel-id: {DISK}\nfirst-lba: 34\n");
    for p in &gpt.partitions {
        let attrs = if p.attributes == 0 { "" } else { ", attrs=LegacyBIOSBootable" };
        let (number, start, size, kind, id) = (p.number, p.start, p.sectors, p.type_guid, p.unique_guid);
        let name = if number == 1 { ", name=\"ESP\"" } else { ", name=\"root\"" };
        script += &format!("{number} : start={start}, size={size}, type={kind}, uuid={id}{name}{attrs}\n");
    }
    let mut gpt = gpt.clone();
    gpt.partitions[1].name = "root".to_owned();
    if let Some(theirs) = sfdisk(&script, len) {
        let ours = in_memory(&Table::Gpt(gpt), len, SectorSize::S512);
        let differing: Vec<usize> = (0..len as usize).filter(|at| ours[*at] != theirs[*at]).collect();
        // The CHS of the end of the protective entry: sfdisk says "beyond" always, UEFI only where it must.
        assert!(differing.iter().all(|at| (451..454).contains(at)), "{differing:?}");
    }
}

#[test]
fn the_crates_read_what_was_written() {
    let len = 64 << 20;
    for sector in [SectorSize::S512, SectorSize::S4096] {
        let bytes = in_memory(&efi(sector, len), len, sector);
        let unit = gpt::disk::LogicalBlockSize::try_from(sector.bytes()).unwrap();
        let config = gpt::GptConfig::new().writable(false).logical_block_size(unit);
        let disk = config.open_from_device(std::io::Cursor::new(bytes)).unwrap();
        assert!(disk.primary_header().is_ok() && disk.backup_header().is_ok());
        let Table::Gpt(gpt) = efi(sector, len) else { panic!("no GPT") };
        assert_eq!((*disk.guid(), disk.partitions().len()), (gpt.disk_guid, 2));
        for ours in &gpt.partitions {
            let theirs = &disk.partitions()[&ours.number];
            assert_eq!((theirs.first_lba, theirs.last_lba), (ours.start, ours.start + ours.sectors - 1));
            assert_eq!((theirs.part_type_guid.guid, theirs.part_guid), (ours.type_guid, ours.unique_guid));
            assert_eq!((&theirs.name, theirs.flags), (&ours.name, ours.attributes));
        }
    }
    let bytes = in_memory(&sd_image(), len, SectorSize::S512);
    let mbr = mbrman::MBR::read_from(&mut std::io::Cursor::new(bytes), 512).unwrap();
    assert_eq!(mbr.header.disk_signature, [0x4e, 0x69, 0x78, 0x21]);
    assert_eq!((mbr[2].starting_lba, mbr[2].sectors, mbr[2].sys, mbr[2].boot), (77_824, 27_384, 0x83, 0x80));
    assert!(mbr[3].is_unused() && mbr[4].is_unused());
}

/// sfdisk's way to make logical partitions.
const LOGICAL: &str = "label: dos\nlabel-id: 0x11223344\n1 : start=2048, size=2048, type=c\n\
    3 : start=8192, size=100000, type=f\n5 : start=10240, size=2048, type=83\n6 : start=20480, size=4096, type=82\n";

#[test]
fn logical_partitions_are_those_of_sfdisk() {
    let Some(bytes) = sfdisk(LOGICAL, 64 << 20) else { return };
    let reading = read(&&bytes[..]).unwrap();
    assert_eq!(reading.problems, []);
    let Some(Table::Mbr(mbr)) = reading.table else { panic!("no MBR") };
    let found: Vec<_> = mbr.partitions.iter().map(|p| (p.number, p.start, p.sectors, p.kind)).collect();
    assert_eq!(
        found,
        [(1, 2048, 2048, 0x0c), (3, 8192, 100_000, 0x0f), (5, 10_240, 2048, 0x83), (6, 20_480, 4096, 0x82)]
    );
}

fn put(disk: &mut [u8], at: usize, bytes: &[u8]) {
    disk[at..at + bytes.len()].copy_from_slice(bytes);
}

#[test]
fn chains_of_logical_partitions_end() {
    let Some(good) = sfdisk(LOGICAL, 64 << 20) else { return };
    let second = (0..good.len() / 512).find(|lba| {
        let sector = &good[lba * 512..][..512];
        *lba > 8192 && sector[510..] == [0x55, 0xaa]
    });
    let second = second.unwrap();
    let link = |at: usize, target: u32| {
        let mut bad = good.clone();
        put(&mut bad, at * 512 + 462, &[0, 0, 0, 0, 5, 0, 0, 0]);
        put(&mut bad, at * 512 + 470, &target.to_le_bytes());
        put(&mut bad, at * 512 + 474, &100u32.to_le_bytes());
        read(&&bad[..]).unwrap().problems
    };
    assert_eq!(link(8192, 0), [Problem::ChainLoop(8192)]);
    assert_eq!(link(second, 0), [Problem::ChainLoop(8192)]);
    assert_eq!(link(second, second as u32 - 8192), [Problem::ChainLoop(second as u64)]);
    assert_eq!(link(second, 7), [Problem::ChainEnd(8199)]);
    assert_eq!(link(second, u32::MAX), [Problem::ChainEnd(8192 + u64::from(u32::MAX))]);
    // A chain of 300 links.
    let mut long = good;
    for n in 0..300u32 {
        let at = (8192 + n) as usize * 512;
        put(&mut long, at + 446, &[0; 64]);
        put(&mut long, at + 450, &[0x83]);
        put(&mut long, at + 454, &30_000u32.to_le_bytes());
        put(&mut long, at + 458, &1u32.to_le_bytes());
        put(&mut long, at + 466, &[5]);
        put(&mut long, at + 470, &(n + 1).to_le_bytes());
        put(&mut long, at + 474, &1u32.to_le_bytes());
        put(&mut long, at + 510, &[0x55, 0xaa]);
    }
    assert_eq!(read(&&long[..]).unwrap().problems, [Problem::ChainLong(252)]);
}

/// A GPT in 4 MiB with both sums of a header made right after a change.
fn changed(copy: GptCopy, at: usize, bytes: &[u8]) -> Vec<u8> {
    let len = 64 << 20;
    let mut disk = in_memory(&efi(SectorSize::S512, len), len, SectorSize::S512);
    let (header, entries) = match copy {
        GptCopy::Primary => (512, 1024),
        GptCopy::Backup => (disk.len() - 512, disk.len() - 33 * 512),
    };
    if at >= 1000 {
        put(&mut disk, entries + at - 1000, bytes);
        let sum = crc32fast::hash(&disk[entries..entries + 16_384]);
        put(&mut disk, header + 88, &sum.to_le_bytes());
    } else {
        put(&mut disk, header + at, bytes);
    }
    put(&mut disk, header + 16, &[0; 4]);
    let sum = crc32fast::hash(&disk[header..header + 92]);
    put(&mut disk, header + 16, &sum.to_le_bytes());
    disk
}

#[test]
fn hostile_headers_are_named_and_the_other_copy_is_used() {
    let entries = |count, size| HeaderFault::Entries { count, size };
    let u32s = |value: u32| value.to_le_bytes().to_vec();
    let u64s = |value: u64| value.to_le_bytes().to_vec();
    for (at, bytes, fault) in [
        (0, b"EFI PARX".to_vec(), HeaderFault::Missing),
        (12, u32s(0), HeaderFault::Size(0)),
        (12, u32s(91), HeaderFault::Size(91)),
        (12, u32s(513), HeaderFault::Size(513)),
        (12, u32s(u32::MAX), HeaderFault::Size(u32::MAX)),
        (24, u64s(7), HeaderFault::Place(7)),
        (24, u64s(u64::MAX), HeaderFault::Place(u64::MAX)),
        (72, u64s(u64::MAX), HeaderFault::EntriesOutside(u64::MAX)),
        (72, u64s(131_070), HeaderFault::EntriesOutside(131_070)),
        (72, u64s(40), HeaderFault::EntriesChecksum),
        (80, u32s(u32::MAX), entries(u32::MAX, 128)),
        (80, u32s(127), HeaderFault::EntriesChecksum),
        (84, u32s(0), entries(128, 0)),
        (84, u32s(1), entries(128, 1)),
        (84, u32s(127), entries(128, 127)),
        (84, u32s(192), entries(128, 192)),
        (84, u32s(1 << 31), entries(128, 1 << 31)),
        (88, u32s(0), HeaderFault::EntriesChecksum),
    ] {
        for copy in [GptCopy::Primary, GptCopy::Backup] {
            let disk = changed(copy, at, &bytes);
            let lba = if copy == GptCopy::Primary { 1 } else { (disk.len() / 512 - 1) as u64 };
            let reading = read(&&disk[..]).unwrap();
            assert_eq!(reading.problems, [Problem::Header { copy, lba, fault }], "{at} {bytes:x?}");
            assert_eq!(reading.table, Some(efi(SectorSize::S512, disk.len() as u64)));
        }
    }
    let mut sum = changed(GptCopy::Primary, 0, b"");
    sum[512 + 57] ^= 1;
    let header = |copy, lba, fault| Problem::Header { copy, lba, fault };
    assert_eq!(read(&&sum[..]).unwrap().problems, [header(GptCopy::Primary, 1, HeaderFault::Checksum)]);
    let last = sum.len() as u64 / 512 - 1;
    let end = sum.len() - 512;
    sum[end..].fill(0);
    let reading = read(&&sum[..]).unwrap();
    assert_eq!(reading.table, None);
    assert_eq!(
        reading.problems,
        [
            header(GptCopy::Primary, 1, HeaderFault::Checksum),
            header(GptCopy::Backup, last, HeaderFault::Missing),
            Problem::NoGpt
        ]
    );
}

#[test]
fn hostile_entries_are_named() {
    let problems = |at: usize, value: u64| {
        let mut problems =
            read(&&changed(GptCopy::Primary, 1000 + at, &value.to_le_bytes())[..]).unwrap().problems;
        assert_eq!(problems.remove(0), Problem::CopiesDiffer);
        problems
    };
    let (first, end) = (34, 131_038);
    let outside = |start, last| Problem::Outside { number: 1, start, last, first, end };
    // Partition 1 is sectors 2048 to 34815, partition 3 begins with 34816.
    assert_eq!(problems(32, 34_816), [Problem::Reversed { number: 1, start: 34_816, last: 34_815 }]);
    assert_eq!(problems(32, u64::MAX), [Problem::Reversed { number: 1, start: u64::MAX, last: 34_815 }]);
    assert_eq!(problems(32, 5), [outside(5, 34_815)]);
    assert_eq!(problems(40, 34_816), [Problem::Overlap(1, 3)]);
    assert_eq!(problems(40, u64::MAX), [outside(2048, u64::MAX)], "and is left out");
    assert_eq!(problems(40, 1 << 40), [outside(2048, 1 << 40), Problem::Overlap(1, 3)]);
    assert_eq!(problems(56, 0xd800), [Problem::Name(1)]);
}

#[test]
fn a_table_on_a_larger_or_smaller_disk_is_read_with_problems() {
    let len = 64 << 20;
    let good = in_memory(&efi(SectorSize::S512, len), len, SectorSize::S512);
    let larger = [&good[..], &[0; 1 << 20]].concat();
    let last = larger.len() as u64 / 512 - 1;
    let reading = read(&&larger[..]).unwrap();
    assert_eq!(reading.table, Some(efi(SectorSize::S512, len)));
    assert_eq!(reading.problems, [Problem::BackupElsewhere { lba: len / 512 - 1, last }]);
    let smaller = &good[..good.len() - (2 << 20)];
    let reading = read(&smaller).unwrap();
    let [
        Problem::Header { copy: GptCopy::Backup, lba, fault: HeaderFault::Missing },
        Problem::Outside { number: 3, .. },
    ] = reading.problems[..]
    else {
        panic!("{:?}", reading.problems)
    };
    assert_eq!(lba, len / 512 - 1);
}

#[test]
fn what_the_first_sector_says_decides() {
    let len = 64 << 20;
    let gpt = in_memory(&efi(SectorSize::S512, len), len, SectorSize::S512);
    let mbr = in_memory(&sd_image(), len, SectorSize::S512);
    let with = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut disk = gpt.clone();
        edit(&mut disk);
        read(&&disk[..]).unwrap()
    };
    let none = with(&|disk| disk[..512].fill(0));
    assert_eq!((none.table.is_some(), none.problems), (true, vec![Problem::NoProtectiveMbr]));
    let hybrid = with(&|disk| disk[462..478].copy_from_slice(&mbr[446..462]));
    assert!(matches!(hybrid.table, Some(Table::Gpt(_))));
    assert_eq!(hybrid.problems, [Problem::Hybrid]);
    let stale = with(&|disk| disk[..512].copy_from_slice(&mbr[..512]));
    assert_eq!((stale.table, stale.problems), (Some(sd_image()), vec![Problem::StaleGpt(1)]));
    let old_backup = with(&|disk| disk[..17_408].copy_from_slice(&mbr[..17_408]));
    assert_eq!((old_backup.table, old_backup.problems), (Some(sd_image()), vec![]));
    let flag = with(&|disk| {
        disk.fill(0);
        disk[..512].copy_from_slice(&mbr[..512]);
        disk[462] = 0x7f;
    });
    assert_eq!((flag.table, flag.problems), (None, vec![Problem::ActiveFlag { number: 2, flag: 0x7f }]));
    let both = with(&|disk| {
        disk.fill(0);
        disk[..512].copy_from_slice(&mbr[..512]);
        disk[446] = 0x80;
        disk[470..474].copy_from_slice(&16_400u32.to_le_bytes());
    });
    assert_eq!(both.problems, [Problem::Active(2), Problem::Overlap(1, 2)]);
    assert_eq!(read(&&[0; 511][..]).unwrap().table, None);
    assert_eq!(read(&&[][..]).unwrap().table, None);
    assert_eq!(read(&&vec![0; 1 << 20][..]).unwrap().table, None);
}

#[test]
fn a_disk_that_is_one_file_system_has_no_table() {
    let Some(mkfs) = Tool::find("mkfs.fat") else { return };
    let dir = temp();
    let path = dir.path().join("fat.img");
    std::fs::File::create(&path).unwrap().set_len(64 << 20).unwrap();
    mkfs.passes(&[path.to_str().unwrap()]);
    let reading = read(&&std::fs::read(&path).unwrap()[..]).unwrap();
    assert_eq!((reading.table, reading.problems), (None, vec![]));
}

#[test]
fn mutated_tables_neither_panic_nor_hang() {
    let len = 1 << 20;
    let partition =
        |number, start, sectors, kind| MbrPartition { number, start, sectors, kind, active: false };
    let mbr =
        Table::Mbr(Mbr { disk_id: 1, partitions: vec![partition(1, 8, 8, 1), partition(2, 40, 900, 0x83)] });
    let mut logical = in_memory(&mbr, len, SectorSize::S512);
    logical[446 + 16 + 4] = 0x0f;
    for (at, next) in [(40, 10u8), (50, 20), (60, 0)] {
        let at = at * 512;
        put(&mut logical, at + 446, &[0, 0, 0, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0]);
        put(
            &mut logical,
            at + 462,
            &[0, 0, 0, 0, if next == 0 { 0 } else { 5 }, 0, 0, 0, next, 0, 0, 0, 9, 0, 0, 0],
        );
        put(&mut logical, at + 510, &[0x55, 0xaa]);
    }
    assert_eq!(read(&&logical[..]).unwrap().problems, []);
    let small_gpt = |sector: SectorSize| {
        let Table::Gpt(mut gpt) = efi(sector, 64 << 20) else { panic!("no GPT") };
        for (partition, start) in gpt.partitions.iter_mut().zip([40, 60]) {
            (partition.start, partition.sectors) = (start, 20);
        }
        in_memory(&Table::Gpt(gpt), len, sector)
    };
    for mut disk in [logical, small_gpt(SectorSize::S512), small_gpt(SectorSize::S4096)] {
        let full = disk.len() as u64;
        let unit = if disk[512..520] == *b"EFI PART" { 512 } else { 4096 };
        let mut random = Random(0x4e69_7821);
        for round in 0..20_000 {
            let mut saved = Vec::new();
            for _ in 0..=random.below(6) {
                let base = [
                    0,
                    446,
                    unit,
                    unit,
                    2 * unit,
                    full - unit,
                    full - unit,
                    full - 33 * 512,
                    40 * 512 + 446,
                    50 * 512 + 446,
                ];
                let at = (base[random.below(10) as usize] + random.below(100)).min(full - 1) as usize;
                saved.push((at, disk[at]));
                disk[at] =
                    [0, 1, 0x7f, 0x80, 0xff, disk[at] ^ 1 << random.below(8)][random.below(6) as usize];
            }
            // Half of the time the sum of the primary header is right, so that what is behind it is reached.
            let header = unit as usize;
            let sum_before = <[u8; 4]>::try_from(&disk[header + 16..header + 20]).unwrap();
            if random.below(2) == 0 && disk[header..header + 8] == *b"EFI PART" {
                put(&mut disk, header + 16, &[0; 4]);
                let sum = crc32fast::hash(&disk[header..header + 92]);
                put(&mut disk, header + 16, &sum.to_le_bytes());
            }
            let cut = if random.below(4) == 0 { random.below(full) } else { full } as usize;
            let start = Instant::now();
            let reading = read(&&disk[..cut]).unwrap();
            assert!(start.elapsed() < Duration::from_secs(1), "round {round}");
            check_bounds(&reading);
            put(&mut disk, header + 16, &sum_before);
            for (at, byte) in saved.into_iter().rev() {
                disk[at] = byte;
            }
        }
    }
}

/// No sum that a caller may make overflows.
fn check_bounds(reading: &Reading) {
    let places: Vec<(u64, u64)> = match &reading.table {
        Some(Table::Mbr(mbr)) => mbr.partitions.iter().map(|p| (p.start, p.sectors)).collect(),
        Some(Table::Gpt(gpt)) => gpt.partitions.iter().map(|p| (p.start, p.sectors)).collect(),
        None => Vec::new(),
    };
    for (start, sectors) in places {
        assert!(sectors > 0);
        start.checked_add(sectors).and_then(|end| end.checked_mul(reading.sector.bytes())).unwrap();
    }
    for problem in &reading.problems {
        assert!(!problem.to_string().is_empty());
    }
}

/// A generator whose numbers are the same everywhere (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
