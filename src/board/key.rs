//! Keys of a profile: how errors name them, and on which line they stand.

use std::fmt;
use toml::de::{DeTable, DeValue};

/// One step from a table to what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Name(String),
    /// Which of several, from 1.
    Number(usize),
}

/// The place of a value in a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(Vec<Step>);

impl Key {
    /// A key of the profile itself, or of a table in it when dots say so.
    pub fn new(path: &str) -> Self {
        Self(path.split('.').map(|name| Step::Name(name.to_owned())).collect())
    }

    /// A key of the `number`th table of an array, from 1.
    pub fn of(array: &str, number: usize, name: &str) -> Self {
        Self(vec![Step::Name(array.to_owned()), Step::Number(number), Step::Name(name.to_owned())])
    }

    /// The line on which it stands, from 1; where it is missing that of the table it should be in.
    pub fn line(&self, text: &str) -> usize {
        let Ok(table) = DeTable::parse(text) else { return 1 };
        let (mut at, mut value) = (0, &DeValue::Table(table.into_inner()));
        for step in &self.0 {
            let found = match (step, value) {
                (Step::Name(name), DeValue::Table(table)) => table
                    .iter()
                    .find(|(key, _)| key.get_ref().as_ref() == name)
                    .map(|(key, inner)| (key.span().start, inner.get_ref())),
                (Step::Number(number), DeValue::Array(list)) => {
                    list.get(number - 1).map(|inner| (inner.span().start, inner.get_ref()))
                }
                _ => None,
            };
            let Some((start, inner)) = found else { break };
            (at, value) = (start, inner);
        }
        line_of(text, at)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match (step, index.checked_sub(1).and_then(|before| self.0.get(before))) {
                (Step::Name(name), None) => f.write_str(name)?,
                (Step::Name(name), Some(Step::Name(_))) => write!(f, ".{name}")?,
                (Step::Name(name), Some(Step::Number(_))) => write!(f, ": {name}")?,
                (Step::Number(number), _) => write!(f, " {number}")?,
            }
        }
        Ok(())
    }
}

/// The line of a byte, from 1.
pub fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// What is looked for at a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A key or its value.
    Any,
    /// A table, in which something is missing.
    Table,
}

/// The key that stands at a byte, or whose value does.
pub fn key_at(text: &str, at: usize, wanted: Wanted) -> Option<String> {
    let table = DeTable::parse(text).ok()?;
    let mut steps = Vec::new();
    descend(&DeValue::Table(table.into_inner()), at, wanted, &mut steps);
    (!steps.is_empty()).then(|| Key(steps).to_string())
}

/// Adds the steps to what is at a byte; the TOML parser bounds the depth.
fn descend(value: &DeValue<'_>, at: usize, wanted: Wanted, steps: &mut Vec<Step>) {
    let counts = |inner: &DeValue<'_>| wanted == Wanted::Any || inner.is_table() || inner.is_array();
    match value {
        DeValue::Table(table) => {
            for (key, inner) in table.iter().filter(|(_, inner)| counts(inner.get_ref())) {
                let mut below = Vec::new();
                descend(inner.get_ref(), at, wanted, &mut below);
                if key.span().contains(&at) || inner.span().contains(&at) || !below.is_empty() {
                    steps.push(Step::Name(key.get_ref().to_string()));
                    steps.append(&mut below);
                    return;
                }
            }
        }
        DeValue::Array(list) => {
            for (number, inner) in (1..).zip(list.iter()).filter(|(_, inner)| counts(inner.get_ref())) {
                let mut below = Vec::new();
                descend(inner.get_ref(), at, wanted, &mut below);
                if inner.span().contains(&at) || !below.is_empty() {
                    steps.push(Step::Number(number));
                    steps.append(&mut below);
                    return;
                }
            }
        }
        _ => {}
    }
}

/// The key and what is wrong with its value.
pub type Wrong = (Key, String);
