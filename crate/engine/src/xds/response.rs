//! A `DiscoveryResponse` for one source of routes: finds the one `RouteConfiguration` in it. Pure.

use bytes::Bytes;
use plenipo_api::{
    Input, Issue, Options, Places, Severity, UnknownFields,
    proto::envoy::{config::route::v3::RouteConfiguration, service::discovery::v3::DiscoveryResponse},
};
use prost::{Message, Name};

use super::Found;
use crate::config::SUPPORT;

/// The longest message that is made of issues, in issues.
const MAX_TOLD: usize = 5;

/// A response that was read, with what is to be told of it.
pub struct Response {
    /// `version_info`
    pub version: String,
    /// The resources, still encoded.
    pub resources: Vec<prost_types::Any>,
    /// Fields that Envoy's API does not have.
    pub warnings: Vec<Issue>,
    /// Where in the text each field stands.
    pub places: Places,
}

/// Why a text is no response.
#[derive(Debug)]
pub enum Unread {
    /// It is none: broken syntax, wrong types.
    Broken(String),
    /// It has fields that Envoy's API does not have, which are to be refused.
    UnknownFields(String),
}

/// Reads the text of a response.
pub fn read(input: Input, unknown: UnknownFields) -> Result<Response, Unread> {
    let loaded = plenipo_api::parse(&DiscoveryResponse::full_name(), input, unknown).map_err(|issues| {
        let only_unknown = errors(&issues).all(|i| i.code == plenipo_api::IssueCode::UnknownField);
        if only_unknown { Unread::UnknownFields(message(&issues)) } else { Unread::Broken(message(&issues)) }
    })?;
    let response = DiscoveryResponse::decode(loaded.bytes).map_err(|e| Unread::Broken(e.to_string()))?;
    Ok(Response { version: response.version_info, resources: response.resources, warnings: loaded.warnings, places: loaded.places })
}

/// The routes named `name` of these resources, with what is to be told of them; refuses what Envoy refuses, in its words where it has some.
pub fn routes(response: &Response, name: &str, unknown: UnknownFields) -> Result<(Found, Vec<Issue>), String> {
    let resource = match response.resources.as_slice() {
        [] => return Ok((Found::Empty, Vec::new())),
        [resource] => resource,
        all => return Err(format!("Unexpected RDS resource length: {}", all.len())),
    };
    let wanted = RouteConfiguration::full_name();
    if resource.type_url.rsplit('/').next() != Some(&wanted) {
        return Err(format!("Unable to unpack as {wanted}: {}", resource.type_url));
    }
    let config = Bytes::copy_from_slice(&resource.value);
    let mut warnings = plenipo_api::check(&wanted, &config, &Options { support: Some(&SUPPORT), unknown_fields: unknown })
        .map_err(|issues| message(&below(issues, &response.places)))?;
    warnings = below(warnings, &response.places);
    // It was checked just now; decoding it whole costs what compiling it costs.
    let found = RouteConfiguration::decode(config.clone()).map_err(|e| e.to_string())?.name;
    if found != name {
        return Err(format!("Unexpected RDS configuration (expecting {name}): {found}"));
    }
    Ok((Found::Routes { version: response.version.clone(), config }, warnings))
}

/// The issues of the first resource with their places in the whole text.
fn below(mut issues: Vec<Issue>, places: &Places) -> Vec<Issue> {
    for issue in &mut issues {
        let separator = if issue.path.is_empty() { "" } else { "." };
        issue.path = format!("resources[0]{separator}{}", issue.path);
    }
    places.annotate_all(&mut issues);
    issues
}

fn errors(issues: &[Issue]) -> impl Iterator<Item = &Issue> {
    issues.iter().filter(|i| i.severity == Severity::Error)
}

/// One line of the errors.
pub fn message(issues: &[Issue]) -> String {
    let told: Vec<String> = errors(issues).take(MAX_TOLD).map(ToString::to_string).collect();
    let more = errors(issues).count() - told.len();
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("{}{more}", told.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &str = r#""@type": type.googleapis.com/envoy.config.route.v3.RouteConfiguration, name: local"#;

    fn found(text: &str, unknown: UnknownFields) -> Result<(Found, Vec<Issue>), String> {
        let read = read(Input::yaml(text).named("rds.yaml"), unknown).map_err(|e| format!("{e:?}"))?;
        let (found, mut warnings) = routes(&read, "local", unknown)?;
        warnings.extend(read.warnings);
        Ok((found, warnings))
    }

    fn refused(text: &str) -> String {
        found(text, UnknownFields::Warn).err().unwrap()
    }

    #[test]
    fn one_table_of_the_right_name_is_found() {
        let text = format!("{{version_info: v1, resources: [{{{ROUTES}}}]}}");
        let Ok((Found::Routes { version, config }, warnings)) = found(&text, UnknownFields::Reject) else { panic!("no routes") };
        assert_eq!((version.as_str(), &config[..]), ("v1", &b"\x0a\x05local"[..]));
        assert!(warnings.is_empty());
        assert!(matches!(found("version_info: v2", UnknownFields::Warn), Ok((Found::Empty, _))));
    }

    #[test]
    fn what_is_refused_says_why() {
        assert_eq!(refused(&format!("resources: [{{{ROUTES}}}, {{{ROUTES}}}]")), "Unexpected RDS resource length: 2");
        assert_eq!(refused(&format!("resources: [{{{ROUTES}x}}]")), "Unexpected RDS configuration (expecting local): localx");
        assert!(
            refused(r#"resources: [{"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: local}]"#)
                .starts_with("Unable to unpack as envoy.config.route.v3.RouteConfiguration: ")
        );
        let empty = refused(&format!("resources: [{{{ROUTES}, virtual_hosts: [{{name: v}}]}}]"));
        assert!(empty.starts_with("rds.yaml:1:") && empty.contains("resources[0].virtual_hosts[0].domains"), "{empty}");
        for broken in ["resources: {", "resources: [7]", &format!("resources: [{{{ROUTES}, virtual_hosts: 7}}]")] {
            assert!(refused(broken).starts_with("Broken("), "{broken}: {}", refused(broken));
        }
    }

    #[test]
    fn unknown_fields_are_refused_told_or_ignored() {
        let text = format!("{{resources: [{{{ROUTES}, nonsense: 1}}]}}");
        let refused = found(&text, UnknownFields::Reject).err().unwrap();
        assert!(refused.starts_with("UnknownFields(") && refused.contains("resources[0].nonsense"), "{refused}");
        assert_eq!(found(&text, UnknownFields::Warn).unwrap().1.len(), 1);
        assert_eq!(found(&text, UnknownFields::Ignore).unwrap().1.len(), 0);
    }
}
