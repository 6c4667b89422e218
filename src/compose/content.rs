//! Where the bytes of a planned file are.

/// Where the bytes of a planned file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The `file`th regular file, in NAR order from 0, of a store path or a package.
    Packed {
        /// Index into [`Plan`]'s sources.
        source: u32,
        /// Which of its files.
        file: u32,
    },
    /// Bytes that nixflash made.
    Literal(u32),
}
