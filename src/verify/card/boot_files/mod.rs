//! Boot files, and everything else that is read before the system runs.

mod check;
mod explain;
mod known;
mod plain;
mod rendered;
mod replaced;

pub use check::check;
