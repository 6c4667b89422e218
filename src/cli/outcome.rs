//! What a command ends with.

use super::exit::Failure;

pub(super) type Outcome = Result<(), Failure>;
