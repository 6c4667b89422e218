//! Flakes as `--system`: Nix evaluates and builds them, in its own words; nixflash asks for one store path.

use crate::cli::exit::{Code, Failure};
use crate::cli::show::output;
use crate::cli::show::signals;
use crate::cli::show::terminal::Voice;
use crate::format::nix::store_path::StorePath;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{self, IsTerminal, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a host of `nixosConfigurations` is built as.
const TOPLEVEL: &str = "config.system.build.toplevel";
/// More than this Nix does not print on standard output for one path.
const LONGEST_ANSWER: u64 = 64 << 10;
/// What is left to read when Nix has ended: a process it left behind may hold the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// What Nix is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The toplevel, built into the machine's store.
    Build,
    /// Its path; nothing is built.
    Evaluate,
}

/// Whether words name a flake: they have a fragment, or a scheme as in `github:owner/repo`.
pub fn is_flake(words: &str) -> bool {
    let scheme = words.split_once(':').map(|(scheme, _)| scheme).filter(|scheme| !scheme.is_empty());
    let is_scheme = |scheme: &str| scheme.bytes().all(|b| b.is_ascii_lowercase() || b == b'+');
    words.contains('#') || scheme.is_some_and(is_scheme)
}

/// The flake and the attribute path of a toplevel: a word alone is a host of `nixosConfigurations`.
pub fn expand(words: &str) -> Result<String, Failure> {
    let usage = |message: String| Failure::new(Code::Usage, format!("--system {words}: {message}"));
    let (flake, attribute) = words.split_once('#').unwrap_or((words, ""));
    if attribute.is_empty() {
        return Err(usage("a flake, without a host".to_owned()).hint(format!("name it: {flake}#HOST")));
    }
    if flake.starts_with('-') {
        return Err(usage("a flake's name does not begin with a dash".to_owned()));
    }
    let names = components(attribute).ok_or_else(|| usage(format!("{attribute} is no attribute path")))?;
    let attribute = match names.as_slice() {
        [host] => format!("nixosConfigurations.{host}.{TOPLEVEL}"),
        [set, _] if *set == "nixosConfigurations" => format!("{attribute}.{TOPLEVEL}"),
        _ => attribute.to_owned(),
    };
    let flake = if flake.is_empty() { "." } else { flake };
    Ok(format!("{flake}#{attribute}"))
}

/// The names of an attribute path; dots within quotes do not part them.
fn components(attribute: &str) -> Option<Vec<&str>> {
    let (mut names, mut start, mut quoted) = (Vec::new(), 0, false);
    for (at, c) in attribute.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => {
                names.push(&attribute[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    names.push(&attribute[start..]);
    (!quoted && names.iter().all(|name| !name.is_empty())).then_some(names)
}

/// Has Nix build or evaluate the toplevel that words name, in a directory that relative flakes start from.
pub fn resolve(words: &str, directory: &Path, how: How, voice: &Voice) -> Result<StorePath, Failure> {
    let reference = expand(words)?;
    let build = format!("nix build {}", quoted(&reference));
    if !crate::cli::caller::trusts_environment() {
        // As root, Nix would run with another's configuration, in another's directory, on another's behalf.
        return Err(Failure::new(
            Code::Permission,
            format!("--system {words}: nix is not run as root on behalf of the user behind sudo"),
        )
        .hint(format!("build it first, as yourself: `{build} -o result`; then give --system ./result")));
    }
    let (command, shown) = match how {
        How::Build => (vec!["build", "--no-link", "--json", &reference], build),
        How::Evaluate => (vec!["eval", "--raw"], format!("nix eval --raw {}.outPath", quoted(&reference))),
    };
    let path = format!("{reference}.outPath");
    let mut arguments = vec!["--extra-experimental-features", "nix-command flakes"];
    arguments.extend(command);
    if how == How::Evaluate {
        arguments.push(&path);
    }
    voice.say(&format!("running: {shown}"));
    if voice.is_quiet() {
        arguments.push("--quiet");
    } else if voice.is_verbose() {
        arguments.push("--print-build-logs");
    }
    let answer = run(&arguments, directory, words, &shown)?;
    let path = match how {
        How::Build => built(&answer),
        How::Evaluate => Some(answer.trim().to_owned()).filter(|path| !path.is_empty()),
    };
    let Some(path) = path else {
        return Err(Failure::new(Code::Usage, format!("{shown}: gives no path, or more than one"))
            .hint("name a host, or the attribute of one toplevel"));
    };
    StorePath::from_absolute(&path)
        .map_err(|error| Failure::new(Code::Other, format!("{shown}: gives no store path: {error}")))
}

/// The one path out of `[{"drvPath": ..., "outputs": {"out": PATH}}]`, as Nix says since 2.4.
fn built(answer: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(answer).ok()?;
    let [one] = value.as_array()?.as_slice() else { return None };
    let outputs = one.get("outputs")?.as_object()?;
    let only = if outputs.len() == 1 { outputs.values().next() } else { None };
    Some(outputs.get("out").or(only)?.as_str()?.to_owned())
}

/// Runs Nix to its end; its messages go to standard error as they come.
fn run(arguments: &[&str], directory: &Path, words: &str, shown: &str) -> Result<String, Failure> {
    // A question about a flake's own settings can be answered on a terminal; a pipe may hold something else.
    let stdin = if io::stdin().is_terminal() { Stdio::inherit() } else { Stdio::null() };
    #[expect(
        clippy::disallowed_methods,
        reason = "a flake cannot be evaluated without Nix; only cli runs it"
    )]
    let mut command = Command::new("nix");
    // An empty path is no directory to the system.
    let directory = if directory == Path::new("") { Path::new(".") } else { directory };
    command
        .env("NO_COLOR", "1")
        .args(arguments)
        .current_dir(directory)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let guard = signals::Guard::new()?;
    let mut child = command.spawn().map_err(|error| not_run(words, shown, &error))?;
    let messages = Messages::of(&mut child);
    let mut answer = Vec::new();
    let (stdout, stop) = (child.stdout.take(), guard.flag());
    let status = std::thread::scope(|scope| {
        let answer = &mut answer;
        scope.spawn(move || stdout.map(|out| out.take(LONGEST_ANSWER).read_to_end(answer)));
        wait(&mut child, stop)
    });
    let status = status.map_err(|error| Failure::new(Code::Other, format!("{shown}: {error}")))?;
    let foreign = messages.end();
    if stop.load(Ordering::Relaxed) {
        return Err(Failure::new(Code::Interrupted, "interrupted; nothing was written"));
    }
    if !status.success() {
        let failure = Failure::new(Code::Other, format!("{shown} failed ({status}): nix says why above"));
        return Err(match foreign {
            Some(line) => foreign_machine(&line, words, shown),
            None => failure,
        });
    }
    String::from_utf8(answer).map_err(|_| Failure::new(Code::Other, format!("{shown}: gives no text")))
}

/// Waits for the end; a signal is passed on, so that no build goes on for nobody.
fn wait(child: &mut Child, stop: &AtomicBool) -> io::Result<ExitStatus> {
    let mut told = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if stop.load(Ordering::Relaxed) && !told {
            told = true;
            if let Ok(pid) = i32::try_from(child.id()) {
                // It may have ended in the meantime.
                kill(Pid::from_raw(pid), Signal::SIGTERM).ok();
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What Nix says while it works: shown at once, and searched for why it cannot.
struct Messages {
    found: Arc<Mutex<Option<String>>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Messages {
    fn of(child: &mut Child) -> Self {
        let found = Arc::new(Mutex::new(None));
        let (stderr, sink) = (child.stderr.take(), Arc::clone(&found));
        let reader = stderr.map(|stderr| std::thread::spawn(move || forward(stderr, &sink)));
        Self { found, reader }
    }

    /// Waits for the last words, and gives the line that tells of a foreign architecture.
    fn end(self) -> Option<String> {
        let step = Duration::from_millis(10);
        let mut waited = Duration::ZERO;
        while waited < LAST_WORDS && self.reader.as_ref().is_some_and(|reader| !reader.is_finished()) {
            std::thread::sleep(step);
            waited += step;
        }
        self.found.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Shows what comes, and keeps the first line that tells of a foreign architecture.
fn forward(mut from: impl Read, found: &Mutex<Option<String>>) {
    let (mut chunk, mut line) = (vec![0; 4096], Vec::new());
    while let Ok(read @ 1..) = from.read(&mut chunk) {
        let bytes = &chunk[..read];
        output::error_text(&output::escape_log(&uncoloured(&String::from_utf8_lossy(bytes))));
        for byte in bytes {
            if *byte != b'\n' {
                // Longer lines are no messages of Nix's.
                if line.len() < 4096 {
                    line.push(*byte);
                }
                continue;
            }
            let text = uncoloured(String::from_utf8_lossy(&line).trim());
            if is_foreign(&text) {
                found.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
            }
            line.clear();
        }
    }
}

/// Text without colours: `ESC [ ... m`.
fn uncoloured(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once('m').filter(|(codes, _)| codes.bytes().all(|b| b.is_ascii_digit() || b == b';'))
        {
            Some((_, rest)) => plain.push_str(rest),
            None => plain.extend(["\u{1b}[", part]),
        }
    }
    plain
}

/// Whether a message of Nix's says that the machine cannot build for a platform.
///
/// "a 'aarch64-linux' with features {} is required to build" to 2.30, "required system or feature not available" from
/// then on, "platform mismatch" of build hooks, "Exec format error" of the kernel.
fn is_foreign(line: &str) -> bool {
    (line.contains("is required to build") && line.contains("but I am a"))
        || line.contains("required system or feature not available")
        || line.contains("platform mismatch")
        || line.contains("Exec format error")
}

fn foreign_machine(line: &str, words: &str, shown: &str) -> Failure {
    Failure::new(
        Code::Other,
        format!("{shown} failed: this machine cannot build for the platform of {words}: {line}"),
    )
    .hint(format!(
        "there are three ways out:\n\
         1. a machine of that platform: a remote builder (`builders` in nix.conf), or build\n   \
            there and compose here with --store ssh-ng://HOST\n\
         2. a cache that CI fills: --system {words} --store https://CACHE only\n   \
            evaluates, and builds nothing\n\
         3. emulation: boot.binfmt.emulatedSystems on NixOS; elsewhere qemu-user-static\n   \
            and `extra-platforms` in nix.conf"
    ))
}

fn not_run(words: &str, shown: &str, error: &io::Error) -> Failure {
    if error.kind() != io::ErrorKind::NotFound {
        return Failure::new(Code::Other, format!("cannot run nix: {error}"));
    }
    Failure::new(
        Code::Usage,
        format!("--system {words}: a flake has to be evaluated by Nix, and there is no nix on this machine"),
    )
    .hint(format!(
        "where there is one, run `{shown}` and `nix copy --to` a cache; then give the store path of \
         ./result here, with --store https://CACHE"
    ))
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"#.:/_-+@=?&%,".contains(&b);
    if word.bytes().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_stands_for_its_toplevel_and_an_attribute_path_for_itself() {
        for (words, expected) in [
            (".#pi", ".#nixosConfigurations.pi.config.system.build.toplevel"),
            ("#pi", ".#nixosConfigurations.pi.config.system.build.toplevel"),
            ("../cfg#pi", "../cfg#nixosConfigurations.pi.config.system.build.toplevel"),
            (
                "github:owner/repo?ref=main#pi",
                "github:owner/repo?ref=main#nixosConfigurations.pi.config.system.build.toplevel",
            ),
            (".#nixosConfigurations.pi", ".#nixosConfigurations.pi.config.system.build.toplevel"),
            (
                ".#nixosConfigurations.\"pi.lan\"",
                ".#nixosConfigurations.\"pi.lan\".config.system.build.toplevel",
            ),
            (".#\"pi.lan\"", ".#nixosConfigurations.\"pi.lan\".config.system.build.toplevel"),
            (
                ".#nixosConfigurations.pi.config.system.build.sdImage",
                ".#nixosConfigurations.pi.config.system.build.sdImage",
            ),
            (".#packages.x86_64-linux.pi", ".#packages.x86_64-linux.pi"),
        ] {
            assert!(is_flake(words));
            assert_eq!(expand(words).unwrap(), expected);
        }
        for (words, expected) in [
            ("github:owner/repo", "without a host"),
            (".#", "without a host"),
            (".#a..b", "no attribute path"),
            (".#\"a", "no attribute path"),
            ("--impure#a", "begin with a dash"),
        ] {
            assert!(expand(words).unwrap_err().message().contains(expected), "{words}");
        }
        for path in ["./result", "result", "/nix/store/x", "a/b", "C"] {
            assert!(!is_flake(path), "{path}");
        }
    }

    #[test]
    fn colours_go_and_what_else_steers_a_terminal_stays_to_be_escaped() {
        assert_eq!(uncoloured("\u{1b}[31;1merror:\u{1b}[0m no"), "error: no");
        assert_eq!(uncoloured("a\u{1b}[2Jm"), "a\u{1b}[2Jm");
        assert_eq!(uncoloured("plain"), "plain");
    }

    #[test]
    fn what_is_shown_can_be_pasted_into_a_shell() {
        assert_eq!(quoted(".#pi"), ".#pi");
        assert_eq!(quoted(".#\"a b\".c"), "'.#\"a b\".c'");
        assert_eq!(quoted("it's#x"), "'it'\\''s#x'");
    }
}
