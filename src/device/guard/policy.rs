//! Whether a target may be written: a pure function of facts and policy.
//!
//! | what the target is | verdict |
//! |---|---|
//! | not there, not below `/dev` | allowed: a new file |
//! | a regular file | asked for, as it is overwritten |
//! | below `/dev` but no disk; directory, pipe, partition, volume, ... | refused |
//! | a disk with `/`, `/boot`, `/nix`, `/home`, ... or swap in use, through whatever is stacked on it | refused, no override |
//! | the disk that holds what is read | refused, no override |
//! | read-only, without a medium, other sector size than the image, too small | refused |
//! | mounted elsewhere | refused, or unmounted first if the policy says so |
//! | held by device-mapper, RAID, bcache; mounted as one of several of a btrfs | refused |
//! | a disk with signs of LVM, RAID, LUKS, ZFS, ... | its model or serial number must be given |
//! | not removable, larger than 256 GiB, loop | `allow_fixed`, or its model or serial number must be given |
//! | any other disk | asked for |

use super::signatures::Member;
use super::verdict::{Proof, Reason, Refusal, Verdict, list};
use crate::device::sys::linux::disks::{Bus, Device, Use};
use crate::device::sys::linux::mounts::is_below;
use crate::device::sys::linux::resolve::Named;
use std::path::{Path, PathBuf};

/// All that the verdict depends on.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The target as the user named it.
    pub path: PathBuf,
    /// Whether the path lies below `/dev`.
    pub below_dev: bool,
    /// What it names.
    pub named: Named,
    /// Signs on the disk and its partitions, with the device that has each.
    pub members: Vec<(String, Member)>,
    /// Whether the target holds what is read: the image, the store.
    pub holds_source: bool,
    /// What uses a file: a loop, a program that has locked it.
    pub held_by: Option<String>,
    /// The length of the image in bytes, where known.
    pub need: Option<u64>,
    /// The sector size that the image is made for, where it has one.
    pub image_sector: Option<u32>,
}

/// What the user allows.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// What to do about mounts.
    pub mounts: Mounted,
    /// What to do about disks that do not look like a card.
    pub fixed: Fixed,
    /// What the user answered.
    pub answer: Answer,
}

/// What to do about a mounted disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mounted {
    /// Refuse it.
    #[default]
    Refuse,
    /// It will be unmounted before it is opened.
    Unmount,
}

/// What to do about a disk that does not look like a card.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fixed {
    /// Ask for its model or serial number.
    #[default]
    Identify,
    /// Ask as for a card.
    Allow,
}

/// What the user answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// Nothing yet.
    #[default]
    None,
    /// Yes, or the option that says so.
    Yes,
    /// The model or serial number of the disk, or what else was typed.
    Typed(String),
}

/// Larger disks do not look like a card.
pub const LARGE: u64 = 256 << 30;

/// Mount points, and all below them, without which a system does not run or people lose what they own.
const SYSTEM: &[&str] = &[
    "/boot",
    "/efi",
    "/esp",
    "/etc",
    "/home",
    "/iso",
    "/nix",
    "/opt",
    "/root",
    "/srv",
    "/sysroot",
    "/usr",
    "/var",
    "/run/initramfs",
    "/run/live",
    "/lib/live",
    "/gnu",
];

/// Decides whether a target may be written. No clock, no system call.
#[must_use]
pub fn judge(facts: &Facts, policy: &Policy) -> Verdict {
    let path = facts.path.display().to_string();
    let device = match &facts.named {
        Named::Absent if facts.below_dev => return Verdict::Refused(Refusal::NoSuchDevice(path)),
        Named::Absent => return Verdict::Allowed,
        Named::File { .. } if facts.below_dev => return Verdict::Refused(Refusal::FileBelowDev(path)),
        Named::File { .. } if facts.holds_source => return Verdict::Refused(Refusal::Source(path)),
        Named::File { .. } if facts.held_by.is_some() => {
            let what = facts.held_by.clone().unwrap_or_default();
            return Verdict::Refused(Refusal::InUse { path, what });
        }
        Named::File { .. } => return confirm(vec![Reason::Overwritten], None, facts, policy),
        Named::Other(kind) => return Verdict::Refused(Refusal::NotATarget { path, kind }),
        Named::Volume => {
            return Verdict::Refused(Refusal::NotATarget {
                path,
                kind: "a volume on other disks, or no disk",
            });
        }
        Named::Partition { disk } => {
            let disk = disk.display().to_string();
            return Verdict::Refused(Refusal::Partition { path, disk });
        }
        Named::Disk(device) => device,
    };
    match refusal(device, facts, policy, path) {
        Some(refusal) => Verdict::Refused(refusal),
        None => confirm(reasons(device, facts, policy), Some(device), facts, policy),
    }
}

/// The first rule that a disk breaks, the gravest first.
fn refusal(device: &Device, facts: &Facts, policy: &Policy, path: String) -> Option<Refusal> {
    if let Some(what) = system_use(device) {
        return Some(Refusal::System { path, what });
    }
    if facts.holds_source {
        return Some(Refusal::Source(path));
    }
    if let Some(what) = device.uses.iter().find_map(holder) {
        return Some(Refusal::InUse { path, what });
    }
    if policy.mounts == Mounted::Refuse && device.mounts().next().is_some() {
        return Some(Refusal::Mounted { path, at: list(device.mounts()) });
    }
    if device.size == 0 {
        return Some(Refusal::Empty(path));
    }
    if device.read_only {
        return Some(Refusal::ReadOnly(path));
    }
    let found = device.sector;
    if let Some(expected) = facts.image_sector.filter(|expected| *expected != found) {
        return Some(Refusal::Sector { path, expected, found });
    }
    let need = facts.need.filter(|need| *need > device.size)?;
    Some(Refusal::TooSmall { path, size: device.size, need })
}

/// What the running system needs of a disk.
fn system_use(device: &Device) -> Option<String> {
    device.uses.iter().find_map(|user| match user {
        Use::Mount { device, at } if is_system(at) => {
            Some(format!("{device} is mounted at {}", at.display()))
        }
        Use::Swap { device } => Some(format!("it swaps to {device}")),
        _ => None,
    })
}

fn is_system(at: &Path) -> bool {
    at == Path::new("/") || SYSTEM.iter().any(|directory| is_below(at, directory))
}

fn holder(user: &Use) -> Option<String> {
    match user {
        Use::Holder { device, holder, kind } => Some(format!("{device} is a part of {holder} ({kind})")),
        Use::Btrfs { device } => Some(format!("{device} is a part of a mounted btrfs")),
        Use::Mount { .. } | Use::Swap { .. } => None,
    }
}

fn reasons(device: &Device, facts: &Facts, policy: &Policy) -> Vec<Reason> {
    let mut reasons = vec![Reason::Overwritten];
    if policy.mounts == Mounted::Unmount && device.mounts().next().is_some() {
        reasons.push(Reason::Unmounts(device.mounts().map(Path::to_path_buf).collect()));
    }
    if policy.fixed == Fixed::Identify {
        match device.bus {
            Bus::Loop => reasons.push(Reason::Loop),
            _ if !device.removable => reasons.push(Reason::NotRemovable),
            _ => {}
        }
        reasons.extend((device.size > LARGE).then_some(Reason::Large(device.size)));
    }
    let members = facts.members.iter();
    reasons
        .extend(members.map(|(device, member)| Reason::Member { device: device.clone(), member: *member }));
    reasons
}

impl Reason {
    /// What this reason asks for.
    const fn proof(&self) -> Proof {
        match self {
            Self::Overwritten | Self::Unmounts(_) => Proof::Yes,
            Self::NotRemovable | Self::Large(_) | Self::Loop | Self::Member { .. } => Proof::Identity,
        }
    }
}

/// Compares what the reasons ask for with what was answered.
fn confirm(reasons: Vec<Reason>, device: Option<&Device>, facts: &Facts, policy: &Policy) -> Verdict {
    let proof = reasons.iter().map(Reason::proof).max().unwrap_or(Proof::Yes);
    match (&policy.answer, proof) {
        (Answer::Yes, Proof::Yes) => Verdict::Allowed,
        (Answer::Typed(typed), _) if identities(device, facts).contains(typed) => Verdict::Allowed,
        (Answer::Typed(typed), _) => Verdict::Refused(Refusal::WrongIdentity {
            path: facts.path.display().to_string(),
            typed: typed.clone(),
        }),
        (Answer::None | Answer::Yes, _) => Verdict::NeedsConfirmation { reasons, proof },
    }
}

/// What may be typed to name a target: model or serial number; the path where it has neither.
fn identities(device: Option<&Device>, facts: &Facts) -> Vec<String> {
    let own = device.map(|device| [device.model.clone(), device.serial.clone()]);
    let own: Vec<_> = own.into_iter().flatten().flatten().filter(|text| !text.is_empty()).collect();
    if own.is_empty() { vec![facts.path.display().to_string()] } else { own }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
