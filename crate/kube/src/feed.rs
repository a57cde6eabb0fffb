//! One list and watch of one kind of object: keeps going through closed watches, outages and lost history, and tells when it is out of touch.
use std::fmt::Debug;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::core::Resource;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::KubeError;
use crate::backoff::Backoff;
use crate::client::Client;
use crate::error::Failure;

const PAGE: u32 = 500;
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
const START_TIMEOUT: Duration = Duration::from_secs(15);
/// A watch that ends sooner without an event is taken for a sign of trouble at the server.
const SHORT_LIFE: Duration = Duration::from_millis(500);
/// A server that lost its history takes a watch, and says so in its first event: in touch is only who heard nothing for this long.
const PROBATION: Duration = Duration::from_millis(500);
/// A watch that lasted longer was a good one.
const LONG_LIFE: Duration = Duration::from_secs(5);
/// After so many failures in a row the credentials are loaded again, whatever the failure was.
const RENEW_EVERY: u32 = 4;

/// An object kind that can be followed.
pub(crate) trait Object:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static
{
    /// Its name as RBAC knows it.
    const RESOURCE: &'static str;
}

impl Object for k8s_openapi::api::core::v1::Service {
    const RESOURCE: &'static str = "services";
}

impl Object for k8s_openapi::api::discovery::v1::EndpointSlice {
    const RESOURCE: &'static str = "endpointslices.discovery.k8s.io";
}

/// Which objects.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    pub namespace: String,
    pub fields: Option<String>,
    pub labels: Option<String>,
}

/// What a feed tells.
#[derive(Debug)]
pub(crate) enum Update<K> {
    /// The whole list: what is not in it does not exist.
    Replace(Vec<K>),
    Apply(K),
    /// By name.
    Delete(String),
    /// Out of touch since then, and why; may be repeated with a newer reason.
    Stale(Instant, String),
    /// In touch again.
    Fresh,
    /// The feed has ended: refused before it was ever whole.
    Fatal(KubeError),
}

/// Fetch the whole list, page by page, and the version to watch from.
pub(crate) async fn list<K: Object>(client: &Client, scope: &Scope) -> Result<(Vec<K>, String), Failure> {
    let api: Api<K> = Api::namespaced(client.kube(), &scope.namespace);
    let mut params =
        ListParams { label_selector: scope.labels.clone(), field_selector: scope.fields.clone(), ..ListParams::default().limit(PAGE) };
    let work = async {
        let mut all = Vec::new();
        loop {
            let page = api.list(&params).await.map_err(|e| Failure::from_kube(&e))?;
            all.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => return Ok((all, page.metadata.resource_version.unwrap_or_default())),
            }
        }
    };
    match timeout(LIST_TIMEOUT, work).await {
        Ok(done) => done,
        Err(_) => Err(Failure::new(format!("no answer within {} s", LIST_TIMEOUT.as_secs()))),
    }
}

/// Why one round of list and watch was over.
enum Ended {
    /// The server closed the watch, or nothing came for too long: go on from the same version.
    Closed {
        at_once: bool,
    },
    Failed {
        verb: &'static str,
        failure: Failure,
    },
    /// Nobody listens any more.
    Unheard,
}

impl Ended {
    fn failed(verb: &'static str) -> impl FnOnce(Failure) -> Ended {
        move |failure| Ended::Failed { verb, failure }
    }
}

/// Follows the objects of a scope until nobody listens.
pub(crate) struct Feed<K, M> {
    client: Client,
    scope: Scope,
    out: mpsc::Sender<M>,
    wrap: Box<dyn Fn(Update<K>) -> M + Send + Sync>,
    /// The version to watch from; `None`: list first.
    position: Option<String>,
    /// A first whole list was told.
    synced: bool,
    stale: bool,
    contact: Instant,
    backoff: Backoff,
    failures: u32,
}

impl<K: Object, M: Send + 'static> Feed<K, M> {
    pub fn new(client: Client, scope: Scope, out: mpsc::Sender<M>, wrap: impl Fn(Update<K>) -> M + Send + Sync + 'static) -> Self {
        Feed {
            client,
            scope,
            out,
            wrap: Box::new(wrap),
            position: None,
            synced: false,
            stale: false,
            contact: Instant::now(),
            backoff: Backoff::default(),
            failures: 0,
        }
    }

    pub async fn run(mut self) {
        loop {
            match self.round().await {
                Ended::Unheard => return,
                Ended::Closed { at_once: false } => {}
                Ended::Closed { at_once: true } => sleep(self.backoff.next()).await,
                Ended::Failed { verb, failure } => {
                    if !self.failed(verb, failure).await {
                        return;
                    }
                }
            }
        }
    }

    /// Tell of a failure, wait, and prepare the next attempt; false: that was the end.
    async fn failed(&mut self, verb: &'static str, failure: Failure) -> bool {
        if !self.synced && failure.is_auth() {
            let error = failure.into_error(verb, K::RESOURCE, &self.scope.namespace, self.client.server());
            self.tell(Update::Fatal(error)).await;
            return false;
        }
        if failure.is_expired() {
            self.position = None;
        }
        self.failures += 1;
        let renew = failure.status == 401 || self.failures.is_multiple_of(RENEW_EVERY);
        let wait = self.backoff.next().max(failure.retry_after);
        let error = failure.into_error(verb, K::RESOURCE, &self.scope.namespace, self.client.server());
        self.stale = true;
        if !self.tell(Update::Stale(self.contact, error.to_string())).await {
            return false;
        }
        if renew && let Err(error) = self.client.renew().await {
            self.tell(Update::Stale(self.contact, error.to_string())).await;
        }
        // Nobody listening must be seen while waiting, too.
        tokio::select! {
            () = sleep(wait) => true,
            () = self.out.closed() => false,
        }
    }

    /// List if needed, then watch until the watch ends.
    async fn round(&mut self) -> Ended {
        match self.try_round().await {
            Ok(ended) | Err(ended) => ended,
        }
    }

    async fn try_round(&mut self) -> Result<Ended, Ended> {
        if self.client.is_expired()
            && let Err(error) = self.client.renew().await
        {
            return Err(Ended::failed("list")(Failure::new(error.to_string())));
        }
        let mut first = None;
        let mut listed = false;
        let version = match &self.position {
            Some(version) => version.clone(),
            None => {
                listed = true;
                let (items, version) = list::<K>(&self.client, &self.scope).await.map_err(Ended::failed("list"))?;
                if self.synced {
                    self.tell_or_end(Update::Replace(items)).await?;
                    self.position = Some(version.clone());
                } else {
                    // The first list counts only when a watch stands, too: a forbidden watch must be an error at once, not a set that never changes.
                    first = Some(items);
                }
                version
            }
        };
        let api: Api<K> = Api::namespaced(self.client.kube(), &self.scope.namespace);
        let params = WatchParams {
            label_selector: self.scope.labels.clone(),
            field_selector: self.scope.fields.clone(),
            // Zero leaves the length of a watch to the server; the idle deadline guards against silence.
            timeout: Some(0),
            ..WatchParams::default()
        };
        let events = match timeout(START_TIMEOUT, api.watch(&params, &version)).await {
            Ok(Ok(events)) => events,
            Ok(Err(error)) => return Err(Ended::failed("watch")(Failure::from_kube(&error))),
            Err(_) => {
                let text = format!("no answer within {} s", START_TIMEOUT.as_secs());
                return Err(Ended::failed("watch")(Failure::new(text)));
            }
        };
        if let Some(items) = first {
            self.tell_or_end(Update::Replace(items)).await?;
            self.position = Some(version);
            self.synced = true;
        }
        if listed || !self.stale {
            self.in_touch().await?;
        }
        let mut events = std::pin::pin!(events);
        let started = Instant::now();
        let mut seen = false;
        loop {
            let deadline = if self.stale { PROBATION } else { self.client.options().idle_deadline };
            let next = tokio::select! {
                next = timeout(deadline, events.next()) => next,
                () = self.out.closed() => return Ok(Ended::Unheard),
            };
            // What went well for a while makes the next failure a first one; a list alone does not, or lost history would be a storm of lists.
            if started.elapsed() > LONG_LIFE {
                self.backoff.reset();
            }
            if next.is_err() && self.stale {
                self.in_touch().await?;
                continue;
            }
            let Ok(next) = next else { return Ok(Ended::Closed { at_once: false }) };
            let Some(next) = next else {
                if !self.stale {
                    self.contact = Instant::now();
                }
                return Ok(Ended::Closed { at_once: !seen && started.elapsed() < SHORT_LIFE });
            };
            match next {
                Err(error) => {
                    if matches!(error, kube::Error::SerdeError(_)) {
                        // An object that we can't read: what the list says of it is all that we can know.
                        self.position = None;
                    }
                    return Err(Ended::failed("watch")(Failure::from_kube(&error)));
                }
                Ok(WatchEvent::Error(status)) => return Err(Ended::failed("watch")(Failure::from_status(&status))),
                Ok(event) => self.event(event).await?,
            }
            self.in_touch().await?;
            self.backoff.reset();
            seen = true;
        }
    }

    /// The watch works.
    async fn in_touch(&mut self) -> Result<(), Ended> {
        self.contact = Instant::now();
        self.failures = 0;
        match std::mem::take(&mut self.stale) {
            true => self.tell_or_end(Update::Fresh).await,
            false => Ok(()),
        }
    }

    async fn event(&mut self, event: WatchEvent<K>) -> Result<(), Ended> {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                self.advance(object.meta().resource_version.as_deref());
                self.tell_or_end(Update::Apply(object)).await
            }
            WatchEvent::Deleted(object) => {
                self.advance(object.meta().resource_version.as_deref());
                self.tell_or_end(Update::Delete(object.meta().name.clone().unwrap_or_default())).await
            }
            WatchEvent::Bookmark(bookmark) => {
                self.advance(Some(&bookmark.metadata.resource_version));
                Ok(())
            }
            // Handled by the caller.
            WatchEvent::Error(_) => Ok(()),
        }
    }

    fn advance(&mut self, version: Option<&str>) {
        if let Some(version) = version.filter(|v| !v.is_empty()) {
            self.position = Some(version.into());
        }
    }

    async fn tell(&self, update: Update<K>) -> bool {
        self.out.send((self.wrap)(update)).await.is_ok()
    }

    async fn tell_or_end(&self, update: Update<K>) -> Result<(), Ended> {
        match self.tell(update).await {
            true => Ok(()),
            false => Err(Ended::Unheard),
        }
    }
}
