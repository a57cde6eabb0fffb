//! Credentials from every source, without a server: what is loaded, what is refused, what is never shown.
use std::path::PathBuf;

use super::*;

fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("plenipo-kube-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn yaml(user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters: [{{name: c, cluster: {{server: 'https://me:SECRET@h:1'}}}}]\n\
         contexts: [{{name: a, context: {{cluster: c, user: u, namespace: shop}}}}, {{name: b, context: {{cluster: gone, user: u}}}}]\nusers: [{{name: u, user: {user}}}]\n"
    )
}

async fn inline(user: &str, context: Option<&str>) -> Result<Client, KubeError> {
    connect(KubeOptions { source: Source::Inline(yaml(user)), context: context.map(Into::into), ..KubeOptions::default() }).await
}

#[tokio::test]
async fn shows_no_secret() {
    let client = inline("{token: SECRET}", None).await.unwrap();
    assert_eq!(client.server(), "https://h:1");
    assert_eq!(client.default_namespace(), "shop");
    let shown = format!("{client:?} {:?}", client.options());
    assert!(!shown.contains("SECRET"), "{shown}");
}

#[tokio::test]
async fn faults_are_named_without_secrets() {
    let table = [
        (inline("{token: SECRET}", Some("nope")).await, "no context \"nope\""),
        (inline("{token: SECRET}", Some("b")).await, "no cluster \"gone\""),
        (inline("{token: [SECRET]}", None).await, "not a valid kubeconfig (line 6"),
        (inline("{client-certificate-data: '%%SECRET', client-key-data: '%%SECRET'}", None).await, "not base64"),
        (inline("{client-certificate: /nowhere/SECRE, client-key: /nowhere/k}", None).await, "cannot read /nowhere/"),
        (inline("{tokenFile: /nowhere/t}", None).await, "/nowhere/t"),
        (
            inline("{exec: {apiVersion: client.authentication.k8s.io/v1, command: /nowhere/plugin, args: [SECRET]}}", None).await,
            "could not be started",
        ),
        (
            inline(
                "{exec: {apiVersion: client.authentication.k8s.io/v1, command: sh, args: ['-c', 'echo SECRET; echo SECRET >&2; exit 3']}}",
                None,
            )
            .await,
            "exit status: 3",
        ),
        (
            inline("{exec: {apiVersion: client.authentication.k8s.io/v1, command: echo, args: ['{\"status\": SECRET']}}", None).await,
            "did not print an ExecCredential",
        ),
        (inline("{exec: {apiVersion: client.authentication.k8s.io/v1, command: echo, args: ['{}']}}", None).await, "without a status"),
        (
            inline("{exec: {apiVersion: client.authentication.k8s.io/v1, command: x, interactiveMode: Always}}", None).await,
            "needs a terminal",
        ),
    ];
    for (got, expected) in table {
        let error = got.expect_err(expected);
        assert_eq!(error.code(), "ERR_PLENIPO_KUBE_CONFIG");
        let text = format!("{error} {error:?}");
        assert!(text.contains(expected), "{text} lacks {expected}");
        assert!(!text.contains("SECRET"), "{text}");
    }
}

#[tokio::test]
async fn a_plugin_gives_a_token_and_does_not_get_our_stdin() {
    // It is told that there is nobody to ask, and `cat` ends at once only when its standard input is not ours.
    let user = r#"{exec: {apiVersion: client.authentication.k8s.io/v1, command: sh, args: ['-c', 'cat; case "$KUBERNETES_EXEC_INFO" in *interactive\":false*) ;; *) exit 9;; esac; echo "{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":{\"token\":\"t\"}}"']}}"#;
    let client = tokio::time::timeout(Duration::from_secs(10), inline(user, None)).await.expect("it hangs").unwrap();
    assert!(!client.is_expired());
}

#[tokio::test]
async fn the_pods_own_account() {
    let dir = folder("in-cluster");
    let source = |dir: &Path| Source::InCluster { folder: dir.to_path_buf(), host: "fd00::1".into(), port: 443 };
    let options = |dir: &Path| KubeOptions { source: source(dir), ..KubeOptions::default() };
    let error = connect(options(&dir)).await.unwrap_err();
    assert!(error.to_string().contains("token"), "{error}");
    std::fs::write(dir.join("token"), "t").unwrap();
    assert!(connect(options(&dir)).await.unwrap_err().to_string().contains("ca.crt"));
    let config = {
        std::fs::write(dir.join("ca.crt"), "").unwrap();
        std::fs::write(dir.join("namespace"), "shop\n").unwrap();
        in_cluster(&dir, "fd00::1", 443).unwrap()
    };
    assert_eq!(show(&config.cluster_url), "https://[fd00::1]:443");
    assert_eq!(config.default_namespace, "shop");
    assert_eq!(config.auth_info.token_file.as_deref(), dir.join("token").to_str());
    std::fs::remove_dir_all(dir).unwrap();
}
