//! From one Service and its EndpointSlices to a list of endpoints. Pure: no clock, no network.
use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint as SliceEndpoint, EndpointSlice};

use crate::options::Family;
use crate::snapshot::Endpoint;
use crate::target::PortRef;

/// The part of the options that decides which endpoints count.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Policy {
    pub family: Family,
    pub allow_external: bool,
}

/// What a service comes to.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Resolved {
    /// Sorted by address and port, each once.
    pub endpoints: Vec<Endpoint>,
    /// Host names (opted in) that must be looked up; each once.
    pub external: Vec<(String, u16)>,
}

/// Find the endpoints of `service`. An error is a fault of the target or of the service, told as text.
pub(crate) fn resolve<'a>(
    service: &Service,
    slices: impl Iterator<Item = &'a EndpointSlice>,
    port: Option<&PortRef>,
    policy: Policy,
) -> Result<Resolved, String> {
    let spec = service.spec.clone().unwrap_or_default();
    let ports = spec.ports.as_deref().unwrap_or_default();
    if spec.type_.as_deref() == Some("ExternalName") {
        let host = spec.external_name.unwrap_or_default();
        if !policy.allow_external {
            return Err("it is an ExternalName service; set allowExternal to follow names outside of the cluster".into());
        }
        let port = match port {
            Some(PortRef::Number(number)) => *number,
            _ => choose_port(ports, port)?.number,
        };
        return Ok(Resolved { endpoints: Vec::new(), external: vec![(host, port)] });
    }
    let wanted = choose_port(ports, port)?;
    let slices: Vec<&EndpointSlice> = slices.collect();
    let family = family_of(service, &slices, policy.family);

    let mut found: BTreeMap<(IpAddr, u16), (State, Endpoint)> = BTreeMap::new();
    let mut names: BTreeMap<(String, u16), State> = BTreeMap::new();
    let mut refused_names = false;
    for slice in slices {
        let is_name = slice.address_type == "FQDN";
        if !is_name && !family.takes(&slice.address_type) {
            continue;
        }
        if is_name && !policy.allow_external {
            refused_names = true;
            continue;
        }
        let Some(port) = slice_port(slice, &wanted) else { continue };
        for endpoint in slice.endpoints.iter().flatten() {
            // The API says to use the first address; the others are the same endpoint.
            let Some(address) = endpoint.addresses.first() else { continue };
            let state = state_of(endpoint);
            if is_name {
                let known = names.entry((address.clone(), port)).or_insert(state);
                *known = (*known).max(state);
                continue;
            }
            let Ok(ip) = address.parse::<IpAddr>() else { continue };
            // A move between slices shows an endpoint twice for a moment: the better state wins.
            if found.get(&(ip, port)).is_none_or(|(known, _)| state > *known) {
                found.insert((ip, port), (state, endpoint_of(ip, port, endpoint, state)));
            }
        }
    }
    if refused_names && found.is_empty() {
        return Err("its slices hold host names (FQDN); set allowExternal to follow names outside of the cluster".into());
    }
    let best = found.values().map(|(state, _)| *state).chain(names.values().copied()).max();
    let keep = match best {
        Some(state @ (State::Ready | State::Draining)) => state,
        _ => return Ok(Resolved::default()),
    };
    Ok(Resolved {
        endpoints: found.into_values().filter(|(state, _)| *state == keep).map(|(_, endpoint)| endpoint).collect(),
        external: names.into_iter().filter(|(_, state)| *state == keep).map(|(name, _)| name).collect(),
    })
}

/// Whether an endpoint may be used, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// Not to be used.
    Not,
    /// Terminating, but still answering: used only when nothing is ready.
    Draining,
    Ready,
}

fn state_of(endpoint: &SliceEndpoint) -> State {
    let Some(conditions) = &endpoint.conditions else { return State::Ready };
    if conditions.ready.unwrap_or(true) {
        State::Ready
    } else if conditions.serving == Some(true) && conditions.terminating == Some(true) {
        State::Draining
    } else {
        State::Not
    }
}

fn endpoint_of(ip: IpAddr, port: u16, endpoint: &SliceEndpoint, state: State) -> Endpoint {
    Endpoint {
        address: ip.to_string(),
        port,
        zone: endpoint.zone.clone(),
        node: endpoint.node_name.clone(),
        hostname: endpoint.hostname.clone(),
        terminating: state == State::Draining,
    }
}

/// The Service port that was asked for.
#[derive(Debug, PartialEq)]
struct Wanted {
    /// The port's name, by which slices know it; `None` for a headless service that lists no ports.
    name: Option<String>,
    /// The Service's own number.
    number: u16,
}

fn choose_port(ports: &[ServicePort], asked: Option<&PortRef>) -> Result<Wanted, String> {
    let tcp: Vec<&ServicePort> = ports.iter().filter(|p| is_tcp(p.protocol.as_deref())).collect();
    let found = match asked {
        Some(PortRef::Number(number)) if ports.is_empty() => {
            return Ok(Wanted { name: None, number: *number });
        }
        None if ports.is_empty() => return Err("it lists no ports: give a port number".into()),
        Some(PortRef::Number(number)) => tcp.iter().find(|p| p.port == i32::from(*number)),
        Some(PortRef::Name(name)) => tcp.iter().find(|p| p.name.as_deref() == Some(name)),
        None if tcp.len() == 1 => tcp.first(),
        None => return Err(format!("it has the ports {}: say which", list(&tcp))),
    };
    match found.map(|p| (p, u16::try_from(p.port))) {
        Some((p, Ok(number))) => Ok(Wanted { name: Some(p.name.clone().unwrap_or_default()), number }),
        _ => {
            let asked = match asked {
                Some(PortRef::Number(number)) => number.to_string(),
                Some(PortRef::Name(name)) => format!("{name:?}"),
                None => String::new(),
            };
            Err(format!("it has no TCP port {asked}; it has {}", list(&tcp)))
        }
    }
}

fn list(ports: &[&ServicePort]) -> String {
    let each = |p: &&ServicePort| match &p.name {
        Some(name) => format!("{} ({name})", p.port),
        None => p.port.to_string(),
    };
    match ports {
        [] => "none".into(),
        _ => ports.iter().map(each).collect::<Vec<_>>().join(", "),
    }
}

/// The slice's own number for the wanted port: slices of one service may differ in it (a named targetPort).
fn slice_port(slice: &EndpointSlice, wanted: &Wanted) -> Option<u16> {
    let ports = slice.ports.as_deref().unwrap_or_default();
    let number = |p: i32| u16::try_from(p).ok().filter(|p| *p > 0);
    match &wanted.name {
        Some(name) => {
            let port = ports.iter().find(|p| is_tcp(p.protocol.as_deref()) && p.name.as_deref().unwrap_or("") == name)?;
            // A port without a number stands for all ports.
            port.port.map_or(Some(wanted.number), number)
        }
        None if ports.is_empty() => Some(wanted.number),
        None => ports
            .iter()
            .any(|p| is_tcp(p.protocol.as_deref()) && p.port.is_none_or(|p| p == i32::from(wanted.number)))
            .then_some(wanted.number),
    }
}

fn is_tcp(protocol: Option<&str>) -> bool {
    matches!(protocol, None | Some("" | "TCP"))
}

/// The slice types to take.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Take {
    V4,
    V6,
    Both,
}

impl Take {
    fn takes(self, address_type: &str) -> bool {
        match address_type {
            "IPv4" => self != Take::V6,
            "IPv6" => self != Take::V4,
            _ => false,
        }
    }
}

fn family_of(service: &Service, slices: &[&EndpointSlice], asked: Family) -> Take {
    match asked {
        Family::V4 => return Take::V4,
        Family::V6 => return Take::V6,
        Family::Both => return Take::Both,
        Family::ServiceFirst => {}
    }
    let spec = service.spec.as_ref();
    let first = spec.and_then(|s| s.ip_families.as_ref()).and_then(|f| f.first());
    match first.map(String::as_str) {
        Some("IPv4") => return Take::V4,
        Some("IPv6") => return Take::V6,
        _ => {}
    }
    // API servers from before dual-stack, and stand-ins: the cluster IP tells, else whatever there is, IPv4 first.
    if let Some(Ok(ip)) = spec.and_then(|s| s.cluster_ip.as_deref()).map(str::parse::<IpAddr>) {
        return if ip.is_ipv4() { Take::V4 } else { Take::V6 };
    }
    match slices.iter().any(|s| s.address_type == "IPv4") {
        true => Take::V4,
        false => Take::V6,
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
