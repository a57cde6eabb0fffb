//! From API messages to compiled types: collects all problems with their field paths.

pub mod access_log;
