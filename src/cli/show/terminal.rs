//! Progress and messages on standard error.

use super::lookout::Lookout;
use super::output;
use super::style::{SCHEMA, Style};
use crate::image::Progress;
use crate::sizes::show_bytes;
use crate::store::Fetched;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Who speaks: how much, and in which form.
pub struct Voice {
    style: Style,
    quiet: bool,
    verbose: bool,
    fetched: OnceLock<Arc<Fetched>>,
}

impl Voice {
    /// Settles the style once: a bar needs a terminal.
    pub fn new(style: Style, quiet: bool, verbose: bool) -> Self {
        let style = match style {
            _ if quiet => Style::None,
            Style::Auto if std::io::stderr().is_terminal() => Style::Bar,
            Style::Auto => Style::Plain,
            other => other,
        };
        Self { style, quiet, verbose, fetched: OnceLock::new() }
    }

    /// The settled style.
    pub const fn style(&self) -> Style {
        self.style
    }

    /// Whether only errors are said.
    pub const fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether more is said.
    pub const fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Says a line, unless told to be quiet.
    pub fn say(&self, line: &str) {
        if !self.quiet {
            output::error_line(&output::escape(line));
        }
    }

    /// Says a line that nobody may miss.
    pub fn always(&self, line: &str) {
        output::error_line(&output::escape(line));
    }

    /// Says a line that only those want who asked for more.
    pub fn detail(&self, line: &str) {
        if self.verbose {
            self.say(line);
        }
    }

    /// From now on, says with the progress of each phase what is on its way to it.
    pub fn follow(&self, fetched: &Arc<Fetched>) {
        self.fetched.get_or_init(|| Arc::clone(fetched));
    }

    /// Starts showing the progress of one phase over `total` bytes.
    pub fn meter(&self, phase: &'static str, total: u64, stop: &Arc<AtomicBool>) -> Meter {
        let fetched = self.fetched.get();
        let bar = self.bar(Some(total), if fetched.is_some() { WITH_DOWNLOADS } else { ALONE });
        bar.set_prefix(phase);
        let now = Instant::now();
        let lookout = fetched.map(|fetched| Lookout::new(fetched, self.style, bar.clone()));
        let detail = self.verbose && !self.quiet;
        let (style, stop) = (self.style, Arc::clone(stop));
        Meter { style, bar, phase, total, stop, start: now, last: None, lookout, detail }
    }

    /// Looks at what is asked of stores that are far away, before it is known how much there is to fetch.
    pub fn lookout(&self, fetched: &Arc<Fetched>) -> Lookout {
        Lookout::new(fetched, self.style, self.bar(None, SILENT))
    }

    fn bar(&self, total: Option<u64>, template: &str) -> ProgressBar {
        let bar = match self.style {
            Style::Bar => ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(10)),
            _ => ProgressBar::hidden(),
        };
        // cannot fail: the templates are constants that a test renders
        bar.set_style(ProgressStyle::with_template(template).expect("the template is valid"));
        bar
    }
}

/// A bar of one phase.
const ALONE: &str = "{prefix:10} {bar:24} {bytes:>11} of {total_bytes} {bytes_per_sec:>13} {eta:>5}";
/// The same over a line that says what is on its way.
const WITH_DOWNLOADS: &str =
    "{prefix:10} {bar:24} {bytes:>11} of {total_bytes} {bytes_per_sec:>13} {eta:>5}\n{wide_msg}";
/// Only who is silent.
const SILENT: &str = "{wide_msg}";

/// Shows how far one phase has come.
pub struct Meter {
    style: Style,
    bar: ProgressBar,
    phase: &'static str,
    total: u64,
    stop: Arc<AtomicBool>,
    start: Instant,
    last: Option<Instant>,
    lookout: Option<Lookout>,
    /// Whether to say what was slow.
    detail: bool,
}

impl Meter {
    /// Ends the phase; what it left on the screen goes away.
    pub fn finish(&mut self, position: u64) {
        if self.style == Style::Json {
            self.json(position);
        }
        let news = self.lookout.as_mut().map(Lookout::end);
        self.bar.finish_and_clear();
        if let Some(slowest) = news.filter(|_| self.detail).and_then(|news| news.slowest) {
            output::error_line(&output::escape(&slowest));
        }
    }

    fn due(&mut self, interval: Duration) -> bool {
        let now = Instant::now();
        let since = self.last.unwrap_or(self.start);
        if now.duration_since(since) < interval {
            return false;
        }
        self.last = Some(now);
        true
    }

    fn rate(&self, position: u64) -> u64 {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        position.saturating_mul(1000) / millis
    }

    fn json(&self, position: u64) {
        let mut line = serde_json::json!({
            "schema": SCHEMA,
            "phase": self.phase,
            "bytes": position,
            "total": self.total,
            "bytesPerSecond": self.rate(position),
        });
        if let Some(fetched) = self.lookout.as_ref().and_then(|lookout| lookout.news().json) {
            line["fetched"] = fetched;
        }
        output::error_line(&line.to_string());
    }

    fn plain(&self, position: u64) {
        let percent = position.saturating_mul(100).checked_div(self.total).unwrap_or(100);
        let rate = self.rate(position).max(1);
        let left = self.total.saturating_sub(position) / rate;
        let (done, total, rate) = (show_bytes(position), show_bytes(self.total), show_bytes(rate));
        let news = self.lookout.as_ref().map(|lookout| lookout.news().text).filter(|text| !text.is_empty());
        let news = news.map(|text| format!("; {text}")).unwrap_or_default();
        output::error_line(&output::escape(&format!(
            "{}: {percent} %, {done} of {total}, {rate}/s, {left} s left{news}",
            self.phase
        )));
    }
}

impl Progress for Meter {
    fn at(&mut self, position: u64) -> bool {
        let style = self.style;
        match style {
            Style::Bar => self.bar.set_position(position),
            Style::Plain if self.due(Duration::from_secs(10)) => self.plain(position),
            Style::Json if self.due(Duration::from_millis(200)) => self.json(position),
            _ => {}
        }
        !self.stop.load(Ordering::Relaxed)
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
