//! What NixOS and its boot loaders expect to find on a disk.
