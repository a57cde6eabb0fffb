//! Compiles `Cluster`.

use std::sync::Arc;

use plenipo_api::proto::envoy::config::{
    cluster::v3::{
        Cluster,
        cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy},
    },
    core::v3::{address::Address, socket_address::PortSpecifier},
    endpoint::v3::lb_endpoint::HostIdentifier,
};

use super::{
    issues::{At, Issues},
    value,
};
use crate::{
    balance::Policy,
    cluster::{Discovery, DnsEndpoint, DnsSettings, Endpoint, LookupFamily, Settings},
};

/// Compiles the settings of a cluster.
pub fn compile(config: &Cluster, at: &At<'_>, issues: &mut Issues) -> Option<Settings> {
    let mut settings = Settings::default();
    if config.connect_timeout.is_some() {
        settings.connect_timeout = value::duration(config.connect_timeout.as_ref(), &at.field("connect_timeout"), issues)?;
    }
    settings.policy = match config.lb_policy() {
        LbPolicy::Random => Policy::Random,
        _ => Policy::RoundRobin,
    };
    let (mut endpoints, mut names) = (Vec::new(), Vec::new());
    for l in config.load_assignment.iter().flat_map(|a| &a.endpoints) {
        for e in &l.lb_endpoints {
            let Some(HostIdentifier::Endpoint(ep)) = &e.host_identifier else { continue };
            let Some(Address::SocketAddress(sa)) = ep.address.as_ref().and_then(|a| a.address.as_ref()) else { continue };
            let Some(PortSpecifier::PortValue(port)) = sa.port_specifier else { continue };
            match sa.address.parse() {
                Ok(ip) => endpoints.push(Endpoint::new(std::net::SocketAddr::new(ip, port as u16))),
                Err(_) => {}
            }
            names.push(DnsEndpoint { name: Arc::from(&*sa.address), port: port as u16, hostname: Arc::from(&*sa.address), weight: 1 });
        }
    }
    let kind = match config.cluster_discovery_type {
        Some(ClusterDiscoveryType::Type(t)) => DiscoveryType::try_from(t).unwrap_or_default(),
        _ => DiscoveryType::Static,
    };
    settings.discovery = match kind {
        DiscoveryType::Static => Discovery::Static(endpoints),
        _ => Discovery::Dns(Box::new(DnsSettings {
            strict: kind == DiscoveryType::StrictDns,
            names,
            refresh: std::time::Duration::from_secs(5),
            jitter: Default::default(),
            respect_ttl: false,
            failure_refresh: None,
            family: LookupFamily::Auto,
            resolver: Default::default(),
            wait_for_warm_on_init: true,
        })),
    };
    Some(settings)
}
