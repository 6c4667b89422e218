//! A server of a directory that does with each question what a test wants.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a server was asked for.
pub struct Ask {
    /// The name, without a slash before it.
    pub name: String,
    /// How often this name was asked for, from 1.
    pub nth: u32,
    /// From which byte on.
    pub range: Option<u64>,
    /// Who asks.
    pub login: Option<String>,
    /// The file, where there is one.
    pub bytes: Option<Vec<u8>>,
}

impl Ask {
    pub fn is_nar(&self) -> bool {
        self.name.starts_with("nar/")
    }

    pub fn is_narinfo(&self) -> bool {
        self.name.ends_with(".narinfo")
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.bytes.clone().unwrap()).unwrap()
    }
}

/// What it does.
pub enum Reply {
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

/// What becomes of a question.
pub type Fault = Box<dyn Fn(&Ask) -> Reply + Send + Sync>;

/// What was asked for, and with which login.
pub type Seen = (String, Option<String>);

pub struct Server {
    /// Where it listens.
    pub address: String,
    /// Whether faults happen.
    pub broken: Arc<AtomicBool>,
    /// What was asked for.
    pub logins: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// Serves a directory; `fault` decides what becomes of each question.
    pub fn start(root: &Path, fault: Fault) -> Self {
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
