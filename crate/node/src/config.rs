//! Reading and checking configurations for JavaScript.

use plenipo_api::{Input, Options, read, to_json_unredacted};
use serde_json::Value;

use crate::wire::{Failure, issues_json};

const BOOTSTRAP: &str = "envoy.config.bootstrap.v3.Bootstrap";

/// Every issue of a Bootstrap: of a text by a file's name, of a YAML text, or of a JavaScript object, whose places nobody has seen.
pub fn validate(text: String, file: Option<&str>, object: bool) -> Value {
    let input = match file {
        _ if object => Input::object(text),
        Some(name) => match Input::file(name, text) {
            Ok(input) => input,
            Err(issues) => return issues_json(&issues),
        },
        None => Input::yaml(text),
    };
    issues_json(&plenipo_engine::engine::validate(vec![input], &plenipo_engine::engine::Options::default()))
}

/// A file's Bootstrap as JSON, with its secrets.
pub fn load(text: String, file: &str) -> Result<Value, Failure> {
    let input = Input::file(file, text).map_err(|issues| Failure::config(&issues))?;
    let loaded = read(BOOTSTRAP, vec![input], &Options::default()).map_err(|issues| Failure::config(&issues))?;
    to_json_unredacted(BOOTSTRAP, &loaded.bytes).map_err(|error| Failure::new("ERR_PLENIPO_CONFIG_INVALID", format!("{file}: {error}")))
}
