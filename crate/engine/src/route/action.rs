//! What becomes of a request that a route matched: forwarded, redirected or answered at once.

use std::{sync::Arc, time::Duration};

use super::{
    duration::{GrpcTimeout, StreamDuration, Waits},
    hash_policy::HashPolicy,
    internal_redirect::InternalRedirectPolicy,
    matcher::{Lookup, PathMatch, without_query},
    mirror::Mirror,
    mutation::HeaderMutations,
    pattern::Rewrite,
    retry::RetryPolicy,
    table::FilterConfigs,
    template::TemplateRewrite,
};
use crate::{
    format::{Context, Program},
    http::{
        header::{HeaderList, HeaderName, Known},
        local_reply::BodyFormat,
    },
    stream_info::StreamInfo,
};

/// What a route does.
#[derive(Clone, Debug)]
pub enum Action {
    /// `route`
    Forward(Forward),
    /// `redirect`
    Redirect(Redirect),
    /// `direct_response`
    DirectResponse(DirectResponse),
    /// The virtual host's `require_tls` sends the client to https (301).
    TlsRedirect,
}

/// `RouteAction`
#[derive(Clone, Debug)]
pub struct Forward {
    /// Where to.
    pub destination: Destination,
    /// `timeout`; default 15 s, absent where the configuration says 0.
    pub timeout: Option<Duration>,
    /// `max_stream_duration`; where it is there, `timeout` has no say.
    pub stream_duration: Option<Box<StreamDuration>>,
    /// `max_grpc_timeout` and `grpc_timeout_offset`
    pub grpc_timeout: Option<Box<GrpcTimeout>>,
    /// What takes the place of the connection manager's.
    pub waits: Option<Box<Waits>>,
    /// `retry_policy` of the route, else of the virtual host.
    pub retry: Option<Arc<RetryPolicy>>,
    /// `hedge_policy.hedge_on_per_try_timeout` of the route, else of the virtual host. The policy's other fields have no effect, as in Envoy.
    pub hedge: bool,
    /// `hash_policy`
    pub hash: Option<Arc<HashPolicy>>,
    /// `request_mirror_policies` of the route, else of the virtual host, else of the route configuration.
    pub mirrors: Option<Arc<Vec<Mirror>>>,
    /// `internal_redirect_policy`
    pub internal_redirect: Option<Box<InternalRedirectPolicy>>,
    /// `prefix_rewrite` or `regex_rewrite`
    pub path_rewrite: PathRewrite,
    /// `host_rewrite_literal` and its siblings
    pub host_rewrite: HostRewrite,
    /// `append_x_forwarded_host`: a changed host is kept there.
    pub append_x_forwarded_host: bool,
    /// `cluster_not_found_response_code`; default 503.
    pub cluster_not_found_status: u16,
    /// `upgrade_configs`
    pub upgrades: Box<[Upgrade]>,
    /// `priority: HIGH`, which has circuit-breaker thresholds of its own.
    pub high_priority: bool,
}

/// Which cluster a request goes to.
#[derive(Clone, Debug)]
pub enum Destination {
    /// `cluster`
    Cluster(Arc<str>),
    /// `cluster_header`: the first value of this header names it.
    Header(HeaderName),
    /// `weighted_clusters`
    Weighted {
        /// The clusters, with the sum of weights up to and including each.
        clusters: Box<[WeightedCluster]>,
        /// The sum of all weights; not 0.
        total: u64,
        /// Which number decides.
        by: WeightBy,
    },
}

/// What chooses among weighted clusters.
#[derive(Clone, Debug)]
pub enum WeightBy {
    /// The stream's random number.
    Random,
    /// `header_name`: the number in this header, else the random one.
    Header(HeaderName),
    /// `use_hash_policy`: the request's hash, else the random number.
    Hash,
}

/// `WeightedCluster.ClusterWeight`
#[derive(Clone, Debug)]
pub struct WeightedCluster {
    /// `name`, or `cluster_header`.
    pub cluster: Choice,
    /// `weight`
    pub weight: u32,
    /// `host_rewrite_literal`
    pub host_rewrite: Option<Box<[u8]>>,
    /// `request_headers_to_add` and `request_headers_to_remove`, applied before the route's.
    pub request_headers: HeaderMutations,
    /// `response_headers_to_add` and `response_headers_to_remove`, applied before the route's.
    pub response_headers: HeaderMutations,
    /// `typed_per_filter_config`
    pub filters: FilterConfigs,
}

/// A cluster by name or by a header.
#[derive(Clone, Debug)]
pub enum Choice {
    /// `name`
    Name(Arc<str>),
    /// `cluster_header`
    Header(HeaderName),
}

impl Choice {
    /// The name; empty where the header that tells it is absent or no text.
    pub fn name<'a>(&'a self, headers: &'a HeaderList) -> &'a str {
        match self {
            Choice::Name(name) => name,
            Choice::Header(name) => named_by(name, headers),
        }
    }
}

fn named_by<'a>(name: &HeaderName, headers: &'a HeaderList) -> &'a str {
    headers.get_name(name).and_then(|v| std::str::from_utf8(v).ok()).unwrap_or("")
}

impl Destination {
    /// The name of the cluster; empty where the header that names it is absent or no text.
    pub(super) fn cluster<'a>(&'a self, weighted: usize, headers: &'a HeaderList) -> &'a str {
        match self {
            Destination::Cluster(name) => name,
            Destination::Header(name) => named_by(name, headers),
            Destination::Weighted { clusters, .. } => clusters[weighted].cluster.name(headers),
        }
    }
}

/// `RouteAction.UpgradeConfig`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// `upgrade_type` in lower case.
    pub kind: Box<str>,
    /// `enabled`; default true.
    pub enabled: bool,
    /// `connect_config`: CONNECT ends here and goes on as bytes.
    pub connect: Option<Connect>,
}

/// `RouteAction.UpgradeConfig.ConnectConfig`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect {
    /// `allow_post`: POST does, too.
    pub allow_post: bool,
}

/// What is written over the path.
#[derive(Clone, Debug)]
pub enum PathRewrite {
    /// Nothing.
    None,
    /// `prefix_rewrite`: in place of what the route matched.
    Prefix(Box<[u8]>),
    /// `regex_rewrite`: applied to the path without its query.
    Regex(Rewrite),
    /// `path_rewrite_policy`: made of what the route's template matched.
    Template(TemplateRewrite),
    /// `path_rewrite`: made of operators that leave out what is absent; an empty path changes nothing.
    Format(Program),
}

impl PathRewrite {
    /// The new path with its query, or nothing to change.
    pub(super) fn apply(&self, matched: &PathMatch, headers: &HeaderList, info: &StreamInfo) -> Option<Vec<u8>> {
        let path = headers.path();
        match self {
            PathRewrite::None => None,
            PathRewrite::Prefix(prefix) => {
                let rest = &path[matched.matched_len(path)..];
                Some([prefix, rest].concat())
            }
            PathRewrite::Regex(rewrite) => {
                let bare = without_query(path);
                // An empty path would be no request; as in Envoy it changes nothing.
                Some(rewrite.apply(bare)).filter(|new| !new.is_empty()).map(|new| [&*new, &path[bare.len()..]].concat())
            }
            PathRewrite::Template(rewrite) => {
                let bare = without_query(path);
                let new = rewrite.apply(bare);
                Some([new.as_deref().unwrap_or(bare), &path[bare.len()..]].concat())
            }
            PathRewrite::Format(format) => {
                let new = formatted_path(format, headers, info)?;
                Some([&new, &path[without_query(path).len()..]].concat())
            }
        }
    }
}

/// The path that a format makes, or nothing where it is empty. What may not stand in a request line is percent-encoded: it would
/// be the start of another one.
fn formatted_path(format: &Program, headers: &HeaderList, info: &StreamInfo) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    format.write(&Context::new(info, Some(headers), None), &mut text);
    let mut path = Vec::with_capacity(text.len());
    for byte in text {
        if byte.is_ascii_graphic() {
            path.push(byte);
        } else {
            path.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    (!path.is_empty()).then_some(path)
}

/// What is written over the host.
#[derive(Clone, Debug)]
pub enum HostRewrite {
    /// Nothing.
    None,
    /// `host_rewrite_literal`
    Literal(Box<[u8]>),
    /// `auto_host_rewrite`: the chosen host's `hostname`, once it is known.
    Auto,
    /// `host_rewrite_header`: the first value of this header.
    Header(HeaderName),
    /// `host_rewrite_path_regex`: made of the path without its query.
    PathRegex(Rewrite),
    /// `host_rewrite`: made of operators.
    Format(Program),
}

impl Forward {
    /// Which of the weighted clusters a request goes to; 0 for other destinations.
    pub(super) fn choose(&self, request: Lookup<'_>) -> usize {
        let Destination::Weighted { clusters, total, by } = &self.destination else { return 0 };
        let number = match by {
            WeightBy::Random => None,
            WeightBy::Header(name) => request.headers.get_name(name).and_then(|value| std::str::from_utf8(value).ok()?.parse::<u64>().ok()),
            WeightBy::Hash => self.hash.as_ref().and_then(|policy| policy.hash(request.headers, request.info, None)),
        };
        let mut left = number.unwrap_or(request.random) % total;
        for (at, cluster) in clusters.iter().enumerate() {
            match left.checked_sub(u64::from(cluster.weight)) {
                Some(rest) => left = rest,
                None => return at,
            }
        }
        0
    }

    /// To this cluster, with Envoy's defaults.
    #[cfg(test)]
    pub(crate) fn to(cluster: &str) -> Forward {
        Forward {
            destination: Destination::Cluster(cluster.into()),
            timeout: Some(Duration::from_secs(15)),
            stream_duration: None,
            grpc_timeout: None,
            waits: None,
            retry: None,
            hedge: false,
            hash: None,
            mirrors: None,
            internal_redirect: None,
            path_rewrite: PathRewrite::None,
            host_rewrite: HostRewrite::None,
            append_x_forwarded_host: false,
            cluster_not_found_status: 503,
            upgrades: Box::default(),
            high_priority: false,
        }
    }

    /// Whether the route says that an upgrade of this kind is allowed; `None` where it says nothing.
    pub fn upgrade_enabled(&self, kind: &[u8]) -> Option<bool> {
        self.upgrades.iter().find(|u| u.kind.as_bytes().eq_ignore_ascii_case(kind)).map(|u| u.enabled)
    }

    /// Whether a request ends here and goes on as bytes.
    pub fn terminates(&self, request: &HeaderList) -> bool {
        let config = self.upgrades.iter().find_map(|u| u.connect);
        config.is_some_and(|c| request.method() == b"CONNECT" || c.allow_post && request.method() == b"POST")
    }

    /// Writes the host that was chosen by `auto_host_rewrite`, or by a rule; keeps the old one beside it where asked.
    pub fn set_host(&self, headers: &mut HeaderList, host: &[u8], keep_original: bool) {
        let old = headers.authority().to_vec();
        if keep_original {
            headers.set(Known::EnvoyOriginalHost, &old);
        }
        // A host that was the last to be kept is not kept twice.
        let last = headers.get(Known::ForwardedHost).and_then(|list| list.rsplit(|b| *b == b',').next()).unwrap_or_default();
        if self.append_x_forwarded_host && !old.is_empty() && last.trim_ascii() != old {
            headers.join(Known::ForwardedHost, b",", &old);
        }
        headers.set(Known::Authority, host);
    }

    pub(super) fn rewrite_host(&self, headers: &mut HeaderList, info: &StreamInfo, keep_original: bool) {
        let host = match &self.host_rewrite {
            HostRewrite::None | HostRewrite::Auto => return,
            HostRewrite::Literal(host) => host.to_vec(),
            HostRewrite::Header(name) => headers.get_name(name).unwrap_or_default().to_vec(),
            HostRewrite::PathRegex(rewrite) => rewrite.apply(without_query(headers.path())).into_owned(),
            HostRewrite::Format(format) => {
                let mut host = Vec::new();
                format.write(&Context::new(info, Some(headers), None), &mut host);
                if host.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
                    // It would be more than one header.
                    return;
                }
                host
            }
        };
        if !host.is_empty() {
            self.set_host(headers, &host, keep_original);
        }
    }
}

/// `DirectResponseAction`
#[derive(Clone, Debug)]
pub struct DirectResponse {
    /// `status`
    pub status: u16,
    /// `body`; a file is read when the configuration is compiled.
    pub body: bytes::Bytes,
    /// `body_format`: what the body becomes; `%LOCAL_REPLY_BODY%` is what it was.
    pub format: Option<Arc<BodyFormat>>,
}

/// `RedirectAction`
#[derive(Clone, Debug)]
pub struct Redirect {
    /// `response_code`; default 301.
    pub status: u16,
    /// `scheme_redirect`, or `https` for `https_redirect`.
    pub scheme: Option<Box<str>>,
    /// `host_redirect`
    pub host: Option<Box<str>>,
    /// `port_redirect`
    pub port: Option<u16>,
    /// `path_redirect`, `prefix_rewrite`, `regex_rewrite` or `path_rewrite`
    pub path: PathRedirect,
    /// `strip_query`
    pub strip_query: bool,
}

/// What is written over the path of a redirect.
#[derive(Clone, Debug)]
pub enum PathRedirect {
    /// Nothing.
    Keep,
    /// `path_redirect`
    Whole(Box<[u8]>),
    /// `prefix_rewrite` or `regex_rewrite`
    Rewrite(PathRewrite),
    /// `path_rewrite`; where it comes out empty, nothing.
    Format(Program),
}

impl Redirect {
    /// The value of `location`.
    pub(super) fn location(&self, matched: &PathMatch, headers: &HeaderList, info: &StreamInfo) -> Vec<u8> {
        let scheme = self.scheme.as_deref().map_or_else(|| headers.get(Known::Scheme).unwrap_or_default(), str::as_bytes);
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(scheme);
        out.extend_from_slice(b"://");
        match &self.host {
            Some(host) => out.extend_from_slice(host.as_bytes()),
            None => out.extend_from_slice(kept_host(headers, scheme, self.port.is_some())),
        }
        if let Some(port) = self.port {
            out.extend_from_slice(format!(":{port}").as_bytes());
        }
        let path = headers.path();
        let whole = match &self.path {
            PathRedirect::Whole(whole) => Some(whole.to_vec()),
            PathRedirect::Format(format) => formatted_path(format, headers, info),
            PathRedirect::Keep | PathRedirect::Rewrite(_) => None,
        };
        // A query of its own takes the place of the request's, and stays.
        let own_query = whole.as_ref().is_some_and(|whole| whole.contains(&b'?'));
        let mut new = match (whole, &self.path) {
            (Some(mut whole), _) => {
                let query = path.iter().position(|b| *b == b'?').filter(|_| !own_query).map_or(&[][..], |at| &path[at..]);
                whole.extend_from_slice(query);
                whole
            }
            (None, PathRedirect::Rewrite(rewrite)) => rewrite.apply(matched, headers, info).unwrap_or_else(|| path.to_vec()),
            (None, _) => path.to_vec(),
        };
        if self.strip_query
            && !own_query
            && let Some(at) = new.iter().position(|b| *b == b'?')
        {
            new.truncate(at);
        }
        out.extend_from_slice(&new);
        out
    }
}

/// The request's host; a port that is replaced, or that stands for the scheme that is left behind, goes.
fn kept_host<'h>(headers: &'h HeaderList, scheme: &[u8], new_port: bool) -> &'h [u8] {
    let host = headers.authority();
    let port = match host.first() {
        None => return host,
        Some(b'[') => host.windows(2).rposition(|w| w == b"]:").map(|at| at + 1),
        Some(_) => host.iter().rposition(|b| *b == b':'),
    };
    let Some(port) = port else { return host };
    let came_by = headers.get(Known::ForwardedProto).unwrap_or_default();
    let default_left = scheme != came_by
        && match came_by {
            b"https" => &host[port..] == b":443",
            b"http" => &host[port..] == b":80",
            _ => false,
        };
    if new_port || default_left { &host[..port] } else { host }
}
