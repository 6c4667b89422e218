//! What nixflash promises, judged by others: the tools of the field, the kernel, Nix, QEMU.
#![expect(clippy::disallowed_methods, reason = "tests run the tools that judge, and look at the environment")]

mod architecture;
mod common;
mod ext4;
mod ext4_read;
mod fat;
mod inspect;
mod partition_table;
