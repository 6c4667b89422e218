//! Cards as people see them: what they are, and how far they have come.

use super::output;
use super::style::Style;
use super::terminal::Voice;
use crate::device::{Device, Meter, Phase, Refusal, Roots, describe, look};
use crate::escape::shown;
use crate::sizes::show_bytes;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A size in both units: cards are sold by the one, images are made by the other.
pub fn size(bytes: u64) -> String {
    let (unit, name) = if bytes >= 1_000_000_000 { (1_000_000_000, "GB") } else { (1_000_000, "MB") };
    let tenths = bytes.saturating_mul(10) / unit;
    format!("{}.{} {name} ({})", tenths / 10, tenths % 10, show_bytes(bytes))
}

/// A disk in a few lines: what it is, what is on it, who uses it.
pub fn in_full(device: &Device) -> String {
    let serial = device.serial.as_ref().map_or(String::new(), |serial| format!(", serial {serial}"));
    let kind = if device.removable { "removable" } else { "not removable" };
    let mut lines = vec![
        shown(&format!("{}: {}{serial}", device.path.display(), device.title())),
        format!("  {}, {}, {kind}", size(device.size), device.bus.name()),
    ];
    if let Some(link) = device.links.first() {
        lines.push(format!("  {}", shown(&link.display().to_string())));
    }
    if let Some(what) = look(&Roots::system(), &device.path).ok().and_then(|disk| describe(&disk)) {
        lines.push(format!("  on it now: {}", shown(&what.to_string())));
    }
    lines.extend(device.mounts().map(|at| format!("  mounted at {}", shown(&at.display().to_string()))));
    lines.join("\n")
}

/// A disk as a line of a table.
pub fn in_a_line(device: &Device) -> String {
    let serial = device.serial.as_deref().unwrap_or("-");
    let path = device.path.display().to_string();
    shown(&format!(
        "{path:<14} {:<24} {:<6} {:<24} {serial}",
        size(device.size),
        device.bus.name(),
        device.title()
    ))
}

/// What to do about a refusal.
pub fn hint(refusal: &Refusal) -> Option<String> {
    Some(match refusal {
        Refusal::NoSuchDevice(_) => "see `nixflash devices`".to_owned(),
        Refusal::FileBelowDev(path) => format!("remove it: rm {path}"),
        Refusal::Partition { disk, .. } => format!("give the whole disk: {disk}"),
        Refusal::Mounted { .. } => "unmount it, or add --unmount".to_owned(),
        Refusal::Sector { .. } => "use another reader, or an image made for its sectors".to_owned(),
        Refusal::System { .. } | Refusal::Source(_) => {
            "no option allows this; see `nixflash devices` for others".to_owned()
        }
        _ => return None,
    })
}

/// A card whose progress is shown.
pub struct Shown<'a> {
    /// The name of its target.
    pub name: &'a Path,
    /// What its writer counts.
    pub meter: &'a Meter,
}

const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Waiting => "wait",
        Phase::Prepare => "prepare",
        Phase::Write => "write",
        Phase::Flush => "flush",
        Phase::Verify => "verify",
        Phase::Finish => "finish",
        Phase::Done => "done",
        Phase::Failed => "failed",
    }
}

/// Shows cards until told to stop; runs on a thread of its own.
pub fn watch(cards: &[Shown<'_>], image_len: Option<u64>, voice: &Voice, stop: &AtomicBool) {
    let mut watched: Vec<Watched> = cards.iter().map(|_| Watched::default()).collect();
    let bars = (voice.style() == Style::Bar).then(|| bars(cards));
    let every = match voice.style() {
        Style::None | Style::Auto => return,
        Style::Plain => Duration::from_secs(10),
        Style::Bar => Duration::from_millis(100),
        Style::Json => Duration::from_millis(200),
    };
    let mut last = Instant::now();
    loop {
        let stopping = stop.load(Ordering::Relaxed);
        let due = last.elapsed() >= every;
        for (index, (card, seen)) in cards.iter().zip(&mut watched).enumerate() {
            let changed = seen.look(card.meter, image_len);
            match (&bars, voice.style()) {
                (Some((_, bars)), _) => seen.draw(&bars[index]),
                (None, Style::Json) if due || changed || stopping => seen.json(card),
                (None, Style::Plain) if due && seen.phase.is_some_and(|p| p != Phase::Done) => {
                    seen.plain(card)
                }
                _ => {}
            }
        }
        if due {
            last = Instant::now();
        }
        if stopping {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    if let Some((all, bars)) = bars {
        bars.iter().for_each(ProgressBar::finish_and_clear);
        drop(all.clear());
    }
}

fn bars(cards: &[Shown<'_>]) -> (MultiProgress, Vec<ProgressBar>) {
    let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
    let width = cards.iter().map(|card| card.name.display().to_string().len()).max().unwrap_or(0);
    let bars = cards.iter().map(|card| {
        let bar = all.add(ProgressBar::new(0));
        // cannot fail: the template is a constant
        bar.set_style(ProgressStyle::with_template("{prefix} {msg}").expect("the template is valid"));
        bar.set_prefix(format!("{:width$}", card.name.display().to_string()));
        bar
    });
    let bars = bars.collect();
    (all, bars)
}

/// What was last seen of a card.
#[derive(Default)]
struct Watched {
    phase: Option<Phase>,
    began: Option<Instant>,
    position: u64,
    total: u64,
}

impl Watched {
    /// Looks again; whether another phase has begun.
    fn look(&mut self, meter: &Meter, image_len: Option<u64>) -> bool {
        let now = meter.phase();
        let changed = self.phase != Some(now);
        if changed {
            self.phase = Some(now);
            self.began = Some(Instant::now());
        }
        self.position = meter.position();
        self.total = match (now, meter.total()) {
            (Phase::Write, 0) => image_len.unwrap_or(0),
            (_, total) => total,
        };
        changed
    }

    fn rate(&self) -> u64 {
        let millis = self.began.map_or(0, |began| began.elapsed().as_millis());
        self.position.saturating_mul(1000) / u64::try_from(millis).unwrap_or(u64::MAX).max(1)
    }

    fn word(&self) -> &'static str {
        self.phase.map_or("wait", phase)
    }

    fn draw(&self, bar: &ProgressBar) {
        let template = match (self.total, self.phase) {
            (_, Some(Phase::Done | Phase::Failed)) => "{prefix} {msg}",
            (0, _) => "{prefix} {msg:8} {bytes:>11} {bytes_per_sec:>13}",
            _ => "{prefix} {msg:8} {bar:20} {bytes:>11} of {total_bytes} {bytes_per_sec:>13} {eta:>5}",
        };
        // cannot fail: the templates are constants
        bar.set_style(ProgressStyle::with_template(template).expect("the template is valid"));
        if bar.message() != self.word() {
            bar.set_message(self.word());
            bar.reset_eta();
        }
        bar.set_length(self.total);
        bar.set_position(self.position);
    }

    fn plain(&self, card: &Shown<'_>) {
        let (name, word, done) = (card.name.display(), self.word(), show_bytes(self.position));
        let rate = self.rate().max(1);
        let line = match self.total {
            0 => format!("{name}: {word}, {done}, {}/s", show_bytes(rate)),
            total => {
                let percent = self.position.saturating_mul(100) / total;
                let left = total.saturating_sub(self.position) / rate;
                let (total, rate) = (show_bytes(total), show_bytes(rate));
                format!("{name}: {word} {percent} %, {done} of {total}, {rate}/s, {left} s left")
            }
        };
        output::error_line(&output::escape(&line));
    }

    fn json(&self, card: &Shown<'_>) {
        let rate = self.rate().max(1);
        let line = serde_json::json!({
            "schema": "nixflash-progress/1",
            "target": card.name.display().to_string(),
            "phase": self.word(),
            "bytes": self.position,
            "total": self.total,
            "bytesPerSecond": self.rate(),
            "secondsLeft": (self.total > 0).then(|| self.total.saturating_sub(self.position) / rate),
            "written": card.meter.written(),
            "read": card.meter.read(),
        });
        output::error_line(&line.to_string());
    }
}
