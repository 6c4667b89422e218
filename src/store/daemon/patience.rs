//! How long a daemon may be silent.

use std::time::Duration;

/// How long a daemon may say nothing.
pub const PATIENCE: Duration = Duration::from_secs(120);
