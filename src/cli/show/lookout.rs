//! Who looks at downloads on their way: how many there are, what is slow, and who is silent.

use super::output;
use super::style::{SCHEMA, Style};
use crate::sizes::show_bytes;
use crate::store::Fetched;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often it is looked what is on its way.
const LOOK: Duration = Duration::from_millis(200);

/// How long nothing may come before somebody is called silent.
const SILENCE: Duration = Duration::from_secs(5);

/// How often that is repeated where lines stay.
const REPEAT: Duration = Duration::from_secs(10);

/// What is said of downloads at a moment.
#[derive(Clone, Debug, Default)]
pub struct News {
    /// For people; empty where there is nothing to say.
    pub text: String,
    /// For programs.
    pub json: Option<Value>,
    /// Who is silent, and for how many seconds.
    silent: Option<(Vec<String>, u64)>,
    /// What took longest so far.
    pub slowest: Option<String>,
}

/// Watches what is fetched.
struct Downloads {
    fetched: Arc<Fetched>,
    /// What is on its way, and since when it was seen.
    since: BTreeMap<String, Instant>,
    slowest: Option<(Duration, String)>,
    /// What had come when something came last, and when that was.
    last: ([u64; 2], Instant),
}

impl Downloads {
    fn new(fetched: &Arc<Fetched>) -> Self {
        let (since, last) = (BTreeMap::new(), ([0; 2], Instant::now()));
        Self { fetched: Arc::clone(fetched), since, slowest: None, last }
    }

    /// Bytes and store paths, each those that are there and all; `None` where nothing has to be fetched.
    fn counts(&self) -> Option<[u64; 4]> {
        let bytes = [&self.fetched.bytes, &self.fetched.total].map(|count| count.load(Ordering::Relaxed));
        let paths = [&self.fetched.done, &self.fetched.paths].map(|count| count.load(Ordering::Relaxed));
        let [done, all] = paths.map(crate::ints::to_u64);
        // What was kept is looked at as well, and is no news.
        (bytes[1] > 0).then_some([bytes[0], bytes[1], done.min(all), all])
    }

    /// Looks what is on its way, and says it.
    fn look(&mut self) -> News {
        self.look_for_slow();
        let (mut text, mut line) = (String::new(), None);
        if let Some([bytes, all, done, paths]) = self.counts() {
            text = format!("fetched {} of {}, {done} of {paths} paths", show_bytes(bytes), show_bytes(all));
            line = Some(json!({ "bytes": bytes, "total": all, "paths": done, "pathsTotal": paths }));
        }
        let silent = self.silent();
        if let Some((who, seconds)) = &silent {
            if let Some(line) = &mut line {
                line["silent"] = json!({ "stores": who, "seconds": seconds });
            }
            let said = said(who, *seconds);
            text = if text.is_empty() { said } else { format!("{said}; {text}") };
        }
        News { text, json: line, silent, slowest: self.slowest() }
    }

    fn look_for_slow(&mut self) {
        let now = Instant::now();
        let busy = self.fetched.busy();
        for (path, start) in std::mem::take(&mut self.since) {
            if busy.contains_key(&path) {
                self.since.insert(path, start);
                continue;
            }
            let took = now.duration_since(start);
            if self.slowest.as_ref().is_none_or(|(most, _)| took > *most) {
                self.slowest = Some((took, path));
            }
        }
        for path in busy.into_keys() {
            self.since.entry(path).or_insert(now);
        }
    }

    /// Who is waited for without anything coming, and for how many seconds.
    fn silent(&mut self) -> Option<(Vec<String>, u64)> {
        let answers = crate::ints::to_u64(self.fetched.answers.load(Ordering::Relaxed));
        let now = [self.fetched.bytes.load(Ordering::Relaxed), answers];
        let awaited: Vec<String> = self.fetched.awaited().into_iter().collect();
        if now != self.last.0 || awaited.is_empty() {
            self.last = (now, Instant::now());
            return None;
        }
        let since = self.last.1.elapsed();
        (since >= SILENCE).then_some((awaited, since.as_secs()))
    }

    /// What took longest, where that was long enough to be seen.
    fn slowest(&self) -> Option<String> {
        let (took, path) = self.slowest.as_ref()?;
        let tenths = took.as_millis() / 100;
        Some(format!("slowest to fetch: {path}, {}.{} s", tenths / 10, tenths % 10))
    }
}

fn said(who: &[String], seconds: u64) -> String {
    format!("nothing from {} for {seconds} s", who.join(" and "))
}

/// Says who is silent where lines are wanted; a bar has it as its message.
fn tell(style: Style, who: &[String], seconds: u64) {
    match style {
        Style::Plain => output::error_line(&output::escape(&said(who, seconds))),
        Style::Json => {
            let silent = json!({ "stores": who, "seconds": seconds });
            let line = json!({ "schema": SCHEMA, "phase": "wait", "silent": silent });
            output::error_line(&line.to_string());
        }
        Style::Auto | Style::Bar | Style::None => {}
    }
}

/// Looks at downloads as long as it is there, whether or not anything moves.
pub struct Lookout {
    news: Arc<Mutex<News>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Lookout {
    /// Begins; what is new is a message of the bar, and who is silent a line where lines are wanted.
    pub fn new(fetched: &Arc<Fetched>, style: Style, bar: ProgressBar) -> Self {
        let (news, stop) = (Arc::<Mutex<News>>::default(), Arc::<AtomicBool>::default());
        let (sink, ended) = (Arc::clone(&news), Arc::clone(&stop));
        let mut downloads = Downloads::new(fetched);
        let put = move |news| *sink.lock().unwrap_or_else(PoisonError::into_inner) = news;
        let thread = std::thread::spawn(move || {
            let mut last: Option<Instant> = None;
            while !ended.load(Ordering::Relaxed) {
                let news = downloads.look();
                // An empty message would still be drawn, as an empty line.
                if !news.text.is_empty() || !bar.message().is_empty() {
                    bar.set_message(output::escape(&news.text));
                }
                let is_due = last.is_none_or(|at| at.elapsed() >= REPEAT);
                if let Some((who, seconds)) = news.silent.as_ref().filter(|_| is_due) {
                    tell(style, who, *seconds);
                    last = Some(Instant::now());
                }
                put(news);
                std::thread::park_timeout(LOOK);
            }
            put(downloads.look());
        });
        Self { news, stop, thread: Some(thread) }
    }

    /// What was seen last.
    pub fn news(&self) -> News {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks for the last time.
    pub fn end(&mut self) -> News {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // One that panicked has said so itself.
            drop(thread.join());
        }
        self.news()
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.end();
    }
}
