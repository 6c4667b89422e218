//! Real block devices: loops, as root. The kernel judges who may open what; sfdisk and sgdisk judge tables.

use crate::common::{Loop, Tool, skip, temp};
use nixflash::device::write::{Check, Report, Rewrite, Verification};
use nixflash::device::{
    Access, Answer, Changed, Device, Fault, Fixed, Left, Meter, Mounted, Named, OpenError, Policy, Refusal,
    Roots, Verdict, Wanted, WriteError, gather, judge, list, open_disk, unmount,
};
use nixflash::flash::{self, Card};
use nixflash::format::disk::partition_table::{Gpt, GptPartition, SectorSize, Table, encode, read_with};
use nixflash::image::{Piece, Source, SourceError};
use nixflash::verify::{self, compare};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use uuid::Uuid;

const MIB: usize = 1 << 20;

fn device(attached: &Loop) -> Device {
    let devices = list(&Roots::system()).unwrap().devices;
    devices.into_iter().find(|device| device.path == attached.path).unwrap()
}

fn verdict(attached: &Loop, policy: &Policy, wanted: &Wanted<'_>) -> Verdict {
    let listing = list(&Roots::system()).unwrap();
    judge(&gather(&listing, &attached.path, wanted).unwrap(), policy)
}

/// A mount that goes away.
struct Mount {
    umount: Tool,
    at: PathBuf,
}

impl Mount {
    fn new(device: &Path, at: &Path) -> Option<Self> {
        let (mount, umount) = (Tool::find("mount")?, Tool::find("umount")?);
        std::fs::create_dir_all(at).unwrap();
        mount.passes(&[device.to_str().unwrap(), at.to_str().unwrap()]);
        Some(Self { umount, at: at.to_path_buf() })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.umount.run(&[self.at.to_str().unwrap()]);
    }
}

/// A file of `len` bytes, all `fill`.
fn file(directory: &Path, name: &str, len: usize, fill: u8) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, vec![fill; len]).unwrap();
    path
}

struct Bytes {
    bytes: Vec<u8>,
    at: usize,
}

impl Source for Bytes {
    fn len(&self) -> Option<u64> {
        Some(self.bytes.len() as u64)
    }

    fn next(&mut self) -> Result<Option<Piece<'_>>, SourceError> {
        let from = self.at;
        self.at += (self.bytes.len() - from).min(MIB);
        Ok((self.at > from).then_some(Piece::Data(&self.bytes[from..self.at])))
    }
}

fn image(len: usize, sector: SectorSize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len).map(|n| (n / 11 % 255 + 1) as u8).collect();
    let partition = GptPartition {
        number: 1,
        start: (1 << 20) / sector.bytes(),
        sectors: (2 << 20) / sector.bytes(),
        type_guid: Uuid::from_u128(0x0fc6_3daf_8483_4772_8e79_3d69_d847_7de4),
        unique_guid: Uuid::from_u128(2),
        name: "root".into(),
        attributes: 0,
    };
    let table = Table::Gpt(Gpt { disk_guid: Uuid::from_u128(3), partitions: vec![partition] });
    for (offset, table) in encode(&table, len as u64, sector).unwrap() {
        bytes[offset as usize..][..table.len()].copy_from_slice(&table);
    }
    bytes
}

fn write(device: &Device, bytes: &[u8]) -> Result<Report, WriteError> {
    let disk = open_disk(&Roots::system(), device, Access::Write).unwrap();
    let meter = Meter::default();
    let card = Card { disk: &disk, sector: device.sector, meter: &meter };
    let options = flash::Options {
        check: Check::Verify,
        rewrite: Rewrite::All,
        grow: false,
        image_sector: None,
        interrupted: &AtomicBool::new(false),
    };
    let mut source = Bytes { bytes: bytes.to_vec(), at: 0 };
    flash::write(&mut source, &[card], &options).cards.remove(0)
}

fn is_equal(device: &Device, bytes: &[u8], sector: SectorSize) -> bool {
    let disk = open_disk(&Roots::system(), device, Access::Read).unwrap();
    let (interrupted, meter) = (AtomicBool::new(false), Meter::default());
    let options = verify::Options { sector, interrupted: &interrupted, meter: &meter };
    let mut source = Bytes { bytes: bytes.to_vec(), at: 0 };
    compare(&disk, &mut source, &options).unwrap().is_equal()
}

fn allow() -> Policy {
    Policy { fixed: Fixed::Allow, answer: Answer::Yes, ..Policy::default() }
}

#[test]
fn cards_of_odd_sizes_and_both_sector_sizes_are_written_and_verified_past_the_cache() {
    let directory = temp();
    for (len, sector, image_len) in [
        (16 * MIB, SectorSize::S512, 16 * MIB),
        (16 * MIB + 7 * 512, SectorSize::S512, 9 * MIB + 512),
        (9 * MIB + 512, SectorSize::S512, 8 * MIB),
        (16 * MIB, SectorSize::S4096, 12 * MIB),
    ] {
        let backing = file(directory.path(), "card", len, 0xaa);
        let old = image(len, SectorSize::S512);
        File::options()
            .write(true)
            .open(&backing)
            .unwrap()
            .write_all_at(&old[len - 20_000..], len as u64 - 20_000)
            .unwrap();
        let size = sector.bytes().to_string();
        let Some(attached) = Loop::attach(&backing, &["--sector-size", &size]) else { return };
        let device = device(&attached);
        assert_eq!((device.size as usize, u64::from(device.sector)), (len, sector.bytes()));
        let bytes = image(image_len, sector);
        let report = write(&device, &bytes).unwrap();
        assert_eq!(report.verification, Verification::Medium);
        assert_eq!(report.backup_moved, image_len != len);
        let disk = std::fs::read(&backing).unwrap();
        let reading = read_with(&&disk[..], sector).unwrap();
        assert!(reading.problems.is_empty(), "{:?}", reading.problems);
        assert!(disk[MIB..image_len - 70_000] == bytes[MIB..image_len - 70_000]);
        assert!(is_equal(&device, &bytes, sector));
        for (name, arguments) in [("sfdisk", "--verify"), ("sgdisk", "--verify")] {
            let Some(tool) = Tool::find(name) else { continue };
            let text = tool.passes(&[arguments, attached.path.to_str().unwrap()]);
            let is_clean = text.contains("No errors") || text.contains("No problems");
            assert!(is_clean, "{name}: {text}");
        }
    }
}

#[test]
fn damage_behind_the_back_of_the_cache_is_found() {
    let directory = temp();
    let backing = file(directory.path(), "card", 16 * MIB, 0);
    let Some(attached) = Loop::attach(&backing, &[]) else { return };
    let device = device(&attached);
    let bytes = image(12 * MIB, SectorSize::S512);
    write(&device, &bytes).unwrap();
    assert!(is_equal(&device, &bytes, SectorSize::S512));
    for at in [0, 512, 1023, 32_256, 262_144, MIB, 5 * MIB + 3, 12 * MIB - 40_000] {
        let medium = File::options().read(true).write(true).open(&backing).unwrap();
        let mut byte = [0];
        medium.read_exact_at(&mut byte, at as u64).unwrap();
        medium.write_all_at(&[byte[0] ^ 1], at as u64).unwrap();
        assert!(!is_equal(&device, &bytes, SectorSize::S512), "{at}");
        medium.write_all_at(&byte, at as u64).unwrap();
    }
    assert!(is_equal(&device, &bytes, SectorSize::S512));
}

#[test]
fn a_mounted_disk_is_refused_opened_by_nobody_and_unmounted_on_request() {
    let directory = temp();
    let backing = file(directory.path(), "card", 16 * MIB, 0);
    let Some(attached) = Loop::attach(&backing, &[]) else { return };
    let Some(mkfs) = Tool::find("mkfs.ext4") else { return };
    mkfs.passes(&["-q", attached.path.to_str().unwrap()]);
    let at = directory.path().join("mnt point");
    let before = device(&attached);
    let Some(mount) = Mount::new(&attached.path, &at) else { return };
    let refused = verdict(&attached, &allow(), &Wanted::default());
    let at_text = at.display().to_string();
    assert!(
        matches!(&refused, Verdict::Refused(Refusal::Mounted { at, .. }) if *at == at_text),
        "{refused:?}"
    );
    let unmounting = Policy { mounts: Mounted::Unmount, ..allow() };
    assert_eq!(verdict(&attached, &unmounting, &Wanted::default()), Verdict::Allowed);
    // Even if all of that were skipped, the kernel says no.
    let opened = open_disk(&Roots::system(), &before, Access::Write);
    assert!(matches!(opened, Err(OpenError::Busy(_))));
    // What is read lies on it.
    let source = [file(&at, "card.img", 1000, 1)];
    let wanted = Wanted { reads: &source, ..Wanted::default() };
    assert!(matches!(verdict(&attached, &unmounting, &wanted), Verdict::Refused(Refusal::Source(_))));
    assert_eq!(unmount(&device(&attached)).unwrap(), [at]);
    drop(mount);
    assert_eq!(verdict(&attached, &allow(), &Wanted::default()), Verdict::Allowed);
    drop(open_disk(&Roots::system(), &before, Access::Write).unwrap());
}

#[test]
fn swap_is_refused() {
    let directory = temp();
    let backing = file(directory.path(), "card", 16 * MIB, 0);
    let Some(attached) = Loop::attach(&backing, &[]) else { return };
    let (Some(mkswap), Some(swapon), Some(swapoff)) =
        (Tool::find("mkswap"), Tool::find("swapon"), Tool::find("swapoff"))
    else {
        return;
    };
    let path = attached.path.to_str().unwrap();
    mkswap.passes(&[path]);
    let on = swapon.run(&[path]);
    if !on.status.success() {
        return skip(&format!("no swap on a loop: {}", String::from_utf8_lossy(&on.stderr).trim()));
    }
    let verdict = verdict(&attached, &Policy { mounts: Mounted::Unmount, ..allow() }, &Wanted::default());
    let opened = open_disk(&Roots::system(), &device(&attached), Access::Write);
    swapoff.passes(&[path]);
    assert!(matches!(verdict, Verdict::Refused(Refusal::System { .. })), "{verdict:?}");
    assert!(matches!(opened, Err(OpenError::Busy(_))));
}

#[test]
fn loops_read_only_small_or_with_other_sectors_are_judged_as_the_table_says() {
    let directory = temp();
    let backing = file(directory.path(), "card", 4 * MIB, 0);
    let Some(attached) = Loop::attach(&backing, &["--read-only"]) else { return };
    let yes = Policy { answer: Answer::Yes, ..Policy::default() };
    assert!(matches!(
        verdict(&attached, &allow(), &Wanted::default()),
        Verdict::Refused(Refusal::ReadOnly(_))
    ));
    drop(attached);
    let Some(attached) = Loop::attach(&backing, &["--sector-size", "4096"]) else { return };
    let wanted = Wanted { image_sector: Some(512), ..Wanted::default() };
    assert!(matches!(verdict(&attached, &allow(), &wanted), Verdict::Refused(Refusal::Sector { .. })));
    let wanted = Wanted { need: Some(4 * MIB as u64 + 1), ..Wanted::default() };
    assert!(matches!(verdict(&attached, &allow(), &wanted), Verdict::Refused(Refusal::TooSmall { .. })));
    assert!(matches!(verdict(&attached, &yes, &Wanted::default()), Verdict::NeedsConfirmation { .. }));
    assert_eq!(verdict(&attached, &allow(), &Wanted::default()), Verdict::Allowed);
}

#[test]
fn another_card_behind_the_same_node_is_not_written() {
    let directory = temp();
    let (one, two) = (file(directory.path(), "one", 4 * MIB, 1), file(directory.path(), "two", 4 * MIB, 2));
    let Some(attached) = Loop::attach(&one, &[]) else { return };
    let confirmed = device(&attached);
    let node = attached.path.to_str().unwrap().to_owned();
    attached.losetup.passes(&["--detach", &node]);
    if !attached.losetup.run(&[&node, two.to_str().unwrap()]).status.success() {
        return skip("the loop was taken by somebody else");
    }
    let opened = open_disk(&Roots::system(), &confirmed, Access::Write);
    assert!(matches!(opened, Err(OpenError::Changed { changed: Changed::Medium, .. })));
    assert!(std::fs::read(&two).unwrap().iter().all(|byte| *byte == 2));
}

#[test]
fn a_disk_has_one_writer() {
    let directory = temp();
    let backing = file(directory.path(), "card", 4 * MIB, 0);
    let Some(attached) = Loop::attach(&backing, &[]) else { return };
    let device = device(&attached);
    let first = open_disk(&Roots::system(), &device, Access::Write).unwrap();
    assert!(matches!(open_disk(&Roots::system(), &device, Access::Write), Err(OpenError::Busy(_))));
    drop(first);
    drop(open_disk(&Roots::system(), &device, Access::Write).unwrap());
}

#[test]
fn a_medium_that_is_full_behind_the_kernels_back_is_no_success() {
    let directory = temp();
    let backing = file(directory.path(), "card", 16 * MIB, 0);
    let Some(attached) = Loop::attach(&backing, &[]) else { return };
    let device = device(&attached);
    // The file ends before the device does: reads give zeros or fail, writes are lost or grow the file.
    File::options().write(true).open(&backing).unwrap().set_len(8 * MIB as u64).unwrap();
    let bytes = image(12 * MIB, SectorSize::S512);
    match write(&device, &bytes) {
        Ok(_) => assert!(is_equal(&device, &bytes, SectorSize::S512)),
        Err(error) => {
            assert!(!matches!(error.fault, Fault::Lost) && error.left == Left::Unbootable, "{error}")
        }
    }
}

#[test]
fn the_disk_of_the_root_and_what_is_no_disk_are_refused() {
    let listing = list(&Roots::system()).unwrap();
    let everything = Policy { mounts: Mounted::Unmount, ..allow() };
    for device in listing.disks_of(Path::new("/")) {
        let facts = gather(&listing, &device.path, &Wanted::default()).unwrap();
        let verdict = judge(&facts, &everything);
        assert!(matches!(verdict, Verdict::Refused(Refusal::System { .. })), "{verdict:?}");
    }
    let directory = temp();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink("/dev/null", &link).unwrap();
    for path in ["/dev/null", "/dev/nixflash-typo", "/dev", link.to_str().unwrap()] {
        let facts = gather(&listing, Path::new(path), &Wanted::default()).unwrap();
        assert!(matches!(judge(&facts, &everything), Verdict::Refused(_)), "{path}");
        assert!(!matches!(facts.named, Named::Disk(_)));
    }
    assert!(!Path::new("/dev/nixflash-typo").exists());
}
