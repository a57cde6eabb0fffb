//! What a cluster's configuration says, compiled: plain data.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use super::{
    circuit::Thresholds,
    host::{Endpoint, Health, Locality},
    host_set::HealthRules,
};
use crate::{
    balance::Policy,
    http::{
        header::{HeaderList, HeaderName},
        settings::{Http1, Http2},
    },
    metadata::Metadata,
    route::{HashPolicy, Mirror, RetryPolicy},
    stream_info::Protocol,
    tls::ClientContext,
    transport::proxy_protocol::ProxyHeader,
};

/// Settings of one cluster; the defaults are Envoy's.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `alt_stat_name`, in place of the name in stats.
    pub alt_stat_name: Option<Box<str>>,
    /// `type` and where the hosts are.
    pub discovery: Discovery,
    /// `lb_policy` with its options.
    pub policy: Policy,
    /// `common_lb_config` and `load_assignment.policy`
    pub health: HealthRules,
    /// `connect_timeout`; default 5 s.
    pub connect_timeout: Duration,
    /// `per_connection_buffer_limit_bytes`; default 1 MiB.
    pub per_connection_buffer_limit: usize,
    /// The protocol spoken to the hosts.
    pub protocol: UpstreamProtocol,
    /// `max_requests_per_connection`; 0 means without limit.
    pub max_requests_per_connection: u32,
    /// `idle_timeout` of a connection; default 1 h, absent where the configuration says 0.
    pub idle_timeout: Option<Duration>,
    /// `common_http_protocol_options.max_stream_duration`; absent by default.
    pub max_stream_duration: Option<Duration>,
    /// `max_connection_duration`; absent by default.
    pub max_connection_duration: Option<Duration>,
    /// `max_connection_duration_jitter`: up to so many percent of the duration are added; default 0.
    pub max_connection_duration_jitter: f64,
    /// `max_headers_count` of answers; default 100.
    pub max_headers_count: usize,
    /// `max_response_headers_kb`, in bytes; absent by default: 80 KiB of HTTP/1, 60 KiB of HTTP/2.
    pub max_response_headers_bytes: Option<usize>,
    /// `circuit_breakers`, by priority: default, high.
    pub thresholds: [Thresholds; 2],
    /// `transport_socket`: TLS; clear text where absent.
    pub tls: Option<Arc<ClientContext>>,
    /// `transport_socket`: the PROXY protocol header that connections begin with, before TLS; absent by default.
    pub proxy_header: Option<ProxyHeader>,
    /// `upstream_bind_config`: where connections come from; the system decides where absent.
    pub bind: Option<Bind>,
    /// `connection_pool_per_downstream_connection`: connections carry requests of one client connection only; default false.
    pub pool_per_client: bool,
    /// `upstream_http_protocol_options`: the names that a request's host decides about; absent by default.
    pub auto_names: Option<AutoNames>,
    /// `upstream_connection_options.tcp_keepalive`
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// `metadata`
    pub metadata: Option<Arc<Metadata>>,
    /// `node.locality.zone` of this proxy; absent where it has none.
    pub local_zone: Option<Arc<str>>,
    /// What `HttpProtocolOptions` say in place of every route, as in Envoy; absent by default.
    pub policies: Option<Box<Policies>>,
}

/// Policies of a cluster that come before its routes'.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    /// `retry_policy`, without its time limits: those stay the route's.
    pub retry: Option<RetryPolicy>,
    /// `hash_policy`
    pub hash: Option<Arc<HashPolicy>>,
    /// `request_mirror_policies`
    pub mirrors: Option<Arc<Vec<Mirror>>>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            alt_stat_name: None,
            discovery: Discovery::Static(Vec::new()),
            policy: Policy::RoundRobin,
            health: HealthRules::default(),
            connect_timeout: Duration::from_secs(5),
            per_connection_buffer_limit: 1024 * 1024,
            protocol: UpstreamProtocol::Http1(Http1::default()),
            max_requests_per_connection: 0,
            idle_timeout: Some(Duration::from_secs(3600)),
            max_stream_duration: None,
            max_connection_duration: None,
            max_connection_duration_jitter: 0.0,
            max_headers_count: 100,
            max_response_headers_bytes: None,
            thresholds: [Thresholds::default(); 2],
            tls: None,
            proxy_header: None,
            bind: None,
            pool_per_client: false,
            auto_names: None,
            tcp_keepalive: None,
            metadata: None,
            local_zone: None,
            policies: None,
        }
    }
}

/// The protocol spoken to the hosts of a cluster.
#[derive(Clone, Debug)]
pub enum UpstreamProtocol {
    /// `explicit_http_config` with HTTP/1.1, and the default.
    Http1(Http1),
    /// `explicit_http_config` with HTTP/2, in clear text by prior knowledge.
    Http2(Http2),
    /// `use_downstream_protocol_config`: what the client speaks.
    Downstream(Box<Either>),
    /// `auto_config`: what the host chooses by ALPN.
    Negotiated(Box<Either>),
}

/// Options of the two protocols where either may be spoken.
#[derive(Clone, Debug, Default)]
pub struct Either {
    /// `http_protocol_options`
    pub http1: Http1,
    /// `http2_protocol_options`
    pub http2: Http2,
}

/// What one request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1.1
    Http1,
    /// HTTP/2
    Http2,
    /// Either: the connection tells.
    Negotiated,
}

impl UpstreamProtocol {
    /// What is spoken for a request that came in by `client`.
    pub fn spoken(&self, client: Protocol) -> Spoken {
        match self {
            UpstreamProtocol::Http1(_) => Spoken::Http1,
            UpstreamProtocol::Http2(_) => Spoken::Http2,
            UpstreamProtocol::Downstream(_) if client.is_http1() => Spoken::Http1,
            UpstreamProtocol::Downstream(_) => Spoken::Http2,
            UpstreamProtocol::Negotiated(_) => Spoken::Negotiated,
        }
    }

    /// Options of HTTP/1, where it may be spoken.
    pub fn http1(&self) -> Option<&Http1> {
        match self {
            UpstreamProtocol::Http1(options) => Some(options),
            UpstreamProtocol::Http2(_) => None,
            UpstreamProtocol::Downstream(either) | UpstreamProtocol::Negotiated(either) => Some(&either.http1),
        }
    }

    /// Options of HTTP/2, where it may be spoken.
    pub fn http2(&self) -> Option<&Http2> {
        match self {
            UpstreamProtocol::Http1(_) => None,
            UpstreamProtocol::Http2(options) => Some(options),
            UpstreamProtocol::Downstream(either) | UpstreamProtocol::Negotiated(either) => Some(&either.http2),
        }
    }
}

/// `auto_sni` and `auto_san_validation`: a request's host decides about the TLS of its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutoNames {
    /// `override_auto_sni_header`; `:authority` stands in where a request has no such header.
    pub header: HeaderName,
    /// `auto_sni`: the host is the server name; default false.
    pub send: bool,
    /// `auto_san_validation`: the certificate must be for the host, be it a name or an address; default false.
    pub validate: bool,
}

impl AutoNames {
    /// The server name that a request asks for; an address is none.
    pub fn sent<'r>(&self, request: &'r HeaderList) -> Option<&'r str> {
        let host = self.host(request);
        (self.send && !host.is_empty() && host.parse::<IpAddr>().is_err()).then_some(host)
    }

    /// What the certificate must be for. No certificate is for an empty name.
    pub fn checked<'r>(&self, request: &'r HeaderList) -> Option<&'r str> {
        self.validate.then(|| self.host(request))
    }

    /// The host without its port; empty where there is none.
    fn host<'r>(&self, request: &'r HeaderList) -> &'r str {
        let authority = request.get_name(&self.header).unwrap_or_else(|| request.authority());
        let authority = std::str::from_utf8(authority).unwrap_or_default();
        let host =
            authority.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())).map_or(authority, |(host, _)| host);
        host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host)
    }
}

/// `BindConfig`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// `source_address`; a port of 0 is for the system to choose.
    pub source: SocketAddr,
    /// `extra_source_addresses` or `additional_source_addresses`: the one for hosts of the other address family.
    pub other: Option<SocketAddr>,
    /// `freebind`: the address need not be of this machine.
    pub freebind: bool,
}

impl Bind {
    /// Where a connection to this address comes from.
    pub fn source(&self, to: SocketAddr) -> SocketAddr {
        self.other.filter(|other| other.is_ipv4() == to.is_ipv4()).unwrap_or(self.source)
    }
}

/// `TcpKeepalive`; what is absent is the system's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpKeepalive {
    /// `keepalive_probes`
    pub probes: Option<u32>,
    /// `keepalive_time`
    pub time: Option<Duration>,
    /// `keepalive_interval`
    pub interval: Option<Duration>,
}

/// How hosts are found.
#[derive(Clone, Debug, PartialEq)]
pub enum Discovery {
    /// `STATIC`, and clusters whose hosts are pushed.
    Static(Vec<Endpoint>),
    /// `STRICT_DNS` and `LOGICAL_DNS`
    Dns(Box<DnsSettings>),
}

/// Settings of a DNS cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct DnsSettings {
    /// Every address is a host (`STRICT_DNS`), or the first one is where the one host is (`LOGICAL_DNS`).
    pub strict: bool,
    /// What to resolve; one for `LOGICAL_DNS`.
    pub names: Vec<DnsEndpoint>,
    /// `dns_refresh_rate`; default 5 s.
    pub refresh: Duration,
    /// `dns_jitter`: up to so much is added to each pause; default none.
    pub jitter: Duration,
    /// `respect_dns_ttl`: the answer's time to live decides in place of `refresh`.
    pub respect_ttl: bool,
    /// `dns_failure_refresh_rate`; pauses after failures, `refresh` where absent.
    pub failure_refresh: Option<FailureRefresh>,
    /// `dns_lookup_family`
    pub family: LookupFamily,
    /// Which servers are asked.
    pub resolver: ResolverConfig,
    /// `wait_for_warm_on_init`; default true.
    pub wait_for_warm_on_init: bool,
}

/// One name of a DNS cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsEndpoint {
    /// The name; an address literal is fine.
    pub name: Arc<str>,
    /// The port of every address.
    pub port: u16,
    /// `hostname`, or the name.
    pub hostname: Arc<str>,
    /// `load_balancing_weight` of every address.
    pub weight: u32,
    /// `metadata` of every address.
    pub metadata: Option<Arc<Metadata>>,
    /// `locality` of every address.
    pub locality: Option<Arc<Locality>>,
    /// `health_status` of every address.
    pub health: Health,
}

impl DnsEndpoint {
    /// The endpoint at one address of the name.
    pub fn at(&self, address: IpAddr) -> Endpoint {
        Endpoint {
            address: SocketAddr::new(address, self.port),
            hostname: self.hostname.clone(),
            weight: self.weight,
            metadata: self.metadata.clone(),
            locality: self.locality.clone(),
            health: self.health,
        }
    }
}

/// Exponential back-off after failed look-ups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureRefresh {
    /// `base_interval`
    pub base: Duration,
    /// `max_interval`; default ten times the base.
    pub max: Duration,
}

/// `dns_lookup_family`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LookupFamily {
    /// IPv6, else IPv4.
    #[default]
    Auto,
    /// IPv4 only.
    V4Only,
    /// IPv6 only.
    V6Only,
    /// IPv4, else IPv6.
    V4Preferred,
    /// Both.
    All,
}

/// Which DNS servers are asked and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResolverConfig {
    /// The servers; the system's (`resolv.conf`) where empty.
    pub servers: Vec<SocketAddr>,
    /// `use_tcp_for_dns_lookups`
    pub tcp: bool,
    /// `no_default_search_domain`
    pub no_search: bool,
    /// `query_timeout_seconds`; default 5 s.
    pub timeout: Duration,
    /// `query_tries`; default 4.
    pub tries: u32,
}

impl Default for ResolverConfig {
    fn default() -> ResolverConfig {
        ResolverConfig { servers: Vec::new(), tcp: false, no_search: false, timeout: Duration::from_secs(5), tries: 4 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::header::Known;

    #[test]
    fn a_host_without_its_port_is_sent_where_it_is_a_name_and_checked_in_any_case() {
        let names = |send, validate, authority: &str| {
            let mut request = HeaderList::new();
            request.append(b":authority", authority.as_bytes());
            let auto = AutoNames { header: Known::Authority.into(), send, validate };
            [auto.sent(&request), auto.checked(&request)].map(|name| name.map(str::to_owned))
        };
        let some = |name: &str| Some(name.to_owned());
        for authority in ["a.test", "a.test:8443"] {
            assert_eq!(names(true, true, authority), [some("a.test"), some("a.test")]);
            assert_eq!(names(true, false, authority), [some("a.test"), None]);
            assert_eq!(names(false, true, authority), [None, some("a.test")]);
        }
        for (authority, host) in [("127.0.0.1:80", "127.0.0.1"), ("[::1]:80", "::1"), ("[::1]", "::1"), ("", ""), (":80", "")] {
            assert_eq!(names(true, true, authority), [None, some(host)]);
        }
    }
}
