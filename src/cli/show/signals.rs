//! Signals that ask the program to end.

use crate::cli::exit::{Code, Failure};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

/// Whether nothing would be half-done if a signal ended the program at once.
static IDLE: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| Arc::new(AtomicBool::new(true)));

/// While another program is at work, a signal is noted, so that it can be ended first; afterwards one ends this program
/// at once again.
pub struct Guard {
    flag: Arc<AtomicBool>,
}

impl Guard {
    /// Begins to note signals.
    pub fn new() -> Result<Self, Failure> {
        let flag = Arc::new(AtomicBool::new(false));
        IDLE.store(false, Ordering::Relaxed);
        for signal in SIGNALS {
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&IDLE))
                .map_err(|error| uncaught(signal, &error))?;
        }
        note_into(&flag)?;
        Ok(Self { flag })
    }

    /// Set when a signal came.
    pub fn flag(&self) -> &AtomicBool {
        &self.flag
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        IDLE.store(true, Ordering::Relaxed);
    }
}

/// The signals that ask a program to end.
const SIGNALS: [i32; 3] =
    [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP];

fn uncaught(signal: i32, error: &std::io::Error) -> Failure {
    Failure::new(Code::Other, format!("cannot catch signal {signal}: {error}"))
}

/// A flag that SIGINT, SIGTERM and SIGHUP set; a second signal ends the program at once.
pub fn interrupt_flag() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    interrupt_into(&flag)?;
    Ok(flag)
}

/// Has SIGINT, SIGTERM and SIGHUP set a flag; a second signal ends the program at once.
pub fn interrupt_into(flag: &Arc<AtomicBool>) -> Result<(), Failure> {
    IDLE.store(false, Ordering::Relaxed);
    note_into(flag)
}

fn note_into(flag: &Arc<AtomicBool>) -> Result<(), Failure> {
    for signal in SIGNALS {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(flag))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(flag)))
            .map_err(|error| uncaught(signal, &error))?;
    }
    Ok(())
}
