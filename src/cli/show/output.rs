//! The two streams: data on standard output, talk on standard error.

use crate::cli::exit::{Code, Failure};
use crate::escape::shown;
use std::io::Write;

/// Writes data to standard output. A reader that went away, as `head` does, is not an error.
pub fn data(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Code::Target, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes a line to standard error; nothing can be done if that fails.
pub fn error_line(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

/// Writes text that another program says to standard error, as it comes.
pub fn error_text(text: &str) {
    let mut out = std::io::stderr().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Makes control characters visible but those that lay out a log: line feeds, carriage returns, tabs.
pub fn escape_log(text: &str) -> String {
    text.split_inclusive(['\n', '\r', '\t'])
        .map(|part| match part.strip_suffix(['\r', '\t']) {
            Some(start) => format!("{}{}", escape_lines(start), &part[start.len()..]),
            None => escape_lines(part),
        })
        .collect()
}

/// Makes everything visible that would let a value be more than a part of its line: control characters, line feeds
/// among them, and what turns the direction of a text round. It may be done twice.
pub fn escape(text: &str) -> String {
    shown(text)
}

/// Escapes each line of a text whose line feeds are its layout: every value in it was escaped where it was formatted.
pub fn escape_lines(text: &str) -> String {
    text.split_inclusive('\n')
        .map(|line| match line.strip_suffix('\n') {
            Some(line) => escape(line) + "\n",
            None => escape(line),
        })
        .collect()
}
