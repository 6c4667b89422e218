//! What is said to a Nix daemon and what it answers, on its socket or through `nix-daemon --stdio`.
//!
//! ```text
//! client: MAGIC_1 version                          daemon: MAGIC_2 version
//! client: features:strs         (from 1.38)        daemon: features:strs
//! client: number(0) number(0)                      daemon: nix:str (from 1.33) trust (from 1.35) message* LAST
//! client: operation arguments                      daemon: message* LAST result
//! message = NEXT str | START ... | STOP number | RESULT ... | ERROR ... (instead of LAST and a result)
//! ```
//! The older of both versions is spoken. Source: Nix `src/libstore/worker-protocol.hh`, `worker-protocol-connection.cc`,
//! `daemon.cc`.

mod exchange;
mod message;
mod version;

pub use exchange::{
    all_valid_paths, hello, hello_of_daemon, nar_from_path, path_info, query_all_valid_paths,
    query_path_info, settings, settings_of_daemon,
};
pub use message::{Message, message};
pub use version::Version;
