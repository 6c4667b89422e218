//! What is wrong and what has changed, in bounded lists.

/// How many places of each kind are listed.
const LISTED: usize = 1000;

/// Whether something may be on a card that can boot or run as root, and that no signature covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unsigned {
    /// With a key it is damage.
    #[default]
    Refused,
    /// It is told, and no more.
    Allowed,
}

/// The same for each kind of thing that a running system or nixflash brings by right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// A default generation that was not composed.
    pub generations: Unsigned,
    /// Firmware that `nixflash firmware` has replaced.
    pub firmware: Unsigned,
}

/// What was found so far.
#[derive(Default)]
pub struct Findings {
    /// What is wrong: a path, and how.
    pub damaged: Vec<(String, String)>,
    /// What has changed since.
    pub changed: Vec<String>,
    /// How many more there are.
    pub not_listed: u64,
    /// What was not judged, in words.
    pub not_judged: Vec<String>,
    /// Whether a system has mounted the root.
    pub is_used: bool,
    /// Whether the user has named keys: then what can boot or run as root must be covered by a signature.
    pub has_keys: bool,
    /// What the user takes unsigned all the same.
    pub unsigned: Allowed,
}

impl Findings {
    /// Adds something wrong.
    pub fn bad(&mut self, path: &str, how: &str) {
        if self.damaged.len() < LISTED {
            self.damaged.push((path.to_owned(), how.to_owned()));
        } else {
            self.not_listed += 1;
        }
    }

    /// Adds something that a running system may do; on a card that none has mounted it is wrong.
    pub fn since(&mut self, what: String) {
        if self.is_used {
            self.note(what);
        } else {
            self.bad("a card that no system has mounted", &what);
        }
    }

    /// Adds something at a path that the user of a running system may do; on a card that none has mounted it is wrong.
    pub fn edited(&mut self, path: &str, how: &str) {
        if self.is_used {
            self.note(format!("{path}: {how}"));
        } else {
            self.bad(path, how);
        }
    }

    /// Adds something that can boot or run as root and that no signature covers. The counters of a card, which nobody
    /// signs, excuse none of it where a key was named.
    pub fn uncovered(&mut self, path: &str, how: &str) {
        if self.has_keys {
            self.bad(path, &format!("{how}; no signature covers it"));
        } else {
            self.edited(path, how);
        }
    }

    /// The same for what any tool may have done to a card before it was ever booted: without a key it is a note.
    pub fn replaced(&mut self, path: &str, how: &str) {
        if self.has_keys {
            self.bad(path, &format!("{how}; no signature covers it"));
        } else {
            self.note(format!("{path}: {how}"));
        }
    }

    /// Says what is not judged.
    pub fn unjudged(&mut self, what: String) {
        if self.not_judged.len() < LISTED && !self.not_judged.contains(&what) {
            self.not_judged.push(what);
        }
    }

    /// Adds something that is worth a word on any card.
    pub fn note(&mut self, what: String) {
        if self.changed.len() < LISTED {
            self.changed.push(what);
        } else {
            self.not_listed += 1;
        }
    }
}
