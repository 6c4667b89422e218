//! Targets: judged by the guard, agreed to by the user, opened.

use super::disks;
use super::existing::{self, Name};
use crate::cli::exit::{Code, Failure};
use crate::cli::show::terminal::Voice;
use crate::cli::show::{card_table, output};
use crate::device::{
    Answer, Device, Existing, Fixed, Left, Listing, Mounted, Named, Policy, Proof, Reason, Refusal, Verdict,
    Wanted, gather, judge,
};
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};

/// What the user allows.
#[derive(clap::Args)]
pub struct Consent {
    /// Do not ask; needed without a terminal
    #[arg(short, long)]
    pub yes: bool,
    /// Allow disks that are not removable or larger than 256 GiB
    #[arg(long)]
    pub allow_fixed: bool,
    /// Confirm by the model or serial number of the disk
    #[arg(long, value_name = "TEXT")]
    pub identity: Option<String>,
    /// Unmount what is mounted from it first
    #[arg(long)]
    pub unmount: bool,
}

impl Consent {
    fn policy(&self, answer: Answer) -> Policy {
        Policy {
            mounts: if self.unmount { Mounted::Unmount } else { Mounted::Refuse },
            fixed: if self.allow_fixed { Fixed::Allow } else { Fixed::Identify },
            answer,
        }
    }
}

/// Whether a person is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// On the terminal, where there is one.
    Person,
    /// Nothing is going to be written.
    Never,
}

/// What happens to a file that is an image itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Images {
    /// It is no target.
    Keep,
    /// Somebody means it.
    Overwrite,
}

/// How targets are agreed upon.
#[derive(Clone, Copy, Debug)]
pub struct Wishes<'a> {
    /// An image that looks like none, where nobody has said that its bytes are meant.
    pub doubt: Option<&'a str>,
    /// Whether a person is asked.
    pub asking: Asking,
    /// What happens to images.
    pub images: Images,
}

/// Something that may be written.
pub enum Target {
    /// A disk, as it was confirmed.
    Disk(Box<Device>),
    /// A regular file.
    File(PathBuf, Existing),
}

impl Target {
    /// How the user named it.
    pub fn path(&self) -> &Path {
        match self {
            Self::Disk(device) => &device.path,
            Self::File(path, _) => path,
        }
    }

    /// The length of a logical sector in bytes.
    pub const fn sector(&self) -> u32 {
        match self {
            Self::Disk(device) => device.sector,
            Self::File(..) => 512,
        }
    }

    /// Tidies up after a failed run, and says what it did: a file that the run made goes away; what was in another is lost.
    pub fn after_failure(&self, left: &Left) -> String {
        match self {
            Self::File(_, Existing::Overwrite) if *left != Left::Untouched => {
                "; what was in the file before is lost".to_owned()
            }
            Self::File(path, Existing::Refuse) => match std::fs::remove_file(path) {
                Ok(()) => "; the file was removed".to_owned(),
                Err(_) => String::new(),
            },
            _ => String::new(),
        }
    }

    /// The length in bytes, where it has one.
    pub const fn size(&self) -> Option<u64> {
        match self {
            Self::Disk(device) => Some(device.size),
            Self::File(..) => None,
        }
    }
}

/// A refusal, with its code and a hint.
fn refused(refusal: &Refusal) -> Failure {
    let code = if matches!(refusal, Refusal::TooSmall { .. }) { Code::TooSmall } else { Code::Refused };
    let failure = Failure::of(code, refusal);
    match card_table::hint(refusal) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Judges all targets, asks about each, and gives them only when all may be written. A doubt about what is going to be
/// written is part of the first question: whoever answered two of them could not know which was asked last.
pub fn agree(
    paths: &[PathBuf],
    wanted: &Wanted<'_>,
    consent: &Consent,
    wishes: &Wishes<'_>,
    voice: &Voice,
) -> Result<Vec<Target>, Failure> {
    let listing = disks::listing()?;
    let mut targets: Vec<Target> = Vec::new();
    let mut questions = Vec::new();
    for path in paths {
        let facts = gather(&listing, path, wanted).map_err(|error| looking(&error))?;
        let answer = match &consent.identity {
            Some(text) => Answer::Typed(text.clone()),
            None if consent.yes => Answer::Yes,
            None => Answer::None,
        };
        match judge(&facts, &consent.policy(answer)) {
            Verdict::Refused(refusal) => return Err(refused(&refusal)),
            Verdict::Allowed => {}
            Verdict::NeedsConfirmation { .. } if wishes.asking == Asking::Never => {}
            Verdict::NeedsConfirmation { reasons, proof } => questions.push((facts.clone(), reasons, proof)),
        }
        ensure_file_is_meant(&facts.named, path, consent, wishes)?;
        let target = match facts.named {
            Named::Disk(device) => Target::Disk(device),
            Named::Absent => Target::File(path.clone(), Existing::Refuse),
            Named::File { id: (device, inode) } => {
                Target::File(path.clone(), Existing::OverwriteThis(device, inode))
            }
            // cannot be: the guard refuses the rest
            _ => Target::File(path.clone(), Existing::Refuse),
        };
        let same = |other: &Target| match (other, &target) {
            (Target::Disk(one), Target::Disk(two)) => one.number == two.number,
            (one, two) => one.path() == two.path(),
        };
        if targets.iter().any(same) {
            return Err(Failure::new(Code::Usage, format!("{} is named twice", path.display())));
        }
        targets.push(target);
    }
    match wishes.doubt {
        Some(doubt) if questions.is_empty() => agree_to_unknown(doubt)?,
        Some(doubt) => voice.always(&unknown(doubt)),
        None => {}
    }
    for (facts, reasons, proof) in questions {
        let typed = ask(&facts.named, &facts.path, &reasons, proof, voice)?;
        match judge(&facts, &consent.policy(typed)) {
            Verdict::Allowed => {}
            Verdict::Refused(refusal) => return Err(refused(&refusal)),
            Verdict::NeedsConfirmation { .. } => {
                return Err(Failure::new(
                    Code::Refused,
                    format!("{} was not confirmed", facts.path.display()),
                ));
            }
        }
    }
    Ok(targets)
}

/// A file is made, or an image overwritten, only when that is meant.
fn ensure_file_is_meant(
    named: &Named,
    path: &Path,
    consent: &Consent,
    wishes: &Wishes<'_>,
) -> Result<(), Failure> {
    let shown = path.display();
    match named {
        Named::File { .. } if wishes.images == Images::Keep && existing::is_image(path) => {
            Err(Failure::new(Code::Refused, format!("{shown} is an image itself, and would be overwritten"))
                .hint("add --force, or name another file"))
        }
        Named::Absent => {
            let kind = existing::name(path);
            let is_meant = kind == Name::File || kind == Name::Word && consent.yes;
            if is_meant || wishes.asking == Asking::Never {
                return Ok(());
            }
            let text = format!("{shown} is neither a device nor a file that exists");
            let Some(mut from) = terminal() else {
                let hint = format!("see `nixflash devices`; to make a file of that name, give ./{shown}");
                return Err(Failure::new(Code::Refused, text).hint(hint));
            };
            ask_yes(&mut *from, &format!("{text}.\nMake a file of that name? [y/N] "), &shown.to_string())
        }
        _ => Ok(()),
    }
}

/// Asks for a yes.
fn ask_yes(from: &mut dyn BufRead, question: &str, what: &str) -> Result<(), Failure> {
    prompt(question);
    let line = read_line(from)?;
    if ["y", "yes"].contains(&line.to_lowercase().as_str()) {
        return Ok(());
    }
    Err(Failure::new(Code::Refused, format!("{what} was not confirmed; nothing was written")))
}

/// Whether there is somebody to ask.
pub fn can_ask() -> bool {
    terminal().is_some()
}

fn unknown(name: &str) -> String {
    format!("{name} has neither a partition table nor a file system")
}

/// Refuses bytes that look like no image where nobody can be asked.
pub fn ensure_can_ask_about(name: &str) -> Result<(), Failure> {
    if can_ask() {
        return Ok(());
    }
    Err(Failure::new(Code::Source, unknown(name)).hint("if its bytes are meant, add --raw-anyway"))
}

/// Asks whether bytes are meant that look like no image.
fn agree_to_unknown(name: &str) -> Result<(), Failure> {
    ensure_can_ask_about(name)?;
    let Some(mut from) = terminal() else { return Ok(()) };
    ask_yes(&mut *from, &format!("{}.\nWrite its bytes all the same? [y/N] ", unknown(name)), name)
}

/// A target that cannot be looked at.
pub fn looking(error: &crate::device::Error) -> Failure {
    let denied = matches!(error, crate::device::Error::Path { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied);
    Failure::of(if denied { Code::Permission } else { Code::Other }, error)
}

/// Where answers come from; standard input may hold the image.
fn terminal() -> Option<Box<dyn BufRead>> {
    if !std::io::stderr().is_terminal() {
        return None;
    }
    if std::io::stdin().is_terminal() {
        return Some(Box::new(BufReader::new(std::io::stdin())));
    }
    File::open("/dev/tty").ok().filter(IsTerminal::is_terminal).map(|tty| Box::new(BufReader::new(tty)) as _)
}

fn prompt(text: &str) {
    let mut err = std::io::stderr().lock();
    drop(err.write_all(output::escape_lines(text).as_bytes()).and_then(|()| err.flush()));
}

fn read_line(from: &mut dyn BufRead) -> Result<String, Failure> {
    let mut line = String::new();
    from.read_line(&mut line)
        .map_err(|error| Failure::new(Code::Other, format!("cannot read the answer: {error}")))?;
    Ok(line.trim().to_owned())
}

/// Shows what is going to be lost and asks.
fn ask(
    named: &Named,
    path: &Path,
    reasons: &[Reason],
    proof: Proof,
    voice: &Voice,
) -> Result<Answer, Failure> {
    let words: Vec<String> = reasons.iter().map(ToString::to_string).collect();
    let Some(mut from) = terminal() else {
        let hint = match proof {
            Proof::Yes => "add --yes",
            Proof::Identity if reasons.iter().any(|reason| matches!(reason, Reason::Member { .. })) => {
                "give its model or serial number with --identity"
            }
            Proof::Identity => "add --yes --allow-fixed, or its model or serial number with --identity",
        };
        let text = format!(
            "{} needs a confirmation ({}), and there is no terminal",
            path.display(),
            words.join("; ")
        );
        return Err(Failure::new(Code::Refused, text).hint(hint));
    };
    let (what, identity) = match named {
        Named::Disk(device) => (card_table::in_full(device), identity(device)),
        _ => (format!("{}: a file", path.display()), path.display().to_string()),
    };
    what.lines().for_each(|line| voice.always(line));
    words.iter().for_each(|word| voice.always(&format!("  {word}")));
    match proof {
        Proof::Yes => {
            prompt(&format!("Write to {}? [y/N] ", path.display()));
            let line = read_line(&mut *from)?;
            Ok(if ["y", "yes"].contains(&line.to_lowercase().as_str()) { Answer::Yes } else { Answer::None })
        }
        Proof::Identity => {
            prompt(&format!("Type its {identity} to write to {}: ", path.display()));
            let line = read_line(&mut *from)?;
            Ok(if line.is_empty() { Answer::None } else { Answer::Typed(line) })
        }
    }
}

/// What may be typed to name a disk.
fn identity(device: &Device) -> String {
    match (&device.model, &device.serial) {
        (Some(model), Some(serial)) => format!("model ({model}) or serial number ({serial})"),
        (Some(model), None) => format!("model ({model})"),
        (None, Some(serial)) => format!("serial number ({serial})"),
        (None, None) => format!("path ({})", device.path.display()),
    }
}

/// Lets the user pick one of the disks that look like cards.
pub fn pick() -> Result<PathBuf, Failure> {
    let listing: Listing = disks::listing()?;
    let candidates: Vec<&Device> =
        listing.devices.iter().filter(|device| disks::reason(&listing, device).is_none()).collect();
    let none = || {
        Failure::new(Code::Usage, "no DEVICE was given")
            .hint("see `nixflash devices`, or `nixflash devices --all`")
    };
    let Some(mut from) = terminal() else { return Err(none()) };
    if candidates.is_empty() {
        return Err(Failure::new(Code::Usage, "no DEVICE was given, and no disk looks like a card")
            .hint("put a card in, or see `nixflash devices --all`"));
    }
    for (number, device) in (1..).zip(&candidates) {
        prompt(&format!("{number}: {}\n", card_table::in_a_line(device)));
    }
    prompt("Number of the disk to write, or nothing to stop: ");
    let line = read_line(&mut *from)?;
    let chosen = line.parse::<usize>().ok().and_then(|number| candidates.get(number.checked_sub(1)?));
    match chosen {
        Some(device) => Ok(device.path.clone()),
        None => Err(Failure::new(Code::Refused, "no disk was picked; nothing was written")),
    }
}
