//! Reading JSON that another version may have written: a value of another type counts as absent, never as an error.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The value, or its default where the text has another type there.
///
/// # Errors
/// Only where the text is no JSON at all.
pub fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).unwrap_or_default())
}

/// The elements that have the expected type, in their order; `None` where there is no array at all.
///
/// # Errors
/// Only where the text is no JSON at all.
pub fn some_elements<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let Value::Array(values) = Value::deserialize(deserializer)? else { return Ok(None) };
    Ok(Some(values.into_iter().filter_map(|value| serde_json::from_value(value).ok()).collect()))
}

/// The same; nothing where there is no array.
///
/// # Errors
/// Only where the text is no JSON at all.
pub fn elements<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    Ok(some_elements(deserializer)?.unwrap_or_default())
}
