//! Passwords, asked for on the terminal without showing them.

use crate::cli::exit::{Code, Failure};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use std::io::{BufRead, BufReader, IsTerminal, Write};

/// Asks for a password. Without a terminal there is nobody to ask.
pub fn ask(prompt: &str) -> Result<String, Failure> {
    let nobody = || {
        Failure::new(Code::Usage, "the key needs its password, and there is no terminal to ask for it")
            .hint("give a file with --sign-password, or use a key without a password (minisign -G -W)")
    };
    let terminal = std::fs::File::options().read(true).write(true).open("/dev/tty");
    let mut terminal = terminal.ok().filter(IsTerminal::is_terminal).ok_or_else(nobody)?;
    let failed = |error: &dyn std::fmt::Display| Failure::new(Code::Other, format!("cannot ask: {error}"));
    let before = tcgetattr(&terminal).map_err(|error| failed(&error))?;
    let mut silent = before.clone();
    silent.local_flags.remove(LocalFlags::ECHO);
    tcsetattr(&terminal, SetArg::TCSAFLUSH, &silent).map_err(|error| failed(&error))?;
    let asked = terminal.write_all(crate::cli::show::output::escape(prompt).as_bytes()).and_then(|()| {
        let mut line = String::new();
        BufReader::new(&terminal).read_line(&mut line).map(|_| line)
    });
    let restored = tcsetattr(&terminal, SetArg::TCSAFLUSH, &before);
    drop(terminal.write_all(b"\n"));
    restored.map_err(|error| failed(&error))?;
    let line = asked.map_err(|error| failed(&error))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
