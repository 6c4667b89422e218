//! `nix path-info --json`, in every shape that a Nix has printed.
//!
//! ```text
//! to 2.18   [ { "path": FULL, FACTS }, ... ]                        keys that have no value are left out
//! 2.19      { FULL: { FACTS } | null, ... }                         null: not valid
//! format 2  { "version": 2, "storeDir": DIR, "info": { BASE: { FACTS } | null, ... } }
//! format 3  as 2; signatures are { "keyName", "sig" }
//! ```
//! Names may be full paths or base names anywhere. Of the facts, `narHash`, `narSize` and `references` must be there. What
//! a derivation finds in `.attrs.json` (`exportReferencesGraph`) is the first shape below a key.
//! Source: Nix `src/nix/path-info.cc`, `src/libstore/path-info.cc`.

use super::database::Row;
use super::nar_hash;
use super::store_path::{STORE_DIR, StorePath};
use crate::base_n;
use crate::format::file::json;
use serde_json::{Map, Value};

/// It is no list of paths, or one of them lacks something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// It has another shape.
    #[error("expected the output of nix path-info --json, found {0}")]
    Shape(String),
    /// A fact is missing or cannot be used.
    #[error("{path}: {key} is {found}, expected {expected}")]
    Fact {
        /// The path that it is about.
        path: String,
        /// The key in the JSON.
        key: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
}

/// Parses all paths; those that are not valid are left out.
pub fn parse(text: &[u8]) -> Result<Vec<Row>, Error> {
    match json::parse(text)? {
        Value::Array(items) => items.iter().map(item).collect(),
        Value::Object(map) if map.get("info").is_some_and(Value::is_object) => {
            check_store_dir(&map, "the document")?;
            match map.get("version").and_then(Value::as_u64) {
                Some(2 | 3) => keyed(map.get("info").and_then(Value::as_object).into_iter().flatten()),
                _ => Err(fact("the document", "version", "2 or 3", map.get("version"))),
            }
        }
        Value::Object(map)
            if !map.is_empty() && map.values().all(|value| value.is_object() || value.is_null()) =>
        {
            keyed(map.iter())
        }
        Value::Object(map) if map.values().any(is_graph) => map
            .values()
            .filter(|value| is_graph(value))
            .flat_map(|value| value.as_array().into_iter().flatten())
            .map(item)
            .collect(),
        other => Err(Error::Shape(start(&other))),
    }
}

/// Whether it is a list of paths: what `exportReferencesGraph` gives for a key.
fn is_graph(value: &Value) -> bool {
    let items = value.as_array().filter(|items| !items.is_empty());
    items.is_some_and(|items| {
        items.iter().all(|item| item.get("path").is_some() && item.get("narHash").is_some())
    })
}

fn start(value: &Value) -> String {
    let text: String = value.to_string().chars().take(60).collect();
    format!("{text:?}")
}

fn item(value: &Value) -> Result<Row, Error> {
    let map = value.as_object().ok_or_else(|| Error::Shape(start(value)))?;
    let path = map.get("path").and_then(Value::as_str).ok_or_else(|| Error::Shape(start(value)))?;
    row(path, map)
}

fn keyed<'a>(entries: impl Iterator<Item = (&'a String, &'a Value)>) -> Result<Vec<Row>, Error> {
    let valid = entries.filter(|(_, value)| !value.is_null());
    valid
        .map(|(path, value)| match value {
            Value::Object(map) => row(path, map),
            other => Err(fact(path, "its value", "an object", Some(other))),
        })
        .collect()
}

fn fact(path: &str, key: &'static str, expected: &'static str, found: Option<&Value>) -> Error {
    let found = found.map_or_else(|| "missing".to_owned(), start);
    Error::Fact { path: path.chars().take(300).collect(), key, expected, found }
}

fn check_store_dir(map: &Map<String, Value>, path: &str) -> Result<(), Error> {
    match map.get("storeDir") {
        None => Ok(()),
        Some(Value::String(directory)) if directory == STORE_DIR => Ok(()),
        other => Err(fact(path, "storeDir", "\"/nix/store\"", other)),
    }
}

/// A store path, as a full path or as a base name.
fn store_path(text: &str) -> Option<StorePath> {
    if text.starts_with('/') { StorePath::from_absolute(text) } else { StorePath::from_base_name(text) }.ok()
}

fn row(name: &str, map: &Map<String, Value>) -> Result<Row, Error> {
    const A_PATH: &str = "a path in /nix/store";
    let of = |key: &'static str, expected: &'static str| fact(name, key, expected, map.get(key));
    check_store_dir(map, name)?;
    if map.get("valid") == Some(&Value::Bool(false)) {
        return Err(of("valid", "true"));
    }
    let path = store_path(name).ok_or_else(|| fact(name, "path", A_PATH, Some(&name.into())))?;
    let text = |key: &str| map.get(key).and_then(Value::as_str);
    let nar_hash =
        text("narHash").and_then(nar_hash::parse).ok_or_else(|| of("narHash", "a SHA-256 hash"))?;
    let nar_size = map.get("narSize").and_then(Value::as_u64).filter(|size| (1..=1 << 50).contains(size));
    let nar_size = nar_size.ok_or_else(|| of("narSize", "1 to 2^50"))?;
    let references = map.get("references").and_then(Value::as_array);
    let references = references.ok_or_else(|| of("references", "a list"))?.iter();
    let references = references.map(|value| {
        value.as_str().and_then(store_path).ok_or_else(|| fact(name, "a reference", A_PATH, Some(value)))
    });
    let mut references = references.collect::<Result<Vec<_>, _>>()?;
    references.sort();
    references.dedup();
    let deriver = text("deriver").filter(|text| !text.is_empty());
    let deriver = deriver.map(|text| store_path(text).ok_or_else(|| of("deriver", A_PATH))).transpose()?;
    let signatures = match map.get("signatures") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => {
            let parsed = items.iter().map(signature).collect::<Option<Vec<_>>>();
            parsed.ok_or_else(|| of("signatures", "signatures"))?
        }
        Some(_) => return Err(of("signatures", "a list")),
    };
    let content_address = match map.get("ca") {
        None | Some(Value::Null) => None,
        Some(value) => Some(content_address(value).ok_or_else(|| of("ca", "a content address"))?),
    };
    Ok(Row { path, nar_hash, nar_size, references, deriver, signatures, content_address })
}

/// `NAME:BASE64`, or an object of both.
fn signature(value: &Value) -> Option<String> {
    if let Some(text) = value.as_str() {
        return Some(text.to_owned()).filter(|text| !text.contains(char::is_whitespace));
    }
    let (name, signature) = (value.get("keyName")?.as_str()?, value.get("sig")?.as_str()?);
    Some(format!("{name}:{signature}"))
}

/// `METHOD:HASH`, or an object of both, which is written as the database has it.
fn content_address(value: &Value) -> Option<String> {
    if let Some(text) = value.as_str() {
        return Some(text.to_owned()).filter(|text| !text.is_empty());
    }
    let (method, hash) = (value.get("method")?.as_str()?, value.get("hash")?.as_str()?);
    let prefix = match method {
        "text" => "text:",
        "flat" => "fixed:",
        "nar" => "fixed:r:",
        "git" => "fixed:git:",
        _ => return None,
    };
    let shown = match hash.split_once('-') {
        Some(("sha256", _)) => nar_hash::show(&nar_hash::parse(hash)?),
        Some((algorithm, digits)) => {
            format!("{algorithm}:{}", base_n::to_base32(&base_n::from_base64(digits)?))
        }
        None => hash.to_owned(),
    };
    Some(format!("{prefix}{shown}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "8qbwijm5r3hmhvwq5arqfdmyizcxhsm6-a-lib";
    const B: &str = "jsxq4fl96wfd8psa4sp8ikdlbzdpwlv1-b-top";
    const DIR: &str = "/nix/store";
    const SRI: &str = "sha256-wg2buHxGmV5289/q4Qiq32UJ2WXVxcx+chNnHj+BuLw=";
    const BASE32: &str = "sha256:0f5r5y7wzqbw9v7lb5z5ci5nclz5f5q4wmlbxgnm73bavjfq1glc";

    /// The shapes of Nix 2.8, 2.19, 2.33 (format 2) and 2.35 (format 3), of the same two paths.
    fn shapes() -> [String; 5] {
        let facts = format!(r#""narHash":"{SRI}","narSize":1088"#);
        let first = format!(
            r#"[{{"path":"{DIR}/{A}",{facts},"references":[],"valid":true,"deriver":"{DIR}/{A}.drv"}},
            {{"path":"{DIR}/{B}",{facts},"references":["{DIR}/{B}","{DIR}/{A}"],"signatures":["k:AA=="],"ca":"text:{BASE32}"}}]"#
        );
        let maps = |dir: &str, ca: &str, signature: &str| {
            format!(
                r#"{{"{dir}{A}":{{{facts},"references":[],"deriver":"{dir}{A}.drv","ca":null,"signatures":[],"storeDir":"{DIR}","version":2}},
                "{dir}{B}":{{{facts},"references":["{dir}{A}","{dir}{B}"],"deriver":null,"ca":{ca},"signatures":[{signature}]}},
                "{dir}00000000000000000000000000000000-x":null}}"#
            )
        };
        let second = maps(&format!("{DIR}/"), &format!(r#""text:{BASE32}""#), r#""k:AA==""#);
        let ca = format!(r#"{{"method":"text","hash":"{SRI}"}}"#);
        let info = |version: u32, signature: &str| {
            format!(r#"{{"version":{version},"storeDir":"{DIR}","info":{}}}"#, maps("", &ca, signature))
        };
        let graph = format!(r#"{{"closure":{first},"name":"x","outputs":{{"out":"/1"}},"empty":[]}}"#);
        [first, second, info(2, r#""k:AA==""#), info(3, r#"{"keyName":"k","sig":"AA=="}"#), graph]
    }

    #[test]
    fn every_shape_says_the_same() {
        let shapes = shapes();
        let base32 = nar_hash::show(&nar_hash::parse(SRI).unwrap());
        let expected = parse(shapes[1].replace(BASE32, &base32).as_bytes()).unwrap();
        assert_eq!(expected.len(), 2);
        assert_eq!(expected[0].deriver.as_ref().unwrap().base_name(), format!("{A}.drv"));
        assert_eq!(
            (expected[1].references.len(), &expected[1].signatures[..]),
            (2, &["k:AA==".to_owned()][..])
        );
        for (number, shape) in shapes.iter().enumerate() {
            assert_eq!(parse(shape.replace(BASE32, &base32).as_bytes()).unwrap(), expected, "{number}");
        }
    }

    #[test]
    fn what_is_missing_or_elsewhere_is_named() {
        let [first, _, second, ..] = shapes();
        for (text, from, to, expected) in [
            (&first, "1088", "0", "-a-lib: narSize is \"0\", expected 1 to 2^50"),
            (&first, "\"narSize\":1088", "\"x\":1", "narSize is missing"),
            (&first, SRI, "sha1-x", "narHash is \"\\\"sha1-x\\\"\""),
            (&first, "\"references\":[],", "", "references is missing"),
            (&first, "[\"/nix/store/js", "[\"/gnu/store/js", "a reference is \"\\\"/gnu/store/jsx"),
            (&first, "true", "false", "valid is \"false\", expected true"),
            (
                &second,
                "/nix/store",
                "/gnu/store",
                "storeDir is \"\\\"/gnu/store\\\"\", expected \"/nix/store\"",
            ),
            (
                &second,
                "\"version\":2,\"storeDir",
                "\"version\":9,\"storeDir",
                "version is \"9\", expected 2 or 3",
            ),
            (&second, "\"text\"", "\"tar\"", "ca is"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(&changed, text, "{from}");
            let error = parse(changed.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}, expected {expected}");
        }
        for other in ["{}", "3", "[1]", r#"{"a":1}"#, r#"[{"narSize":1}]"#] {
            assert!(matches!(parse(other.as_bytes()), Err(Error::Shape(_))), "{other}");
        }
        assert!(matches!(parse(b"[{"), Err(Error::Json(_))));
    }
}
