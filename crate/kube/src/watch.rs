//! The caller's end of a watch: events in order, the newest of each service only, so that a slow reader never piles them up.
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::client::Client;
use crate::gather::Gather;
use crate::snapshot::ServiceSnapshot;
use crate::{KubeError, Target};

/// What a watch tells.
#[derive(Debug, Clone)]
pub enum Event {
    /// A service's endpoints as they are now. `target` is the index in the list that was given to [`watch`].
    Snapshot { target: usize, snapshot: Arc<ServiceSnapshot> },
    /// Out of touch with the API server for `for_` already; the last sets stay. Told once until the next `Fresh`.
    Stale { for_: Duration, reason: String },
    /// In touch again.
    Fresh,
}

/// A running watch. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    task: AbortHandle,
}

/// Watch services. Needs `list` and `watch` on `services` and `endpointslices` of each target's namespace, and a tokio runtime.
///
/// Before a target's first snapshot, 401, 403, a refused kind of service and a port that does not exist end the watch with an error;
/// a missing service is waited for. Afterwards the last set is kept through outages, and a deleted service is an empty set.
pub fn watch(client: &Client, targets: Vec<Target>) -> Result<Watch, KubeError> {
    for target in &targets {
        target.check(client.default_namespace())?;
    }
    let shared = Arc::new(Shared::new(targets.len()));
    let gather = Gather::start(client.clone(), targets, shared.clone());
    let guard = EndGuard(shared.clone());
    let task = tokio::spawn(async move {
        // Whatever ends the task, a reader must not wait for ever.
        let _guard = guard;
        gather.run().await;
    });
    Ok(Watch { shared, task: task.abort_handle() })
}

impl Watch {
    /// The next event; `None` when the watch is over. An error is the last but `None`. Cancel-safe; meant for one reader.
    pub async fn next(&self) -> Option<Result<Event, KubeError>> {
        loop {
            let woken = self.shared.notify.notified();
            let mut woken = std::pin::pin!(woken);
            woken.as_mut().enable();
            if let Some(next) = self.shared.take() {
                return next;
            }
            woken.await;
        }
    }

    /// End the watch; what was published stays readable, and `next` gives `None`.
    pub fn close(&self) {
        self.task.abort();
        self.shared.end();
    }

    /// Whether every target has had its first snapshot.
    pub fn synced(&self) -> bool {
        self.shared.state().current.iter().all(Option::is_some)
    }

    /// How long the sets may be out of date; 0 while in touch.
    pub fn stale_ms(&self) -> u64 {
        let since = self.shared.state().stale.as_ref().map(|(since, _)| *since);
        since.map_or(0, |since| u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX).max(1))
    }

    /// A target's newest snapshot.
    pub fn current(&self, target: usize) -> Option<Arc<ServiceSnapshot>> {
        self.shared.state().current.get(target).cloned().flatten()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.close();
    }
}

/// Between the one writer and the reader.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    notify: Notify,
}

#[derive(Debug)]
struct State {
    current: Vec<Option<Arc<ServiceSnapshot>>>,
    /// Published, but not read yet.
    unread: Vec<bool>,
    stale: Option<(Instant, String)>,
    told_stale: bool,
    error: Option<KubeError>,
    over: bool,
}

impl Shared {
    fn new(targets: usize) -> Self {
        Shared {
            state: Mutex::new(State {
                current: vec![None; targets],
                unread: vec![false; targets],
                stale: None,
                told_stale: false,
                error: None,
                over: false,
            }),
            notify: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock.
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Equal endpoints are no news.
    pub fn publish(&self, target: usize, snapshot: ServiceSnapshot) {
        let mut state = self.state();
        if state.current[target].as_ref().is_some_and(|old| old.endpoints == snapshot.endpoints) {
            return;
        }
        state.current[target] = Some(Arc::new(snapshot));
        state.unread[target] = true;
        drop(state);
        self.notify.notify_waiters();
    }

    pub fn set_stale(&self, stale: Option<(Instant, String)>) {
        self.state().stale = stale;
        self.notify.notify_waiters();
    }

    pub fn fail(&self, error: KubeError) {
        self.state().error = Some(error);
        self.notify.notify_waiters();
    }

    fn end(&self) {
        self.state().over = true;
        self.notify.notify_waiters();
    }

    /// The next thing to tell, if there is one: `Some(None)` is the end.
    fn take(&self) -> Option<Option<Result<Event, KubeError>>> {
        let mut state = self.state();
        let told = state.told_stale;
        if told != state.stale.is_some() {
            state.told_stale = !told;
            return Some(Some(Ok(match &state.stale {
                Some((since, reason)) => Event::Stale { for_: since.elapsed(), reason: reason.clone() },
                None => Event::Fresh,
            })));
        }
        if let Some(target) = state.unread.iter().position(|unread| *unread) {
            state.unread[target] = false;
            // What is unread was published.
            if let Some(snapshot) = state.current[target].clone() {
                return Some(Some(Ok(Event::Snapshot { target, snapshot })));
            }
        }
        if let Some(error) = state.error.take() {
            state.over = true;
            return Some(Some(Err(error)));
        }
        state.over.then_some(None)
    }
}

struct EndGuard(Arc<Shared>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(address: &str) -> ServiceSnapshot {
        ServiceSnapshot::new("a", "n", vec![crate::gather::external_endpoint(address.parse().unwrap(), 80)])
    }

    fn tell(shared: &Shared) -> String {
        match shared.take() {
            None => "-".into(),
            Some(None) => "end".into(),
            Some(Some(Err(e))) => e.code().into(),
            Some(Some(Ok(Event::Fresh))) => "fresh".into(),
            Some(Some(Ok(Event::Stale { reason, .. }))) => format!("stale {reason}"),
            Some(Some(Ok(Event::Snapshot { target, snapshot }))) => format!("{target} {}", snapshot.endpoints[0].address),
        }
    }

    #[test]
    fn a_slow_reader_sees_the_newest_only() {
        let shared = Shared::new(2);
        assert_eq!(tell(&shared), "-");
        shared.publish(1, snapshot("10.0.0.1"));
        shared.publish(1, snapshot("10.0.0.2"));
        shared.publish(0, snapshot("10.0.0.3"));
        assert_eq!([tell(&shared), tell(&shared), tell(&shared)], ["0 10.0.0.3", "1 10.0.0.2", "-"]);
        shared.publish(0, snapshot("10.0.0.3"));
        assert_eq!(tell(&shared), "-", "equal is no news");
        shared.set_stale(Some((Instant::now(), "x".into())));
        shared.set_stale(Some((Instant::now(), "y".into())));
        assert_eq!([tell(&shared), tell(&shared)], ["stale y", "-"]);
        shared.set_stale(None);
        shared.set_stale(Some((Instant::now(), "z".into())));
        assert_eq!(tell(&shared), "-", "a gap that nobody saw is not told");
        shared.set_stale(None);
        shared.fail(KubeError::Watch { message: "m".into() });
        assert_eq!([tell(&shared), tell(&shared), tell(&shared), tell(&shared)], ["fresh", "ERR_PLENIPO_KUBE_WATCH", "end", "end"]);
    }
}
