//! The table of endpoints, and one request from its line to its answer.

use serde_json::{Value, json};

use super::{AdminSource, Drain, clusters, config_dump, home, logging, stats};

/// What the handlers need of a request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The method.
    pub method: String,
    /// Path and query as sent.
    pub target: String,
    /// `host`
    pub host: Option<String>,
    /// `origin`: set by browsers.
    pub origin: Option<String>,
    /// `sec-fetch-site`: set by browsers.
    pub fetch_site: Option<String>,
}

/// What goes back.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// `content-type`
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

pub(super) const TEXT: &str = "text/plain; charset=UTF-8";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=UTF-8";

impl Answer {
    /// 200 with text.
    pub(super) fn text(body: impl Into<String>) -> Answer {
        Answer { status: 200, content_type: TEXT, body: body.into() }
    }

    /// 200 with JSON that is text already.
    pub(super) fn raw_json(body: String) -> Answer {
        Answer { status: 200, content_type: JSON, body }
    }

    /// 200 with JSON in protobuf's style: an indent of one, a line break at the end.
    pub(super) fn json(value: &Value) -> Answer {
        Answer::raw_json(pretty(value))
    }

    /// An error with text.
    pub(super) fn error(status: u16, body: impl Into<String>) -> Answer {
        Answer { status, content_type: TEXT, body: body.into() }
    }
}

/// One endpoint: path, help, whether it changes something, and its parameters with their help.
pub(super) struct Endpoint {
    pub path: &'static str,
    pub help: &'static str,
    pub mutates: bool,
    pub parameters: &'static [(&'static str, &'static str)],
    run: fn(&dyn AdminSource, &Parameters) -> Answer,
}

/// Every endpoint, sorted by path; help texts are Envoy's.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    get("/", "Admin home page", &[], |_, _| Answer { status: 200, content_type: HTML, body: home::page() }),
    get("/certs", "print certs on machine", &[], |s, _| Answer::json(&json!({ "certificates": s.certificates() }))),
    get(
        "/clusters",
        "upstream cluster status",
        &[("filter", "Regular expression (Google re2) for filtering clusters by name")],
        clusters::clusters,
    ),
    get(
        "/config_dump",
        "dump current Envoy configs",
        &[
            ("resource", "The resource to dump"),
            (
                "mask",
                "The mask to apply. When both resource and mask are specified, the mask is applied to every element in the desired repeated field so that only a subset of fields are returned. The mask is parsed as a Protobuf::FieldMask",
            ),
            (
                "name_regex",
                "Dump only the currently loaded configurations whose names match the specified regex. Can be used with both resource and mask query parameters.",
            ),
            ("include_eds", "Dump currently loaded configuration including EDS. See the response definition for more information"),
        ],
        config_dump::config_dump,
    ),
    post(
        "/drain_listeners",
        "drain listeners",
        &[
            (
                "graceful",
                "When draining listeners, enter a graceful drain period prior to closing listeners. This behaviour and duration is configurable via server options or CLI",
            ),
            (
                "skip_exit",
                "When draining listeners, drain the connections but never stop the listeners. The graceful parameter has no effect when this is set, since the drain period only delays stopping the listeners",
            ),
            (
                "inboundonly",
                "Drains all inbound listeners. traffic_direction field in envoy_v3_api_msg_config.listener.v3.Listener is used to determine whether a listener is inbound or outbound.",
            ),
        ],
        drain_listeners,
    ),
    post("/healthcheck/fail", "cause the server to fail health checks", &[], |s, _| done(|| s.fail_health_checks(true))),
    post("/healthcheck/ok", "cause the server to pass health checks", &[], |s, _| done(|| s.fail_health_checks(false))),
    get("/help", "print out list of admin commands", &[], |_, _| Answer::text(help())),
    get("/hot_restart_version", "print the hot restart compatibility version", &[], |_, _| Answer::text("disabled")),
    get("/listeners", "print listener info", &[("format", "File format to use; One of (text, json)")], clusters::listeners),
    post(
        "/logging",
        "query/change logging levels",
        &[
            ("paths", "Change multiple logging levels by setting to <logger_name1>:<desired_level1>,<logger_name2>:<desired_level2>."),
            (
                "level",
                "desired logging level, this will change all loggers's level; One of (, trace, debug, info, warning, error, critical, off)",
            ),
        ],
        logging::logging,
    ),
    get("/memory", "print current allocation/heap usage", &[], |_, _| memory()),
    post("/quitquitquit", "exit the server", &[], |s, _| done(|| s.quit())),
    get("/ready", "print server state, return 200 if LIVE, otherwise return 503", &[], ready),
    post("/reopen_logs", "reopen access logs", &[], |s, _| done(|| s.reopen_logs())),
    post("/reset_counters", "reset all counters to zero", &[], |s, _| done(|| s.stats().reset_counters())),
    get("/server_info", "print server version/status information", &[], server_info),
    get(
        "/stats",
        "print server stats",
        &[
            ("usedonly", "Only include stats that have been written by system since restart"),
            ("filter", "Regular expression (Google re2) for filtering stats"),
            ("invert_filter", "Invert the filter regex"),
            ("format", "Format to use; One of (json, prometheus, text)"),
            ("type", "Stat types to include.; One of (All, Counters, Histograms, Gauges, TextReadouts)"),
            ("histogram_buckets", "Histogram bucket display mode; One of (cumulative, disjoint, detailed, summary)"),
        ],
        stats::stats,
    ),
    get(
        "/stats/prometheus",
        "print server stats in prometheus format",
        &[
            ("usedonly", "Only include stats that have been written by system since restart"),
            ("filter", "Regular expression (Google re2) for filtering stats"),
            ("invert_filter", "Invert the filter regex"),
            ("histogram_buckets", "Histogram bucket display mode; One of (cumulative, summary)"),
        ],
        stats::prometheus,
    ),
];

type Run = fn(&dyn AdminSource, &Parameters) -> Answer;
type Help = &'static [(&'static str, &'static str)];

const fn get(path: &'static str, help: &'static str, parameters: Help, run: Run) -> Endpoint {
    Endpoint { path, help, mutates: false, parameters, run }
}

const fn post(path: &'static str, help: &'static str, parameters: Help, run: Run) -> Endpoint {
    Endpoint { path, help, mutates: true, parameters, run }
}

/// Answers a request.
pub fn handle(source: &dyn AdminSource, request: &Request) -> Answer {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let path = merge_slashes(path);
    let Some(endpoint) = ENDPOINTS.iter().find(|e| e.path == path) else {
        return Answer::error(404, format!("invalid path. {}", help()));
    };
    if endpoint.mutates {
        if request.method != "POST" {
            return Answer::error(405, format!("Method {} not allowed, POST required.", request.method));
        }
        if let Err(why) = trusted(request) {
            return Answer::error(403, why);
        }
    }
    (endpoint.run)(source, &Parameters::parse(query))
}

/// Whether a request that changes something may come from a page in a browser: only from our own page, under an address
/// that DNS cannot point elsewhere. What is no browser sends neither header.
fn trusted(request: &Request) -> Result<(), &'static str> {
    if request.origin.is_none() && request.fetch_site.is_none() {
        return Ok(());
    }
    let host = request.host.as_deref().unwrap_or_default();
    let same_origin =
        request.origin.as_deref().is_none_or(|origin| origin.split_once("://").is_some_and(|(_, authority)| authority == host));
    let same_site = request.fetch_site.as_deref().is_none_or(|site| site == "same-origin" || site == "none");
    if !same_origin || !same_site {
        return Err("a page of another origin may not change this proxy\n");
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    if name.eq_ignore_ascii_case("localhost") || address.parse::<std::net::IpAddr>().is_ok() {
        Ok(())
    } else {
        Err("from a browser, use this proxy's IP address: a host name could be pointed here by somebody else\n")
    }
}

/// Parameters of a query, decoded.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn parse(query: &str) -> Parameters {
        let query = query.split('#').next().unwrap_or_default();
        let pairs = query.split('&').filter(|p| !p.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
        Parameters(pairs.collect())
    }

    /// The first value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Whether a name is there, with a value or without.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Every name and value.
    pub fn all(&self) -> &[(String, String)] {
        &self.0
    }

    /// The expression of a parameter.
    pub fn regex(&self, name: &str) -> Result<Option<regex::Regex>, Answer> {
        let Some(text) = self.get(name).filter(|t| !t.is_empty()) else { return Ok(None) };
        let build = regex::RegexBuilder::new(text).size_limit(1 << 20).build();
        build.map(Some).map_err(|e| {
            let reason = e.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
            Answer::error(400, format!("Invalid re2 regex: {reason}: {text}"))
        })
    }
}

/// Undoes percent-encoding; what is none stays, and what is no UTF-8 then becomes U+FFFD.
fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let hex = |b: u8| char::from(b).to_digit(16);
        if let (b'%', [a, b, tail @ ..]) = (first, behind)
            && let (Some(high), Some(low)) = (hex(*a), hex(*b))
        {
            out.push((high * 16 + low) as u8);
            rest = tail;
        } else {
            out.push(first);
            rest = behind;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn merge_slashes(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    path.chars().for_each(|c| {
        if c != '/' || !out.ends_with('/') {
            out.push(c);
        }
    });
    out
}

/// Value in protobuf's printed JSON.
pub(super) fn pretty(value: &Value) -> String {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b" ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    // A Value has no key that is no string, and writing into a Vec does not fail.
    let _ = serde::Serialize::serialize(value, &mut serializer);
    out.push(b'\n');
    // These two stand inside strings only; protobuf escapes them for pages that inline JSON.
    String::from_utf8_lossy(&out).replace('<', "\\u003c").replace('>', "\\u003e")
}

fn help() -> String {
    let mut out = String::from("admin commands are:\n");
    for endpoint in ENDPOINTS {
        let post = if endpoint.mutates { " (POST)" } else { "" };
        out.push_str(&format!("  {}{post}: {}\n", endpoint.path, endpoint.help));
        endpoint.parameters.iter().for_each(|(name, help)| out.push_str(&format!("      {name}: {help}\n")));
    }
    out
}

fn done(action: impl FnOnce()) -> Answer {
    action();
    Answer::text("OK\n")
}

fn ready(source: &dyn AdminSource, _: &Parameters) -> Answer {
    let state = source.state();
    let status = if state == super::State::Live { 200 } else { 503 };
    Answer { status, ..Answer::text(format!("{}\n", state.as_str())) }
}

fn drain_listeners(source: &dyn AdminSource, parameters: &Parameters) -> Answer {
    done(|| {
        source.drain_listeners(Drain {
            graceful: parameters.has("graceful"),
            skip_exit: parameters.has("skip_exit"),
            inbound_only: parameters.has("inboundonly"),
        });
    })
}

fn server_info(source: &dyn AdminSource, _: &Parameters) -> Answer {
    let info = source.server_info();
    let uptime = format!("{}s", info.uptime.as_secs());
    Answer::json(&json!({
        "version": info.version,
        "state": source.state().as_str(),
        "uptime_current_epoch": uptime,
        "uptime_all_epochs": uptime,
        "hot_restart_version": "disabled",
        "command_line_options": info.command_line_options,
        "node": info.node,
        "hot_restart_initializing": false,
    }))
}

/// What the kernel knows of this process's memory; the allocator tells nothing more.
fn memory() -> Answer {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bytes = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name));
        let kib: u64 = line.and_then(|l| l.trim_start_matches(':').split_whitespace().next()).and_then(|n| n.parse().ok()).unwrap_or(0);
        (kib * 1024).to_string()
    };
    Answer::json(&json!({
        "allocated": bytes("RssAnon"),
        "heap_size": bytes("VmData"),
        "pageheap_unmapped": "0",
        "pageheap_free": "0",
        "total_thread_cache": "0",
        "total_physical_bytes": bytes("VmRSS"),
    }))
}
