//! ssh, as the way to a builder.

use crate::store::{Builder, Line, Ssh};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Runs the ssh of this machine, with the user's configuration and keys. What it asks and says goes to the terminal.
pub struct Program {
    /// Options of the environment: `NIX_SSHOPTS`, as Nix takes them.
    options: Vec<String>,
}

impl Program {
    /// The program, with options of an environment that is the user's own.
    #[expect(clippy::disallowed_methods, reason = "cli is where the environment is read")]
    pub fn new() -> Self {
        let options = std::env::var("NIX_SSHOPTS").ok().filter(|_| crate::cli::caller::trusts_environment());
        let options = options.unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect();
        Self { options }
    }

    fn arguments(&self, builder: &Builder) -> Vec<String> {
        let mut arguments = self.options.clone();
        let mut add = |words: &[&str]| arguments.extend(words.iter().map(|word| (*word).to_owned()));
        add(&["-x", "-T"]);
        // Without a terminal nobody answers.
        if File::open("/dev/tty").is_err() {
            add(&["-o", "BatchMode=yes"]);
        }
        if let Some(key) = &builder.key {
            add(&["-i", key]);
        }
        if let Some(port) = builder.port {
            add(&["-p", &port.to_string()]);
        }
        if builder.compress {
            add(&["-C"]);
        }
        add(&["--", &builder.host, &builder.command]);
        arguments
    }
}

impl Ssh for Program {
    #[expect(
        clippy::disallowed_methods,
        reason = "a builder is reached by the user's own ssh, as Nix reaches it"
    )]
    fn run(&self, builder: &Builder) -> io::Result<Box<dyn Line>> {
        // A socket and not pipes, since reading from it can be given up.
        let (ours, theirs) = UnixStream::pair()?;
        let (input, output) = (OwnedFd::from(theirs.try_clone()?), OwnedFd::from(theirs));
        let child = Command::new("ssh")
            .args(self.arguments(builder))
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(output))
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("ssh cannot be run: {error}")))?;
        Ok(Box::new(Session { line: ours, child }))
    }
}

/// A running ssh.
struct Session {
    line: UnixStream,
    child: Child,
}

impl Session {
    /// Why there is nothing more to read.
    fn ended(&mut self) -> io::Error {
        let why = match self.child.wait().map(|status| status.code()) {
            Ok(Some(255)) => "ssh could not connect, or lost the connection (exit status 255)".to_owned(),
            Ok(Some(126 | 127)) => {
                "the host has no nix-daemon that can be run; name it with ?remote-program=PATH".to_owned()
            }
            Ok(Some(code)) => format!("what ssh ran there ended with exit status {code}"),
            Ok(None) => "ssh was killed".to_owned(),
            Err(error) => format!("ssh is gone: {error}"),
        };
        io::Error::new(io::ErrorKind::UnexpectedEof, why)
    }
}

impl Read for Session {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.line.read(out) {
            Ok(0) if !out.is_empty() => Err(self.ended()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(self.ended()),
            read => read,
        }
    }
}

impl Write for Session {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.line.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(self.ended()),
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.line.flush()
    }
}

impl Line for Session {
    fn patience(&mut self, most: Duration) -> io::Result<()> {
        self.line.patience(most)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It may have ended by itself, and nobody is left to hear of anything else.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_gets_what_the_address_says_and_the_host_behind_all_options() {
        let builder = Builder::parse("me@b:2222?ssh-key=/k&compress=true").unwrap();
        let program = Program { options: vec!["-o".into(), "LogLevel=QUIET".into()] };
        let arguments = program.arguments(&builder).join(" ").replace("-o BatchMode=yes ", "");
        assert_eq!(arguments, "-o LogLevel=QUIET -x -T -i /k -p 2222 -C -- me@b nix-daemon --stdio");
    }
}
