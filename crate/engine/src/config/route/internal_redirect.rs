//! Compiles `InternalRedirectPolicy`, and the fields of `RouteAction` that were its forerunners.

// Deprecated fields are Envoy's, and are read as long as Envoy reads them.
#![allow(deprecated)]

use plenipo_api::proto::envoy::{
    config::route::v3::{self as proto, route_action::InternalRedirectAction},
    extensions::internal_redirect::{
        allow_listed_routes::v3::AllowListedRoutesConfig, previous_routes::v3::PreviousRoutesConfig,
        safe_cross_scheme::v3::SafeCrossSchemeConfig,
    },
};
use prost::{Message, Name};

use super::type_name;
use crate::{
    config::issues::{At, Issues},
    http::header::HeaderName,
    route::{InternalRedirectPolicy, RedirectPredicate},
};

/// The policy of an action that stands at `at`.
pub fn compile(config: &proto::RouteAction, at: &At<'_>, issues: &mut Issues) -> Option<Box<InternalRedirectPolicy>> {
    let Some(policy) = &config.internal_redirect_policy else {
        return (config.internal_redirect_action == InternalRedirectAction::HandleInternalRedirect as i32)
            .then(|| Box::new(made(config.max_internal_redirects, Vec::new())));
    };
    let at = at.field("internal_redirect_policy");
    let predicates_at = at.field("predicates");
    let predicates = policy.predicates.iter().enumerate();
    let copy_at = at.field("response_headers_to_copy");
    for (i, name) in policy.response_headers_to_copy.iter().enumerate() {
        if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
            issues.push(copy_at.index(i).invalid(":-prefixed headers or Hosts may not be specified here.").got(name));
        }
    }
    let predicates = predicates.filter_map(|(i, p)| predicate(p, &predicates_at.index(i), issues)).collect();
    let mut made = made(policy.max_internal_redirects, predicates);
    if !policy.redirect_response_codes.is_empty() {
        // As in Envoy others than these have no effect.
        let redirects = policy.redirect_response_codes.iter().filter(|code| matches!(code, 301 | 302 | 303 | 307 | 308));
        made.statuses = redirects.map(|code| *code as u16).collect();
    }
    made.cross_scheme = policy.allow_cross_scheme_redirect;
    made.copy = policy.response_headers_to_copy.iter().map(|name| HeaderName::new(name)).collect();
    Some(Box::new(made))
}

fn made(max: Option<u32>, predicates: Vec<RedirectPredicate>) -> InternalRedirectPolicy {
    InternalRedirectPolicy { max: max.unwrap_or(1), statuses: vec![302], predicates, cross_scheme: false, copy: Vec::new() }
}

fn predicate(
    config: &plenipo_api::proto::envoy::config::core::v3::TypedExtensionConfig,
    at: &At<'_>,
    issues: &mut Issues,
) -> Option<RedirectPredicate> {
    let any = config.typed_config.as_ref()?;
    let kind = type_name(any);
    if kind == PreviousRoutesConfig::full_name() {
        return Some(RedirectPredicate::PreviousRoutes);
    }
    if kind == SafeCrossSchemeConfig::full_name() {
        return Some(RedirectPredicate::SafeCrossScheme);
    }
    if kind == AllowListedRoutesConfig::full_name() {
        return match AllowListedRoutesConfig::decode(any.value.as_slice()) {
            Ok(list) => Some(RedirectPredicate::AllowListed(list.allowed_route_names.into_iter().map(String::into_boxed_str).collect())),
            Err(error) => {
                issues.push(at.invalid(format!("not an AllowListedRoutesConfig: {error}")));
                None
            }
        };
    }
    issues.push(at.field("typed_config").unsupported("this predicate is not implemented").got(kind));
    None
}
