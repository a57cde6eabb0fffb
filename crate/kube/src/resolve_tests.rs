//! Tables for `resolve`: each row is a Service, its slices, a port, a policy and the expected endpoints.
use serde_json::{Value, json};

use super::*;

fn service(spec: Value) -> Service {
    serde_json::from_value(json!({"metadata": {"name": "app"}, "spec": spec})).unwrap()
}

fn slice(kind: &str, ports: Value, endpoints: Value) -> EndpointSlice {
    serde_json::from_value(json!({"metadata": {"name": "s"}, "addressType": kind, "ports": ports, "endpoints": endpoints})).unwrap()
}

/// `addresses, ready?, serving?, terminating?`; `-` leaves a condition out.
fn at(address: &str, conditions: &str) -> Value {
    let mut map = serde_json::Map::new();
    for (name, c) in ["ready", "serving", "terminating"].iter().zip(conditions.chars()) {
        if c != '-' {
            map.insert((*name).into(), json!(c == 't'));
        }
    }
    json!({"addresses": [address], "conditions": map})
}

fn run(spec: Value, slices: &[EndpointSlice], port: Option<PortRef>, policy: Policy) -> Result<String, String> {
    let resolved = resolve(&service(spec), slices.iter(), port.as_ref(), policy)?;
    let mut all: Vec<String> =
        resolved.endpoints.iter().map(|e| format!("{}:{}{}", e.address, e.port, if e.terminating { "!" } else { "" })).collect();
    all.extend(resolved.external.iter().map(|(host, port)| format!("name {host}:{port}")));
    Ok(all.join(" "))
}

fn number(n: u16) -> Option<PortRef> {
    Some(PortRef::Number(n))
}

fn name(n: &str) -> Option<PortRef> {
    Some(PortRef::Name(n.into()))
}

fn one_port() -> Value {
    json!({"ports": [{"name": "http", "port": 80, "targetPort": 8080}], "ipFamilies": ["IPv4"]})
}

fn http(port: u16) -> Value {
    json!([{"name": "http", "port": port, "protocol": "TCP"}])
}

#[test]
fn conditions_decide() {
    // conditions of three endpoints -> what is used
    let table = [
        ("all ready", ["ttf", "ttf", "ttf"], "10.0.0.1:8080 10.0.0.2:8080 10.0.0.3:8080"),
        ("absent ready is ready", ["---", "fff", "---"], "10.0.0.1:8080 10.0.0.3:8080"),
        ("not ready is left out", ["ttf", "fff", "ftt"], "10.0.0.1:8080"),
        ("none ready: serving and terminating", ["ftt", "fft", "ftf"], "10.0.0.1:8080!"),
        ("serving but not terminating is not enough", ["ftf", "ft-", "fff"], ""),
        ("absent serving follows ready", ["f-t", "f-t", "f--"], ""),
    ];
    for (what, conditions, expected) in table {
        let endpoints: Vec<Value> = conditions.iter().enumerate().map(|(i, c)| at(&format!("10.0.0.{}", i + 1), c)).collect();
        let slices = [slice("IPv4", http(8080), json!(endpoints))];
        assert_eq!(run(one_port(), &slices, number(80), Policy::default()).unwrap(), expected, "{what}");
    }
    let bare = [slice("IPv4", http(8080), json!([{"addresses": ["10.0.0.1"]}]))];
    assert_eq!(run(one_port(), &bare, number(80), Policy::default()).unwrap(), "10.0.0.1:8080", "no conditions at all");
}

#[test]
fn a_number_goes_through_the_name_to_each_slices_port() {
    let spec = json!({"ipFamilies": ["IPv4"], "ports": [
        {"name": "http", "port": 80, "targetPort": "web"}, {"name": "admin", "port": 8080, "targetPort": 9000},
        {"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]});
    let ports = |http: u16| json!([{"name": "http", "port": http}, {"name": "admin", "port": 9000}, {"name": "dns", "port": 5353, "protocol": "UDP"}, {"name": "dns-tcp", "port": 5354}]);
    let slices = [
        slice("IPv4", ports(8081), json!([at("10.0.0.1", "t")])),
        slice("IPv4", ports(8082), json!([at("10.0.0.2", "t")])),
        slice("IPv4", json!([{"name": "other", "port": 1}]), json!([at("10.0.0.9", "t")])),
    ];
    let table = [
        (number(80), Ok("10.0.0.1:8081 10.0.0.2:8082")),
        (name("http"), Ok("10.0.0.1:8081 10.0.0.2:8082")),
        (number(8080), Ok("10.0.0.1:9000 10.0.0.2:9000")),
        (name("admin"), Ok("10.0.0.1:9000 10.0.0.2:9000")),
        (number(53), Ok("10.0.0.1:5354 10.0.0.2:5354")),
        (number(9000), Err("it has no TCP port 9000; it has 80 (http), 8080 (admin), 53 (dns-tcp)")),
        (name("dns"), Err("it has no TCP port \"dns\"; it has 80 (http), 8080 (admin), 53 (dns-tcp)")),
        (None, Err("it has the ports 80 (http), 8080 (admin), 53 (dns-tcp): say which")),
    ];
    for (port, expected) in table {
        let got = run(spec.clone(), &slices, port.clone(), Policy::default());
        assert_eq!(got.as_deref().map_err(String::as_str), expected, "{port:?}");
    }
}

#[test]
fn unnamed_headless_and_portless() {
    let unnamed = json!({"ports": [{"port": 80}], "ipFamilies": ["IPv4"]});
    let slices = [slice("IPv4", json!([{"name": "", "port": 3000}]), json!([at("10.0.0.1", "t")]))];
    assert_eq!(run(unnamed.clone(), &slices, None, Policy::default()).unwrap(), "10.0.0.1:3000", "the only port needs no name");
    let absent = [slice("IPv4", json!([{"port": 3001}]), json!([at("10.0.0.1", "t")]))];
    assert_eq!(run(unnamed, &absent, number(80), Policy::default()).unwrap(), "10.0.0.1:3001", "an absent name is the empty name");

    let headless = json!({"clusterIP": "None", "ports": [{"name": "http", "port": 80}], "ipFamilies": ["IPv4"]});
    let slices = [slice("IPv4", http(8080), json!([at("10.0.0.1", "t")]))];
    assert_eq!(run(headless, &slices, number(80), Policy::default()).unwrap(), "10.0.0.1:8080");

    let portless = json!({"clusterIP": "None", "ipFamilies": ["IPv4"]});
    for ports in [json!(null), json!([]), json!([{"name": ""}])] {
        let slices = [slice("IPv4", ports.clone(), json!([at("10.0.0.1", "t")]))];
        assert_eq!(run(portless.clone(), &slices, number(7000), Policy::default()).unwrap(), "10.0.0.1:7000", "{ports}");
    }
    assert_eq!(run(portless, &[], None, Policy::default()).unwrap_err(), "it lists no ports: give a port number");

    let all = [slice("IPv4", json!([{"name": "http"}]), json!([at("10.0.0.1", "t")]))];
    assert_eq!(run(one_port(), &all, number(80), Policy::default()).unwrap(), "10.0.0.1:80", "a port without a number is all ports");
}

#[test]
fn all_slices_without_duplicates() {
    let slices = [
        slice("IPv4", http(8080), json!([at("10.0.0.2", "t"), at("10.0.0.1", "f")])),
        slice("IPv4", http(8080), json!([at("10.0.0.1", "t"), at("10.0.0.2", "ftt"), at("10.0.0.2", "t")])),
        slice("IPv4", http(8081), json!([at("10.0.0.1", "t")])),
    ];
    assert_eq!(run(one_port(), &slices, None, Policy::default()).unwrap(), "10.0.0.1:8080 10.0.0.1:8081 10.0.0.2:8080");
}

#[test]
fn one_family() {
    let slices = [
        slice("IPv6", http(8080), json!([at("fd00::1", "t"), at("fd00:0:0::2", "t")])),
        slice("IPv4", http(8080), json!([at("10.0.0.1", "t")])),
    ];
    let ports = json!([{"name": "http", "port": 80}]);
    let (v4, v6, both) = ("10.0.0.1:8080", "fd00::1:8080 fd00::2:8080", "10.0.0.1:8080 fd00::1:8080 fd00::2:8080");
    let table = [
        (json!({"ports": ports, "ipFamilies": ["IPv6", "IPv4"]}), Family::ServiceFirst, v6),
        (json!({"ports": ports, "ipFamilies": ["IPv4", "IPv6"]}), Family::ServiceFirst, v4),
        (json!({"ports": ports, "ipFamilies": ["IPv6"]}), Family::V4, v4),
        (json!({"ports": ports, "ipFamilies": ["IPv4"]}), Family::V6, v6),
        (json!({"ports": ports, "ipFamilies": ["IPv4"]}), Family::Both, both),
        (json!({"ports": ports, "clusterIP": "fd00::99"}), Family::ServiceFirst, v6),
        (json!({"ports": ports, "clusterIP": "None"}), Family::ServiceFirst, v4),
        (json!({"ports": ports}), Family::ServiceFirst, v4),
    ];
    for (spec, family, expected) in table {
        let policy = Policy { family, ..Policy::default() };
        assert_eq!(run(spec.clone(), &slices, number(80), policy).unwrap(), expected, "{spec} {family:?}");
    }
    assert_eq!(run(json!({"ports": ports}), &slices[..1], None, Policy::default()).unwrap(), v6, "only IPv6 there");
    assert_eq!(
        run(json!({"ports": ports, "ipFamilies": ["IPv4"]}), &slices[..1], None, Policy::default()).unwrap(),
        "",
        "the first family has nothing"
    );
}

#[test]
fn names_only_when_opted_in() {
    let open = Policy { allow_external: true, ..Policy::default() };
    let external = json!({"type": "ExternalName", "externalName": "db.example.com", "ports": [{"name": "pg", "port": 5432}]});
    assert!(run(external.clone(), &[], number(5432), Policy::default()).unwrap_err().contains("ExternalName"));
    assert_eq!(run(external.clone(), &[], None, open).unwrap(), "name db.example.com:5432");
    assert_eq!(run(external.clone(), &[], name("pg"), open).unwrap(), "name db.example.com:5432");
    assert_eq!(run(external, &[], number(6000), open).unwrap(), "name db.example.com:6000");
    assert!(run(json!({"type": "ExternalName", "externalName": "x"}), &[], None, open).is_err(), "no port to use");

    let fqdn = slice("FQDN", http(443), json!([at("b.example.com", "t"), at("a.example.com", "f"), at("b.example.com", "t")]));
    let ip = slice("IPv4", http(8080), json!([at("10.0.0.1", "t")]));
    assert!(run(one_port(), std::slice::from_ref(&fqdn), None, Policy::default()).unwrap_err().contains("FQDN"));
    assert_eq!(run(one_port(), &[fqdn.clone(), ip.clone()], None, Policy::default()).unwrap(), "10.0.0.1:8080");
    assert_eq!(run(one_port(), &[fqdn, ip], None, open).unwrap(), "10.0.0.1:8080 name b.example.com:443");
}

#[test]
fn odd_slices_do_no_harm() {
    let slices = [
        slice("IPv4", json!([{"name": "http", "port": 70000}]), json!([at("10.0.0.1", "t")])),
        slice("IPv4", json!([{"name": "http", "port": 0}]), json!([at("10.0.0.1", "t")])),
        slice("IPv4", json!([{"name": "http", "port": -1}]), json!([at("10.0.0.1", "t")])),
        slice("IPv4", http(8080), json!([{"addresses": []}, at("not an address", "t"), at("10.0.0.7", "t")])),
        slice("Carrier pigeon", http(8080), json!([at("10.0.0.8", "t")])),
    ];
    assert_eq!(run(one_port(), &slices, None, Policy::default()).unwrap(), "10.0.0.7:8080");
    assert_eq!(
        run(json!({"ports": [{"port": 700000}]}), &slices, None, Policy::default()).unwrap_err(),
        "it has no TCP port ; it has 700000"
    );
}

#[test]
fn zone_node_and_hostname_are_kept() {
    let slices = [slice("IPv4", http(8080), json!([{"addresses": ["10.0.0.1"], "zone": "eu-1a", "nodeName": "n1", "hostname": "web-0"}]))];
    let resolved = resolve(&service(one_port()), slices.iter(), None, Policy::default()).unwrap();
    let endpoint = &resolved.endpoints[0];
    assert_eq!(
        (endpoint.zone.as_deref(), endpoint.node.as_deref(), endpoint.hostname.as_deref()),
        (Some("eu-1a"), Some("n1"), Some("web-0"))
    );
}

#[test]
fn any_slices_keep_the_rules() {
    // A fixed linear congruential sequence: the same cases in every run.
    let mut state = 1u64;
    let mut pick = move |n: u64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % n
    };
    for case in 0..2000 {
        let mut ready = std::collections::BTreeSet::new();
        let slices: Vec<_> = (0..pick(4))
            .map(|_| {
                let port = 8080 + pick(2) as u16;
                let endpoints: Vec<Value> = (0..pick(5))
                    .map(|_| {
                        let address = format!("10.0.0.{}", pick(4));
                        let letters = ["t", "f", "-"];
                        let conditions: String = (0..3).map(|_| letters[pick(3) as usize]).collect();
                        if !conditions.starts_with('f') {
                            ready.insert((address.clone(), port));
                        }
                        at(&address, &conditions)
                    })
                    .collect();
                slice("IPv4", http(port), json!(endpoints))
            })
            .collect();
        let found = resolve(&service(one_port()), slices.iter(), None, Policy::default()).unwrap().endpoints;
        let places: Vec<_> = found.iter().map(|e| (e.address.clone(), e.port)).collect();
        assert!(places.windows(2).all(|w| w[0] < w[1]), "case {case}: sorted, each once: {places:?}");
        if ready.is_empty() {
            assert!(found.iter().all(|e| e.terminating), "case {case}: {found:?}");
        } else {
            assert!(found.iter().all(|e| !e.terminating), "case {case}: {found:?}");
            assert_eq!(places, ready.into_iter().collect::<Vec<_>>(), "case {case}");
        }
    }
}
