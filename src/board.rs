//! The profile file of a board.
