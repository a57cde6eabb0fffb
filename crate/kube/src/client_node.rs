//! A `@kubernetes/client-node` KubeConfig by its shape: the current cluster, user and context as JSON become a kubeconfig.
use kube::config::Kubeconfig;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// What JavaScript hands over. Field names are client-node's.
#[derive(Deserialize)]
struct Exported {
    cluster: Option<Cluster>,
    user: Option<User>,
    context: Option<Context>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cluster {
    server: String,
    ca_data: Option<String>,
    ca_file: Option<String>,
    #[serde(rename = "skipTLSVerify")]
    skip_tls_verify: Option<bool>,
    tls_server_name: Option<String>,
    proxy_url: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct User {
    cert_data: Option<String>,
    cert_file: Option<String>,
    key_data: Option<String>,
    key_file: Option<String>,
    token: Option<String>,
    username: Option<String>,
    password: Option<String>,
    impersonate_user: Option<String>,
    exec: Option<Value>,
    auth_provider: Option<AuthProvider>,
}

#[derive(Deserialize)]
struct AuthProvider {
    name: String,
    config: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Context {
    namespace: Option<String>,
}

/// Turn the exported objects into a kubeconfig. The error is text without secrets.
pub(crate) fn kubeconfig(json: &str) -> Result<Kubeconfig, String> {
    // serde's own text can quote a value, which can be a token: only the place is told.
    let exported: Exported = serde_json::from_str(json)
        .map_err(|e| format!("client: not a @kubernetes/client-node KubeConfig (column {} of its JSON)", e.column()))?;
    let cluster = exported.cluster.ok_or("client: the KubeConfig has no current cluster")?;
    let mut user = exported.user.unwrap_or_default();
    let mut token_file = None;
    match user.auth_provider.take() {
        // loadFromCluster() keeps the pod's rotating token this way.
        Some(provider) if provider.name.eq_ignore_ascii_case("tokenFile") => {
            let file = provider.config.as_ref().and_then(|c| c.get("tokenFile")).and_then(Value::as_str);
            token_file = Some(file.ok_or("client: authProvider tokenFile has no config.tokenFile")?.to_owned());
        }
        Some(provider) if provider.name == "exec" => {
            user.exec = provider.config.and_then(|mut c| c.remove("exec")).or(user.exec);
        }
        Some(provider) => {
            return Err(format!(
                "client: the auth provider {:?} is not supported; use a token, a certificate, an exec plugin or a token file",
                provider.name
            ));
        }
        None => {}
    }
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "client-node",
        "contexts": [{"name": "client-node", "context": bare(json!({
            "cluster": "client-node", "user": "client-node", "namespace": exported.context.and_then(|c| c.namespace)}))}],
        "clusters": [{"name": "client-node", "cluster": bare(json!({
            "server": cluster.server,
            "certificate-authority-data": cluster.ca_data,
            "certificate-authority": cluster.ca_file,
            "insecure-skip-tls-verify": cluster.skip_tls_verify,
            "tls-server-name": cluster.tls_server_name,
            "proxy-url": cluster.proxy_url}))}],
        "users": [{"name": "client-node", "user": bare(json!({
            "client-certificate-data": user.cert_data,
            "client-certificate": user.cert_file,
            "client-key-data": user.key_data,
            "client-key": user.key_file,
            "token": user.token,
            "tokenFile": token_file,
            "username": user.username,
            "password": user.password,
            "as": user.impersonate_user,
            "exec": user.exec}))}],
    });
    serde_json::from_value(kubeconfig).map_err(|_| "client: the KubeConfig's exec plugin is malformed".into())
}

/// The object without its nulls and empty strings (client-node writes both for what is not set).
fn bare(value: Value) -> Value {
    let Value::Object(map) = value else { return value };
    Value::Object(map.into_iter().filter(|(_, v)| !v.is_null() && v.as_str() != Some("")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(value: Value) -> Result<Value, String> {
        kubeconfig(&value.to_string()).map(|k| serde_json::to_value(k).unwrap())
    }

    #[test]
    fn every_field_arrives() {
        let got = convert(json!({
            "cluster": {"name": "c", "server": "https://h:1", "caData": "Q0E=", "skipTLSVerify": false, "tlsServerName": "k", "proxyUrl": "http://p:1"},
            "user": {"name": "u", "token": "t", "certData": "Q0U=", "keyData": "S0U=", "username": "", "impersonateUser": "ann", "exec": null},
            "context": {"name": "x", "cluster": "c", "user": "u", "namespace": "shop"}}))
        .unwrap();
        assert_eq!(
            got["clusters"][0]["cluster"],
            json!({"server": "https://h:1", "certificate-authority-data": "Q0E=",
            "insecure-skip-tls-verify": false, "tls-server-name": "k", "proxy-url": "http://p:1"})
        );
        assert_eq!(
            got["users"][0]["user"],
            json!({"token": "t", "client-certificate-data": "Q0U=", "client-key-data": "S0U=", "as": "ann"})
        );
        assert_eq!(got["contexts"][0]["context"]["namespace"], "shop");
    }

    #[test]
    fn token_file_and_exec() {
        let user = |user: Value| convert(json!({"cluster": {"server": "https://h"}, "user": user}));
        let file = user(json!({"authProvider": {"name": "tokenFile", "config": {"tokenFile": "/t"}}})).unwrap();
        assert_eq!(file["users"][0]["user"], json!({"tokenFile": "/t"}));
        let exec = json!({"apiVersion": "client.authentication.k8s.io/v1", "command": "get-token", "args": ["a"], "env": [{"name": "A", "value": "B"}]});
        for shape in [json!({"exec": exec}), json!({"authProvider": {"name": "exec", "config": {"exec": exec}}})] {
            assert_eq!(user(shape).unwrap()["users"][0]["user"]["exec"]["command"], "get-token");
        }
        assert!(user(json!({"authProvider": {"name": "oidc", "config": {"id-token": "SECRET"}}})).unwrap_err().contains("\"oidc\""));
        assert!(user(json!({"authProvider": {"name": "tokenFile"}})).is_err());
        assert!(user(json!({"exec": {"args": "SECRET"}})).is_err_and(|e| !e.contains("SECRET")));
    }

    #[test]
    fn nonsense_is_refused_without_repeating_it() {
        for text in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"cluster":{"server":1}}"#,
            r#"{"cluster":{"server":"x"},"user":{"token":["SECRET"]}}"#,
            r#"{"cluster":{"server":"x"},"user":"SECRET"}"#,
        ] {
            let error = kubeconfig(text).unwrap_err();
            assert!(!error.contains("SECRET"), "{error}");
        }
    }
}
