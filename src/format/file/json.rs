//! JSON that a stranger may have written, refused before its tree takes much memory.

use serde::de::{DeserializeOwned, Error};

/// The most values of one document: a manifest of 25,000 store paths. An object with one key takes seven bytes of text
/// and 650 of memory.
const MAX_VALUES: usize = 1 << 18;

/// Parses a document; the caller bounds the length of its text.
pub fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, serde_json::Error> {
    // Each value but the first comes behind one of these. Those in texts count too, which only makes it stricter.
    let values = 1 + json.iter().filter(|byte| matches!(byte, b'[' | b',' | b':')).count();
    if values > MAX_VALUES {
        let message = format!("it has about {values} values, expected at most {MAX_VALUES}");
        return Err(serde_json::Error::custom(message));
    }
    serde_json::from_slice(json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn documents_of_many_values_are_refused() {
        let of = |objects: usize| format!("[{}0]", "{\"\":0},".repeat(objects));
        let most = (MAX_VALUES - 2) / 2;
        assert_eq!(parse::<Value>(of(most).as_bytes()).unwrap().as_array().unwrap().len(), most + 1);
        let error = parse::<Value>(of(most + 1).as_bytes()).unwrap_err().to_string();
        assert_eq!(error, "it has about 262146 values, expected at most 262144");
    }
}
