//! One engine for JavaScript: arguments out of JSON, results and events into it.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use napi_derive::napi;
use plenipo_api::Input;
use plenipo_engine::cluster::Endpoint;
use plenipo_engine::control::{Applied, Change, Kind, Owner};
use plenipo_engine::engine::{Event, Options, Proxy};
use plenipo_engine::stats::{Value as Stat, prometheus_all};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::bridge::{Bridge, Shared};
use crate::kube::duration;
use crate::wire::{Failure, answer, event, issues_json};

/// How long `drain` and `stop` wait for requests unless told otherwise: less than the 30 s that Kubernetes gives a pod.
const GRACE: Duration = Duration::from_secs(25);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EngineOptions {
    concurrency: Option<usize>,
    service_cluster: Option<String>,
    service_node: Option<String>,
    service_zone: Option<String>,
    drain_time_ms: Option<f64>,
    warm_timeout_ms: Option<f64>,
    #[serde(default)]
    share_port: bool,
    /// The bootstrap is JavaScript's own, not a file's.
    owned: bool,
}

#[derive(Deserialize)]
struct StartRequest {
    text: String,
    file: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApplyRequest {
    clusters: Vec<String>,
    listeners: Vec<String>,
    dry_run: bool,
    replace: bool,
    if_version: Option<String>,
}

#[derive(Deserialize)]
struct EndpointRequest {
    address: IpAddr,
    port: u16,
    weight: Option<u32>,
}

/// One engine. It has no thread before `start`.
#[napi]
pub struct Engine {
    shared: Arc<Shared>,
    proxy: Proxy,
}

#[napi]
impl Engine {
    /// `options` is JSON.
    #[napi(constructor)]
    pub fn new(bridge: &Bridge, options: String) -> napi::Result<Engine> {
        let options: EngineOptions = serde_json::from_str(&options).map_err(|error| napi::Error::from_reason(error.to_string()))?;
        let defaults = Options::default();
        let proxy = Proxy::new(Options {
            concurrency: options.concurrency,
            service_cluster: options.service_cluster,
            service_node: options.service_node,
            service_zone: options.service_zone,
            drain_time: options.drain_time_ms.map_or(defaults.drain_time, duration),
            warm_timeout: options.warm_timeout_ms.map_or(defaults.warm_timeout, duration),
            share_port: options.share_port,
            static_owner: if options.owned { Owner::Api } else { Owner::Bootstrap },
            ..defaults
        });
        bridge.shared.keep(&proxy);
        Ok(Engine { shared: Arc::clone(&bridge.shared), proxy })
    }

    /// Sends events under this number until cancelled.
    #[napi]
    pub fn events(&self, id: i64) -> Option<String> {
        let mut events = self.proxy.events();
        let sink = self.shared.sink.clone();
        self.shared.stream(id, async move {
            while let Some(next) = events.recv().await {
                sink.send(id, event_text(next), false);
            }
        })
    }

    /// Starts. The request is `{ text, file? }`: a Bootstrap, and the name of the file that it is from.
    #[napi]
    pub fn start(&self, id: i64, request: String) -> Option<String> {
        let request: StartRequest = match read(&request) {
            Ok(request) => request,
            Err(failure) => return Some(failure),
        };
        let input = match request.file {
            None => Input::object(request.text),
            Some(file) => match Input::file(&file, request.text) {
                Ok(input) => input,
                Err(issues) => return Some(answer(Err(Failure::config(&issues)))),
            },
        };
        let (proxy, shared) = (self.proxy.clone(), Arc::clone(&self.shared));
        self.shared.call_with_cancel(id, move |cancel| async move {
            let result = proxy.start(vec![input], Some(cancel)).await;
            if result.is_err() {
                shared.forget(&proxy);
            }
            result.map(|applied| applied_json(&applied)).map_err(Failure::from)
        })
    }

    /// Changes clusters and listeners. The change has its place in the order when this returns.
    #[napi]
    pub fn apply(&self, id: i64, request: String) -> Option<String> {
        let request: ApplyRequest = match read(&request) {
            Ok(request) => request,
            Err(failure) => return Some(failure),
        };
        self.change(
            id,
            Change {
                clusters: request.clusters.into_iter().map(Input::object).collect(),
                listeners: request.listeners.into_iter().map(Input::object).collect(),
                replace: request.replace,
                dry_run: request.dry_run,
                if_version: request.if_version,
                ..Change::default()
            },
        )
    }

    /// Removes clusters or listeners by name.
    #[napi]
    pub fn remove(&self, id: i64, kind: String, names: Vec<String>) -> Option<String> {
        let kind = if kind == "listener" { Kind::Listener } else { Kind::Cluster };
        self.change(id, Change { removals: names.into_iter().map(|name| (kind, name)).collect(), ..Change::default() })
    }

    /// Replaces a cluster's endpoints, given as a JSON array.
    #[napi]
    pub fn set_endpoints(&self, cluster: String, endpoints: String) -> Option<String> {
        let list: Vec<EndpointRequest> = match read(&endpoints) {
            Ok(list) => list,
            Err(failure) => return Some(failure),
        };
        let endpoints: Vec<Endpoint> = list
            .into_iter()
            .map(|each| Endpoint { weight: each.weight.unwrap_or(1).max(1), ..Endpoint::new(SocketAddr::new(each.address, each.port)) })
            .collect();
        let result = self.proxy.set_endpoints(&cluster, &endpoints);
        result.err().map(|error| answer(Err(error.into())))
    }

    /// Drains for at most so many milliseconds, then it has stopped. Cancelled, it does not wait any longer.
    #[napi]
    pub fn drain(&self, id: i64, timeout_ms: Option<f64>) -> Option<String> {
        let proxy = self.proxy.clone();
        let timeout = timeout_ms.map_or(GRACE, duration);
        let shared = Arc::clone(&self.shared);
        self.shared.call_with_cancel(id, move |cancel| async move {
            let drain = proxy.drain(timeout);
            tokio::pin!(drain);
            let report = tokio::select! {
                report = &mut drain => report,
                Ok(()) = cancel => {
                    let (report, ()) = tokio::join!(&mut drain, proxy.stop(None));
                    report
                }
            };
            // The control thread has ended, or is about to.
            proxy.stop(None).await;
            shared.forget(&proxy);
            let report = report.map_err(Failure::from)?;
            Ok(json!({ "completed": report.completed, "reset": report.reset }))
        })
    }

    /// Drains for at most so many milliseconds (0: not at all), then stops.
    #[napi]
    pub fn stop(&self, id: i64, grace_ms: Option<f64>) -> Option<String> {
        let (proxy, shared) = (self.proxy.clone(), Arc::clone(&self.shared));
        let grace = grace_ms.map_or(GRACE, duration);
        self.shared.call_with_cancel(id, move |_| async move {
            proxy.stop((!grace.is_zero()).then_some(grace)).await;
            shared.forget(&proxy);
            Ok(Value::Null)
        })
    }

    /// `new`, `starting`, `live`, `draining` or `stopped`.
    #[napi]
    pub fn state(&self) -> String {
        self.proxy.state().as_str().into()
    }

    /// The version of the running configuration.
    #[napi]
    pub fn version(&self) -> String {
        self.proxy.version()
    }

    /// Where it listens, as JSON.
    #[napi]
    pub fn addresses(&self) -> String {
        answer(Ok(addresses_json(&self.proxy.addresses())))
    }

    /// Counters and gauges whose names contain the filter: a JSON array of pairs.
    #[napi]
    pub fn stats(&self, filter: String) -> String {
        let mut pairs = Vec::new();
        self.proxy.stats().visit(|name, reading| {
            if let Stat::Counter(value) | Stat::Gauge(value) = &reading.value
                && name.contains(&filter)
            {
                pairs.push(json!([name, value]));
            }
        });
        answer(Ok(Value::Array(pairs)))
    }

    /// All stats in Prometheus's text format.
    #[napi]
    pub fn prometheus(&self) -> String {
        prometheus_all(&self.proxy.stats())
    }

    /// The running configuration as JSON, without secrets.
    #[napi]
    pub fn dump(&self) -> String {
        answer(Ok(self.proxy.dump()))
    }
}

impl Engine {
    fn change(&self, id: i64, mut change: Change) -> Option<String> {
        let (cancel, cancelled) = oneshot::channel();
        change.cancel = Some(cancelled);
        let result = match self.proxy.apply_now(change) {
            Ok(result) => result,
            Err(error) => return Some(answer(Err(error.into()))),
        };
        self.shared.call_with_cancel(id, move |aborted| async move {
            tokio::pin!(result);
            let result = tokio::select! {
                result = &mut result => result,
                Ok(()) = aborted => {
                    // It fails when the change is done already.
                    let _ = cancel.send(());
                    result.await
                }
            };
            let stopped = Failure::new("ERR_PLENIPO_STATE", "the proxy was stopped before the change took effect");
            result.map_err(|_| stopped)?.map(|applied| applied_json(&applied)).map_err(Failure::from)
        })
    }
}

impl From<plenipo_engine::engine::Error> for Failure {
    fn from(error: plenipo_engine::engine::Error) -> Failure {
        if error.cancelled {
            Failure::aborted()
        } else if error.code == "ERR_PLENIPO_BIND" {
            let message = error.issues.first().map_or(error.message, |issue| issue.message.clone());
            Failure::bind(message, &error.issues)
        } else if error.issues.is_empty() {
            Failure::new(error.code, error.message)
        } else {
            Failure::config(&error.issues)
        }
    }
}

impl Failure {
    /// An address that cannot be listened on; the engine's message is `CODE: NAME: cannot bind to ADDRESS: REASON`.
    fn bind(message: String, issues: &[plenipo_api::Issue]) -> Failure {
        let code = message
            .split_once(": ")
            .map(|(code, _)| code)
            .filter(|code| code.starts_with('E') && code.bytes().all(|b| b.is_ascii_uppercase()));
        let address = message
            .split_once("cannot bind to ")
            .and_then(|(_, rest)| rest.split_once(": "))
            .and_then(|(address, _)| SocketAddr::from_str(address).ok());
        let mut system = json!({ "syscall": "bind", "message": message });
        if let Some(code) = code {
            system["code"] = code.into();
        }
        if let Some(address) = address {
            system["address"] = address.ip().to_string().into();
            system["port"] = address.port().into();
        }
        Failure::with_system("ERR_PLENIPO_BIND", &message, issues, system)
    }
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    // JavaScript has checked it all; serde's own message could quote a secret.
    serde_json::from_str(text).map_err(|_| answer(Err(Failure::new("ERR_PLENIPO_INVALID_ARG", "the request could not be read"))))
}

fn event_text(next: Event) -> String {
    match next {
        Event::Listening(addresses) => event("listening", addresses_json(&addresses)),
        Event::Applied(applied) => event("applied", applied_json(&applied)),
        Event::Rejected(error) => json!({ "type": "rejected", "error": Failure::from(error).into_json() }).to_string(),
        Event::Warning(message) => event("warning", message.into()),
        Event::Draining => event("draining", Value::Null),
        Event::Stopped => event("stopped", Value::Null),
        Event::QuitRequested => event("quit", Value::Null),
        Event::Crashed => {
            let failure = Failure::new("ERR_PLENIPO_ENGINE_CRASH", "the engine's control thread failed; the proxy has stopped");
            json!({ "type": "error", "error": failure.into_json() }).to_string()
        }
    }
}

fn addresses_json(addresses: &[plenipo_engine::engine::BoundAddress]) -> Value {
    addresses
        .iter()
        .map(|each| json!({ "listener": each.listener, "address": each.address.ip().to_string(), "port": each.address.port() }))
        .collect()
}

fn applied_json(applied: &Applied) -> Value {
    json!({
        "version": applied.version,
        "added": applied.added,
        "changed": applied.changed,
        "removed": applied.removed,
        "unchanged": applied.unchanged,
        "drained": applied.drained,
        "warnings": issues_json(&applied.warnings),
    })
}
