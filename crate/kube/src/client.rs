//! The way to one API server: credentials are loaded, and loaded again when the server refuses them or can't be reached.
use std::fmt;
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use kube::config::{ExecInteractiveMode, KubeConfigOptions, Kubeconfig};
use kube::{Config, config::AuthInfo};

use crate::env_proxy;
use crate::error::{describe, describe_kubeconfig};
use crate::{KubeError, KubeOptions, Source, client_node};

/// Where a pod finds its token, CA and namespace.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to an API server. Cheap to clone. `Debug` shows no secret.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    options: KubeOptions,
    server: String,
    namespace: String,
    kube: RwLock<kube::Client>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("server", &self.inner.server).field("namespace", &self.inner.namespace).finish()
    }
}

/// Load the credentials and make a client. Nothing is sent yet; an exec plugin may run.
/// Needs a tokio runtime with time and I/O; fails with [`KubeError::Config`].
pub async fn connect(options: KubeOptions) -> Result<Client, KubeError> {
    let (kube, server, namespace) = make(options.clone()).await?;
    Ok(Client { inner: Arc::new(Inner { options, server, namespace, kube: RwLock::new(kube) }) })
}

impl Client {
    /// The API server's address, without user and password.
    pub fn server(&self) -> &str {
        &self.inner.server
    }

    /// The namespace of targets that name none.
    pub fn default_namespace(&self) -> &str {
        &self.inner.namespace
    }

    pub(crate) fn options(&self) -> &KubeOptions {
        &self.inner.options
    }

    pub(crate) fn kube(&self) -> kube::Client {
        // The lock is only held for a clone or a store; neither panics.
        self.inner.kube.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Load the credentials anew: a rotated token, a renewed certificate, a fresh run of the exec plugin. The old ones stay if that fails.
    pub(crate) async fn renew(&self) -> Result<(), KubeError> {
        let (kube, _, _) = make(self.inner.options.clone()).await?;
        *self.inner.kube.write().unwrap_or_else(|e| e.into_inner()) = kube;
        Ok(())
    }

    /// Whether the certificate that an exec plugin gave is over, or nearly.
    pub(crate) fn is_expired(&self) -> bool {
        let soon = std::time::SystemTime::now() + Duration::from_secs(30);
        self.kube().valid_until().is_some_and(|until| std::time::SystemTime::from(until) < soon)
    }
}

/// kube reads files and runs the exec plugin while it builds a client, so all of it happens where blocking is allowed.
async fn make(options: KubeOptions) -> Result<(kube::Client, String, String), KubeError> {
    let handle = tokio::runtime::Handle::current();
    let work = move || {
        let config = load(&options, &handle)?;
        let server = show(&config.cluster_url);
        let namespace = config.default_namespace.clone();
        // The client spawns its own task: it must find the runtime.
        let _inside = handle.enter();
        match kube::Client::try_from(config) {
            Ok(client) => Ok((client, server, namespace)),
            Err(error) => Err(config_error(format!("cannot use the credentials for {server}: {}", describe(&error)))),
        }
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(made) => made,
        Err(_) => Err(config_error("loading the credentials was interrupted".into())),
    }
}

fn config_error(message: String) -> KubeError {
    KubeError::Config { message }
}

fn load(options: &KubeOptions, handle: &tokio::runtime::Handle) -> Result<Config, KubeError> {
    let mut config = match &options.source {
        Source::Default => match default_kubeconfig()? {
            Some((kubeconfig, from)) => from_kubeconfig(kubeconfig, options, &from, handle)?,
            None => from_environment()?,
        },
        Source::File(path) => {
            let from = format!("kubeconfig {}", path.display());
            let kubeconfig = Kubeconfig::read_from(path).map_err(|e| config_error(format!("{from}: {}", describe_kubeconfig(&e))))?;
            from_kubeconfig(kubeconfig, options, &from, handle)?
        }
        Source::Inline(text) => {
            let kubeconfig =
                Kubeconfig::from_yaml(text).map_err(|e| config_error(format!("inline kubeconfig: {}", describe_kubeconfig(&e))))?;
            from_kubeconfig(kubeconfig, options, "inline kubeconfig", handle)?
        }
        Source::InCluster { folder, host, port } => in_cluster(folder, host, *port)?,
        Source::ClientNode(json) => {
            let kubeconfig = client_node::kubeconfig(json).map_err(config_error)?;
            from_kubeconfig(kubeconfig, options, "client-node KubeConfig", handle)?
        }
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.write_timeout = Some(CONNECT_TIMEOUT);
    // We have our own back-off, which knows what is stale.
    config.default_retry = false;
    Ok(config)
}

/// `$KUBECONFIG` or `~/.kube/config`. One that is there but broken is an error, never passed over.
fn default_kubeconfig() -> Result<Option<(Kubeconfig, String)>, KubeError> {
    let named = Kubeconfig::from_env().map_err(|e| config_error(format!("$KUBECONFIG: {}", describe_kubeconfig(&e))))?;
    if let Some(kubeconfig) = named {
        return Ok(Some((kubeconfig, "$KUBECONFIG".into())));
    }
    let Some(path) = std::env::home_dir().map(|home| home.join(".kube").join("config")) else { return Ok(None) };
    if !path.exists() {
        return Ok(None);
    }
    let from = format!("kubeconfig {}", path.display());
    match Kubeconfig::read_from(&path) {
        Ok(kubeconfig) => Ok(Some((kubeconfig, from))),
        Err(e) => Err(config_error(format!("{from}: {}", describe_kubeconfig(&e)))),
    }
}

fn from_environment() -> Result<Config, KubeError> {
    let host = std::env::var("KUBERNETES_SERVICE_HOST").unwrap_or_default();
    let port = std::env::var("KUBERNETES_SERVICE_PORT").ok().and_then(|p| p.parse::<u16>().ok());
    match (host.as_str(), port) {
        ("", _) | (_, None) => Err(config_error(
            "no Kubernetes credentials: $KUBECONFIG is not set, ~/.kube/config is not there, and this is not a pod".into(),
        )),
        (host, Some(port)) => in_cluster(Path::new(SERVICE_ACCOUNT), host, port),
    }
}

/// The pod's own credentials; kube reads token and CA again about once a minute, as the kubelet rotates them.
fn in_cluster(folder: &Path, host: &str, port: u16) -> Result<Config, KubeError> {
    let token = folder.join("token");
    let ca = folder.join("ca.crt");
    for file in [&token, &ca] {
        std::fs::File::open(file).map_err(|e| config_error(format!("service account: cannot read {}: {e}", file.display())))?;
    }
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let url = format!("https://{host}:{port}");
    let url = url.parse().map_err(|_| config_error(format!("KUBERNETES_SERVICE_HOST: {url} is not a URL")))?;
    let mut config = Config::new(url);
    config.root_cert_file = Some(ca);
    config.default_namespace = match std::fs::read_to_string(folder.join("namespace")) {
        Ok(text) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "default".into(),
    };
    config.auth_info = AuthInfo { token_file: Some(token.display().to_string()), ..AuthInfo::default() };
    Ok(config)
}

fn from_kubeconfig(
    mut kubeconfig: Kubeconfig,
    options: &KubeOptions,
    from: &str,
    handle: &tokio::runtime::Handle,
) -> Result<Config, KubeError> {
    for user in &mut kubeconfig.auth_infos {
        let Some(exec) = user.auth_info.as_mut().and_then(|a| a.exec.as_mut()) else { continue };
        // A proxy has no terminal to ask at, and must not hand its own standard input to a plugin.
        if exec.interactive_mode != Some(ExecInteractiveMode::Always) {
            exec.interactive_mode = Some(ExecInteractiveMode::Never);
        }
    }
    let choice = KubeConfigOptions { context: options.context.clone(), ..KubeConfigOptions::default() };
    let own_proxy = chosen_cluster(&kubeconfig, options).and_then(|c| c.proxy_url.clone()).filter(|url| !url.is_empty());
    let config = handle.block_on(Config::from_custom_kubeconfig(kubeconfig, &choice));
    let mut config = config.map_err(|e| config_error(format!("{from}: {}", describe_kubeconfig(&e))))?;
    if config.auth_info.exec.as_ref().is_some_and(|e| e.interactive_mode == Some(ExecInteractiveMode::Always)) {
        return Err(config_error(format!("{from}: its exec plugin needs a terminal (interactiveMode: Always), which a proxy has not")));
    }
    // kube compares NO_PROXY with the proxy's own address: it must be compared with the server's, and only when the environment names the proxy.
    config.proxy_url = match own_proxy {
        Some(url) => Some(url.parse().map_err(|_| config_error(format!("{from}: proxy-url is not a URL")))?),
        None => env_proxy::for_server(&config.cluster_url, |name| std::env::var(name).ok()).map_err(config_error)?,
    };
    if !matches!(config.cluster_url.scheme_str(), Some("http" | "https")) {
        return Err(config_error(format!("{from}: the cluster's server must begin with https:// or http://")));
    }
    Ok(config)
}

fn chosen_cluster<'a>(kubeconfig: &'a Kubeconfig, options: &KubeOptions) -> Option<&'a kube::config::Cluster> {
    let context = options.context.as_ref().or(kubeconfig.current_context.as_ref())?;
    let context = kubeconfig.contexts.iter().find(|c| c.name == *context)?.context.as_ref()?;
    kubeconfig.clusters.iter().find(|c| c.name == context.cluster)?.cluster.as_ref()
}

/// A URL without its user and password.
fn show(url: &http::Uri) -> String {
    let authority = url.authority().map_or("", |a| a.as_str().rsplit('@').next().unwrap_or(""));
    format!("{}://{authority}", url.scheme_str().unwrap_or("https"))
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
