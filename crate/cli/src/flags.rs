//! The command line: every flag of `envoy` 1.40, those that mean something here, and those that are taken with a warning.

use std::{path::PathBuf, time::Duration};

use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{OsStringValueParser, TypedValueParser},
};
use serde_json::json;

/// An Envoy-class proxy.
#[derive(Debug, Parser)]
#[command(name = "plenipo", version, propagate_version = true, about, max_term_width = 120)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a proxy with an Envoy bootstrap (takes every flag of envoy)
    #[command(display_name = "plenipo")]
    Run(Box<Run>),
    /// Print every problem of configuration files; exit status 1 if there is an error
    #[command(display_name = "plenipo")]
    Validate(Validate),
}

/// `plenipo validate`
#[derive(Debug, Args)]
pub struct Validate {
    /// Check Envoy's schema and rules only, not what this proxy implements
    #[arg(long)]
    pub schema: bool,
    /// Exit with status 1 on warnings too
    #[arg(long)]
    pub strict: bool,
    /// Bootstrap files: .yaml, .yml, .json, .pb
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// `--mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Validate, then serve
    Serve,
    /// Validate and exit
    Validate,
    /// Read, bind and warm everything, then exit
    #[value(name = "init_only")]
    InitOnly,
}

/// `--drain-strategy`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DrainStrategy {
    /// More and more of them, until the drain time is over
    Gradual,
    /// Each of them
    Immediate,
}

/// `plenipo run`
#[derive(Debug, Args)]
pub struct Run {
    /// Path to the bootstrap file
    #[arg(short = 'c', long, value_name = "FILE", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub config_path: Option<PathBuf>,
    /// YAML that is merged over the bootstrap file
    #[arg(long, value_name = "YAML", allow_hyphen_values = true)]
    pub config_yaml: Option<String>,
    /// What to do with the configuration
    #[arg(long, value_enum, default_value = "serve")]
    pub mode: Mode,
    /// Number of worker threads; default: the CPUs that this process may use
    #[arg(long, value_name = "N")]
    pub concurrency: Option<usize>,
    /// Keep each worker thread on one CPU
    #[arg(long)]
    pub cpuset_threads: bool,
    /// trace, debug, info, warning, error, critical or off
    #[arg(short = 'l', long, default_value = "info", value_name = "LEVEL")]
    pub log_level: String,
    /// Levels of single components: upstream:debug,config:trace
    #[arg(long, value_name = "LIST")]
    pub component_log_level: Option<String>,
    /// Format of log lines, in spdlog's syntax
    #[arg(long, default_value = crate::log::DEFAULT_FORMAT, value_name = "FORMAT", allow_hyphen_values = true)]
    pub log_format: String,
    /// Escape control characters and quotes in log lines as C does
    #[arg(long)]
    pub log_format_escaped: bool,
    /// File that the log goes to; default: standard error
    #[arg(long, value_name = "FILE")]
    pub log_path: Option<PathBuf>,
    /// Cluster of this node
    #[arg(long, value_name = "NAME")]
    pub service_cluster: Option<String>,
    /// Name of this node
    #[arg(long, value_name = "NAME")]
    pub service_node: Option<String>,
    /// Zone of this node
    #[arg(long, value_name = "NAME")]
    pub service_zone: Option<String>,
    /// How long connections of a removed or changed listener may go on
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    pub drain_time_s: u64,
    /// Which answers ask their clients to close in a graceful drain of listeners (/drain_listeners?graceful)
    #[arg(long, value_enum, default_value = "gradual", ignore_case = true)]
    pub drain_strategy: DrainStrategy,
    /// The longest time that a stop may take; shorter than --drain-timeout-s it shortens that
    #[arg(long, default_value_t = 900, value_name = "SECONDS")]
    pub parent_shutdown_time_s: u64,
    /// How long running requests may go on after SIGTERM or SIGINT, then they are reset. Ours, not envoy's: its drain time of 600 s
    /// would outlive the 30 s that Kubernetes gives a pod
    #[arg(long, default_value_t = 25, value_name = "SECONDS")]
    pub drain_timeout_s: u64,
    /// File that the address of the admin interface is written to
    #[arg(long, value_name = "FILE")]
    pub admin_address_path: Option<PathBuf>,
    /// Unknown fields in the bootstrap are warnings
    #[arg(long, visible_alias = "allow-unknown-fields")]
    pub allow_unknown_static_fields: bool,
    /// Unknown fields in what is discovered (rds) are errors: such an update is not used
    #[arg(long)]
    pub reject_unknown_dynamic_fields: bool,
    /// Unknown fields in what is discovered are not even warnings
    #[arg(long)]
    pub ignore_unknown_dynamic_fields: bool,
    /// How often access logs are written
    #[arg(long, default_value_t = 10_000, value_name = "MS")]
    pub file_flush_interval_msec: u64,
    /// Listen also on ports that another process of this user listens on, as Envoy always does; else a taken port is an error
    #[arg(long)]
    pub share_ports: bool,

    #[command(flatten)]
    pub ignored: Ignored,
}

/// Flags of `envoy` that mean nothing here; each is taken with one warning.
#[derive(Debug, Args)]
#[command(next_help_heading = "Taken for envoy's sake, without effect")]
pub struct Ignored {
    /// Tags for all stats
    #[arg(long, value_name = "TAG:VALUE")]
    stats_tag: Vec<String>,
    /// Core dumps
    #[arg(long)]
    enable_core_dump: bool,
    /// Mode of the hot restart socket
    #[arg(long, value_name = "MODE")]
    socket_mode: Option<String>,
    /// Path of the hot restart socket
    #[arg(long, value_name = "FILE")]
    socket_path: Option<String>,
    /// Extensions to leave out
    #[arg(long, value_name = "LIST")]
    disable_extensions: Option<String>,
    /// Mutex tracing
    #[arg(long)]
    enable_mutex_tracing: bool,
    /// There is no hot restart
    #[arg(long)]
    disable_hot_restart: bool,
    /// Access logs are written by time (--file-flush-interval-msec)
    #[arg(long, value_name = "KB")]
    file_flush_min_size_kb: Option<u32>,
    /// Prints "disabled" and exits, as envoy without hot restart
    #[arg(long)]
    pub hot_restart_version: bool,
    /// Hot restart epoch
    #[arg(long, value_name = "N")]
    restart_epoch: Option<u32>,
    /// Log levels by source file
    #[arg(long)]
    enable_fine_grain_logging: bool,
    /// v4 or v6
    #[arg(long, value_name = "VERSION")]
    local_address_ip_version: Option<String>,
    /// Stack traces as one log line
    #[arg(long)]
    log_stacktrace_single_entry: bool,
    /// Warnings of deprecated fields are printed all the same
    #[arg(long)]
    skip_deprecated_logs: bool,
    /// File for the base id
    #[arg(long, value_name = "FILE")]
    base_id_path: Option<String>,
    /// Stats of the hot restart parent
    #[arg(long)]
    skip_hot_restart_parent_stats: bool,
    /// Start without a hot restart parent
    #[arg(long)]
    skip_hot_restart_on_no_parent: bool,
    /// Base id chosen by envoy
    #[arg(long)]
    use_dynamic_base_id: bool,
    /// Base id for hot restart
    #[arg(long, value_name = "N")]
    base_id: Option<u32>,
}

impl Ignored {
    /// The names of those that were given.
    pub fn given(&self) -> Vec<&'static str> {
        let all = [
            (!self.stats_tag.is_empty(), "--stats-tag"),
            (self.enable_core_dump, "--enable-core-dump"),
            (self.socket_mode.is_some(), "--socket-mode"),
            (self.socket_path.is_some(), "--socket-path"),
            (self.disable_extensions.is_some(), "--disable-extensions"),
            (self.enable_mutex_tracing, "--enable-mutex-tracing"),
            (self.disable_hot_restart, "--disable-hot-restart"),
            (self.file_flush_min_size_kb.is_some(), "--file-flush-min-size-kb"),
            (self.hot_restart_version, "--hot-restart-version"),
            (self.restart_epoch.is_some(), "--restart-epoch"),
            (self.enable_fine_grain_logging, "--enable-fine-grain-logging"),
            (self.local_address_ip_version.is_some(), "--local-address-ip-version"),
            (self.log_stacktrace_single_entry, "--log-stacktrace-single-entry"),
            (self.skip_deprecated_logs, "--skip-deprecated-logs"),
            (self.base_id_path.is_some(), "--base-id-path"),
            (self.skip_hot_restart_parent_stats, "--skip-hot-restart-parent-stats"),
            (self.skip_hot_restart_on_no_parent, "--skip-hot-restart-on-no-parent"),
            (self.use_dynamic_base_id, "--use-dynamic-base-id"),
            (self.base_id.is_some(), "--base-id"),
        ];
        all.into_iter().filter(|(given, _)| *given).map(|(_, name)| name).collect()
    }
}

impl Run {
    /// How long running requests may go on after SIGTERM.
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.drain_timeout_s.min(self.parent_shutdown_time_s))
    }

    /// The flags as `/server_info` shows them.
    pub fn as_json(&self, workers: usize) -> serde_json::Value {
        let path = |p: &Option<PathBuf>| p.as_ref().map(|p| p.display().to_string()).unwrap_or_default();
        let mode = match self.mode {
            Mode::Serve => "Serve",
            Mode::Validate => "Validate",
            Mode::InitOnly => "InitOnly",
        };
        let strategy = if self.drain_strategy == DrainStrategy::Gradual { "Gradual" } else { "Immediate" };
        json!({
            "base_id": "0",
            "use_dynamic_base_id": self.ignored.use_dynamic_base_id,
            "base_id_path": "",
            "concurrency": workers,
            "config_path": path(&self.config_path),
            "config_yaml": self.config_yaml.clone().unwrap_or_default(),
            "allow_unknown_static_fields": self.allow_unknown_static_fields,
            "reject_unknown_dynamic_fields": self.reject_unknown_dynamic_fields,
            "ignore_unknown_dynamic_fields": self.ignore_unknown_dynamic_fields,
            "admin_address_path": path(&self.admin_address_path),
            "local_address_ip_version": "v4",
            "log_level": self.log_level,
            "component_log_level": self.component_log_level.clone().unwrap_or_default(),
            "log_format": self.log_format,
            "log_path": path(&self.log_path),
            "service_cluster": self.service_cluster.clone().unwrap_or_default(),
            "service_node": self.service_node.clone().unwrap_or_default(),
            "service_zone": self.service_zone.clone().unwrap_or_default(),
            "drain_strategy": strategy,
            "mode": mode,
            "disable_hot_restart": true,
            "enable_mutex_tracing": false,
            "restart_epoch": 0,
            "cpuset_threads": self.cpuset_threads,
            "disabled_extensions": [],
            "file_flush_interval": format!("{}.{:03}s", self.file_flush_interval_msec / 1000, self.file_flush_interval_msec % 1000),
            "drain_time": format!("{}s", self.drain_time_s),
            "parent_shutdown_time": format!("{}s", self.parent_shutdown_time_s),
        })
    }
}
