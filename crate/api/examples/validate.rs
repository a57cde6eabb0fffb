//! Reads bootstrap files and prints every issue: `cargo run -p plenipo-api --example validate -- envoy.yaml`.
use std::process::ExitCode;

use plenipo_api::{Input, Options, read_bootstrap};

fn main() -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for name in std::env::args().skip(1) {
        let result = std::fs::read(&name)
            .map_err(|e| vec![e.to_string()])
            .and_then(|bytes| Input::file(&name, bytes).map_err(show))
            .and_then(|input| read_bootstrap(vec![input], &Options::default()).map_err(show));
        match result {
            Ok(loaded) => {
                for warning in &loaded.warnings {
                    println!("{warning}");
                }
                println!("{name}: OK");
            }
            Err(lines) => {
                for line in lines {
                    println!("{line}");
                }
                println!("{name}: REFUSED");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

fn show(issues: Vec<plenipo_api::Issue>) -> Vec<String> {
    issues.iter().map(ToString::to_string).collect()
}
