//! Fuzz targets: parsers and normalizations over `tests/corpus`, by the fuzzer of the testkit, which tells how to run them longer.

mod config;
mod frames;
mod headers;
mod http1;
mod path;
mod request;
mod sockets;
mod text;

use plenipo_engine::http::header::HeaderList;

/// The entries of a list as text, for comparison and messages.
fn shown(headers: &HeaderList) -> Vec<String> {
    headers.iter().map(|(_, name, value)| format!("{}={}", name.escape_ascii(), value.escape_ascii())).collect()
}
