//! The `plenipo` program from outside: arguments, exit statuses, texts, signals.

mod arguments;
mod harness;
mod logging;
mod run;
mod signals;
mod validate;
