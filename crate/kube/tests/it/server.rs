//! A real kube-apiserver for the tests, started by the recipe in tests/kubernetes and stopped with the test.
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

pub struct Server {
    run: PathBuf,
    admin: kube::Client,
    /// Stopped with this value; the shared one is stopped by the recipe's watchdog when the process ends.
    owned: bool,
}

/// The folder of the one server that most tests share.
static SHARED: tokio::sync::OnceCell<PathBuf> = tokio::sync::OnceCell::const_new();

impl Drop for Server {
    fn drop(&mut self) {
        if !self.owned {
            return;
        }
        // Best effort: the recipe's watchdog does the same when this process is gone.
        let _ = Command::new(recipe().join("stop.sh")).env("RUN", &self.run).status();
        let _ = std::fs::remove_dir_all(&self.run);
    }
}

fn recipe() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/kubernetes")
}

fn output(command: &mut Command) -> String {
    let out = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(out.status.success(), "{command:?}: {}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

impl Server {
    /// Start one with these kube-apiserver flags; `controllers` also starts kube-controller-manager.
    pub async fn start(flags: &str, controllers: bool) -> Server {
        Self::at(Self::launch(flags, controllers), true).await
    }

    /// The shared one, with controllers.
    pub async fn shared() -> Server {
        let run = SHARED.get_or_init(|| async { Self::launch("", true) }).await;
        Self::at(run.clone(), false).await
    }

    fn launch(flags: &str, controllers: bool) -> PathBuf {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let bin = output(&mut Command::new(recipe().join("ensure.sh")));
        let name = format!("plenipo-kube-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let run = std::env::temp_dir().join(name);
        let mut start = Command::new(recipe().join("start.sh"));
        start.env("RUN", &run).env("BIN", bin).env("OWNER", std::process::id().to_string());
        start.env("APISERVER_FLAGS", flags).env("KCM", if controllers { "1" } else { "0" });
        output(&mut start);
        run
    }

    // Each test has its own runtime, on which its client must live.
    async fn at(run: PathBuf, owned: bool) -> Server {
        let kubeconfig = kube::config::Kubeconfig::read_from(run.join("admin.kubeconfig")).unwrap();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
        let admin = kube::Client::try_from(config).unwrap();
        Server { run, admin, owned }
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.run.join("admin.kubeconfig")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.run.join(name)
    }

    pub fn url(&self) -> String {
        let env = std::fs::read_to_string(self.run.join("env")).unwrap();
        env.lines().find_map(|l| l.strip_prefix("URL=")).unwrap().to_owned()
    }

    /// kill -9 of the API server only; etcd keeps the data.
    pub fn kill(&self) {
        let pid = std::fs::read_to_string(self.run.join("kube-apiserver.pid")).unwrap();
        output(Command::new("kill").arg("-9").arg(pid.trim()));
    }

    /// Start the API server again, and wait until it is ready.
    pub async fn restart(&self) {
        let script = "setsid bash kube-apiserver.cmd >> kube-apiserver.log 2>&1 < /dev/null & echo $! > kube-apiserver.pid";
        output(Command::new("bash").arg("-c").arg(script).current_dir(&self.run));
        for _ in 0..300 {
            if self.try_request("GET", "/readyz", None).await.is_ok_and(|text| text == "ok") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the API server did not come back: {}", std::fs::read_to_string(self.run.join("kube-apiserver.log")).unwrap_or_default());
    }

    async fn try_request(&self, method: &str, path: &str, body: Option<&Value>) -> Result<String, kube::Error> {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = http::Request::builder().method(method).uri(path).header("content-type", kind);
        let body = body.map_or(Vec::new(), |b| b.to_string().into_bytes());
        self.admin.request_text(request.body(body).unwrap()).await
    }

    /// One request as admin; it must succeed.
    pub async fn request(&self, method: &str, path: &str, body: Value) -> Value {
        let text = self.try_request(method, path, Some(&body)).await.unwrap_or_else(|e| panic!("{method} {path}: {e}"));
        serde_json::from_str(&text).unwrap()
    }

    pub async fn namespace(&self, name: &str) {
        self.request("POST", "/api/v1/namespaces", json!({"metadata": {"name": name}})).await;
    }

    pub async fn service(&self, namespace: &str, name: &str, spec: Value) {
        self.request("POST", &format!("/api/v1/namespaces/{namespace}/services"), json!({"metadata": {"name": name}, "spec": spec})).await;
    }

    /// Make or replace a slice with one port named http.
    pub async fn slice(&self, namespace: &str, service: &str, name: &str, port: u16, addresses: &[&str]) {
        let path = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
        let endpoints: Vec<Value> = addresses.iter().map(|a| json!({"addresses": [a]})).collect();
        let body = json!({"metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}}, "addressType": "IPv4",
            "ports": [{"name": "http", "port": port, "protocol": "TCP"}], "endpoints": endpoints});
        if self.try_request("GET", &format!("{path}/{name}"), None).await.is_ok() {
            self.request("PUT", &format!("{path}/{name}"), body).await;
        } else {
            self.request("POST", &path, body).await;
        }
    }

    /// A ServiceAccount with a Role of these rules, and a token of it.
    pub async fn account(&self, namespace: &str, name: &str, rules: Value) -> String {
        let rbac = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}");
        let core = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        self.request("POST", &core, json!({"metadata": {"name": name}})).await;
        self.request("POST", &format!("{rbac}/roles"), json!({"metadata": {"name": name}, "rules": rules})).await;
        self.request(
            "POST",
            &format!("{rbac}/rolebindings"),
            json!({"metadata": {"name": name}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}]}),
        )
        .await;
        self.token(namespace, name).await
    }

    pub async fn token(&self, namespace: &str, name: &str) -> String {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let answer = self.request("POST", &path, json!({"spec": {"expirationSeconds": 3600}})).await;
        answer["status"]["token"].as_str().unwrap().to_owned()
    }

    /// Put a token where a pod would find it.
    pub fn write_account(&self, folder: &Path, namespace: &str, token: &str) {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("token"), token).unwrap();
        std::fs::write(folder.join("namespace"), namespace).unwrap();
        std::fs::copy(self.file("ca.crt"), folder.join("ca.crt")).unwrap();
    }
}
