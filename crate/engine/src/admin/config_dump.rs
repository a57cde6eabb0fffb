//! `/config_dump`: the running configuration, whole or in parts.

use regex::Regex;
use serde_json::{Map, Value, json};

use super::{AdminSource, handler::Answer, handler::Parameters};

/// Repeated fields that `resource=` may name, and the message of their elements behind the config's `@type`.
const RESOURCES: &[(&str, &str)] = &[
    ("static_clusters", "ClustersConfigDump.StaticCluster"),
    ("dynamic_active_clusters", "ClustersConfigDump.DynamicCluster"),
    ("dynamic_warming_clusters", "ClustersConfigDump.DynamicCluster"),
    ("static_listeners", "ListenersConfigDump.StaticListener"),
    ("dynamic_listeners", "ListenersConfigDump.DynamicListener"),
    ("static_route_configs", "RoutesConfigDump.StaticRouteConfig"),
    ("dynamic_route_configs", "RoutesConfigDump.DynamicRouteConfig"),
    ("inline_scoped_route_configs", "ScopedRoutesConfigDump.InlineScopedRouteConfigs"),
    ("dynamic_scoped_route_configs", "ScopedRoutesConfigDump.DynamicScopedRouteConfigs"),
    ("static_secrets", "SecretsConfigDump.StaticSecret"),
    ("dynamic_active_secrets", "SecretsConfigDump.DynamicSecret"),
    ("dynamic_warming_secrets", "SecretsConfigDump.DynamicSecret"),
    ("static_endpoint_configs", "EndpointsConfigDump.StaticEndpointConfig"),
    ("dynamic_endpoint_configs", "EndpointsConfigDump.DynamicEndpointConfig"),
];

/// `/config_dump`
pub(super) fn config_dump(source: &dyn AdminSource, parameters: &Parameters) -> Answer {
    let names = match parameters.regex("name_regex") {
        Ok(names) => names,
        Err(answer) => return answer,
    };
    let mut configs = source.config_dump(parameters.has("include_eds"));
    if let Some(names) = &names {
        configs.iter_mut().for_each(|config| keep_named(config, names));
    }
    let mask = parameters.get("mask").filter(|m| !m.is_empty());
    let chosen = match parameters.get("resource").filter(|r| !r.is_empty()) {
        Some(resource) => match resources(configs, resource) {
            Ok(mut elements) => {
                if let Some(mask) = mask {
                    for element in &mut elements {
                        apply_mask(element, mask);
                    }
                }
                elements
            }
            Err(answer) => return answer,
        },
        None => match mask {
            None => configs,
            Some(mask) => {
                configs.retain_mut(|config| apply_mask(config, mask));
                if configs.is_empty() {
                    return plain(400, format!("FieldMask {mask} could not be successfully applied to any configs."));
                }
                configs
            }
        },
    };
    if chosen.is_empty() {
        return Answer::json(&json!({}));
    }
    Answer::json(&json!({ "configs": chosen }))
}

/// The elements of one repeated field, each with a `@type` of its own.
fn resources(configs: Vec<Value>, resource: &str) -> Result<Vec<Value>, Answer> {
    let Some((_, message)) = RESOURCES.iter().find(|r| r.0 == resource) else {
        return Err(match resource {
            "bootstrap" => plain(400, "bootstrap is not a repeated field. Use ?mask=bootstrap to get only this field"),
            _ => plain(404, format!("{resource} not found in config dump")),
        });
    };
    let elements = configs.into_iter().filter_map(|config| match config {
        Value::Object(mut fields) => fields.remove(resource),
        _ => None,
    });
    let elements = elements.flat_map(|list| match list {
        Value::Array(list) => list,
        _ => Vec::new(),
    });
    Ok(elements
        .map(|element| {
            let mut out = Map::new();
            out.insert("@type".into(), format!("type.googleapis.com/envoy.admin.v3.{message}").into());
            if let Value::Object(fields) = element {
                out.extend(fields);
            }
            Value::Object(out)
        })
        .collect())
}

/// Leaves only those elements of a config's lists whose name matches.
fn keep_named(config: &mut Value, names: &Regex) {
    let Some(fields) = config.as_object_mut() else { return };
    for list in fields.values_mut().filter_map(Value::as_array_mut) {
        list.retain(|element| name_of(element).is_none_or(|name| names.is_match(name)));
    }
    fields.retain(|_, value| value.as_array().is_none_or(|list| !list.is_empty()));
}

/// The name of an element: its own, or that of the message inside it.
fn name_of(element: &Value) -> Option<&str> {
    let fields = element.as_object()?;
    fields.get("name").and_then(Value::as_str).or_else(|| {
        fields
            .values()
            .filter_map(Value::as_object)
            .find_map(|inner| ["name", "cluster_name"].iter().find_map(|key| inner.get(*key).and_then(Value::as_str)))
    })
}

/// Keeps only the paths of a protobuf FieldMask; false where none of them is there.
fn apply_mask(value: &mut Value, mask: &str) -> bool {
    let paths: Vec<Vec<&str>> = mask.split(',').filter(|p| !p.is_empty()).map(|p| p.split('.').collect()).collect();
    let paths: Vec<&[&str]> = paths.iter().map(Vec::as_slice).collect();
    keep(value, &paths)
}

fn keep(value: &mut Value, paths: &[&[&str]]) -> bool {
    match value {
        // A path goes through the elements of a list.
        Value::Array(list) => {
            for element in list.iter_mut() {
                keep(element, paths);
            }
            !list.is_empty()
        }
        Value::Object(fields) => {
            let mut found = false;
            fields.retain(|key, inner| {
                if key == "@type" {
                    return true;
                }
                let below: Vec<&[&str]> = paths.iter().filter(|p| p.first() == Some(&key.as_str())).map(|p| &p[1..]).collect();
                let kept = below.iter().any(|p| p.is_empty()) || (!below.is_empty() && keep(inner, &below));
                found |= kept;
                kept
            });
            found
        }
        _ => false,
    }
}

/// Envoy gives these errors without a charset.
fn plain(status: u16, body: impl Into<String>) -> Answer {
    Answer { content_type: "text/plain", ..Answer::error(status, body) }
}
