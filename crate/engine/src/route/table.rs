//! The compiled route table: virtual hosts by domain, routes in order, and the match that pins them for a stream.

use std::{any::Any, collections::HashMap, fmt, sync::Arc};

use super::{
    action::{Action, Destination, Forward},
    index::PathIndex,
    matcher::{Conditions, Lookup, PathMatch, without_query},
    mirror::Mirror,
    mutation::HeaderMutations,
    pattern::Case,
    retry::RetryPolicy,
    tree::Tree,
    virtual_cluster::VirtualCluster,
};
use crate::{
    http::{
        header::{HeaderList, HeaderName, Known},
        normalize::port_start,
    },
    metadata::Metadata,
    stats::RequestGroupStats,
    stream_info::StreamInfo,
};

/// `RouteConfiguration`, compiled.
#[derive(Debug)]
pub struct RouteTable {
    /// All that is not about hosts.
    pub settings: TableSettings,
    hosts: Vec<VirtualHost>,
    domains: Domains,
    /// Stands in for a route where `require_tls` redirects.
    tls_redirect: Route,
}

/// What holds for all virtual hosts.
#[derive(Debug, Default)]
pub struct TableSettings {
    /// `name`
    pub name: Arc<str>,
    /// `request_headers_to_add` and `request_headers_to_remove`
    pub request_headers: HeaderMutations,
    /// `response_headers_to_add` and `response_headers_to_remove`
    pub response_headers: HeaderMutations,
    /// `most_specific_header_mutations_wins`: the route's mutations come last, not first.
    pub most_specific_wins: bool,
    /// `vhost_header`: this header chooses the virtual host, in place of `:authority`.
    pub vhost_header: Option<HeaderName>,
    /// `ignore_port_in_host_matching`
    pub ignore_port: bool,
    /// `ignore_path_parameters_in_path_matching`: `;` and what follows takes no part.
    pub ignore_path_parameters: bool,
    /// `internal_only_headers`: removed from external requests.
    pub internal_only_headers: Vec<HeaderName>,
    /// `validate_clusters`; what it is where absent depends on where the table comes from.
    pub validate_clusters: Option<bool>,
    /// `typed_per_filter_config`
    pub filters: FilterConfigs,
}

/// Configuration of one filter for one route, virtual host or table, made by the filter's own `config.rs`.
pub type RouteConfig = Arc<dyn Any + Send + Sync>;

/// Per-route configuration of filters, by the filter's name in the chain.
pub type FilterConfigs = HashMap<Box<str>, PerFilter>;

/// What a route, virtual host or table says about one filter.
#[derive(Clone)]
pub struct PerFilter {
    /// Made by the filter's own `config.rs`; absent where only `disabled` was said.
    pub config: Option<RouteConfig>,
    /// Whether the filter is left out; else it is put in, also one that is left out by default.
    pub disabled: bool,
}

impl fmt::Debug for PerFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PerFilter {{ config: {}, disabled: {:?} }}", self.config.is_some(), self.disabled)
    }
}

/// `VirtualHost`
#[derive(Debug)]
pub struct VirtualHost {
    /// `name`
    pub name: Arc<str>,
    /// `routes`
    pub routes: Vec<Route>,
    /// `require_tls`
    pub require_tls: RequireTls,
    /// `request_headers_to_add` and `request_headers_to_remove`
    pub request_headers: HeaderMutations,
    /// `response_headers_to_add` and `response_headers_to_remove`
    pub response_headers: HeaderMutations,
    /// `include_request_attempt_count`: `x-envoy-attempt-count` goes upstream.
    pub request_attempt_count: bool,
    /// `include_attempt_count_in_response`
    pub response_attempt_count: bool,
    /// `include_is_timeout_retry_header`
    pub is_timeout_retry_header: bool,
    /// `retry_policy`; routes without one of their own have it already.
    pub retry: Option<Arc<RetryPolicy>>,
    /// `request_mirror_policies`, else the route configuration's; routes without their own have them already.
    pub mirrors: Option<Arc<Vec<Mirror>>>,
    /// `typed_per_filter_config`
    pub filters: FilterConfigs,
    /// `metadata`
    pub metadata: Option<Arc<Metadata>>,
    /// `virtual_clusters`, and where there are any the one that has all other requests.
    pub virtual_clusters: Box<[VirtualCluster]>,
    order: Order,
}

/// In which order the routes of a virtual host are tried.
#[derive(Debug)]
enum Order {
    /// As they stand.
    InTurn,
    /// As they stand, those left out that the path rules out.
    Indexed(PathIndex),
    /// `matcher`: those that the tree comes to.
    Tree(Tree),
}

/// `VirtualHost.TlsRequirementType`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequireTls {
    /// Clear text is fine.
    #[default]
    None,
    /// Clear text from outside is redirected.
    ExternalOnly,
    /// All clear text is redirected.
    All,
}

impl VirtualHost {
    /// A host with these routes and nothing else set.
    pub fn new(name: impl Into<Arc<str>>, routes: Vec<Route>) -> VirtualHost {
        VirtualHost {
            name: name.into(),
            order: PathIndex::new(routes.iter().map(|r| &r.conditions.path)).map_or(Order::InTurn, Order::Indexed),
            routes,
            require_tls: RequireTls::None,
            request_headers: HeaderMutations::default(),
            response_headers: HeaderMutations::default(),
            request_attempt_count: false,
            response_attempt_count: false,
            is_timeout_retry_header: false,
            retry: None,
            mirrors: None,
            filters: FilterConfigs::new(),
            metadata: None,
            virtual_clusters: Box::default(),
        }
    }

    /// A host whose routes are chosen by `matcher`.
    pub fn with_tree(name: impl Into<Arc<str>>, routes: Vec<Route>, tree: Tree) -> VirtualHost {
        VirtualHost { order: Order::Tree(tree), ..VirtualHost::new(name, routes) }
    }

    /// Whether `matcher` chooses the route; such routes stand elsewhere in the configuration, and their clusters are not
    /// looked for when it is loaded.
    pub fn has_tree(&self) -> bool {
        matches!(self.order, Order::Tree(_))
    }

    fn find(&self, settings: &TableSettings, request: Lookup<'_>) -> Option<usize> {
        let mut path = request.headers.get(Known::Path).map(without_query);
        if settings.ignore_path_parameters {
            path = path.map(|path| &path[..memchr::memchr(b';', path).unwrap_or(path.len())]);
        }
        let holds = |at: usize| self.routes[at].conditions.hold(path, request);
        match &self.order {
            Order::InTurn => (0..self.routes.len()).find(|at| holds(*at)),
            Order::Indexed(index) => index.find(path, holds),
            Order::Tree(tree) => tree.find(request)?.find(|at| holds(*at)),
        }
    }
}

/// `Route`
#[derive(Debug)]
pub struct Route {
    /// `name`; absent where it is empty.
    pub name: Option<Arc<str>>,
    /// `match`
    pub conditions: Conditions,
    /// What it does.
    pub action: Action,
    /// `request_headers_to_add` and `request_headers_to_remove`
    pub request_headers: HeaderMutations,
    /// `response_headers_to_add` and `response_headers_to_remove`
    pub response_headers: HeaderMutations,
    /// `request_body_buffer_limit` of the route, else of the virtual host, else `per_request_buffer_limit_bytes` of the one or the other: how much
    /// of a body is kept for retries.
    pub buffer_limit: Option<u64>,
    /// `typed_per_filter_config`
    pub filters: FilterConfigs,
    /// `metadata`
    pub metadata: Option<Arc<Metadata>>,
    /// `stat_prefix`: its requests are counted apart (`vhost.<virtual host>.route.<stat_prefix>`).
    pub stats: Option<RequestGroupStats>,
}

impl Route {
    /// A route with conditions and an action and nothing else.
    pub fn new(conditions: Conditions, action: Action) -> Route {
        Route {
            name: None,
            conditions,
            action,
            request_headers: HeaderMutations::default(),
            response_headers: HeaderMutations::default(),
            buffer_limit: None,
            filters: FilterConfigs::new(),
            metadata: None,
            stats: None,
        }
    }
}

/// Domains of virtual hosts, in Envoy's order: exact, longest `*suffix`, longest `prefix*`, `*`.
#[derive(Debug, Default)]
pub struct Domains {
    exact: HashMap<Box<[u8]>, usize>,
    /// Longest first: length of what follows the star, and the hosts by it.
    suffixes: Vec<(usize, HashMap<Box<[u8]>, usize>)>,
    /// Longest first.
    prefixes: Vec<(usize, HashMap<Box<[u8]>, usize>)>,
    any: Option<usize>,
}

/// Why a domain was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainError {
    /// The table has this domain already; with the number of the virtual host that has it.
    Duplicate(usize),
}

impl Domains {
    /// Adds a domain of virtual host number `host`.
    pub fn add(&mut self, domain: &str, host: usize) -> Result<(), DomainError> {
        let domain = domain.to_ascii_lowercase();
        let taken = if domain == "*" {
            let old = self.any;
            self.any.get_or_insert(host);
            old
        } else if let Some(suffix) = domain.strip_prefix('*') {
            add(&mut self.suffixes, suffix, host)
        } else if let Some(prefix) = domain.strip_suffix('*') {
            add(&mut self.prefixes, prefix, host)
        } else {
            insert(&mut self.exact, &domain, host)
        };
        taken.map_or(Ok(()), |first| Err(DomainError::Duplicate(first)))
    }

    /// The virtual host of a request's authority.
    fn find(&self, authority: Option<&[u8]>, ignore_port: bool) -> Option<usize> {
        if self.exact.is_empty() && self.suffixes.is_empty() && self.prefixes.is_empty() {
            return self.any;
        }
        let mut host = authority?;
        if ignore_port {
            host = &host[..port_start(host).unwrap_or(host.len())];
        }
        // A DNS name has at most 253 bytes; a longer host costs an allocation.
        let lower: smallvec::SmallVec<[u8; 256]> = host.iter().map(u8::to_ascii_lowercase).collect();
        let host = &lower[..];
        self.exact
            .get(host)
            .copied()
            .or_else(|| wildcard(&self.suffixes, host, |len| &host[host.len() - len..]))
            .or_else(|| wildcard(&self.prefixes, host, |len| &host[..len]))
            .or(self.any)
    }
}

fn insert(map: &mut HashMap<Box<[u8]>, usize>, key: &str, host: usize) -> Option<usize> {
    if let Some(first) = map.get(key.as_bytes()) {
        return Some(*first);
    }
    map.insert(key.as_bytes().into(), host);
    None
}

fn add(by_length: &mut Vec<(usize, HashMap<Box<[u8]>, usize>)>, key: &str, host: usize) -> Option<usize> {
    let at = by_length.partition_point(|(len, _)| *len > key.len());
    if by_length.get(at).is_none_or(|(len, _)| *len != key.len()) {
        by_length.insert(at, (key.len(), HashMap::new()));
    }
    insert(&mut by_length[at].1, key, host)
}

/// `*.a.com` does not match `.a.com`: the star stands for at least one character.
fn wildcard<'h>(by_length: &[(usize, HashMap<Box<[u8]>, usize>)], host: &[u8], part: impl Fn(usize) -> &'h [u8]) -> Option<usize> {
    by_length.iter().filter(|(len, _)| *len < host.len()).find_map(|(len, map)| map.get(part(*len)).copied())
}

/// What a lookup found; indexes into the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// The route of this number, and the number of the weighted cluster that was chosen.
    Route(u32, u32),
    /// The redirect that `require_tls` asks for.
    TlsRedirect,
}

impl RouteTable {
    /// A table of these hosts; `domains` tells which domain belongs to which.
    pub fn new(settings: TableSettings, hosts: Vec<VirtualHost>, domains: Domains) -> RouteTable {
        let tls_redirect = Route::new(Conditions::new(PathMatch::prefix("", Case::Sensitive)), Action::TlsRedirect);
        RouteTable { settings, hosts, domains, tls_redirect }
    }

    /// All virtual hosts, in the order of the configuration.
    pub fn hosts(&self) -> &[VirtualHost] {
        &self.hosts
    }

    /// The route of a request.
    pub fn find(self: &Arc<Self>, request: Lookup<'_>) -> Option<RouteMatch> {
        let (host, kind) = self.lookup(request)?;
        Some(RouteMatch { table: self.clone(), host, kind })
    }

    fn lookup(&self, request: Lookup<'_>) -> Option<(u32, RouteKind)> {
        let headers = request.headers;
        let name = match &self.settings.vhost_header {
            Some(header) => headers.get_name(header),
            None => headers.get(Known::Authority),
        };
        let number = self.domains.find(name, self.settings.ignore_port)?;
        let host = &self.hosts[number];
        // As in Envoy an empty one is as good as none.
        let scheme = headers.get(Known::ForwardedProto).filter(|scheme| !scheme.is_empty())?;
        let redirect = match host.require_tls {
            RequireTls::None => false,
            RequireTls::ExternalOnly => scheme != b"https" && headers.get(Known::EnvoyInternal) != Some(b"true"),
            RequireTls::All => scheme != b"https",
        };
        if redirect {
            return Some((number as u32, RouteKind::TlsRedirect));
        }
        let route = host.find(&self.settings, request)?;
        let weighted = match &host.routes[route].action {
            Action::Forward(forward) => forward.choose(request),
            _ => 0,
        };
        Some((number as u32, RouteKind::Route(route as u32, weighted as u32)))
    }
}

/// The route of one stream; keeps its table alive.
#[derive(Clone)]
pub struct RouteMatch {
    table: Arc<RouteTable>,
    host: u32,
    kind: RouteKind,
}

impl fmt::Debug for RouteMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RouteMatch({:?} of {:?})", self.kind, self.vhost().name)
    }
}

impl RouteMatch {
    /// The table that the route is in.
    pub fn table(&self) -> &Arc<RouteTable> {
        &self.table
    }

    /// The virtual host that matched.
    pub fn vhost(&self) -> &VirtualHost {
        &self.table.hosts[self.host as usize]
    }

    /// The route that matched.
    pub fn route(&self) -> &Route {
        match self.kind {
            RouteKind::Route(route, _) => &self.vhost().routes[route as usize],
            RouteKind::TlsRedirect => &self.table.tls_redirect,
        }
    }

    /// What the route does.
    pub fn action(&self) -> &Action {
        &self.route().action
    }

    /// The action, where it forwards.
    pub fn forward(&self) -> Option<&Forward> {
        match self.action() {
            Action::Forward(forward) => Some(forward),
            _ => None,
        }
    }

    /// The name of the cluster to forward to; empty where the route does not forward, or the header that names the
    /// cluster is absent.
    pub fn cluster<'a>(&'a self, headers: &'a HeaderList) -> &'a str {
        match (self.forward(), self.kind) {
            (Some(forward), RouteKind::Route(_, weighted)) => forward.destination.cluster(weighted as usize, headers),
            _ => "",
        }
    }

    /// The virtual cluster of a request; nothing where the virtual host has none.
    pub fn virtual_cluster(&self, headers: &HeaderList) -> Option<&VirtualCluster> {
        self.vhost().virtual_clusters.iter().find(|cluster| cluster.matches(headers))
    }

    /// Changes a request's headers before it goes upstream: additions and removals, then host and path.
    /// `keep_original` writes `x-envoy-original-path` and `x-envoy-original-host` (off with the router's
    /// `suppress_envoy_headers`).
    pub fn finalize_request_headers(&self, headers: &mut HeaderList, info: &StreamInfo, keep_original: bool) {
        let route = self.route();
        let Action::Forward(forward) = &route.action else { return };
        if let Some(weighted) = self.weighted() {
            weighted.request_headers.apply_to_request(headers, info);
            if let Some(host) = &weighted.host_rewrite {
                headers.set(Known::Authority, host);
            }
        }
        let levels = [&route.request_headers, &self.vhost().request_headers, &self.table.settings.request_headers];
        self.in_order(levels, |level| level.apply_to_request(headers, info));
        forward.rewrite_host(headers, info, keep_original);
        if let Some(path) = forward.path_rewrite.apply(&route.conditions.path, headers, info) {
            if keep_original {
                let old = headers.path().to_vec();
                headers.set(Known::EnvoyOriginalPath, &old);
            }
            headers.set(Known::Path, &path);
        }
    }

    /// Changes an answer's headers; also those of a direct response or redirect. `request` is what `%REQ(...)%` reads.
    pub fn finalize_response_headers(&self, headers: &mut HeaderList, request: Option<&HeaderList>, info: &StreamInfo) {
        if self.kind == RouteKind::TlsRedirect {
            return;
        }
        if let Some(weighted) = self.weighted() {
            weighted.response_headers.apply_to_response(headers, request, info);
        }
        let levels = [&self.route().response_headers, &self.vhost().response_headers, &self.table.settings.response_headers];
        self.in_order(levels, |level| level.apply_to_response(headers, request, info));
    }

    fn in_order(&self, levels: [&HeaderMutations; 3], mut apply: impl FnMut(&HeaderMutations)) {
        if self.table.settings.most_specific_wins {
            levels.into_iter().rev().for_each(apply);
        } else {
            levels.into_iter().for_each(&mut apply);
        }
    }

    fn weighted(&self) -> Option<&super::WeightedCluster> {
        match (&self.forward()?.destination, self.kind) {
            (Destination::Weighted { clusters, .. }, RouteKind::Route(_, at)) => clusters.get(at as usize),
            _ => None,
        }
    }

    /// The status of the answer that the route gives itself: redirects and direct responses.
    pub fn response_status(&self) -> Option<u16> {
        match self.action() {
            Action::Forward(_) => None,
            Action::Redirect(redirect) => Some(redirect.status),
            Action::DirectResponse(direct) => Some(direct.status),
            Action::TlsRedirect => Some(301),
        }
    }

    /// The value of `location` in the answer that the route gives itself; absent where the status is neither 201 nor 3xx.
    pub fn location(&self, headers: &HeaderList, info: &StreamInfo) -> Option<Vec<u8>> {
        let status = self.response_status()?;
        if status != 201 && !(300..400).contains(&status) {
            return None;
        }
        headers.get(Known::Path)?;
        let plain = |scheme: &[u8]| [scheme, b"://", headers.authority(), headers.path()].concat();
        match self.action() {
            Action::Forward(_) => None,
            Action::Redirect(redirect) => Some(redirect.location(&self.route().conditions.path, headers, info)),
            Action::DirectResponse(_) => Some(plain(headers.get(Known::Scheme).unwrap_or_default())),
            Action::TlsRedirect => Some(plain(b"https")),
        }
    }

    /// What the configuration says about a filter, the most specific level first.
    fn filter_levels<'a>(&'a self, filter: &'a str) -> impl Iterator<Item = &'a PerFilter> {
        let weighted = self.weighted().map(|w| &w.filters);
        let levels = [weighted, Some(&self.route().filters), Some(&self.vhost().filters), Some(&self.table.settings.filters)];
        levels.into_iter().flatten().filter_map(move |level| level.get(filter))
    }

    /// The per-route configurations of a filter, the most specific first.
    pub fn filter_configs(&self, filter: &str) -> Vec<RouteConfig> {
        self.filter_levels(filter).filter_map(|f| f.config.clone()).collect()
    }

    /// Whether the route leaves a filter out; `None` where nothing is said about it.
    pub fn filter_disabled(&self, filter: &str) -> Option<bool> {
        self.filter_levels(filter).next().map(|f| f.disabled)
    }
}
