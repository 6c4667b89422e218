//! What is wrong and what has changed, in bounded lists.

/// How many places of each kind are listed.
const LISTED: usize = 1000;

/// What was found so far.
#[derive(Default)]
pub struct Findings {
    /// What is wrong: a path, and how.
    pub damaged: Vec<(String, String)>,
    /// What has changed since.
    pub changed: Vec<String>,
    /// How many more there are.
    pub not_listed: u64,
    /// Whether a system has mounted the root.
    pub is_used: bool,
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

    /// Adds something that is worth a word on any card.
    pub fn note(&mut self, what: String) {
        if self.changed.len() < LISTED {
            self.changed.push(what);
        } else {
            self.not_listed += 1;
        }
    }
}
