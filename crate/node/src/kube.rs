//! Kubernetes discovery for JavaScript: options out of JSON, snapshots and events into it.

use std::path::PathBuf;
use std::time::Duration;

use plenipo_kube::{Event, Family, KubeOptions, PortRef, Source, Target};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bridge::Sink;
use crate::wire::{Failure, event, snapshot_json};

/// What `npm/lib/kubernetes.js` sends; it has checked the types.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    targets: Vec<RequestTarget>,
    kubeconfig: Option<String>,
    context: Option<String>,
    client: Option<String>,
    family: Option<String>,
    #[serde(default)]
    allow_external: bool,
    debounce_ms: Option<f64>,
    max_stale_ms: Option<f64>,
}

#[derive(Deserialize)]
struct RequestTarget {
    service: String,
    namespace: Option<String>,
    port: Option<Value>,
}

/// Reads the request of a call.
pub fn read(text: &str) -> Result<Request, Failure> {
    // The text may hold a token, which serde's message could quote.
    serde_json::from_str(text).map_err(|_| Failure::new("ERR_PLENIPO_INVALID_ARG", "the Kubernetes request could not be read"))
}

impl Request {
    fn targets(&self) -> Vec<Target> {
        self.targets.iter().map(RequestTarget::to_target).collect()
    }

    fn options(self) -> KubeOptions {
        let defaults = KubeOptions::default();
        KubeOptions {
            source: match (self.client, self.kubeconfig) {
                (Some(client), _) => Source::ClientNode(client),
                (None, Some(file)) => Source::File(PathBuf::from(file)),
                (None, None) => Source::Default,
            },
            context: self.context,
            family: match self.family.as_deref() {
                Some("ipv4") => Family::V4,
                Some("ipv6") => Family::V6,
                Some("both") => Family::Both,
                _ => Family::ServiceFirst,
            },
            allow_external: self.allow_external,
            debounce: self.debounce_ms.map_or(defaults.debounce, duration),
            max_stale: self.max_stale_ms.map(duration),
            ..defaults
        }
    }
}

impl RequestTarget {
    fn to_target(&self) -> Target {
        let port = match &self.port {
            Some(Value::String(name)) => Some(PortRef::Name(name.clone())),
            // JavaScript has checked the range; 0 is refused by the target's own check.
            Some(Value::Number(number)) => Some(PortRef::Number(number.as_u64().and_then(|n| u16::try_from(n).ok()).unwrap_or(0))),
            _ => None,
        };
        Target { namespace: self.namespace.clone(), service: self.service.clone(), port }
    }
}

/// Milliseconds as JavaScript has them; what is beyond the clock is the longest time there is.
pub fn duration(millis: f64) -> Duration {
    Duration::try_from_secs_f64(millis / 1000.0).unwrap_or(Duration::MAX)
}

/// One look.
pub async fn discover(request: Request) -> Result<Value, Failure> {
    let targets = request.targets();
    let client = plenipo_kube::connect(request.options()).await?;
    let Some(target) = targets.first() else {
        return Err(Failure::new("ERR_PLENIPO_INVALID_ARG", "there is no target"));
    };
    Ok(snapshot_json(&plenipo_kube::discover(&client, target).await?))
}

/// Sends what a watch tells until it ends; dropping the future ends the watch.
pub async fn watch(request: Request, sink: Sink, id: i64) {
    let last = match follow(request, &sink, id).await {
        Ok(()) => event("end", Value::Null),
        Err(failure) => json!({ "type": "end", "error": failure.into_json() }).to_string(),
    };
    sink.send(id, last, true);
}

async fn follow(request: Request, sink: &Sink, id: i64) -> Result<(), Failure> {
    let targets = request.targets();
    let client = plenipo_kube::connect(request.options()).await?;
    let watch = plenipo_kube::watch(&client, targets)?;
    while let Some(next) = watch.next().await {
        let text = match next? {
            Event::Snapshot { target, snapshot } => event("snapshot", json!({ "target": target, "snapshot": snapshot_json(&snapshot) })),
            Event::Stale { for_, reason } => {
                event("stale", json!({ "staleMs": u64::try_from(for_.as_millis()).unwrap_or(u64::MAX), "reason": reason }))
            }
            Event::Fresh => event("fresh", Value::Null),
        };
        sink.send(id, text, false);
    }
    Ok(())
}
