//! Checks a support list and prints how much of Envoy's API it covers: `cargo run -p plenipo-api --example coverage -- supported.txt`.
use std::process::ExitCode;

use plenipo_api::Support;

fn main() -> ExitCode {
    let Some(text) = std::env::args().nth(1).and_then(|name| std::fs::read_to_string(name).ok()) else {
        eprintln!("name a support list");
        return ExitCode::FAILURE;
    };
    match Support::parse(&text) {
        Ok(support) => {
            let coverage = support.coverage();
            println!("{} of {} fields", coverage.supported, coverage.total);
            ExitCode::SUCCESS
        }
        Err(errors) => {
            for error in errors {
                eprintln!("{error}");
            }
            ExitCode::FAILURE
        }
    }
}
