//! What can go wrong between us and a Kubernetes API server: one typed error, with a stable code and no secret in any text.
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use kube::client::AuthError;
use kube::config::{KubeconfigError, LoadDataError};

/// The longest text that we repeat from a server's answer.
const LONGEST_QUOTE: usize = 500;

/// Why a service could not be discovered or watched. `Display` is meant for a person; no variant ever holds a token, a key or a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KubeError {
    /// The credentials or the address of the API server could not be had (kubeconfig missing, broken or refused; exec plugin failed).
    Config { message: String },
    /// The target itself is malformed, or the service is one that we refuse (ExternalName, no such port).
    Target { service: String, namespace: String, message: String },
    /// The service does not exist.
    NotFound { service: String, namespace: String },
    /// The API server answered 401 or 403.
    Auth { status: u16, verb: &'static str, resource: &'static str, namespace: String, message: String },
    /// The API server could not be reached, or gave an answer that we can't use. Trying again may help.
    Watch { message: String },
}

impl KubeError {
    /// The stable code that scripts compare: `ERR_PLENIPO_KUBE_*`.
    pub fn code(&self) -> &'static str {
        match self {
            KubeError::Config { .. } => "ERR_PLENIPO_KUBE_CONFIG",
            KubeError::Target { .. } => "ERR_PLENIPO_KUBE_TARGET",
            KubeError::NotFound { .. } => "ERR_PLENIPO_KUBE_NOT_FOUND",
            KubeError::Auth { .. } => "ERR_PLENIPO_KUBE_AUTH",
            KubeError::Watch { .. } => "ERR_PLENIPO_KUBE_WATCH",
        }
    }

    /// Whether the same call may succeed later with nothing changed on our side.
    pub fn retryable(&self) -> bool {
        matches!(self, KubeError::NotFound { .. } | KubeError::Watch { .. })
    }
}

impl fmt::Display for KubeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KubeError::Config { message } => f.write_str(message),
            KubeError::Target { service, namespace, message } => {
                write!(f, "service {service:?} in namespace {namespace:?}: {message}")
            }
            KubeError::NotFound { service, namespace } => {
                write!(f, "service {service:?} does not exist in namespace {namespace:?}")
            }
            KubeError::Auth { status, verb, resource, namespace, message } => {
                write!(f, "the API server does not let us {verb} {resource} in namespace {namespace:?} ({status}): {message}")
            }
            KubeError::Watch { message } => f.write_str(message),
        }
    }
}

impl StdError for KubeError {}

/// One request's failure, before it is known whether it ends the watch.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The HTTP status, or the code inside a watch's ERROR event; 0 when there was no answer.
    pub status: u16,
    /// Text without secrets.
    pub message: String,
    /// The server asked to wait this long.
    pub retry_after: Duration,
}

impl Failure {
    pub fn new(message: impl Into<String>) -> Self {
        Failure { status: 0, message: message.into(), retry_after: Duration::ZERO }
    }

    pub fn from_kube(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Failure { message: describe(error), ..Failure::from_status(status) },
            _ => Failure::new(describe(error)),
        }
    }

    pub fn from_status(status: &kube::core::Status) -> Self {
        Failure {
            status: status.code,
            message: quote(&status.message),
            retry_after: Duration::from_secs(status.details.as_ref().map_or(0, |d| d.retry_after_seconds.min(60)).into()),
        }
    }

    /// The history that we wanted to go on from is gone: list anew.
    pub fn is_expired(&self) -> bool {
        self.status == 410
    }

    pub fn is_auth(&self) -> bool {
        self.status == 401 || self.status == 403
    }

    /// The error that the caller sees when this failure ends the call.
    pub fn into_error(self, verb: &'static str, resource: &'static str, namespace: &str, server: &str) -> KubeError {
        if self.is_auth() {
            return KubeError::Auth { status: self.status, verb, resource, namespace: namespace.into(), message: self.message };
        }
        KubeError::Watch { message: format!("cannot {verb} {resource} in namespace {namespace:?} at {server}: {}", self.message) }
    }
}

/// Cut a foreign text to a length that suits an error message.
fn quote(text: &str) -> String {
    match text.char_indices().nth(LONGEST_QUOTE) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// Say what a kube error is. kube's own texts are not used where they can hold what a plugin printed, a proxy's password or a piece of a kubeconfig.
pub(crate) fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.message.is_empty() => format!("the API server answered {}", status.code),
        kube::Error::Api(status) => quote(&status.message),
        kube::Error::HyperError(e) => chain(e),
        kube::Error::Service(e) => match e.downcast_ref::<AuthError>() {
            Some(e) => describe_auth(e),
            None => chain(e.as_ref()),
        },
        kube::Error::Auth(e) => describe_auth(e),
        kube::Error::ProxyProtocolUnsupported { proxy_url } | kube::Error::ProxyProtocolDisabled { proxy_url, .. } => {
            format!("proxy-url has the scheme {:?}; http, https and socks5 can be used", proxy_url.scheme_str().unwrap_or(""))
        }
        kube::Error::SerdeError(e) => {
            format!("the API server's answer is not the JSON that was expected (line {}, column {})", e.line(), e.column())
        }
        kube::Error::InferKubeconfig(e) => describe_kubeconfig(e),
        kube::Error::ReadEvents(e) => chain(e),
        kube::Error::RustlsTls(e) => chain(e),
        other => chain(other),
    }
}

fn describe_auth(error: &AuthError) -> String {
    match error {
        AuthError::AuthExecRun { out, .. } => {
            format!("the kubeconfig's exec plugin failed with {}", out.status)
        }
        AuthError::AuthExecStart(e) => format!("the kubeconfig's exec plugin could not be started: {e}"),
        AuthError::AuthExecParse(_) => "the kubeconfig's exec plugin did not print an ExecCredential".into(),
        AuthError::ExecPluginFailed => "the kubeconfig's exec plugin printed an ExecCredential without a status".into(),
        AuthError::AuthExec(_) | AuthError::ParseTokenKey(_) => "the kubeconfig's auth-provider gave no usable token".into(),
        other => chain(other),
    }
}

/// Say what is wrong with a kubeconfig; a YAML error is told by its place only, as its own text quotes the file.
pub(crate) fn describe_kubeconfig(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(e) => match e.location() {
            Some(at) => format!("not a valid kubeconfig (line {}, column {})", at.line(), at.column()),
            None => "not a valid kubeconfig".into(),
        },
        KubeconfigError::ReadConfig(e, path) => format!("cannot read {}: {e}", path.display()),
        KubeconfigError::ParseProxyUrl(_) => "proxy-url is not a URL".into(),
        KubeconfigError::ParseClusterUrl(_) => "the cluster's server is not a URL".into(),
        KubeconfigError::CurrentContextNotSet => "it has no current-context".into(),
        KubeconfigError::LoadContext(name) => format!("it has no context {name:?}"),
        KubeconfigError::LoadClusterOfContext(name) => format!("it has no cluster {name:?}"),
        KubeconfigError::LoadCertificateAuthority(e) => format!("certificate-authority: {}", describe_load(e)),
        KubeconfigError::LoadClientCertificate(e) => format!("client-certificate: {}", describe_load(e)),
        KubeconfigError::LoadClientKey(e) => format!("client-key: {}", describe_load(e)),
        KubeconfigError::ParseCertificates(_) => "certificate-authority: not PEM".into(),
        other => chain(other),
    }
}

fn describe_load(error: &LoadDataError) -> String {
    match error {
        LoadDataError::DecodeBase64(_) => "not base64".into(),
        LoadDataError::ReadFile(e, path) => format!("cannot read {}: {e}", path.display()),
        LoadDataError::NoBase64DataOrFile => "missing".into(),
    }
}

/// An error with its causes, each text once.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    quote(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auth_names_verb_resource_and_namespace() {
        let failure = Failure { status: 403, ..Failure::new("forbidden") };
        let error = failure.into_error("list", "endpointslices.discovery.k8s.io", "shop", "https://x");
        assert_eq!(error.code(), "ERR_PLENIPO_KUBE_AUTH");
        assert!(!error.retryable());
        let text = error.to_string();
        for word in ["list", "endpointslices.discovery.k8s.io", "\"shop\"", "403"] {
            assert!(text.contains(word), "{text} lacks {word}");
        }
    }

    #[test]
    fn long_foreign_text_is_cut() {
        assert_eq!(quote(&"é".repeat(600)).chars().count(), LONGEST_QUOTE + 1);
        assert_eq!(quote("short"), "short");
    }

    #[test]
    fn plugin_output_and_proxy_password_are_not_repeated() {
        use std::os::unix::process::ExitStatusExt;
        let out = std::process::Output {
            status: std::process::ExitStatus::from_raw(256),
            stdout: b"SECRET".to_vec(),
            stderr: b"SECRET".to_vec(),
        };
        let error = kube::Error::Auth(AuthError::AuthExecRun { cmd: "get-token --password SECRET".into(), out: Box::new(out) });
        assert!(!describe(&error).contains("SECRET"), "{}", describe(&error));
        let proxy = kube::Error::ProxyProtocolUnsupported { proxy_url: Box::new("ftp://me:SECRET@proxy:1".parse().unwrap()) };
        assert!(!describe(&proxy).contains("SECRET"));
        assert!(describe(&proxy).contains("ftp"));
    }
}
