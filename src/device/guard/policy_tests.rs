use super::*;
use crate::device::sys::linux::roots::DeviceNumber;

/// A stick that may be written.
fn stick() -> Device {
    Device {
        name: "sdb".into(),
        path: "/dev/sdb".into(),
        links: Vec::new(),
        number: DeviceNumber { major: 8, minor: 16 },
        vendor: Some("SanDisk".into()),
        model: Some("Ultra".into()),
        serial: Some("4C53".into()),
        size: 16 << 30,
        bus: Bus::Usb,
        removable: true,
        read_only: false,
        sector: 512,
        diskseq: Some(7),
        backing: None,
        partitions: Vec::new(),
        uses: Vec::new(),
        numbers: Vec::new(),
    }
}

fn facts(named: Named) -> Facts {
    Facts {
        path: "/dev/sdb".into(),
        below_dev: true,
        named,
        members: Vec::new(),
        holds_source: false,
        held_by: None,
        need: Some(2 << 30),
        image_sector: Some(512),
    }
}

fn disk(change: impl FnOnce(&mut Device)) -> Facts {
    let mut device = stick();
    change(&mut device);
    facts(Named::Disk(Box::new(device)))
}

fn used(user: Use) -> Facts {
    disk(|device| device.uses.push(user))
}

fn mounted(at: &str) -> Facts {
    used(Use::Mount { device: "sdb1".into(), at: at.into() })
}

fn policies() -> Vec<Policy> {
    let typed = |text: &str| Answer::Typed(text.to_owned());
    let answers = [
        Answer::None,
        Answer::Yes,
        typed("Ultra"),
        typed("4C53"),
        typed(""),
        typed("SanDisk"),
        typed("/dev/sdb"),
    ];
    let mut policies = Vec::new();
    for mounts in [Mounted::Refuse, Mounted::Unmount] {
        for fixed in [Fixed::Identify, Fixed::Allow] {
            policies.extend(answers.iter().map(|answer| Policy { mounts, fixed, answer: answer.clone() }));
        }
    }
    policies
}

/// What the table says: the answers that a target takes, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Whatever the policy.
    Always,
    /// A yes or the identity.
    Asked,
    /// A yes if `allow_fixed`, else the identity.
    Fixed,
    /// The identity, whatever the policy.
    Identity,
    /// Asked if mounts are unmounted, else refused.
    Unmounted,
    /// No policy helps.
    Never,
}

impl Rule {
    fn allows(self, policy: &Policy, names: &[&str]) -> bool {
        let yes = policy.answer == Answer::Yes;
        let named = matches!(&policy.answer, Answer::Typed(typed) if names.contains(&typed.as_str()));
        match self {
            Self::Always => true,
            Self::Asked => yes || named,
            Self::Fixed => named || yes && policy.fixed == Fixed::Allow,
            Self::Identity => named,
            Self::Unmounted => policy.mounts == Mounted::Unmount && (yes || named),
            Self::Never => false,
        }
    }
}

#[test]
fn the_truth_table_holds_for_every_policy() {
    let file = || Facts { path: "card.img".into(), below_dev: false, ..facts(Named::File { id: (1, 2) }) };
    let swap = Use::Swap { device: "/dev/sdb2".into() };
    let holder = |kind| Use::Holder { device: "sdb1".into(), holder: "dm-0".into(), kind };
    let member = |member| Facts { members: vec![("sdb1".into(), member)], ..disk(|_| ()) };
    let system = |at| (mounted(at), Rule::Never);
    let mut table = vec![
        (disk(|_| ()), Rule::Asked),
        (facts(Named::Absent), Rule::Never),
        (Facts { below_dev: false, ..facts(Named::Absent) }, Rule::Always),
        (facts(Named::File { id: (1, 2) }), Rule::Never),
        (file(), Rule::Asked),
        (Facts { holds_source: true, ..file() }, Rule::Never),
        (Facts { held_by: Some("loop0 lies on it".to_owned()), ..file() }, Rule::Never),
        (facts(Named::Other("a pipe")), Rule::Never),
        (facts(Named::Volume), Rule::Never),
        (facts(Named::Partition { disk: "/dev/sdb".into() }), Rule::Never),
        (used(swap), Rule::Never),
        (used(holder("crypt")), Rule::Never),
        (used(holder("raid1")), Rule::Never),
        (used(Use::Btrfs { device: "sdb".into() }), Rule::Never),
        (mounted("/mnt"), Rule::Unmounted),
        (mounted("/run/media/user/NIXOS_SD"), Rule::Unmounted),
        (mounted("/bootleg"), Rule::Unmounted),
        (Facts { holds_source: true, ..disk(|_| ()) }, Rule::Never),
        (Facts { holds_source: true, ..mounted("/mnt") }, Rule::Never),
        (disk(|device| device.read_only = true), Rule::Never),
        (disk(|device| device.size = 0), Rule::Never),
        (disk(|device| device.size = (2 << 30) - 512), Rule::Never),
        (disk(|device| device.size = 2 << 30), Rule::Asked),
        (disk(|device| device.sector = 4096), Rule::Never),
        (Facts { image_sector: None, ..disk(|device| device.sector = 4096) }, Rule::Asked),
        (Facts { need: None, ..disk(|device| device.size = 512) }, Rule::Asked),
        (disk(|device| device.removable = false), Rule::Fixed),
        (disk(|device| device.size = LARGE), Rule::Asked),
        (disk(|device| device.size = LARGE + 512), Rule::Fixed),
        (disk(|device| device.bus = Bus::Loop), Rule::Fixed),
    ];
    for at in [
        "/",
        "/boot",
        "/boot/efi",
        "/nix",
        "/nix/store",
        "/home",
        "/home/user/mnt",
        "/var/lib",
        "/usr",
        "/iso",
    ] {
        table.push(system(at));
    }
    for sign in [
        Member::Lvm,
        Member::Raid,
        Member::Luks,
        Member::Bcache,
        Member::Bcachefs,
        Member::Zfs,
        Member::Btrfs,
    ] {
        table.push((member(sign), Rule::Identity));
    }
    for (facts, rule) in &table {
        let names: &[&str] =
            if matches!(facts.named, Named::Disk(_)) { &["Ultra", "4C53"] } else { &["card.img"] };
        for policy in policies() {
            let allowed = judge(facts, &policy) == Verdict::Allowed;
            assert_eq!(allowed, rule.allows(&policy, names), "{rule:?} {policy:?} {facts:?}");
        }
        let is_refused = matches!(judge(facts, &Policy::default()), Verdict::Refused(_));
        assert_eq!(is_refused, matches!(rule, Rule::Never | Rule::Unmounted), "{facts:?}");
    }
}

#[test]
fn a_refusal_says_why_and_the_gravest_comes_first() {
    let refused = |facts: &Facts| match judge(facts, &Policy::default()) {
        Verdict::Refused(refusal) => refusal.to_string(),
        other => panic!("{other:?}"),
    };
    let mut root = mounted("/");
    root.need = Some(1 << 50);
    root.holds_source = true;
    assert_eq!(refused(&root), "/dev/sdb is a disk of this system: sdb1 is mounted at /");
    assert_eq!(refused(&mounted("/mnt")), "/dev/sdb is mounted at /mnt");
    let partition = facts(Named::Partition { disk: "/dev/sdb".into() });
    assert_eq!(refused(&partition), "/dev/sdb is a partition, expected the whole disk: /dev/sdb");
    let small = disk(|device| device.size = 512);
    assert_eq!(refused(&small), "/dev/sdb has 512 bytes, the image needs 2147483648");
}

#[test]
fn a_disk_without_model_and_serial_is_named_by_its_path() {
    let mut facts = disk(|device| {
        device.bus = Bus::Loop;
        (device.model, device.serial) = (None, None);
    });
    let answer = |text: &str| Policy { answer: Answer::Typed(text.into()), ..Policy::default() };
    assert_eq!(judge(&facts, &answer("/dev/sdb")), Verdict::Allowed);
    facts.path = "/dev/loop3".into();
    assert!(matches!(judge(&facts, &answer("/dev/sdb")), Verdict::Refused(Refusal::WrongIdentity { .. })));
    assert!(matches!(judge(&facts, &answer("")), Verdict::Refused(_)));
}

#[test]
fn a_confirmation_lists_all_reasons() {
    let mut facts = disk(|device| device.removable = false);
    facts.members.push(("sdb2".into(), Member::Lvm));
    let Verdict::NeedsConfirmation { reasons, proof } = judge(&facts, &Policy::default()) else { panic!() };
    let reasons: Vec<_> = reasons.iter().map(ToString::to_string).collect();
    let expected =
        ["all that is on it will be lost", "it is not removable", "sdb2 is an LVM physical volume"];
    assert_eq!(
        (reasons.iter().map(String::as_str).collect::<Vec<_>>(), proof),
        (expected.to_vec(), Proof::Identity)
    );
}
