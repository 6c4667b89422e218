//! What nixflash promises, judged by others: the tools of the field, the kernel, Nix, QEMU.
#![expect(clippy::disallowed_methods, reason = "tests run the tools that judge, and look at the environment")]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on says so")]
#![expect(clippy::cast_possible_truncation, reason = "lengths of test data fit")]

mod architecture;
mod boards;
mod bounded;
mod cli;
mod common;
mod compose;
mod configuration;
mod containers;
mod contract;
mod daemon;
mod device;
mod evil_cards;
mod evil_forms;
mod export;
mod ext4;
mod ext4_read;
mod extract;
mod fat;
mod fault_table;
mod faulty;
mod firmware;
mod flake;
mod formats;
mod fuzz;
mod fuzz_targets;
mod hostile;
mod inspect;
mod landing;
mod manifest;
mod meant;
mod mutations;
mod partition_table;
mod project;
mod proxy;
mod remote;
mod remote_faults;
mod reproduce;
mod secrets;
mod servers;
mod shapes;
mod signature;
mod sources;
mod tamper;
mod tls;
mod verify;
mod write;
