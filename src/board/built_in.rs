//! The boards that come with the program.

use super::description::Board;
use super::error::Error;
use super::parse;

/// Every profile built in, as file name and text, sorted by name.
pub(super) const BUILT_IN: &[(&str, &str)] = &[
    ("boards/jetson-agx-orin.toml", include_str!("../../boards/jetson-agx-orin.toml")),
    ("boards/jetson-agx-xavier.toml", include_str!("../../boards/jetson-agx-xavier.toml")),
    ("boards/jetson-orin-nano.toml", include_str!("../../boards/jetson-orin-nano.toml")),
    ("boards/jetson-orin-nx.toml", include_str!("../../boards/jetson-orin-nx.toml")),
    ("boards/jetson-xavier-nx.toml", include_str!("../../boards/jetson-xavier-nx.toml")),
    ("boards/pine64.toml", include_str!("../../boards/pine64.toml")),
    ("boards/rockpro64.toml", include_str!("../../boards/rockpro64.toml")),
    ("boards/rpi-arm64.toml", include_str!("../../boards/rpi-arm64.toml")),
    ("boards/rpi-zero2w.toml", include_str!("../../boards/rpi-zero2w.toml")),
    ("boards/rpi3.toml", include_str!("../../boards/rpi3.toml")),
    ("boards/rpi4.toml", include_str!("../../boards/rpi4.toml")),
    ("boards/rpi5.toml", include_str!("../../boards/rpi5.toml")),
    ("boards/uefi-aarch64.toml", include_str!("../../boards/uefi-aarch64.toml")),
    ("boards/uefi-x86_64.toml", include_str!("../../boards/uefi-x86_64.toml")),
];

/// How alike a word must be to a board's for it to be offered, from 0 to 1.
const ALIKE: f64 = 0.55;

/// All boards built in, sorted by name.
pub fn all() -> Result<Vec<Board>, Error> {
    BUILT_IN.iter().map(|(file, text)| parse(file, text)).collect()
}

/// The board of that name, or with that alias.
pub fn find(name: &str) -> Result<Board, Error> {
    let mut boards = all()?;
    let is_called = |board: &Board| board.name == name || board.aliases.iter().any(|alias| alias == name);
    match boards.iter().position(is_called) {
        Some(at) => Ok(boards.swap_remove(at)),
        None => {
            Err(Error::Unknown { name: name.to_owned(), near: near(name, &boards), known: known(&boards) })
        }
    }
}

fn known(boards: &[Board]) -> String {
    let names: Vec<_> = boards.iter().map(|board| board.name.as_str()).collect();
    names.join(", ")
}

/// The name or alias that is most like a word, if one is like it at all.
fn near(word: &str, boards: &[Board]) -> Option<String> {
    let plain = |text: &str| -> String {
        text.chars().filter(char::is_ascii_alphanumeric).flat_map(char::to_lowercase).take(40).collect()
    };
    let word = plain(word).replace("raspberrypi", "rpi").replace("nvidia", "");
    let words = boards.iter().flat_map(|board| std::iter::once(&board.name).chain(&board.aliases));
    let ranked = words.map(|other| (strsim::normalized_damerau_levenshtein(&word, &plain(other)), other));
    // The first of equals, so that a name goes before its aliases.
    let best = ranked.fold(None, |best: Option<(f64, &String)>, (rank, other)| match best {
        Some((most, _)) if most >= rank => best,
        _ => Some((rank, other)),
    });
    best.filter(|(rank, _)| *rank >= ALIKE).map(|(_, other)| other.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::description::Role;
    use std::collections::BTreeSet;

    #[test]
    fn every_built_in_profile_loads_and_is_called_as_its_file() {
        let boards = all().unwrap();
        assert_eq!(boards.len(), BUILT_IN.len());
        let mut words = BTreeSet::new();
        for (board, (file, _)) in boards.iter().zip(BUILT_IN) {
            assert_eq!(*file, format!("boards/{}.toml", board.name));
            assert_eq!(board.root().role, Role::Root);
            assert!(!board.sources.is_empty(), "{} names no source", board.name);
            for word in std::iter::once(&board.name).chain(&board.aliases) {
                assert!(words.insert(word.clone()), "{word} means two boards");
                assert_eq!(find(word).unwrap().name, board.name);
            }
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest_one() {
        for (word, expected) in [
            ("rpi6", "rpi3"),
            ("raspberry-pi-4", "rpi4"),
            ("RPi5", "rpi5"),
            ("rpi-400", "rpi400"),
            ("cm-5", "cm5"),
            ("orin-nano-devkit", "orin-nano"),
            ("jetson_agx_xavier", "jetson-agx-xavier"),
            ("rockpro", "rockpro64"),
            ("uefi-x86", "uefi-x86_64"),
        ] {
            let error = find(word).unwrap_err().to_string();
            assert!(error.contains(&format!("did you mean {expected:?}? there are: ")), "{word}: {error}");
        }
        for word in ["toaster", "", "x"] {
            assert!(!find(word).unwrap_err().to_string().contains("did you mean"), "{word}");
        }
    }
}
