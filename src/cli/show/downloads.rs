//! What is said of NARs on their way while an image is planned and moved.

use super::terminal::Voice;
use crate::image::Progress;
use crate::sizes::show_bytes;
use crate::store::Fetched;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Ends what is shown of downloads, for who shows them himself from then on.
pub type Quiet<'a> = Box<dyn FnOnce() + 'a>;

/// Shows how much has been fetched, and who does not answer, until told to stop.
pub fn watch(fetched: &Arc<Fetched>, voice: &Voice, done: &AtomicBool) {
    let stop = Arc::new(AtomicBool::new(false));
    let mut lookout = Some(voice.lookout(fetched));
    let mut meter = None;
    loop {
        // Before the counts: what was begun before the end is shown, however short it was.
        let is_done = done.load(Ordering::Relaxed);
        let (total, bytes) = (fetched.total.load(Ordering::Acquire), fetched.bytes.load(Ordering::Relaxed));
        if total > 0 {
            let meter = meter.get_or_insert_with(|| {
                drop(lookout.take());
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
