//! The `plenipo` command as a library: reached as a program of its own, and from Node through the addon.

mod flags;
mod log;
mod run;
mod validate;

use std::ffi::{OsStr, OsString};

use clap::Parser;

use flags::{Arguments, Command};

/// Runs the command with its arguments, the program's name first; gives the exit status.
///
/// It returns when the proxy has stopped. Only a second SIGTERM or SIGINT ends the process from inside.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments = match Arguments::try_parse_from(as_envoy(arguments.into_iter().collect())) {
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

/// Takes a command line of `envoy` as it is: without a subcommand it means `run`, and `--` or `--ignore_rest` ends what is read.
fn as_envoy(mut arguments: Vec<OsString>) -> Vec<OsString> {
    const OURS: [&str; 4] = ["-h", "--help", "-V", "--version"];
    let is_flag = |a: &OsStr| a.as_encoded_bytes().starts_with(b"-") && !OURS.iter().any(|o| a == *o);
    if arguments.get(1).is_some_and(|a| is_flag(a)) {
        arguments.insert(1, "run".into());
    }
    if arguments.get(1).is_some_and(|a| a == "run")
        && let Some(end) = arguments.iter().position(|a| a == "--" || a == "--ignore_rest")
    {
        arguments.truncate(end);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_of_envoy_are_taken() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        for (given, want) in [
            ("plenipo -c a.yaml", "plenipo run -c a.yaml"),
            ("plenipo --mode validate -- x", "plenipo run --mode validate"),
            ("plenipo run -l error --ignore_rest x y", "plenipo run -l error"),
            ("plenipo validate -- -odd.yaml", "plenipo validate -- -odd.yaml"),
            ("plenipo --version", "plenipo --version"),
            ("plenipo", "plenipo"),
        ] {
            assert_eq!(as_envoy(words(given)), words(want), "{given}");
        }
    }

    #[test]
    fn clap_finds_its_definition_whole() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
