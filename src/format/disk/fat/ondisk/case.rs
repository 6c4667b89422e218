//! The case of names on a FAT.

/// Turns a name into the form in which FAT compares it. This is what `fatfs` does and coarser than Windows and Linux
/// (`ß` becomes `SS`): two names that differ here differ for every reader.
#[must_use]
pub fn fold(name: &str) -> String {
    name.chars().flat_map(char::to_uppercase).collect()
}
