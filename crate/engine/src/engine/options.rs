//! What a proxy is told beside its configuration; the flags of `envoy` stand for most of it.

use std::{path::PathBuf, time::Duration};

use plenipo_api::UnknownFields;

use super::host;
use crate::control::Owner;

/// Options of one proxy.
#[derive(Clone, Debug)]
pub struct Options {
    /// Number of workers (`--concurrency`); `None` is the number of CPUs that this process may use, its cgroup's quota honoured.
    pub concurrency: Option<usize>,
    /// Each worker stays on a CPU of its own (`--cpuset-threads`).
    pub pin_workers: bool,
    /// `node.cluster` in place of the bootstrap's (`--service-cluster`).
    pub service_cluster: Option<String>,
    /// `node.id` in place of the bootstrap's (`--service-node`).
    pub service_node: Option<String>,
    /// `node.locality.zone` in place of the bootstrap's (`--service-zone`).
    pub service_zone: Option<String>,
    /// Who the bootstrap's clusters and listeners belong to; a program that made the bootstrap itself owns them.
    pub static_owner: Owner,
    /// What is done with fields that Envoy's API does not have.
    pub unknown_fields: UnknownFields,
    /// The same, in what is discovered (`--reject-unknown-dynamic-fields`, `--ignore-unknown-dynamic-fields`); told in the log by default.
    pub unknown_dynamic_fields: UnknownFields,
    /// Whether other processes may listen on the same ports (Envoy: always; here not by default).
    pub share_port: bool,
    /// How long connections of a removed or changed listener may go on (`--drain-time-s`); 600 s as in Envoy.
    pub drain_time: Duration,
    /// Whether a graceful drain of listeners asks more and more clients to close, over `drain_time`, as Envoy does by default
    /// (`--drain-strategy gradual`); else all at once.
    pub gradual_drain: bool,
    /// How often access logs are written (`--file-flush-interval-msec`); 10 s as in Envoy.
    pub flush_interval: Duration,
    /// Where the admin interface's address is written (`--admin-address-path`).
    pub admin_address_path: Option<PathBuf>,
    /// How long clusters may warm before a change is published all the same.
    pub warm_timeout: Duration,
    /// Everything is read, bound and warmed, then the proxy stops (`--mode init_only`).
    pub init_only: bool,
    /// The command line as `/server_info` shows it (`envoy.admin.v3.CommandLineOptions` in JSON).
    pub command_line: serde_json::Value,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            concurrency: None,
            pin_workers: false,
            service_cluster: None,
            service_node: None,
            service_zone: None,
            static_owner: Owner::Bootstrap,
            unknown_fields: UnknownFields::Reject,
            unknown_dynamic_fields: UnknownFields::Warn,
            share_port: false,
            drain_time: Duration::from_secs(600),
            gradual_drain: true,
            flush_interval: Duration::from_secs(10),
            admin_address_path: None,
            warm_timeout: Duration::from_secs(15),
            init_only: false,
            command_line: serde_json::Value::Object(serde_json::Map::new()),
        }
    }
}

impl Options {
    /// The number of workers.
    pub fn workers(&self) -> usize {
        self.concurrency.unwrap_or_else(host::cpu_count).max(1)
    }
}
