//! Compiles what a connection manager says of itself and of requests, and what it edits before anything else.

use plenipo_api::proto::envoy::{
    config::core::v3::{TypedExtensionConfig, scheme_header_transformation::Transformation},
    extensions::{
        filters::network::http_connection_manager::v3::{
            HttpConnectionManager, RequestIdExtension, http_connection_manager::proxy_status_config::ProxyName,
        },
        http::early_header_mutation::header_mutation::v3::HeaderMutation,
        request_id::uuid::v3::UuidRequestIdConfig,
    },
};

use super::super::{
    Context, any,
    issues::{At, Issues},
};
use crate::{
    filter::header_mutation::{self, Step},
    http::{
        proxy_status::ProxyStatus,
        settings::{Scheme, SchemeHeader},
    },
};

/// Compiles `request_id_extension`: whether request ids say why a request is traced.
pub fn pack_trace_reason(extension: Option<&RequestIdExtension>, at: &At<'_>, issues: &mut Issues) -> bool {
    const UUID: &str = "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig";
    let Some(typed) = extension.and_then(|extension| extension.typed_config.as_ref()) else { return true };
    let at = at.field("typed_config");
    match any::type_name(typed) {
        UUID => any::decode::<UuidRequestIdConfig>(typed, &at, issues).and_then(|c| c.pack_trace_reason).unwrap_or(true),
        other => {
            issues.push(at.unsupported("this kind of request id is not implemented").got(other));
            true
        }
    }
}

/// Compiles `scheme_header_transformation`; the reader has checked the scheme.
pub fn scheme_header(config: &HttpConnectionManager) -> SchemeHeader {
    let Some(config) = &config.scheme_header_transformation else { return SchemeHeader::Keep };
    match &config.transformation {
        _ if config.match_upstream => SchemeHeader::MatchUpstream,
        Some(Transformation::SchemeToOverwrite(scheme)) if scheme == "https" => SchemeHeader::Overwrite(Scheme::Https),
        Some(Transformation::SchemeToOverwrite(_)) => SchemeHeader::Overwrite(Scheme::Http),
        None => SchemeHeader::Keep,
    }
}

/// Compiles `early_header_mutation_extensions`.
pub fn early_mutations(list: &[TypedExtensionConfig], at: &At<'_>, issues: &mut Issues) -> Vec<Step> {
    const MUTATION: &str = "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation";
    let mut steps = Vec::new();
    for (i, extension) in list.iter().enumerate() {
        let at = at.index(i);
        let at = at.field("typed_config");
        match &extension.typed_config {
            Some(typed) if any::type_name(typed) == MUTATION => {
                if let Some(config) = any::decode::<HeaderMutation>(typed, &at, issues) {
                    steps.extend(header_mutation::config::steps(&config.mutations, &at.field("mutations"), issues));
                }
            }
            Some(typed) => issues.push(at.unsupported("this early header mutation is not implemented").got(any::type_name(typed))),
            None => issues.push(at.invalid("an extension needs its typed_config").got(&*extension.name)),
        }
    }
    steps
}

/// Compiles `proxy_status_config`.
pub fn proxy_status(config: &HttpConnectionManager, server_name: &str, context: &Context<'_>) -> Option<ProxyStatus> {
    let status = config.proxy_status_config.as_ref()?;
    let name = match &status.proxy_name {
        Some(ProxyName::LiteralProxyName(name)) => name,
        // Whatever it is set to, as in Envoy.
        Some(ProxyName::UseNodeId(_)) => context.service_node,
        None => server_name,
    };
    Some(ProxyStatus {
        name: name.into(),
        details: !status.remove_details,
        flags: !status.remove_response_flags,
        recommended_status: status.set_recommended_response_code,
    })
}
