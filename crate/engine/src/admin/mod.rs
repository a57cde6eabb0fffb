//! The admin interface: Envoy's endpoints over what the engine tells of itself.
//!
//! [`handle`] is pure: a request in, an answer out. [`serve`] speaks HTTP/1 for it on the control runtime.

mod clusters;
mod config_dump;
mod handler;
mod home;
mod logging;
mod serve;
mod stats;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;

pub use handler::{Answer, Request, handle};
pub use serve::{serve, serve_until};

use crate::{access_log::AccessLog, stats::Store};

/// What the admin interface reads and does; the engine implements it. Called from blocking threads.
pub trait AdminSource: Send + Sync {
    /// The proxy's stats; gauges that are only known on request (uptime, memory) are brought up to date by the call.
    fn stats(&self) -> Store;

    /// Where the proxy is in its life; `/ready` is 200 for [`State::Live`] only.
    fn state(&self) -> State;

    /// Every cluster.
    fn clusters(&self) -> Vec<ClusterStatus>;

    /// Every active listener: name and address as bound.
    fn listeners(&self) -> Vec<ListenerStatus>;

    /// The `configs` of `/config_dump`, each with its `@type`, in Envoy's order (bootstrap, clusters, listeners, scoped routes, routes,
    /// secrets); with endpoints where `include_eds`. No secret may be in them.
    fn config_dump(&self, include_eds: bool) -> Vec<Value>;

    /// What `/server_info` tells.
    fn server_info(&self) -> ServerInfo;

    /// The `certificates` of `/certs`, as `envoy.admin.v3.Certificate` in JSON.
    fn certificates(&self) -> Vec<Value>;

    /// The loggers and their levels, in the order to print.
    fn log_levels(&self) -> Vec<(String, LogLevel)>;

    /// Sets the level of one logger, or of all.
    fn set_log_level(&self, logger: Option<&str>, level: LogLevel);

    /// Begins to stop the proxy (`/quitquitquit`). Must return at once.
    fn quit(&self);

    /// Drains listeners (`/drain_listeners`). Must return at once.
    fn drain_listeners(&self, drain: Drain);

    /// Opens the access logs again (`/reopen_logs`).
    fn reopen_logs(&self);

    /// Access logs of the admin interface itself (`admin.access_log`).
    fn access_logs(&self) -> Vec<AccessLog> {
        Vec::new()
    }

    /// Makes the proxy fail or pass health checks (`/healthcheck/fail`, `/healthcheck/ok`).
    fn fail_health_checks(&self, fail: bool);
}

/// Where a proxy is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It serves.
    Live,
    /// It takes no new work: health checks fail, or it drains.
    Draining,
    /// Clusters are not warm yet.
    PreInitializing,
    /// Listeners are not ready yet.
    Initializing,
}

impl State {
    /// As `/ready` prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Live => "LIVE",
            State::Draining => "DRAINING",
            State::PreInitializing => "PRE_INITIALIZING",
            State::Initializing => "INITIALIZING",
        }
    }
}

/// How `/drain_listeners` was asked to drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drain {
    /// Let connections end before the listeners close (`graceful`).
    pub graceful: bool,
    /// Never close the listeners (`skip_exit`).
    pub skip_exit: bool,
    /// Only listeners with `traffic_direction: INBOUND` (`inboundonly`).
    pub inbound_only: bool,
}

/// A level of our own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warning,
    Error,
    Critical,
    Off,
}

/// One line of `/listeners`.
#[derive(Clone, Debug)]
pub struct ListenerStatus {
    /// The name.
    pub name: String,
    /// The address it is bound to, with the real port.
    pub address: SocketAddr,
}

/// One cluster of `/clusters`.
#[derive(Clone, Debug, Default)]
pub struct ClusterStatus {
    /// The name.
    pub name: String,
    /// The name in stats (`alt_stat_name`, or the name).
    pub observability_name: String,
    /// Whether it came by an update, not from the bootstrap file.
    pub added_via_api: bool,
    /// The name that EDS knows it by.
    pub eds_service_name: Option<String>,
    /// Circuit breakers of the default priority.
    pub default_thresholds: Thresholds,
    /// Circuit breakers of the high priority.
    pub high_thresholds: Thresholds,
    /// Every host.
    pub hosts: Vec<HostStatus>,
}

/// Circuit breakers of one priority; Envoy's defaults.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// `max_connections`, 1024
    pub max_connections: u32,
    /// `max_pending_requests`, 1024
    pub max_pending_requests: u32,
    /// `max_requests`, 1024
    pub max_requests: u32,
    /// `max_retries`, 3
    pub max_retries: u32,
}

impl Default for Thresholds {
    fn default() -> Thresholds {
        Thresholds { max_connections: 1024, max_pending_requests: 1024, max_requests: 1024, max_retries: 3 }
    }
}

/// One host of a cluster.
#[derive(Clone, Debug)]
pub struct HostStatus {
    /// Its address.
    pub address: SocketAddr,
    /// The name that was resolved or configured; empty without one.
    pub hostname: String,
    /// Open connections.
    pub cx_active: u64,
    /// Connections that could not be made.
    pub cx_connect_fail: u64,
    /// All connections.
    pub cx_total: u64,
    /// Requests under way.
    pub rq_active: u64,
    /// Requests that failed: 5xx, resets, timeouts.
    pub rq_error: u64,
    /// Requests that wait for a connection.
    pub rq_pending_active: u64,
    /// Requests that were answered, not with 5xx.
    pub rq_success: u64,
    /// Requests that timed out.
    pub rq_timeout: u64,
    /// All requests.
    pub rq_total: u64,
    /// Why it is not healthy, in Envoy's names (`failed_active_hc`, `failed_outlier_check`, `failed_eds_health`, `degraded_active_hc`,
    /// `degraded_eds_health`, `pending_dynamic_removal`, `pending_active_hc`, `excluded_via_immediate_hc_fail`, `active_hc_timeout`,
    /// `eds_status_draining`, `degraded_outlier_detection`); empty for a healthy one.
    pub health_flags: Vec<&'static str>,
    /// Load balancing weight.
    pub weight: u32,
    /// Region, zone, sub-zone.
    pub locality: [String; 3],
    /// Whether it is marked as canary.
    pub canary: bool,
    /// Priority; 0 is first.
    pub priority: u32,
    /// Outlier detection's success rate in percent, -1 while there is none.
    pub success_rate: f64,
    /// The same of locally originated errors.
    pub local_origin_success_rate: f64,
}

impl HostStatus {
    /// A healthy host without traffic.
    pub fn new(address: SocketAddr) -> HostStatus {
        HostStatus {
            address,
            hostname: String::new(),
            cx_active: 0,
            cx_connect_fail: 0,
            cx_total: 0,
            rq_active: 0,
            rq_error: 0,
            rq_pending_active: 0,
            rq_success: 0,
            rq_timeout: 0,
            rq_total: 0,
            health_flags: Vec::new(),
            weight: 1,
            locality: Default::default(),
            canary: false,
            priority: 0,
            success_rate: -1.0,
            local_origin_success_rate: -1.0,
        }
    }
}

/// What `/server_info` tells beside the state.
#[derive(Clone, Debug)]
pub struct ServerInfo {
    /// Revision, version, state of the tree, kind of build, TLS library, with slashes between.
    pub version: String,
    /// Time since the start.
    pub uptime: Duration,
    /// The flags, as `envoy.admin.v3.CommandLineOptions` in JSON.
    pub command_line_options: Value,
    /// The node, as `envoy.config.core.v3.Node` in JSON.
    pub node: Value,
}
