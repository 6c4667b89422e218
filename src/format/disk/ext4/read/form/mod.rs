//! The plain form: what Linux and nixflash write, and nothing that another reader takes otherwise.

mod directory;
mod superblock;
