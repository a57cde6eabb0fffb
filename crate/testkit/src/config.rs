//! Builders of configurations in Envoy's JSON.

use std::net::SocketAddr;

use serde_json::{Value, json};

/// A `google.protobuf.Any` of this type with these fields.
pub fn any(kind: &str, mut fields: Value) -> Value {
    fields["@type"] = format!("type.googleapis.com/{kind}").into();
    fields
}

/// An `address` with a socket address.
pub fn address(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

/// A listener with one HTTP connection manager.
pub struct Listener {
    name: String,
    address: SocketAddr,
    routes: Vec<Value>,
    filters: Vec<Value>,
    manager: Value,
    fields: Value,
}

impl Listener {
    /// On a port that the kernel picks.
    pub fn new(name: &str) -> Listener {
        let manager = json!({"stat_prefix": name, "codec_type": "AUTO"});
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Listener { name: name.to_owned(), address, routes: Vec::new(), filters: Vec::new(), manager, fields: json!({}) }
    }

    /// On this address.
    pub fn at(mut self, address: SocketAddr) -> Listener {
        self.address = address;
        self
    }

    /// Requests with this prefix go to a cluster; `action` holds further fields of the `RouteAction`.
    pub fn to(self, prefix: &str, cluster: &str, mut action: Value) -> Listener {
        action["cluster"] = cluster.into();
        self.route(json!({"match": {"prefix": prefix}, "route": action}))
    }

    /// Requests with this prefix are answered with this text.
    pub fn direct(self, prefix: &str, text: &str) -> Listener {
        self.route(json!({"match": {"prefix": prefix}, "direct_response": {"status": 200, "body": {"inline_string": text}}}))
    }

    /// One more route.
    pub fn route(mut self, route: Value) -> Listener {
        self.routes.push(route);
        self
    }

    /// One more HTTP filter before the router.
    pub fn filter(mut self, name: &str, kind: &str, fields: Value) -> Listener {
        self.filters.push(json!({"name": name, "typed_config": any(kind, fields)}));
        self
    }

    /// A field of the connection manager.
    pub fn manager(mut self, field: &str, value: Value) -> Listener {
        self.manager[field] = value;
        self
    }

    /// A field of the listener.
    pub fn set(mut self, field: &str, value: Value) -> Listener {
        self.fields[field] = value;
        self
    }

    /// The listener.
    pub fn json(&self) -> Value {
        let mut manager = self.manager.clone();
        let mut filters = self.filters.clone();
        filters.push(
            json!({"name": "envoy.filters.http.router", "typed_config": any("envoy.extensions.filters.http.router.v3.Router", json!({}))}),
        );
        manager["http_filters"] = filters.into();
        manager["route_config"] = json!({"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": self.routes}]});
        let kind = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
        let mut listener = self.fields.clone();
        listener["name"] = self.name.clone().into();
        listener["address"] = address(self.address);
        listener["filter_chains"] =
            json!([{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": any(kind, manager)}]}]);
        listener
    }
}

/// A cluster.
pub struct Cluster(Value);

impl Cluster {
    /// `STATIC`, with these hosts.
    pub fn new(name: &str, hosts: &[SocketAddr]) -> Cluster {
        let hosts: Vec<_> = hosts.iter().map(|h| json!({"endpoint": {"address": address(*h)}})).collect();
        Cluster(json!({
            "name": name, "connect_timeout": "2s", "type": "STATIC",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": hosts}]},
        }))
    }

    /// `STRICT_DNS`: a name and a port, found with this server.
    pub fn dns(name: &str, host: &str, port: u16, server: SocketAddr) -> Cluster {
        let host = json!({"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}});
        Cluster(json!({
            "name": name, "connect_timeout": "2s", "type": "STRICT_DNS", "dns_lookup_family": "V4_ONLY",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [host]}]},
            "typed_dns_resolver_config": {"name": "envoy.network.dns_resolver.cares", "typed_config":
                any("envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig", json!({"resolvers": [address(server)]}))},
        }))
    }

    /// Speaks HTTP/2 to its hosts.
    pub fn http2(self) -> Cluster {
        let kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        let options = any(kind, json!({"explicit_http_config": {"http2_protocol_options": {}}}));
        self.set("typed_extension_protocol_options", json!({kind: options}))
    }

    /// Thresholds of the default priority.
    pub fn breakers(self, thresholds: Value) -> Cluster {
        self.set("circuit_breakers", json!({"thresholds": [thresholds]}))
    }

    /// A field.
    pub fn set(mut self, field: &str, value: Value) -> Cluster {
        self.0[field] = value;
        self
    }

    /// The cluster.
    pub fn json(&self) -> Value {
        self.0.clone()
    }
}

/// A bootstrap with these static resources.
pub fn bootstrap(listeners: &[&Listener], clusters: &[&Cluster]) -> Value {
    let listeners: Vec<_> = listeners.iter().map(|l| l.json()).collect();
    let clusters: Vec<_> = clusters.iter().map(|c| c.json()).collect();
    json!({"static_resources": {"listeners": listeners, "clusters": clusters}})
}
