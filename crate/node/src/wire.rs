//! What crosses to JavaScript, as JSON: answers, errors, issues, snapshots.

use plenipo_api::{Issue, Severity};
use plenipo_kube::{KubeError, ServiceSnapshot};
use serde_json::{Map, Value, json};

/// An error in the form that `npm/lib/errors.js` reads.
#[derive(Debug)]
pub struct Failure(Value);

impl Failure {
    /// An error with a code and a message.
    pub fn new(code: &str, message: impl Into<String>) -> Failure {
        Failure(json!({ "code": code, "message": message.into() }))
    }

    /// The call's AbortSignal fired in time.
    pub fn aborted() -> Failure {
        Failure::new("ABORT_ERR", "The operation was aborted")
    }

    /// A configuration that was refused. There is at least one issue.
    pub fn config(issues: &[Issue]) -> Failure {
        let errors = || issues.iter().filter(|issue| issue.severity == Severity::Error);
        let first = errors().next();
        let code = first.map_or("ERR_PLENIPO_CONFIG_INVALID", |issue| issue.code.as_str());
        let mut message = first.map_or_else(String::new, |issue| {
            let place = match (&issue.file, issue.line, issue.column) {
                (Some(file), Some(line), Some(column)) => format!("{file}:{line}:{column}: "),
                (Some(file), ..) => format!("{file}: "),
                _ => String::new(),
            };
            let path = if issue.path.is_empty() { String::new() } else { format!("{}: ", issue.path) };
            format!("{place}{path}{}", issue.message)
        });
        let more = errors().count().saturating_sub(1);
        if more > 0 {
            message.push_str(&format!(" (and {more} more)"));
        }
        Failure(json!({ "code": code, "message": message, "issues": issues_json(issues) }))
    }

    /// An error whose cause is the operating system's.
    pub fn with_system(code: &str, message: &str, issues: &[Issue], system: Value) -> Failure {
        Failure(json!({ "code": code, "message": message, "issues": issues_json(issues), "system": system }))
    }

    /// The error as an object.
    pub fn into_json(self) -> Value {
        self.0
    }
}

impl From<KubeError> for Failure {
    fn from(error: KubeError) -> Failure {
        let details = match &error {
            KubeError::Auth { status, verb, resource, namespace, .. } => {
                json!({ "status": status, "verb": verb, "resource": resource, "namespace": namespace })
            }
            KubeError::NotFound { service, namespace } | KubeError::Target { service, namespace, .. } => {
                json!({ "service": service, "namespace": namespace })
            }
            KubeError::Config { .. } | KubeError::Watch { .. } => Value::Null,
        };
        let mut value = json!({ "code": error.code(), "message": error.to_string() });
        if !details.is_null() {
            value["details"] = details;
        }
        Failure(value)
    }
}

/// The result of a call, as text: `{"value":…}` or `{"error":…}`.
pub fn answer(result: Result<Value, Failure>) -> String {
    match result {
        Ok(value) => json!({ "value": value }),
        Err(failure) => json!({ "error": failure.into_json() }),
    }
    .to_string()
}

/// An event as text.
pub fn event(kind: &str, value: Value) -> String {
    json!({ "type": kind, "value": value }).to_string()
}

/// Issues as JavaScript's `ConfigIssue`s.
pub fn issues_json(issues: &[Issue]) -> Value {
    issues.iter().map(issue_json).collect()
}

fn issue_json(issue: &Issue) -> Value {
    let mut object = Map::new();
    object.insert("code".into(), issue.code.as_str().into());
    object.insert("severity".into(), issue.severity.as_str().into());
    object.insert("path".into(), issue.path.clone().into());
    object.insert("message".into(), issue.message.clone().into());
    let texts = [("file", &issue.file), ("expected", &issue.expected), ("got", &issue.got), ("hint", &issue.hint)];
    for (name, text) in texts {
        if let Some(text) = text {
            object.insert(name.into(), text.clone().into());
        }
    }
    for (name, number) in [("line", issue.line), ("column", issue.column)] {
        if let Some(number) = number {
            object.insert(name.into(), number.into());
        }
    }
    Value::Object(object)
}

/// A snapshot as JavaScript's `ServiceSnapshot`, but for `at`, which is still in milliseconds.
pub fn snapshot_json(snapshot: &ServiceSnapshot) -> Value {
    json!({
        "name": snapshot.name,
        "namespace": snapshot.namespace,
        "version": snapshot.version,
        "endpoints": snapshot.endpoints,
        "at": snapshot.at_ms(),
    })
}
