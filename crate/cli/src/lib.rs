//! The `plenipo` command as a library: reached as a program of its own, and from Node through the addon.

mod flags;
mod log;
mod run;
mod validate;

use std::ffi::OsString;

use clap::Parser;

use flags::{Arguments, Command};

/// Runs the command with its arguments, the program's name first; gives the exit status.
///
/// It returns when the proxy has stopped. Only a second SIGTERM or SIGINT ends the process from inside.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(e) => {
            // Help and version are no errors for clap's exit code; a closed pipe is nobody to tell.
            let _ = e.print();
            return u8::from(e.use_stderr());
        }
    };
    match arguments.command {
        Command::Run(flags) => run::run(&flags),
        Command::Validate(flags) => validate::validate(&flags),
    }
}

/// The version as `plenipo --version` prints it.
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}
