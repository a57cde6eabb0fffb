//! Which redirects of an upstream the proxy follows itself (`internal_redirect_policy`).

use std::sync::Arc;

use crate::http::header::HeaderName;

/// `InternalRedirectPolicy`
#[derive(Clone, Debug)]
pub struct InternalRedirectPolicy {
    /// `max_internal_redirects`; default 1.
    pub max: u32,
    /// `redirect_response_codes`, those of them that are redirects; default 302.
    pub statuses: Vec<u16>,
    /// `predicates`: all must accept the route that a redirect leads to.
    pub predicates: Vec<RedirectPredicate>,
    /// `allow_cross_scheme_redirect`
    pub cross_scheme: bool,
    /// `response_headers_to_copy`: the redirected request has these as the answer has them.
    pub copy: Vec<HeaderName>,
}

/// An extension of `envoy.internal_redirect_predicates`.
#[derive(Clone, Debug)]
pub enum RedirectPredicate {
    /// `PreviousRoutesConfig`: no route is redirected to twice from this one.
    PreviousRoutes,
    /// `AllowListedRoutesConfig.allowed_route_names`
    AllowListed(Vec<Box<str>>),
    /// `SafeCrossSchemeConfig`: not from http to https.
    SafeCrossScheme,
}

/// What a stream has been redirected to.
#[derive(Clone, Debug, Default)]
pub struct Redirected {
    /// How often.
    pub count: u32,
    /// From which route to which, by their names, where a predicate asks.
    routes: Vec<(Option<Arc<str>>, Option<Arc<str>>)>,
}

impl RedirectPredicate {
    /// Whether a redirect may lead from one route to the other; the schemes tell whether they are http.
    pub fn accepts(&self, past: &mut Redirected, from: &Option<Arc<str>>, to: &Option<Arc<str>>, from_http: bool, to_http: bool) -> bool {
        match self {
            RedirectPredicate::PreviousRoutes => {
                let step = (from.clone(), to.clone());
                let new = !past.routes.contains(&step);
                if new {
                    past.routes.push(step);
                }
                new
            }
            RedirectPredicate::AllowListed(names) => names.iter().any(|name| **name == *to.as_deref().unwrap_or_default()),
            RedirectPredicate::SafeCrossScheme => !from_http || to_http,
        }
    }
}
