//! Reading and checking configurations for JavaScript.

use plenipo_api::{Input, Options, UnknownFields, read, to_json_unredacted};
use serde_json::Value;

use crate::wire::{Failure, issues_json};

const BOOTSTRAP: &str = "envoy.config.bootstrap.v3.Bootstrap";

/// Every issue of a Bootstrap's text. Without a file name it is a JavaScript object's JSON, whose places nobody has seen.
pub fn validate(text: String, file: Option<&str>) -> Value {
    let input = match input(text, file) {
        Ok(input) => input,
        Err(failure) => return failure,
    };
    issues_json(&plenipo_engine::engine::validate(vec![input], UnknownFields::Reject))
}

/// A file's Bootstrap as JSON, with its secrets.
pub fn load(text: String, file: &str) -> Result<Value, Failure> {
    let input = Input::file(file, text).map_err(|issues| Failure::config(&issues))?;
    let loaded = read(BOOTSTRAP, vec![input], &Options::default()).map_err(|issues| Failure::config(&issues))?;
    to_json_unredacted(BOOTSTRAP, &loaded.bytes).map_err(|error| Failure::new("ERR_PLENIPO_CONFIG_INVALID", format!("{file}: {error}")))
}

fn input(text: String, file: Option<&str>) -> Result<Input, Value> {
    match file {
        Some(name) => Input::file(name, text).map_err(|issues| issues_json(&issues)),
        None => Ok(Input::object(text)),
    }
}
