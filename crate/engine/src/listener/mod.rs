//! Listeners: what was compiled of one, its filter chains, and the accept loop of a worker.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use crate::{
    http::manager::Manager,
    stats::{ListenerStats, ListenerWorkerStats},
    stream_info::Entrance,
    tls::ServerContext,
};

pub mod accept;
pub mod balance;
pub mod filter_chain;
pub mod proxy_protocol;
pub mod quic;
pub mod socket;

use filter_chain::ChainMatcher;

/// Envoy's default of `per_connection_buffer_limit_bytes`.
pub const BUFFER_LIMIT: usize = 1024 * 1024;

/// A compiled listener. Immutable; an update makes a new one.
pub struct Listener {
    /// The configured name, or the address where there is none.
    pub name: Arc<str>,
    /// The address that was asked for; its port may be 0.
    pub address: SocketAddr,
    /// How its sockets are made.
    pub socket: SocketOptions,
    /// Bytes buffered per connection and direction before reading stops (`per_connection_buffer_limit_bytes`, 1 MiB).
    pub buffer_limit: usize,
    /// What is read of a connection before a filter chain is chosen, in this order.
    pub filters: Vec<ListenerFilter>,
    /// How long the listener filters may take (`listener_filters_timeout`, 15 s; zero is no limit).
    pub listener_filters_timeout: Duration,
    /// Whether a connection goes on without them when they take longer.
    pub continue_on_listener_filters_timeout: bool,
    /// QUIC, where its sockets are for datagrams.
    pub quic: Option<quic::Quic>,
    /// How connections are dealt to workers (`exact_balance`); absent where each keeps what it accepts.
    pub balance: Option<Arc<balance::Balance>>,
    /// Which filter chain a connection gets.
    pub chains: ChainMatcher,
    /// Counters under `listener.<address>.`.
    pub stats: ListenerStats,
    /// The same of each worker, under `listener.<address>.worker_<n>.`.
    pub worker_stats: Vec<ListenerWorkerStats>,
    /// `traffic_direction: INBOUND`
    pub inbound: bool,
    /// The hash of the configuration that this was made of.
    pub hash: u64,
}

/// A listener filter.
pub enum ListenerFilter {
    /// Reads the ClientHello, where the first byte begins one (`tls_inspector`).
    TlsInspector,
    /// Reads the header of a balancer (`proxy_protocol`).
    ProxyProtocol(Box<proxy_protocol::ProxyProtocol>),
}

/// How the sockets of a listener are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketOptions {
    /// For datagrams (`protocol: UDP`) instead of TCP connections.
    pub datagrams: bool,
    /// One socket a worker, balanced by the kernel (`enable_reuse_port`, on).
    pub reuse_port: bool,
    /// Whether another process may listen on the same port at the same time. Envoy always allows it; here it is an option.
    pub share_port: bool,
    /// Length of the accept queue (`tcp_backlog_size`).
    pub backlog: u32,
    /// Whether an address that the machine does not have yet may be bound (`freebind`).
    pub freebind: bool,
    /// Whether an IPv6 wildcard also takes IPv4 (`ipv4_compat`).
    pub ipv4_compat: bool,
}

/// What a connection gets that was accepted: how it is secured and who reads it.
pub struct FilterChain {
    /// What streams are told of it and its listener.
    pub entrance: Arc<Entrance>,
    /// The TLS context; `None` is clear text.
    pub tls: Option<Arc<ServerContext>>,
    /// How long the TLS handshake may take (`transport_socket_connect_timeout`); zero is no limit.
    pub handshake_timeout: Duration,
    /// The HTTP connection manager at the end of the chain.
    pub manager: Arc<Manager>,
}
