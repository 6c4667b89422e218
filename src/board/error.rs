//! Why a profile is refused.

/// A profile is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not TOML, a key is unknown or missing, or a value cannot be used.
    #[error("{file}:{line}: {}{message}", key.as_ref().map_or_else(String::new, |key| format!("{key}: ")))]
    Profile {
        /// The profile, by its file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The key, with the number of its table where there are several; `None` where the text is not TOML.
        key: Option<String>,
        /// What is wrong and what is allowed.
        message: String,
    },
    /// No such board is built in.
    #[error("no board is called {name:?}; {}there are: {known}", near.as_ref().map_or_else(String::new, |near| format!("did you mean {near:?}? ")))]
    Unknown {
        /// The word given.
        name: String,
        /// The word that may have been meant.
        near: Option<String>,
        /// Those there are.
        known: String,
    },
}
