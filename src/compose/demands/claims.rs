//! Demands held against each other: one partition cannot carry two labels, one MBR has one disk id.

use super::demand::{Demand, Target, disk_id_of, ensure_possible};
use super::finding::Origin;
use crate::board::{Board, TableKind};
use crate::format::boot::fstab::Device;

/// A demand that was taken over, and the line that makes it.
#[derive(Clone, Debug)]
struct Claim {
    target: Target,
    device: Device,
    origin: Origin,
}

/// All demands that were taken over.
#[derive(Clone, Debug, Default)]
pub struct Claims(Vec<Claim>);

/// Why a demand cannot be met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// What is demanded, and why that cannot be.
    pub message: String,
    /// The line that demands otherwise, where there is one.
    pub against: Option<Origin>,
}

impl Claims {
    /// Takes a device that stands for a partition over into what that must carry.
    pub fn take(
        &mut self,
        device: &Device,
        (target, demand): (Target, &mut Demand),
        board: &Board,
        origin: &Origin,
    ) -> Result<(), Unmet> {
        ensure_possible(device, target, board).map_err(|message| Unmet { message, against: None })?;
        let claim = Claim { target, device: usual(device, target), origin: origin.clone() };
        for known in &self.0 {
            if let Some(message) = clash(known, &claim, board) {
                return Err(Unmet { message, against: Some(known.origin.clone()) });
            }
        }
        demand.set(device);
        self.0.push(claim);
        Ok(())
    }

    /// A line that names the disk of this card otherwise than by the node that another line has for it.
    pub fn other_disk(&self, device: &Device) -> Option<&Origin> {
        let disk = |device: &Device| match device {
            Device::Path(path) => super::demand::disk_of(path).map(str::to_owned),
            _ => None,
        };
        let here = disk(device)?;
        let differs = |claim: &&Claim| disk(&claim.device).is_some_and(|there| there != here);
        self.0.iter().find(differs).map(|claim| &claim.origin)
    }
}

/// A device with its identifiers in the case that udev writes them in.
fn usual(device: &Device, target: Target) -> Device {
    match device {
        Device::Uuid(uuid) if target == Target::Boot => Device::Uuid(uuid.to_uppercase()),
        Device::Uuid(uuid) => Device::Uuid(uuid.to_lowercase()),
        Device::PartUuid(partuuid) => Device::PartUuid(partuuid.to_lowercase()),
        device => device.clone(),
    }
}

/// Why two demands cannot be met by one card.
fn clash(one: &Claim, two: &Claim, board: &Board) -> Option<String> {
    let (what, a, b) = match (&one.device, &two.device) {
        (Device::Label(a), Device::Label(b)) => ("label", a, b),
        (Device::Uuid(a), Device::Uuid(b)) => ("UUID", a, b),
        (Device::PartUuid(a), Device::PartUuid(b)) => ("PARTUUID", a, b),
        (Device::PartLabel(a), Device::PartLabel(b)) => ("PARTLABEL", a, b),
        _ => return None,
    };
    if one.target == two.target {
        return (a != b).then(|| format!("it demands the {what} {a} and the {what} {b} of one partition"));
    }
    if what == "PARTUUID" && board.table == TableKind::Mbr {
        let disk_id = |partuuid: &str, claim: &Claim| disk_id_of(partuuid, claim.target.number(board));
        let differ = disk_id(a, one) != disk_id(b, two);
        return differ.then(|| {
            format!("it demands the PARTUUIDs {a} and {b}, and a card with an MBR has one disk id for all")
        });
    }
    (a == b).then(|| format!("it demands the {what} {a} of two partitions, the ext4 and the FAT"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of two demands, each of a partition.
    fn two(board: &str, (one, first): (&str, Target), (two, second): (&str, Target)) -> Result<(), Unmet> {
        let board = crate::board::find(board).unwrap();
        let (mut claims, mut demand) = (Claims::default(), Demand::default());
        let origin = |text| Origin::words("etc/fstab", text);
        claims.take(&Device::parse(one), (first, &mut demand), &board, &origin(one)).unwrap();
        claims.take(&Device::parse(two), (second, &mut Demand::default()), &board, &origin(two))
    }

    #[test]
    fn what_two_lines_demand_of_one_card_must_agree() {
        use Target::{Boot, Root};
        const UUID: &str = "44444444-4444-4444-8888-88888888888a";
        let long = |kind: &str, uuid: &str| format!("{kind}={uuid}");
        let (uuid, upper) = (long("UUID", UUID), long("UUID", &UUID.to_uppercase()));
        let (partuuid, other) = (long("PARTUUID", UUID), long("PARTUUID", &UUID.replace('8', "9")));
        for (board, one, second, expected) in [
            (
                "rpi4",
                ("LABEL=a", Root),
                ("LABEL=b", Root),
                Some("the label a and the label b of one partition"),
            ),
            ("rpi4", ("LABEL=A", Root), ("LABEL=A", Boot), Some("the label A of two partitions")),
            ("rpi4", ("LABEL=A", Root), ("LABEL=A", Root), None),
            ("rpi4", ("LABEL=A", Root), ("UUID=ABCD-1234", Boot), None),
            ("rpi4", (&uuid, Root), (&upper, Root), None),
            ("rpi4", ("UUID=ABCD-1234", Boot), ("UUID=abcd-1234", Boot), None),
            ("rpi4", ("UUID=ABCD-1234", Boot), ("UUID=ABCD-1235", Boot), Some("of one partition")),
            ("rpi4", ("PARTUUID=cafe1234-02", Root), ("PARTUUID=CAFE1234-01", Boot), None),
            (
                "rpi4",
                ("PARTUUID=cafe1234-02", Root),
                ("PARTUUID=2178694e-01", Boot),
                Some("the PARTUUIDs cafe1234-02 and 2178694e-01, and a card with an MBR has one disk id"),
            ),
            ("uefi-aarch64", (&partuuid, Root), (&partuuid, Boot), Some("of two partitions")),
            ("uefi-aarch64", (&partuuid, Root), (&other, Boot), None),
            ("uefi-aarch64", ("PARTLABEL=a", Root), ("PARTLABEL=a", Boot), Some("the PARTLABEL a of two")),
        ] {
            let found = two(board, one, second);
            match expected {
                None => assert_eq!(found, Ok(()), "{one:?} {second:?}"),
                Some(expected) => {
                    let found = found.unwrap_err();
                    assert!(found.message.contains(expected), "{one:?} {second:?}: {found:?}");
                    assert_eq!(found.against, Some(Origin::words("etc/fstab", one.0)));
                }
            }
        }
    }
}
