//! Profiles of the user's own, and what the user adds to a board's config.txt.

use crate::board;
use crate::board::Board;
use crate::cli::exit::{Code, Failure};
use std::path::Path;

/// Reads a profile of the user's; gives its text too.
pub fn read(file: &Path) -> Result<(Board, String), Failure> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| Failure::reading(&name, &error))?;
    let board = board::parse(&name, &text).map_err(|error| Failure::of(Code::Usage, &error))?;
    Ok((board, text))
}

/// Whether a word is a line of a config.txt, and not a file.
pub fn is_config_txt_line(word: &str) -> bool {
    word.contains('=') || word.starts_with(['[', '#']) || word.starts_with("include ")
}

/// How much of a line of config.txt the firmware reads, in bytes.
const FIRMWARE_LINE: usize = 98;

/// Adds what the user wants in config.txt: lines as they are, and those of files; for all models. Gives what was added.
pub fn add_config_txt(board: &mut Board, words: &[String]) -> Result<Option<String>, Failure> {
    if words.is_empty() {
        return Ok(None);
    }
    let Some(text) = &mut board.config_txt else {
        let message = format!("--config-txt: {} has no config.txt", board.name);
        return Err(Failure::new(Code::Usage, message));
    };
    let before = text.len();
    for word in words {
        let added = if Path::new(word).is_file() || !is_config_txt_line(word) {
            std::fs::read_to_string(word)
                .map_err(|error| Failure::reading(&format!("--config-txt {word}"), &error))?
        } else {
            word.clone()
        };
        if let Some(line) = added
            .lines()
            .find(|line| line.trim_end().len() > FIRMWARE_LINE && !line.trim_start().starts_with('#'))
        {
            let message = format!(
                "--config-txt: {line:?} has {} characters, and the firmware reads {FIRMWARE_LINE} of a line",
                line.trim_end().len()
            );
            return Err(Failure::new(Code::Usage, message)
                .hint("split it: dtoverlay=NAME, and its parameters in lines of dtparam= below it"));
        }
        // Whatever section the text before ends in: the firmware applies a line to the models of its section.
        text.push_str("\n[all]\n");
        text.push_str(added.trim_end());
        text.push('\n');
    }
    Ok(Some(text[before..].to_owned()))
}
