//! The first change: reads the bootstrap, starts workers and the admin interface, applies the static resources.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use plenipo_api::{
    Input, Issue, IssueCode, LoadedBootstrap, Options as ReadOptions,
    proto::envoy::config::{bootstrap::v3::Bootstrap, core::v3::address::Address},
    read_bootstrap,
};
use tokio::sync::oneshot;

use super::{Applied, Control, Kind, decode_cluster, decode_listener, has_error, publish, resources::name_of};
use crate::{
    access_log::{AccessLog, Files},
    config::{self, Context, SUPPORT, issues::At},
    engine::{BoundAddress, Error, Event, Options, State, local_address},
    listener::{
        SocketOptions,
        socket::{Bound, Handle},
    },
    stats::Store,
    worker,
};

/// What the bootstrap says of this node, command line included.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// `node.cluster`
    pub cluster: String,
    /// `node.id`
    pub id: String,
    /// `node.locality.zone`; absent where it is empty.
    pub zone: Option<std::sync::Arc<str>>,
    /// The node in its wire form.
    pub bytes: Bytes,
}

impl Control {
    /// Starts with this bootstrap; on an error the caller ends what was begun.
    pub async fn start(&mut self, inputs: Vec<Input>, cancel: Option<oneshot::Receiver<()>>) -> Result<Applied, Error> {
        let options = ReadOptions { support: Some(&SUPPORT), unknown_fields: self.shared.options.unknown_fields };
        let loaded = read_bootstrap(inputs, &options).map_err(Error::config)?;
        let mut warnings = loaded.warnings.clone();
        self.node = node(&loaded.bootstrap, &self.shared.options);
        self.start_workers()?;
        let (named, paths, issues) = static_resources(&loaded);
        if has_error(&issues) {
            return Err(Error::config(annotated(issues, &loaded)));
        }
        let place = |kind: Kind, name: &str| paths.get(&(kind, name.to_owned())).cloned().unwrap_or_default();
        let admin = self.bind_admin(&loaded, &mut warnings)?;
        self.shared.view.store(Arc::new(super::View::new(loaded.bytes.clone(), self.node.bytes.clone())));
        let plan =
            self.resources.plan(self.shared.options.static_owner, named, Vec::new(), false).map_err(|(_, name)| Error::state(name))?;
        let result = self.carry_out(plan, cancel, &place).await;
        let mut applied = result.map_err(|mut e| {
            e.issues = annotated(e.issues, &loaded);
            if e.issues.is_empty() { e } else { Error::config(e.issues) }
        })?;
        warnings.append(&mut applied.warnings);
        applied.warnings = annotated(warnings, &loaded);
        if let Some((bound, logs)) = admin {
            self.serve_admin(bound, logs)?;
        }
        self.shared.enter(State::Live);
        self.shared.counters.server.started(self.workers.len() as u64, self.shared.started.elapsed());
        self.shared.emit(&Event::Listening(self.shared.addresses.load().to_vec()));
        Ok(applied)
    }

    fn start_workers(&mut self) -> Result<(), Error> {
        let shared = &self.shared;
        let local_address = local_address();
        let peers = worker::Peers::default();
        for index in 0..shared.options.workers() {
            let for_tell = shared.clone();
            let setup = worker::Setup {
                index,
                seed: publish::seed(index),
                stats: shared.stats.clone(),
                local_address,
                cpu: shared.options.pin_workers.then_some(index),
                panics: shared.panics.clone(),
                closing: shared.closing.clone(),
                flush_interval: shared.options.flush_interval,
                tell: Arc::new(move |message| for_tell.emit(&Event::Warning(message))),
                peers: peers.clone(),
            };
            let handle = worker::start(setup).map_err(|e| Error::state(format!("cannot start worker {index}: {e}")))?;
            self.workers.push(handle);
        }
        // Set once, here, before any listener is known.
        let _ = peers.set(self.workers.iter().map(|w| w.mailbox.downgrade()).collect());
        shared.workers.store(Arc::new(self.workers.iter().map(|w| w.mailbox.clone()).collect()));
        Ok(())
    }

    fn bind_admin(&self, loaded: &LoadedBootstrap, warnings: &mut Vec<Issue>) -> Result<Option<(Bound, Vec<AccessLog>)>, Error> {
        let mut issues = Vec::new();
        let admin = admin(&loaded.bootstrap, &self.files, &mut issues);
        if has_error(&issues) {
            return Err(Error::config(annotated(issues, loaded)));
        }
        warnings.append(&mut issues);
        let Some((address, logs)) = admin else { return Ok(None) };
        let options =
            SocketOptions { datagrams: false, reuse_port: false, share_port: false, backlog: 128, freebind: false, ipv4_compat: false };
        let bound = Bound::bind(address, options, 1).and_then(|b| b.listen().map(|()| b));
        let bound = bound.map_err(|e| publish::bind_error("admin", address, "admin.address", &e))?;
        Ok(Some((bound, logs)))
    }

    fn serve_admin(&mut self, bound: Bound, logs: Vec<AccessLog>) -> Result<(), Error> {
        let failed = |e: std::io::Error| Error::new("ERR_PLENIPO_BIND", format!("admin: {e}"));
        let socket = bound.socket(0).and_then(Handle::into_stream).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let listener = tokio::net::TcpListener::from_std(socket).map_err(failed)?;
        if let Some(path) = &self.shared.options.admin_address_path {
            std::fs::write(path, bound.address.to_string())
                .map_err(|e| Error::state(format!("cannot write the admin address to {}: {e}", path.display())))?;
        }
        let mut addresses = self.shared.addresses.load().to_vec();
        addresses.push(BoundAddress { listener: "admin".to_owned(), address: bound.address });
        self.shared.addresses.store(Arc::new(addresses));
        let source = Arc::new(crate::engine::AdminView::new(self.shared.clone(), logs, self.files.clone()));
        let (stop, stopped) = oneshot::channel();
        let until = async move { drop(stopped.await) };
        self.admin = Some((stop, tokio::task::spawn_local(crate::admin::serve_until(listener, source, until))));
        Ok(())
    }
}

/// The bootstrap's node with what the command line says instead.
fn node(bootstrap: &Bootstrap, options: &Options) -> Node {
    let mut node = bootstrap.node.clone().unwrap_or_default();
    if let Some(cluster) = &options.service_cluster {
        node.cluster.clone_from(cluster);
    }
    if let Some(id) = &options.service_node {
        node.id.clone_from(id);
    }
    if let Some(zone) = &options.service_zone {
        node.locality.get_or_insert_default().zone.clone_from(zone);
    }
    let zone = node.locality.as_ref().map(|locality| &*locality.zone).filter(|zone| !zone.is_empty()).map(Into::into);
    Node { zone, bytes: prost::Message::encode_to_vec(&node).into(), cluster: node.cluster, id: node.id }
}

/// Where in the bootstrap each static resource stands. A table, as looking for one among 10,000 would decode them all.
type Paths = HashMap<(Kind, String), String>;

/// The static resources with their names and paths; two of one name are an issue.
fn static_resources(loaded: &LoadedBootstrap) -> (Vec<(Kind, String, Bytes)>, Paths, Vec<Issue>) {
    let mut named = Vec::with_capacity(loaded.clusters.len() + loaded.listeners.len());
    let mut issues = Vec::new();
    let mut paths = Paths::with_capacity(named.capacity());
    let all = loaded.clusters.iter().map(|r| (Kind::Cluster, r)).chain(loaded.listeners.iter().map(|r| (Kind::Listener, r)));
    for (kind, resource) in all {
        match name_of(kind, &resource.bytes) {
            Err(message) => issues.push(Issue::error(IssueCode::ConfigInvalid, resource.path.clone(), message)),
            Ok(name) if paths.contains_key(&(kind, name.clone())) => {
                let message = format!("there are two {}s of this name", kind.word());
                issues.push(Issue::error(IssueCode::ConfigInvalid, format!("{}.name", resource.path), message).got(name));
            }
            Ok(name) => {
                paths.insert((kind, name.clone()), resource.path.clone());
                named.push((kind, name, resource.bytes.clone()));
            }
        }
    }
    (named, paths, issues)
}

fn annotated(mut issues: Vec<Issue>, loaded: &LoadedBootstrap) -> Vec<Issue> {
    loaded.places.annotate_all(&mut issues);
    issues
}

/// The address of the admin interface and its access logs.
fn admin(bootstrap: &Bootstrap, files: &Files, issues: &mut Vec<Issue>) -> Option<(SocketAddr, Vec<AccessLog>)> {
    let admin = bootstrap.admin.as_ref()?;
    let at = At::Root("admin");
    let address_at = at.field("address");
    let logs = config::access_log::compile_admin(admin, "admin", files, issues);
    match admin.address.as_ref()?.address.as_ref()? {
        Address::SocketAddress(socket) => {
            let address = config::value::socket_address(socket, &address_at.field("socket_address"), issues)?;
            if address.ip().is_unspecified() {
                let message = "the admin interface is open to every network of this machine";
                issues.push(address_at.field("socket_address").field("address").warning(message).hint("bind it to 127.0.0.1"));
            }
            Some((address, logs))
        }
        _ => {
            issues.push(address_at.unsupported("only socket_address is implemented"));
            None
        }
    }
}

/// Checks and compiles a bootstrap; starts, binds and writes nothing.
pub fn validate(inputs: Vec<Input>, options: &Options) -> Vec<Issue> {
    let loaded = match read_bootstrap(inputs, &ReadOptions { support: Some(&SUPPORT), unknown_fields: options.unknown_fields }) {
        Ok(loaded) => loaded,
        Err(issues) => return issues,
    };
    let store = Store::with_workers(0);
    let files = Files::for_validation();
    let mut issues = loaded.warnings.clone();
    let (_, paths, mut found) = static_resources(&loaded);
    issues.append(&mut found);
    admin(&loaded.bootstrap, &files, &mut issues);
    let node = node(&loaded.bootstrap, options);
    let exists = |name: &str| paths.contains_key(&(Kind::Cluster, name.to_owned()));
    let context = Context {
        stats: &store,
        files: &files,
        workers: 0,
        share_port: false,
        service_cluster: &node.cluster,
        service_node: &node.id,
        cluster_exists: &exists,
        route_source: &Arc::new,
    };
    for resource in &loaded.clusters {
        if let Ok(cluster) = decode_cluster(&resource.bytes) {
            config::cluster::compile(&cluster, &At::Root(&resource.path), &mut issues);
        }
    }
    for resource in &loaded.listeners {
        if let Ok(listener) = decode_listener(&resource.bytes) {
            let at = At::Root(&resource.path);
            if let Some((address, socket)) = config::listener::address(&listener, &context, &at, &mut issues) {
                config::listener::compile(&listener, (address, socket), address, 0, &context, &at, &mut issues);
            }
        }
    }
    annotated(issues, &loaded)
}
