//! What is said of NARs on their way while an image is planned and moved.

use super::ui::Voice;
use crate::num::show_bytes;
use crate::store::Fetched;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often it is looked what is on its way.
const LOOK: Duration = Duration::from_millis(200);

/// Watches what is fetched.
pub struct Downloads {
    fetched: Arc<Fetched>,
    /// What is on its way, and since when it was seen.
    since: BTreeMap<String, Instant>,
    looked: Instant,
    slowest: Option<(Duration, String)>,
}

impl Downloads {
    /// Begins to watch.
    pub fn new(fetched: &Arc<Fetched>) -> Self {
        let (since, looked) = (BTreeMap::new(), Instant::now());
        Self { fetched: Arc::clone(fetched), since, looked, slowest: None }
    }

    /// Bytes and store paths, each those that are there and all; `None` where nothing has to be fetched.
    fn counts(&self) -> Option<[u64; 4]> {
        let bytes = [&self.fetched.bytes, &self.fetched.total].map(|count| count.load(Ordering::Relaxed));
        let paths = [&self.fetched.done, &self.fetched.paths].map(|count| count.load(Ordering::Relaxed));
        let [done, all] = paths.map(crate::num::to_u64);
        // What was kept is looked at as well, and is no news.
        (bytes[1] > 0).then_some([bytes[0], bytes[1], done.min(all), all])
    }

    /// For people, behind what is said of the image; empty where nothing has to be fetched.
    pub fn text(&self) -> String {
        let Some([bytes, all, done, paths]) = self.counts() else { return String::new() };
        format!("; fetched {} of {}, {done} of {paths} paths", show_bytes(bytes), show_bytes(all))
    }

    /// For programs.
    pub fn json(&self) -> Option<serde_json::Value> {
        let [bytes, total, done, paths] = self.counts()?;
        Some(serde_json::json!({ "bytes": bytes, "total": total, "paths": done, "pathsTotal": paths }))
    }

    /// Whether it is time to look again.
    pub fn is_due(&self) -> bool {
        self.looked.elapsed() >= LOOK
    }

    /// Looks what is on its way.
    pub fn look(&mut self) {
        let now = Instant::now();
        self.looked = now;
        let busy = self.fetched.busy();
        let since = std::mem::take(&mut self.since);
        for (path, start) in since {
            if busy.contains(&path) {
                self.since.insert(path, start);
                continue;
            }
            let took = now.duration_since(start);
            if self.slowest.as_ref().is_none_or(|(most, _)| took > *most) {
                self.slowest = Some((took, path));
            }
        }
        for path in busy {
            self.since.entry(path).or_insert(now);
        }
    }

    /// What took longest, where that was long enough to be seen.
    pub fn slowest(&self) -> Option<String> {
        let (took, path) = self.slowest.as_ref()?;
        let tenths = took.as_millis() / 100;
        Some(format!("slowest to fetch: {path}, {}.{} s", tenths / 10, tenths % 10))
    }
}

/// Shows how much has been fetched, until told to stop.
pub fn watch(fetched: &Arc<Fetched>, voice: &Voice, done: &AtomicBool) {
    let stop = Arc::new(AtomicBool::new(false));
    let mut meter = None;
    loop {
        // Before the counts: what was begun before the end is shown, however short it was.
        let is_done = done.load(Ordering::Relaxed);
        let (total, bytes) = (fetched.total.load(Ordering::Acquire), fetched.bytes.load(Ordering::Relaxed));
        if total > 0 {
            let meter = meter.get_or_insert_with(|| {
                let paths = fetched.paths.load(Ordering::Relaxed);
                voice.say(&format!("fetching {paths} store paths, {}", show_bytes(total)));
                voice.follow(fetched);
                voice.meter("fetch", total, &stop)
            });
            meter.at(bytes);
        }
        if is_done {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    if let Some(mut meter) = meter {
        meter.finish(fetched.bytes.load(Ordering::Relaxed));
    }
}
