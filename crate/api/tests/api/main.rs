//! The reader against Envoy's own verdicts, leniences, rules and outputs.

mod corpus;
mod leniences;
mod mutations;
mod outputs;
mod rules;
mod support;

use plenipo_api::{Input, Issue, LoadedBootstrap, Options, Severity, read_bootstrap};

/// Reads a bootstrap in YAML with the schema's rules only.
pub fn yaml(text: &str) -> Result<LoadedBootstrap, Vec<Issue>> {
    read_bootstrap(vec![Input::yaml(text).named("f.yaml")], &Options::default())
}

/// The same for JSON.
pub fn json(text: &str) -> Result<LoadedBootstrap, Vec<Issue>> {
    read_bootstrap(vec![Input::json(text).named("f.json")], &Options::default())
}

/// The errors' paths with their messages, one a line; `OK` if there is none.
pub fn errors<T>(result: &Result<T, Vec<Issue>>) -> String {
    match result {
        Ok(_) => "OK".to_owned(),
        Err(issues) => {
            let errors: Vec<String> =
                issues.iter().filter(|i| i.severity == Severity::Error).map(|i| format!("{}: {}", i.path, i.message)).collect();
            errors.join("\n")
        }
    }
}

/// A bootstrap with one cluster that has these fields.
pub fn cluster(fields: &str) -> String {
    format!("static_resources: {{clusters: [{{name: x, type: STATIC, {fields}}}]}}")
}

/// A bootstrap with one HTTP connection manager that has these further fields.
pub fn manager(fields: &str) -> String {
    format!(
        "static_resources: {{listeners: [{{name: l, address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}, filter_chains: [{{filters: \
         [{{name: hcm, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, \
         stat_prefix: x, http_filters: [{{name: router, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}], \
         {fields}}}}}]}}]}}]}}"
    )
}
