//! What servers do wrong, and what must be said of it.

use crate::common::demo;
use crate::faulty::{Ask, Fault, Reply};
use std::io::Write;
use std::sync::{Arc, Mutex};

/// Packs bytes as `zstd`, or with gzip.
pub fn pack(what: &str, bytes: &[u8]) -> Vec<u8> {
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

/// A status when something holds, else what a good server does.
pub fn status(when: bool, status: &'static str, headers: &str) -> Reply {
    if when { Reply::Say(status, headers.to_owned(), b"words".to_vec()) } else { Reply::Good }
}

fn when(condition: bool, reply: Reply) -> Reply {
    if condition { reply } else { Reply::Good }
}

/// Another narinfo out of the one that is there.
pub fn narinfo(ask: &Ask, change: impl Fn(&str) -> String) -> Reply {
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
pub type Case = (&'static str, Option<&'static str>, Fault);

fn case(
    name: &'static str,
    expected: Option<&'static str>,
    fault: impl Fn(&Ask) -> Reply + Send + Sync + 'static,
) -> Case {
    (name, expected, Box::new(fault))
}

/// Statuses, redirects, logins.
pub fn statuses() -> Vec<Case> {
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

/// Connections that break, stall or never end; bodies that are encoded.
pub fn connections() -> Vec<Case> {
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

/// What a narinfo, a listing or a signature can say wrongly where signatures count.
pub fn lies() -> Vec<Case> {
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
pub fn unsigned_lies() -> Vec<Case> {
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
        case("a NAR of something else", Some(": its N"), |ask| {
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
                // cannot fail: what asks is the demo
                let top = demo().unwrap().top.trim_start_matches("/nix/store/");
                if field(text, "StorePath: /nix/store/").contains("nixos-system") {
                    text.to_owned()
                } else {
                    text.replace("References: ", &format!("References: {top} "))
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
