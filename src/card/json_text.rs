//! The one form of JSON on a card: keys in order, indented by two, a newline at the end.

use serde::Serialize;
use serde_json::Value;

/// The text of a value whose keys are strings.
pub fn of(value: &impl Serialize) -> String {
    // cannot fail: the maps of a card have string keys. Through a `Value`, whose keys are sorted.
    format!("{:#}\n", serde_json::to_value(value).unwrap_or(Value::Null))
}
