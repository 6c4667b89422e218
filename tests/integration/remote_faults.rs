//! Servers that fail, lie and stall: each fault is retried or a clear error, and what is kept stays right.

use crate::common::{Demo, demo, sha256, temp};
use crate::remote::signed;
use nixflash::format::nar::Room;
use nixflash::format::narinfo::NarInfo;
use nixflash::format::{listing, nar_hash};
use nixflash::net::{Client, Netrc, Patience, Settings};
use nixflash::store::{self, Error, Keys, Payload, Remote};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What a server was asked for.
pub struct Ask {
    name: String,
    /// How often this name was asked for, from 1.
    nth: u32,
    range: Option<u64>,
    login: Option<String>,
    /// The file, where there is one.
    bytes: Option<Vec<u8>>,
}

impl Ask {
    fn is_nar(&self) -> bool {
        self.name.starts_with("nar/")
    }

    fn is_narinfo(&self) -> bool {
        self.name.ends_with(".narinfo")
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes.clone().unwrap()).unwrap()
    }
}

/// What it does.
enum Reply {
    /// What a good server does.
    Good,
    /// A status, headers, a body.
    Say(&'static str, String, Vec<u8>),
    /// Another file than the one that is there.
    Give(Vec<u8>),
    /// Some headers, the first bytes, and the end of the connection.
    Cut(&'static str, usize),
    /// Some bytes from one on, and the end of the connection.
    Part(usize, usize),
    /// Nothing, and the end of the connection.
    Close,
    /// Nothing for a while.
    Stall,
    /// Zeros without end and without a length.
    Endless,
}

type Fault = Box<dyn Fn(&Ask) -> Reply + Send + Sync>;

/// What was asked for, and with which login.
type Seen = (String, Option<String>);

struct Server {
    address: String,
    broken: Arc<AtomicBool>,
    logins: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    fn start(root: &Path, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let broken = Arc::new(AtomicBool::new(true));
        let logins: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let counts: Arc<Mutex<BTreeMap<String, u32>>> = Arc::default();
        let (fault, root) = (Arc::new(fault), root.to_owned());
        let (state, seen) = (Arc::clone(&broken), Arc::clone(&logins));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (fault, root, counts) = (Arc::clone(&fault), root.clone(), Arc::clone(&counts));
                let (state, seen) = (Arc::clone(&state), Arc::clone(&seen));
                std::thread::spawn(move || {
                    let stream = stream.unwrap();
                    let mut lines = BufReader::new(&stream).lines();
                    while let Some(ask) = ask(&mut lines, &root, &counts) {
                        seen.lock().unwrap().push((ask.name.clone(), ask.login.clone()));
                        let reply = if state.load(Ordering::Relaxed) { fault(&ask) } else { Reply::Good };
                        if !answer(&stream, &ask, reply) {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, broken, logins }
    }
}

fn ask(
    lines: &mut impl Iterator<Item = std::io::Result<String>>,
    root: &Path,
    counts: &Mutex<BTreeMap<String, u32>>,
) -> Option<Ask> {
    let first = lines.next()?.ok()?;
    let (mut range, mut login) = (None, None);
    for line in lines.by_ref() {
        let line = line.ok()?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(": ")?;
        match name.to_ascii_lowercase().as_str() {
            "range" => range = value.strip_prefix("bytes=")?.trim_end_matches('-').parse().ok(),
            "authorization" => login = Some(value.to_owned()),
            _ => {}
        }
    }
    let name = first.split(' ').nth(1)?.trim_start_matches('/').to_owned();
    let mut counts = counts.lock().unwrap();
    let nth = counts.entry(name.clone()).or_default();
    *nth += 1;
    let bytes = std::fs::read(root.join(name.split('?').next().unwrap())).ok();
    Some(Ask { nth: *nth, range, login, bytes, name })
}

/// Answers; whether the connection lives on.
fn answer(mut out: &TcpStream, ask: &Ask, reply: Reply) -> bool {
    let mut say = |status: &str, headers: &str, body: &[u8]| {
        let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
        out.write_all(head.as_bytes()).and_then(|()| out.write_all(body)).is_ok()
    };
    match (reply, &ask.bytes) {
        (Reply::Say(status, headers, body), _) => say(status, &headers, &body),
        (Reply::Give(body), _) => say("200 OK", "", &body),
        (Reply::Good, Some(bytes)) => match ask.range {
            Some(from) => {
                let range = format!("Content-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len());
                say("206 Partial Content", &range, &bytes[from as usize..])
            }
            None => say("200 OK", "ETag: \"one\"\r\n", bytes),
        },
        (Reply::Cut(headers, at), Some(bytes)) => {
            let head = format!("HTTP/1.1 200 OK\r\n{headers}\r\n");
            let _ =
                out.write_all(head.as_bytes()).and_then(|()| out.write_all(&bytes[..at.min(bytes.len())]));
            false
        }
        (Reply::Part(from, len), Some(bytes)) => {
            let all = bytes.len();
            let range = format!("Content-Range: bytes {from}-{}/{all}\r\n", all - 1);
            let status =
                if ask.range.is_some() { format!("206 Part\r\n{range}") } else { "200 OK\r\n".to_owned() };
            let head = format!("HTTP/1.1 {status}ETag: \"one\"\r\nContent-Length: {}\r\n\r\n", all - from);
            drop(
                out.write_all(head.as_bytes())
                    .and_then(|()| out.write_all(&bytes[from..(from + len).min(all)])),
            );
            false
        }
        (Reply::Close, _) => false,
        (Reply::Stall, _) => {
            std::thread::sleep(Duration::from_secs(5));
            false
        }
        (Reply::Endless, _) => {
            let mut good = out.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").is_ok();
            while good {
                good = out.write_all(&[0; 65536]).is_ok();
            }
            false
        }
        (_, None) => say("404 Not Found", "", b""),
    }
}

/// Takes a closure as compose does: narinfos, trees, then every byte, judged.
fn take(demo: &Demo, address: &str, kept: &Path, keys: Option<&Keys>) -> Result<u64, Error> {
    take_with(client_with(Settings::default()), (demo, address, kept, keys))
}

/// A client that does not wait for long.
fn client_with(settings: Settings) -> Client {
    let patience = Patience {
        connect: Duration::from_secs(10),
        silence: Duration::from_secs(2),
        pause: Duration::from_millis(20),
    };
    Client::new(&Arc::default(), Settings { patience, ..settings })
}

fn with_logins(logins: Netrc) -> Client {
    client_with(Settings { logins, ..Settings::default() })
}

fn take_with(
    client: Client,
    (demo, address, kept, keys): (&Demo, &str, &Path, Option<&Keys>),
) -> Result<u64, Error> {
    let remote = Remote {
        client,
        kept: kept.to_owned(),
        most: 1 << 30,
        keys: keys.cloned(),
        fetched: Arc::default(),
        ssh: Arc::new(crate::formats::NoSsh),
    };
    let stores = [store::open(address, None, &remote)?];
    let top = nixflash::format::store_path::StorePath::from_absolute(&demo.top).unwrap();
    let closure = store::closure(&stores, &[top])?;
    let paths: Vec<_> = closure.paths.iter().map(|member| member.info.path.clone()).collect();
    stores[0].prefetch(&paths)?;
    let room = Room::default();
    let mut bytes = 0;
    for member in &closure.paths {
        let tree = store::index(&*stores[0], &member.info, &room)?;
        let read = || -> Result<u64, Error> {
            let mut payload = Payload::new(stores[0].open_nar(&member.info.path)?, &member.info, &tree);
            let mut bytes = 0;
            while let Some(file) = payload.next_file()? {
                bytes += file.len;
            }
            payload.finish()?;
            Ok(bytes)
        };
        match read() {
            Ok(read) => {
                bytes += read;
                stores[0].confirm(&member.info.path, &|| listing::encode(&tree));
            }
            Err(error) => {
                stores[0].refute(&member.info.path)?;
                return Err(error);
            }
        }
    }
    Ok(bytes)
}

/// Every NAR that is kept is what its name says.
fn check_kept(kept: &Path) {
    for entry in std::fs::read_dir(kept.join("nar")).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.starts_with(".part-") {
            assert_eq!(name.split('.').next().unwrap(), sha256(&path), "{name}");
        }
    }
}

/// A cache with signatures, and the key that made them.
fn cache(demo: &Demo, dir: &Path) -> (PathBuf, Keys) {
    let root = dir.join("cache");
    let key = signed(demo, &root);
    let mut keys = Keys::default();
    keys.add(&key).unwrap();
    (root, keys)
}

fn pack(what: &str, bytes: &[u8]) -> Vec<u8> {
    match what {
        "zstd" => zstd::encode_all(bytes, 1).unwrap(),
        _ => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
    }
}

fn encoded(ask: &Ask, what: &str) -> Reply {
    match &ask.bytes {
        Some(bytes) => {
            Reply::Say("200 OK", format!("Content-Encoding: {what}\r\nETag: \"x\"\r\n"), pack(what, bytes))
        }
        None => Reply::Good,
    }
}

fn status(when: bool, status: &'static str, headers: &str) -> Reply {
    if when { Reply::Say(status, headers.to_owned(), b"words".to_vec()) } else { Reply::Good }
}

fn when(condition: bool, reply: Reply) -> Reply {
    if condition { reply } else { Reply::Good }
}

/// Another narinfo out of the one that is there.
fn narinfo(ask: &Ask, change: impl Fn(&str) -> String) -> Reply {
    if ask.is_narinfo() && ask.bytes.is_some() {
        Reply::Give(change(&ask.text()).into_bytes())
    } else {
        Reply::Good
    }
}

fn field<'a>(text: &'a str, key: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(key)).unwrap()
}

/// A fault, and the part of the message that it must give; `None` where it must be got over.
type Case = (&'static str, Option<&'static str>, Fault);

fn case(
    name: &'static str,
    expected: Option<&'static str>,
    fault: impl Fn(&Ask) -> Reply + Send + Sync + 'static,
) -> Case {
    (name, expected, Box::new(fault))
}

fn statuses() -> Vec<Case> {
    vec![
        case("all fail once", None, |ask| status(ask.nth == 1, "503 Busy", "Retry-After: 0\r\n")),
        case("too many requests", None, |ask| status(ask.nth < 3 && ask.is_narinfo(), "429 Slow", "")),
        case("a date to come back at", None, |ask| {
            status(ask.nth == 1 && ask.is_nar(), "503 Busy", "Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n")
        }),
        case("500 for ever", Some("answers 500"), |ask| status(ask.is_nar(), "500 Oh", "")),
        case("NARs are gone", Some("answers 404"), |ask| status(ask.is_nar(), "404 Not Found", "")),
        case("403 for what is absent", Some("is in none of the stores"), |ask| {
            status(ask.is_narinfo(), "403 Forbidden", "")
        }),
        case("401", Some("it wants a login, and netrc has none for 127.0.0.1"), |ask| {
            status(ask.is_nar(), "401 Who", "WWW-Authenticate: Basic\r\n")
        }),
        case("a status that is none", Some("answers 299"), |ask| status(ask.is_narinfo(), "299 Odd", "")),
        case("a redirect to itself", Some("redirected"), |ask| {
            status(ask.is_nar(), "302 Found", &format!("Location: /{}\r\n", ask.name))
        }),
        case("redirects without end", Some("redirected 11 times"), |ask| {
            status(ask.is_nar(), "302 Found", &format!("Location: /{}?{}\r\n", ask.name, ask.nth))
        }),
        case("a redirect to a file", Some("redirected to \"file:///etc/passwd\""), |ask| {
            status(ask.is_nar(), "302 Found", "Location: file:///etc/passwd\r\n")
        }),
        case("a redirect that helps", None, |ask| {
            let again = ask.name.contains('?');
            status(ask.is_nar() && !again, "307 There", &format!("Location: /{}?again\r\n", ask.name))
        }),
    ]
}

fn connections() -> Vec<Case> {
    let cut = |ask: &Ask, headers, at| when(ask.is_nar() && ask.nth == 1, Reply::Cut(headers, at));
    const FULL: &str = "ETag: \"one\"\r\nContent-Length: 1000000\r\n";
    vec![
        case("closed before the answer", None, move |ask| when(ask.nth == 1, Reply::Close)),
        case("reset in the middle, no validator", None, move |ask| cut(ask, "Content-Length: 90000\r\n", 50)),
        case("reset sixteen times, resumed each time", None, |ask| match &ask.bytes {
            Some(bytes)
                if ask.is_nar() && (ask.range.unwrap_or(0) as usize) + bytes.len() / 16 + 1 < bytes.len() =>
            {
                Reply::Part(ask.range.unwrap_or(0) as usize, bytes.len() / 16 + 1)
            }
            _ => Reply::Good,
        }),
        case("reset, resumed with another range", None, move |ask| match ask.nth {
            _ if ask.is_nar() && ask.range.is_some() => {
                Reply::Say("206 Partial", "Content-Range: bytes 7-9/10\r\n".to_owned(), b"xyz".to_vec())
            }
            _ => cut(ask, FULL, 40),
        }),
        case("reset, the file has changed", None, move |ask| match (ask.range, &ask.bytes) {
            (Some(_), Some(bytes)) if ask.is_nar() => Reply::Give(bytes.clone()),
            _ => cut(ask, FULL, 40),
        }),
        case("silent once", None, |ask| when(ask.nth == 1 && ask.is_nar(), Reply::Stall)),
        case("silent for ever", Some("timeout"), |ask| when(ask.is_narinfo(), Reply::Stall)),
        case("cut short without a length", Some("its FileSize"), |ask| {
            when(ask.is_nar(), Reply::Cut("Connection: close\r\n", 60))
        }),
        case("a wrong length", Some("its FileSize"), |ask| match &ask.bytes {
            Some(bytes) if ask.is_nar() => Reply::Give(bytes[..bytes.len() - 1].to_vec()),
            _ => Reply::Good,
        }),
        case("a body without end", Some("or more"), |ask| when(ask.is_nar(), Reply::Endless)),
        case("a narinfo without end", Some("longer than a narinfo"), |ask| {
            when(ask.is_narinfo(), Reply::Endless)
        }),
        case("a huge narinfo", Some("longer than a narinfo"), |ask| {
            narinfo(ask, |text| format!("{text}X: {}\n", "x".repeat(5 << 20)))
        }),
        case("gzip that nobody asked for", None, |ask| encoded(ask, "gzip")),
        case("zstd that nobody asked for", None, |ask| encoded(ask, "zstd")),
        case("an encoding that nobody knows", Some("encoded (\"compress\")"), |ask| {
            status(ask.is_nar(), "200 OK", "Content-Encoding: compress\r\n")
        }),
    ]
}

fn lies() -> Vec<Case> {
    let replayed: Arc<Mutex<Option<String>>> = Arc::default();
    let swapped: Arc<Mutex<Option<(String, String)>>> = Arc::default();
    vec![
        case("no narinfo", Some("line 1 is not"), |ask| narinfo(ask, |_| "<html>\n".to_owned())),
        case("carriage returns", Some("is"), |ask| narinfo(ask, |text| text.replace('\n', "\r\n"))),
        case("another StorePath", Some("its StorePath"), |ask| {
            narinfo(ask, |text| text.replace("StorePath: /nix/store/", "StorePath: /nix/store/0"))
        })
        .also("expected a path in /nix/store"),
        case("a CRLF at the end of each line but the last", Some("is"), |ask| {
            narinfo(ask, |text| text.trim_end().replace('\n', "\r\n") + "\n")
        }),
        case("an empty narinfo", Some("NarSize is missing"), |ask| narinfo(ask, |_| String::new())),
        case("a narinfo that is no text", Some("is not text"), |ask| {
            when(ask.is_narinfo(), Reply::Give(vec![0xff, 0xfe, 0, 1]))
        }),
        case("no end of the last line", Some("is not `Key: value`"), |ask| {
            narinfo(ask, |text| text.trim_end().to_owned())
        }),
        case("two sizes", Some("NarSize occurs twice"), |ask| {
            narinfo(ask, |text| format!("{text}NarSize: 9\n"))
        }),
        case("two paths", Some("StorePath occurs twice"), |ask| {
            narinfo(ask, |text| format!("StorePath: {}\n{text}", field(text, "StorePath: ")))
        }),
        case("two hashes", Some("NarHash occurs twice"), |ask| {
            narinfo(ask, |text| format!("{text}NarHash: {}\n", field(text, "NarHash: ")))
        }),
        case("another store", Some("its StoreDir is /gnu/store, expected /nix/store"), |ask| {
            when(ask.name == "nix-cache-info", Reply::Give(b"StoreDir: /gnu/store\n".to_vec()))
        }),
        case("a path of another store", Some("expected a path in /nix/store"), |ask| {
            narinfo(ask, |text| text.replace("StorePath: /nix/", "StorePath: /gnu/"))
        }),
        case("a reference that is no path", Some("References is"), |ask| {
            narinfo(ask, |text| text.replace("References: ", "References: ../../etc/passwd "))
        }),
        case("a hash of another kind", Some("NarHash is"), |ask| {
            narinfo(ask, |text| text.replace("NarHash: sha256:", "NarHash: md5:"))
        }),
        case("no signature", Some("no signature of a trusted key"), |ask| {
            narinfo(ask, |text| {
                text.lines()
                    .filter(|line| !line.starts_with("Sig"))
                    .fold(String::new(), |all, line| all + line + "\n")
            })
        }),
        case("signatures that are none", Some("no signature of a trusted key"), |ask| {
            narinfo(ask, |text| {
                text.replace(
                    &format!("Sig: {}", field(text, "Sig: ")),
                    "Sig: \nSig: test-1\nSig: test-1:!\nSig: :AAAA",
                )
            })
        }),
        case("another key of the same name", Some("no signature of a trusted key"), |ask| {
            narinfo(ask, |text| crate::remote::sign(text, 8))
        }),
        case("another key of another name, and the right one", None, |ask| {
            narinfo(ask, |text| text.replace("Sig: test-1:", "Sig: evil-1:AAAA\nSig: test-1:"))
        }),
        case("a NarSize of nothing", Some("expected a length between 1 and"), |ask| {
            narinfo(ask, |text| text.replace(&format!("NarSize: {}", field(text, "NarSize: ")), "NarSize: 0"))
        }),
        case("a negative NarSize", Some("NarSize is"), |ask| {
            narinfo(ask, |text| text.replace("NarSize: ", "NarSize: -"))
        }),
        case("a wrong signature", Some("no signature of a trusted key"), |ask| {
            narinfo(ask, |text| text.replace("Sig: test-1:", "Sig: test-1:AAAA"))
        }),
        case("a signature of another path", Some("no signature of a trusted key"), move |ask| {
            narinfo(ask, |text| {
                let own = field(text, "Sig: test-1:").to_owned();
                let mut first = replayed.lock().unwrap();
                let other = first.get_or_insert_with(|| own.clone());
                text.replace(&own, other)
            })
        }),
        case("references left out", Some("no signature of a trusted key"), |ask| {
            narinfo(ask, |text| {
                text.replace(&format!("References: {}", field(text, "References: ")), "References: ")
            })
        }),
        case("NARs swapped, their hashes as well", Some("its NAR has"), move |ask| {
            narinfo(ask, |text| {
                let own = |key: &str| field(text, key).to_owned();
                let mut first = swapped.lock().unwrap();
                // All but the first path get the file of the first.
                let (url, hash) = first.get_or_insert_with(|| (own("URL: "), own("FileHash: "))).clone();
                let size = format!("FileSize: {}\n", own("FileSize: "));
                text.replace(&own("URL: "), &url).replacen(&own("FileHash: "), &hash, 1).replace(&size, "")
            })
        }),
        case("a NarSize of 2^62", Some("NarSize"), |ask| {
            narinfo(ask, |text| text.replace("NarSize: ", "NarSize: 4611686018427387904"))
        }),
        case("a listing that is none", None, |ask| {
            when(ask.name.ends_with(".ls"), Reply::Give(b"<html>".to_vec()))
        }),
        case("a listing without end", None, |ask| when(ask.name.ends_with(".ls"), Reply::Endless)),
        case("listings that lie", Some("differs from its listing"), |ask| {
            if !ask.name.ends_with(".ls") || ask.bytes.is_none() {
                return Reply::Good;
            }
            Reply::Give(ask.text().replace("kernel-params", "kernel-qarams").into_bytes())
        }),
    ]
}

/// What a narinfo can say where nobody signs.
fn unsigned_lies() -> Vec<Case> {
    fn url(ask: &Ask, url: &str) -> Reply {
        narinfo(ask, |text| text.replace(&format!("URL: {}", field(text, "URL: ")), &format!("URL: {url}")))
    }
    let refuses = Some("the URL of its NAR is");
    vec![
        case("a URL that leads out", refuses, |ask| url(ask, "nar/../../x")),
        case("a URL that leads out in other words", refuses, |ask| url(ask, "nar/%2E%2e/x")),
        case("a URL that leads out at the end", refuses, |ask| url(ask, "nar/..")),
        case("a URL of this machine", refuses, |ask| url(ask, "file:///etc/passwd")),
        case("a URL with a line break", Some("the server answers 404"), |ask| url(ask, "nar/a%0d%0aX:y")),
        case("a URL with a space", refuses, |ask| url(ask, "nar/a b HTTP/1.1")),
        case("a URL that begins with a slash", None, |ask| {
            narinfo(ask, |text| text.replace("URL: nar/", "URL: /nar/"))
        }),
        case("a NarSize that is too small", Some("NarSize"), |ask| {
            narinfo(ask, |text| {
                text.replace(&format!("NarSize: {}", field(text, "NarSize: ")), "NarSize: 96")
            })
        }),
        case("a NarSize of a terabyte", Some("NarSize"), |ask| {
            narinfo(ask, |text| {
                text.replace(&format!("NarSize: {}", field(text, "NarSize: ")), "NarSize: 1099511627776")
            })
        }),
        case("a NAR of something else", Some("its NarHash is"), |ask| {
            narinfo(ask, |text| {
                text.replace(
                    &format!("NarHash: {}", field(text, "NarHash: ")),
                    &format!("NarHash: sha256:{}", "0".repeat(64)),
                )
            })
        }),
        case("another compression", Some("not recognized"), |ask| {
            narinfo(ask, |text| text.replace("Compression: zstd", "Compression: xz"))
        }),
        case("a compression that nobody knows", Some("the compression of its NAR is rot13"), |ask| {
            narinfo(ask, |text| text.replace("Compression: zstd", "Compression: rot13"))
        }),
        case("references in a circle", Some("references that go in a circle"), |ask| {
            narinfo(ask, |text| {
                let base = field(text, "StorePath: /nix/store/").to_owned();
                let top = base.contains("nixos-system");
                if top {
                    text.to_owned()
                } else {
                    text.replace(
                        "References: ",
                        &format!("References: {} ", TOP.trim().trim_start_matches("/nix/store/")),
                    )
                }
            })
        }),
        case("200 KiB of references that are nowhere", Some("is in none of the stores"), |ask| {
            narinfo(ask, |text| {
                let many: String = (0..4096).map(|n| format!("{n:032}-made-up-{n} ")).collect();
                text.replace("References: ", &format!("References: {many}"))
            })
        }),
        case("200 KiB of the same references", None, |ask| {
            narinfo(ask, |text| {
                let own = format!("{} ", field(text, "References: "));
                text.replace("References: ", &format!("References: {}", own.repeat(200 * 1024 / own.len())))
            })
        }),
        case("a deriver of many lines", Some("Deriver is"), |ask| {
            narinfo(ask, |text| text.replace("References: ", "Deriver: a\rb\nReferences: "))
        }),
    ]
}

/// The toplevel of the demo.
const TOP: &str = include_str!("../fixtures/demo/toplevel");

trait Also {
    fn also(self, other: &'static str) -> Self;
}

impl Also for Case {
    /// Where the first check that a lie meets is another one.
    fn also(mut self, other: &'static str) -> Self {
        self.1 = Some(other);
        self
    }
}

/// Adds a listing of each path that can have one to a cache.
pub fn add_listings(root: &Path) {
    let remote = Remote {
        client: Client::new(&Arc::default(), Settings::default()),
        kept: root.join("unused"),
        most: 0,
        keys: None,
        fetched: Arc::default(),
        ssh: Arc::new(crate::formats::NoSsh),
    };
    let cache = store::open(&format!("file://{}", root.display()), None, &remote).unwrap();
    for path in cache.names().unwrap() {
        let info = cache.path_info(&path).unwrap().unwrap();
        let tree = store::index(&*cache, &info, &Room::default()).unwrap();
        // JSON has no word for a name that is no Unicode.
        if let Some(text) = listing::encode(&tree) {
            std::fs::write(root.join(format!("{}.ls", path.hash_part())), text).unwrap();
        }
    }
}

#[test]
fn each_fault_is_got_over_or_told_and_leaves_what_is_kept_right() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let (root, keys) = cache(demo, dir.path());
    let plain = dir.path().join("plain");
    let good =
        take(demo, &Server::start(&root, Box::new(|_| Reply::Good)).address, &plain, Some(&keys)).unwrap();
    add_listings(&root);
    let signed = statuses().into_iter().chain(connections()).chain(lies()).map(|case| (case, Some(&keys)));
    let cases: Vec<_> = signed.chain(unsigned_lies().into_iter().map(|case| (case, None))).collect();
    let many = cases.len();
    std::thread::scope(|scope| {
        for (number, ((name, expected, fault), keys)) in cases.into_iter().enumerate() {
            let (root, kept) = (&root, dir.path().join(format!("kept-{number}")));
            scope.spawn(move || {
                let server = Server::start(root, fault);
                let result = take(demo, &server.address, &kept, keys);
                match (expected, result) {
                    (None, Ok(bytes)) => assert_eq!(bytes, good, "{name}"),
                    (Some(part), Err(error)) => {
                        assert!(error.to_string().contains(part), "{name}: {error}, expected {part}");
                    }
                    (expected, result) => panic!("{name}: {result:?}, expected {expected:?}"),
                }
                check_kept(&kept);
                server.broken.store(false, Ordering::Relaxed);
                let after = take(demo, &server.address, &kept, keys);
                assert_eq!(
                    after.unwrap_or_else(|error| panic!("{name}: afterwards: {error}")),
                    good,
                    "{name}"
                );
                check_kept(&kept);
            });
        }
    });
    assert!(many > 70, "{many} faults");
}

#[test]
fn logins_go_to_their_host_and_nowhere_else() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let (root, keys) = cache(demo, dir.path());
    let other = Server::start(&root, Box::new(|_| Reply::Good));
    let there = other.address.replace("127.0.0.1", "localhost");
    let server = Server::start(
        &root,
        Box::new(move |ask| match &ask.login {
            // me:secret
            Some(login) if login == "Basic bWU6c2VjcmV0" => {
                status(ask.is_nar(), "302 Found", &format!("Location: {there}/{}\r\n", ask.name))
            }
            _ => status(true, "401 Who", ""),
        }),
    );
    let netrc = Netrc::parse("machine 127.0.0.1 login me password secret").unwrap();
    let client = with_logins(netrc);
    let take_as = |client, address: &str, kept: &str| {
        take_with(client, (demo, address, &dir.path().join(kept), Some(&keys)))
    };
    take_as(client, &server.address, "kept-1").unwrap();
    let seen = other.logins.lock().unwrap().clone();
    assert!(seen.len() >= 10 && seen.iter().all(|(_, login)| login.is_none()), "{seen:?}");
    // A login in the address is as good, and no message shows it.
    let plain = || client_with(Settings::default());
    let with = |login: &str| server.address.replace("http://", &format!("http://{login}@"));
    take_as(plain(), &with("me:secret"), "kept-2").unwrap();
    for wrong in ["me:wr0ng", "wr0ng"] {
        let error = take_as(plain(), &with(wrong), "kept-3").unwrap_err().to_string();
        assert!(
            error.contains("does not take the login in the address") && !error.contains("wr0ng"),
            "{error}"
        );
    }
    let netrc = Netrc::parse("default login me password wr0ng").unwrap();
    let error = take_as(with_logins(netrc), &server.address, "kept-4").unwrap_err().to_string();
    assert!(error.contains("the login that netrc has") && !error.contains("wr0ng"), "{error}");
}

#[test]
fn what_is_damaged_on_this_machine_is_fetched_again() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let (root, keys) = cache(demo, dir.path());
    // Some caches do not say the hash of the file.
    for with_hashes in [true, false] {
        let server = Server::start(
            &root,
            Box::new(move |ask| {
                narinfo(ask, |text| {
                    let lines = text.lines().filter(|line| with_hashes || !line.starts_with("File"));
                    lines.map(|line| format!("{line}\n")).collect()
                })
            }),
        );
        let kept = dir.path().join(format!("kept-{with_hashes}"));
        let good = take(demo, &server.address, &kept, Some(&keys)).unwrap();
        let asked =
            || server.logins.lock().unwrap().iter().filter(|(name, _)| name.starts_with("nar/")).count();
        assert_eq!(asked(), 10);
        take(demo, &server.address, &kept, Some(&keys)).unwrap();
        assert_eq!(asked(), 10, "nothing is fetched twice");
        let nars = std::fs::read_dir(kept.join("nar")).unwrap().map(|entry| entry.unwrap().path());
        let nars: Vec<PathBuf> = nars.filter(|path| path.extension().unwrap() == "zstd").collect();
        for (n, path) in nars.iter().enumerate() {
            let mut bytes = std::fs::read(path).unwrap();
            match n % 3 {
                0 => bytes.truncate(20),
                1 => bytes[30] ^= 1,
                _ => bytes.push(0),
            }
            std::fs::write(path, bytes).unwrap();
        }
        for path in std::fs::read_dir(kept.join("listing")).unwrap().map(|entry| entry.unwrap().path()) {
            std::fs::write(path, "{").unwrap();
        }
        assert_eq!(take(demo, &server.address, &kept, Some(&keys)).unwrap(), good);
        assert_eq!(asked(), 20, "each once more");
    }
}

#[test]
fn a_server_is_not_asked_again_at_once() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let (root, keys) = cache(demo, dir.path());
    let server = Server::start(
        &root,
        Box::new(|ask| {
            status(ask.name == "nix-cache-info" && ask.nth == 1, "429 Slow", "Retry-After: 2\r\n")
        }),
    );
    let start = Instant::now();
    take(demo, &server.address, &dir.path().join("kept"), Some(&keys)).unwrap();
    assert!(start.elapsed() >= Duration::from_secs(2));
}

#[test]
fn a_narinfo_that_is_kept_is_renewed_when_the_server_has_packed_the_nar_anew() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let (root, keys) = cache(demo, dir.path());
    let server = Server::start(&root, Box::new(|_| Reply::Good));
    let kept = dir.path().join("kept");
    let good = take(demo, &server.address, &kept, Some(&keys)).unwrap();
    for path in std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()) {
        if path.extension().is_none_or(|extension| extension != "narinfo") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let info = NarInfo::parse(&text).unwrap();
        let nar = zstd::decode_all(&std::fs::read(root.join(&info.url)).unwrap()[..]).unwrap();
        std::fs::remove_file(root.join(&info.url)).unwrap();
        let packed = pack("gzip", &nar);
        std::fs::write(root.join(format!("nar/{}.new", info.path.hash_part())), &packed).unwrap();
        let hash = nar_hash::show(
            &sha2::Digest::finalize(<sha2::Sha256 as sha2::Digest>::new_with_prefix(&packed)).into(),
        );
        let lines = text.lines().map(|line| match line.split(": ").next().unwrap() {
            "URL" => format!("URL: nar/{}.new\n", info.path.hash_part()),
            "Compression" => "Compression: gzip\n".to_owned(),
            "FileHash" => format!("FileHash: {hash}\n"),
            "FileSize" => format!("FileSize: {}\n", packed.len()),
            _ => format!("{line}\n"),
        });
        std::fs::write(&path, lines.collect::<String>()).unwrap();
    }
    std::fs::remove_dir_all(kept.join("nar")).unwrap();
    assert_eq!(take(demo, &server.address, &kept, Some(&keys)).unwrap(), good);
}
