//! The disks of this machine, and why one of them is not offered.

use crate::cli::exit::{Code, Failure};
use crate::device;
use crate::device::{
    Answer, Device, Fixed, Listing, Mounted, Policy, Reason, Roots, Verdict, Wanted, gather, judge,
};

/// Lists the disks of this machine.
pub fn listing() -> Result<Listing, Failure> {
    device::list(&Roots::system()).map_err(|error| Failure::of(Code::Other, &error))
}

/// Why a disk is not offered: a refusal, or that it does not look like a card. `None` for one that is.
pub fn reason(listing: &Listing, device: &Device) -> Option<String> {
    // Whoever sees the list may unmount what an automounter mounted.
    let policy = Policy { mounts: Mounted::Unmount, fixed: Fixed::Identify, answer: Answer::None };
    let facts = match gather(listing, &device.path, &Wanted::default()) {
        Ok(facts) => facts,
        Err(error) => return Some(error.to_string()),
    };
    match judge(&facts, &policy) {
        Verdict::Refused(refusal) => Some(refusal.to_string()),
        Verdict::Allowed => None,
        Verdict::NeedsConfirmation { reasons, .. } => {
            let odd = reasons.iter().filter(|r| !matches!(r, Reason::Overwritten | Reason::Unmounts(_)));
            let words: Vec<String> = odd.map(ToString::to_string).collect();
            (!words.is_empty())
                .then(|| format!("{}; needs --allow-fixed or its model or serial", words.join(", ")))
        }
    }
}
