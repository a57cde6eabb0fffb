//! The one writer of a watch: takes what the feeds tell, keeps the objects, and publishes the services' snapshots when they are whole.
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::client::Client;
use crate::discover::SERVICE_LABEL;
use crate::feed::{Feed, Scope, Update};
use crate::resolve::{Policy, resolve};
use crate::snapshot::{Endpoint, ServiceSnapshot};
use crate::watch::Shared;
use crate::{KubeError, Target, external};

/// How often a name outside of the cluster is looked up again.
const LOOKUP_EVERY: Duration = Duration::from_secs(30);
/// A label selector that names more services than this would be an overlong URL.
const MOST_NAMES: usize = 40;
const QUEUE: usize = 256;
/// Ten years.
const NEVER: Duration = Duration::from_secs(315_360_000);

/// What reaches the writer.
enum Message {
    Services(usize, Box<Update<Service>>),
    Slices(usize, Box<Update<EndpointSlice>>),
    Looked(String, Result<Vec<IpAddr>, String>),
}

/// The objects of one namespace. `None`: not whole yet.
#[derive(Default)]
struct Group {
    namespace: String,
    wanted: BTreeSet<String>,
    services: Option<HashMap<String, Service>>,
    slices: Option<HashMap<String, EndpointSlice>>,
}

/// A name outside of the cluster.
#[derive(Default)]
struct Name {
    /// The last good answer.
    addresses: Option<Vec<IpAddr>>,
    error: Option<String>,
    /// When the answer came, or the question was asked.
    at: Option<Instant>,
}

struct Followed {
    target: Target,
    group: usize,
    published: bool,
}

pub(crate) struct Gather {
    client: Client,
    policy: Policy,
    shared: Arc<Shared>,
    groups: Vec<Group>,
    followed: Vec<Followed>,
    names: HashMap<String, Name>,
    /// Feeds that are out of touch: since when, and why. The key is the group, and whether it is the slices.
    stale: HashMap<(usize, bool), (Instant, String)>,
    changed: Option<Instant>,
    /// What changed makes a first set possible: it is not held back.
    urgent: bool,
    started: Instant,
    inbox: mpsc::Receiver<Message>,
    outbox: mpsc::Sender<Message>,
    /// Feeds and look-ups: dropped with the writer, and so ended.
    tasks: JoinSet<()>,
}

impl Gather {
    /// Must be called inside a tokio runtime: the feeds start at once.
    pub fn start(client: Client, targets: Vec<Target>, shared: Arc<Shared>) -> Self {
        let (outbox, inbox) = mpsc::channel(QUEUE);
        let options = client.options();
        let mut gather = Gather {
            policy: Policy { family: options.family, allow_external: options.allow_external },
            groups: Vec::new(),
            followed: Vec::new(),
            names: HashMap::new(),
            stale: HashMap::new(),
            changed: None,
            urgent: false,
            started: Instant::now(),
            tasks: JoinSet::new(),
            client,
            shared,
            inbox,
            outbox,
        };
        for target in targets {
            let namespace = target.namespace.clone().unwrap_or_else(|| gather.client.default_namespace().into());
            let group = gather.groups.iter().position(|g| g.namespace == namespace).unwrap_or_else(|| {
                gather.groups.push(Group { namespace, ..Group::default() });
                gather.groups.len() - 1
            });
            gather.groups[group].wanted.insert(target.service.clone());
            gather.followed.push(Followed { target, group, published: false });
        }
        for index in 0..gather.groups.len() {
            let (services, slices) = gather.groups[index].scopes();
            let feed = Feed::new(gather.client.clone(), services, gather.outbox.clone(), move |u| Message::Services(index, Box::new(u)));
            gather.tasks.spawn(feed.run());
            let feed = Feed::new(gather.client.clone(), slices, gather.outbox.clone(), move |u| Message::Slices(index, Box::new(u)));
            gather.tasks.spawn(feed.run());
        }
        gather
    }

    /// Until the task is aborted, or an error ends the watch.
    pub async fn run(mut self) {
        loop {
            let wake = self.wake();
            let message = tokio::select! {
                biased;
                message = self.inbox.recv() => message,
                () = sleep_until(wake) => None,
            };
            while self.tasks.try_join_next().is_some() {}
            let outcome = match message {
                Some(message) => self.take(message),
                None => self.tick(),
            };
            if let Err(error) = outcome {
                self.shared.fail(error);
                return;
            }
        }
    }

    /// The next moment at which something is due.
    fn wake(&self) -> Instant {
        let options = self.client.options();
        let mut due = vec![Instant::now() + Duration::from_secs(3600)];
        due.extend(self.publish_at());
        due.extend(self.names.values().filter_map(|n| n.at).map(|at| at + LOOKUP_EVERY));
        if let (Some(limit), Some(since)) = (options.max_stale, self.stale.values().map(|(since, _)| *since).min()) {
            due.push(after(since, limit));
        }
        if let (Some(limit), false) = (options.sync_timeout, self.is_whole()) {
            due.push(after(self.started, limit));
        }
        // `due` is never empty.
        due.into_iter().min().unwrap_or_else(Instant::now)
    }

    /// When the changes are to be published: first sets at once, later ones gathered for a moment.
    fn publish_at(&self) -> Option<Instant> {
        let delay = if self.urgent { Duration::ZERO } else { self.client.options().debounce };
        self.changed.map(|at| after(at, delay))
    }

    fn is_whole(&self) -> bool {
        self.groups.iter().all(|g| g.services.is_some() && g.slices.is_some())
    }

    fn take(&mut self, message: Message) -> Result<(), KubeError> {
        match message {
            Message::Services(group, update) => {
                let Group { wanted, services, .. } = &mut self.groups[group];
                let changed = apply(services, *update, |s: &Service| wanted.contains(&s.name_any()));
                self.note((group, false), changed)
            }
            Message::Slices(group, update) => {
                let Group { wanted, slices, .. } = &mut self.groups[group];
                let changed = apply(slices, *update, |s: &EndpointSlice| s.labels().get(SERVICE_LABEL).is_some_and(|n| wanted.contains(n)));
                self.note((group, true), changed)
            }
            Message::Looked(host, answer) => {
                if let Some(name) = self.names.get_mut(&host) {
                    name.at = Some(Instant::now());
                    match answer {
                        Ok(addresses) => (name.addresses, name.error) = (Some(addresses), None),
                        Err(error) => name.error = Some(error),
                    }
                    self.urgent |= self.followed.iter().any(|f| !f.published);
                    self.changed.get_or_insert_with(Instant::now);
                }
                Ok(())
            }
        }
    }

    fn note(&mut self, feed: (usize, bool), change: Change) -> Result<(), KubeError> {
        match change {
            Change::Whole => {
                self.urgent = true;
                self.changed.get_or_insert_with(Instant::now);
            }
            Change::Objects => {
                self.changed.get_or_insert_with(Instant::now);
            }
            Change::Stale(since, reason) => {
                self.stale.insert(feed, (since, reason));
                self.tell_stale();
            }
            Change::Fresh => {
                self.stale.remove(&feed);
                self.tell_stale();
            }
            Change::Fatal(error) => return Err(error),
        }
        Ok(())
    }

    fn tell_stale(&self) {
        self.shared.set_stale(self.stale.values().min_by_key(|(since, _)| *since).cloned());
    }

    /// Do what is due.
    fn tick(&mut self) -> Result<(), KubeError> {
        let now = Instant::now();
        let options = self.client.options().clone();
        let oldest = self.stale.values().min_by_key(|(since, _)| *since).cloned();
        if let (Some(limit), Some((since, reason))) = (options.max_stale, &oldest)
            && now >= after(*since, limit)
        {
            let message = format!("out of touch with the API server for more than {limit:?}: {reason}");
            return Err(KubeError::Watch { message });
        }
        if let Some(limit) = options.sync_timeout
            && !self.is_whole()
            && now >= after(self.started, limit)
        {
            let reason = oldest.map_or_else(|| format!("no answer from {}", self.client.server()), |(_, reason)| reason);
            let message = format!("no whole list within {limit:?}: {reason}");
            return Err(KubeError::Watch { message });
        }
        if self.publish_at().is_some_and(|at| now >= at) {
            self.changed = None;
            self.urgent = false;
            self.publish()?;
        }
        self.look_up(now);
        Ok(())
    }

    fn publish(&mut self) -> Result<(), KubeError> {
        let mut in_use = BTreeSet::new();
        for index in 0..self.followed.len() {
            let Followed { target, group, published } = &self.followed[index];
            let group = &self.groups[*group];
            let (Some(services), Some(slices)) = (&group.services, &group.slices) else { continue };
            let fault =
                |message: String| KubeError::Target { service: target.service.clone(), namespace: group.namespace.clone(), message };
            let endpoints = match services.get(&target.service) {
                // Not there yet: wait for it.
                None if !published => continue,
                None => Vec::new(),
                Some(service) => {
                    let own = slices.values().filter(|s| s.labels().get(SERVICE_LABEL) == Some(&target.service));
                    match resolve(service, own, target.port.as_ref(), self.policy) {
                        Err(text) if !published => return Err(fault(text)),
                        Err(_) => Vec::new(),
                        Ok(resolved) => {
                            let mut endpoints = resolved.endpoints;
                            let mut waiting = false;
                            for (host, port) in resolved.external {
                                let name = self.names.entry(host.clone()).or_default();
                                in_use.insert(host);
                                match (&name.addresses, &name.error) {
                                    (Some(addresses), _) => endpoints.extend(addresses.iter().map(|ip| external_endpoint(*ip, port))),
                                    (None, Some(error)) if !published => return Err(fault(error.clone())),
                                    (None, Some(_)) => {}
                                    (None, None) => waiting = true,
                                }
                            }
                            // A first set is whole or not at all.
                            if waiting && !published {
                                continue;
                            }
                            endpoints
                        }
                    }
                }
            };
            let snapshot = ServiceSnapshot::new(&target.service, &group.namespace, endpoints);
            self.followed[index].published = true;
            self.shared.publish(index, snapshot);
        }
        self.names.retain(|host, _| in_use.contains(host));
        Ok(())
    }

    /// Ask for the names that are new or whose answer is old.
    fn look_up(&mut self, now: Instant) {
        for (host, name) in &mut self.names {
            if name.at.is_some_and(|at| now < at + LOOKUP_EVERY) {
                continue;
            }
            name.at = Some(now);
            let (host, family, outbox) = (host.clone(), self.policy.family, self.outbox.clone());
            self.tasks.spawn(async move {
                let answer = external::lookup(&host, family).await;
                // The receiver is gone only when the whole watch is.
                let _ = outbox.send(Message::Looked(host, answer)).await;
            });
        }
    }
}

impl Group {
    /// One service is asked for by name, which also suits a Role with resourceNames; of several, the namespace's services are listed.
    fn scopes(&self) -> (Scope, Scope) {
        let names: Vec<&str> = self.wanted.iter().map(String::as_str).collect();
        let (fields, labels) = match names.as_slice() {
            [name] => (Some(format!("metadata.name={name}")), format!("{SERVICE_LABEL}={name}")),
            names if names.len() <= MOST_NAMES => (None, format!("{SERVICE_LABEL} in ({})", names.join(","))),
            _ => (None, SERVICE_LABEL.into()),
        };
        let scope = |fields, labels| Scope { namespace: self.namespace.clone(), fields, labels };
        (scope(fields, None), scope(None, Some(labels)))
    }
}

/// A moment later; the options allow times that no clock reaches.
fn after(at: Instant, time: Duration) -> Instant {
    at.checked_add(time).unwrap_or(at + NEVER)
}

/// What an update came to.
enum Change {
    /// The first whole list.
    Whole,
    Objects,
    Stale(Instant, String),
    Fresh,
    Fatal(KubeError),
}

fn apply<K: kube::Resource>(store: &mut Option<HashMap<String, K>>, update: Update<K>, wanted: impl Fn(&K) -> bool) -> Change {
    match update {
        Update::Replace(items) => {
            let items = items.into_iter().filter(&wanted).map(|o| (o.name_any(), o)).collect();
            if store.replace(items).is_none() {
                return Change::Whole;
            }
        }
        Update::Apply(object) => {
            let store = store.get_or_insert_default();
            match wanted(&object) {
                true => store.insert(object.name_any(), object),
                // Its label was taken away.
                false => store.remove(&object.name_any()),
            };
        }
        Update::Delete(name) => {
            store.get_or_insert_default().remove(&name);
        }
        Update::Stale(since, reason) => return Change::Stale(since, reason),
        Update::Fresh => return Change::Fresh,
        Update::Fatal(error) => return Change::Fatal(error),
    }
    Change::Objects
}

/// An endpoint that is known by its address only.
pub(crate) fn external_endpoint(ip: IpAddr, port: u16) -> Endpoint {
    Endpoint { address: ip.to_string(), port, zone: None, node: None, hostname: None, terminating: false }
}
