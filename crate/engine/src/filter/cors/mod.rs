//! `envoy.filters.http.cors`: answers preflight requests of browsers, and tells them what other origins may read.

pub mod config;

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use super::{Filter, FilterFactory, RouteConfig, Verdict};
use crate::{
    http::{
        header::{HeaderList, Known},
        local_reply::LocalReply,
        stream::{Response, Stream},
    },
    route::{RuntimeFraction, StringMatch},
    stat_block,
};

stat_block! {
    /// `http.<stat_prefix>.cors`
    pub struct CorsStats {
        counters {
            origin_invalid, origin_valid,
        }
    }
}

/// What a route, a virtual host or a route table says: `CorsPolicy`. Each part is taken from the most specific level that has it.
#[derive(Clone, Debug)]
pub struct Policy {
    /// `allow_origin_string_match`
    pub origins: Vec<StringMatch>,
    /// `allow_methods`; `*` is what was asked for.
    pub methods: Box<str>,
    /// `allow_headers`; `*` is what was asked for.
    pub headers: Box<str>,
    /// `expose_headers`
    pub expose: Box<str>,
    /// `max_age`, in seconds, as it goes to the client.
    pub max_age: Box<str>,
    /// `allow_credentials`
    pub credentials: Option<bool>,
    /// `allow_private_network_access`
    pub private_network: Option<bool>,
    /// `forward_not_matching_preflights`; default true.
    pub forward_preflights: Option<bool>,
    /// `filter_enabled`; default always. Only the most specific level counts.
    pub enabled: Option<RuntimeFraction>,
    /// `shadow_enabled`: origins are counted and nothing else is done. Only the most specific level counts.
    pub shadow: Option<RuntimeFraction>,
}

/// Where the route compiler keeps the policy of the deprecated fields `RouteAction.cors` and `VirtualHost.cors`, which holds for
/// whatever name the filter has, but only where no level has a policy under that name.
pub const ROUTE_FIELD: &str = "RouteAction.cors";

/// The filter in a chain.
pub struct Factory {
    /// Its name in the chain.
    pub name: String,
    /// Its stats.
    pub stats: CorsStats,
}

impl FilterFactory for Factory {
    fn name(&self) -> &str {
        &self.name
    }

    fn create(&self, route: &[RouteConfig]) -> Option<Box<dyn Filter>> {
        Some(Box::new(Cors { policies: Policies::new(route), stats: self.stats.clone(), active: false, origin: None }))
    }
}

struct Cors {
    policies: Policies,
    stats: CorsStats,
    /// The request names an origin, and the filter is enabled for it.
    active: bool,
    /// The origin that may read the answer.
    origin: Option<Box<[u8]>>,
}

impl Filter for Cors {
    fn poll_request(&mut self, _cx: &mut Context<'_>, stream: &mut Stream) -> Poll<Verdict> {
        let Some(route) = stream.route().filter(|r| r.forward().is_some()) else { return Poll::Ready(Verdict::Continue) };
        if self.policies.0.is_empty() {
            self.policies = Policies::new(&route.filter_configs(ROUTE_FIELD));
        }
        let policies = &self.policies;
        let (enabled, shadow) = policies.enabled(stream.random);
        let Some(origin) = stream.headers.get(Known::Origin).filter(|o| !o.is_empty() && (enabled || shadow)) else {
            return Poll::Ready(Verdict::Continue);
        };
        let allowed = policies.allows(origin);
        if allowed {
            self.stats.origin_valid().inc()
        } else {
            self.stats.origin_invalid().inc()
        }
        if !enabled {
            return Poll::Ready(Verdict::Continue);
        }
        self.active = true;
        self.origin = allowed.then(|| origin.into());
        let asks = stream.headers.get(Known::AccessControlRequestMethod).unwrap_or_default();
        let preflight = stream.headers.method() == b"OPTIONS" && !asks.is_empty();
        if !preflight || (!allowed && policies.forward_preflights()) {
            return Poll::Ready(Verdict::Continue);
        }
        // The answer to a preflight goes through `poll_response` too.
        let mut reply = LocalReply::new(200, "", "cors_response");
        self.policies.answer_preflight(&mut reply.headers, &stream.headers, allowed.then_some(origin));
        Poll::Ready(Verdict::Reply(reply))
    }

    fn poll_response(&mut self, _cx: &mut Context<'_>, _stream: &mut Stream, response: &mut Response) -> Poll<Verdict> {
        if let (true, Some(origin)) = (self.active, &self.origin) {
            let headers = &mut response.headers;
            headers.set(Known::AccessControlAllowOrigin, origin);
            if self.policies.credentials() {
                headers.set(Known::AccessControlAllowCredentials, b"true");
            }
            let expose = self.policies.text(|p| &p.expose);
            if !expose.is_empty() {
                headers.set(Known::AccessControlExposeHeaders, expose.as_bytes());
            }
        }
        Poll::Ready(Verdict::Continue)
    }
}

/// The policies of a stream's route, the most specific first.
struct Policies(Vec<Arc<Policy>>);

impl Policies {
    fn new(configs: &[RouteConfig]) -> Policies {
        Policies(configs.iter().filter_map(|c| c.clone().downcast::<Policy>().ok()).collect())
    }

    /// Whether the filter works, and whether it only counts.
    fn enabled(&self, random: u64) -> (bool, bool) {
        let Some(first) = self.0.first() else { return (false, false) };
        (first.enabled.is_none_or(|f| f.matches(random)), first.shadow.is_some_and(|f| f.matches(random)))
    }

    fn allows(&self, origin: &[u8]) -> bool {
        let origins = self.0.iter().map(|p| &p.origins).find(|o| !o.is_empty());
        origins.is_some_and(|list| list.iter().any(|m| m.matches(b"*") || m.matches(origin)))
    }

    fn forward_preflights(&self) -> bool {
        self.0.iter().find_map(|p| p.forward_preflights).unwrap_or(true)
    }

    fn credentials(&self) -> bool {
        self.0.iter().find_map(|p| p.credentials).unwrap_or(false)
    }

    fn text(&self, part: impl Fn(&Policy) -> &str) -> &str {
        self.0.iter().map(|p| part(p)).find(|text| !text.is_empty()).unwrap_or("")
    }

    fn answer_preflight(&self, answer: &mut HeaderList, request: &HeaderList, origin: Option<&[u8]>) {
        if let Some(origin) = origin {
            answer.append_known(Known::AccessControlAllowOrigin, origin);
        }
        if self.credentials() {
            answer.append_known(Known::AccessControlAllowCredentials, b"true");
        }
        let mut allow = |name: Known, allowed: &str, asked: Known| match allowed {
            "" => {}
            "*" => answer.append_known(name, request.get(asked).unwrap_or_default()),
            list => answer.append_known(name, list.as_bytes()),
        };
        allow(Known::AccessControlAllowMethods, self.text(|p| &p.methods), Known::AccessControlRequestMethod);
        allow(Known::AccessControlAllowHeaders, self.text(|p| &p.headers), Known::AccessControlRequestHeaders);
        let max_age = self.text(|p| &p.max_age);
        if !max_age.is_empty() {
            answer.append_known(Known::AccessControlMaxAge, max_age.as_bytes());
        }
        let private = self.0.iter().find_map(|p| p.private_network).unwrap_or(false);
        if private && request.get(Known::AccessControlRequestPrivateNetwork) == Some(b"true") {
            answer.append_known(Known::AccessControlAllowPrivateNetwork, b"true");
        }
    }
}
