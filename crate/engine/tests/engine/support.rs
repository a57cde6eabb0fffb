//! A running proxy for a test: starts from JSON, knows its addresses and stats.

use std::{net::SocketAddr, time::Duration};

use plenipo_api::Input;
use plenipo_engine::{
    control::{Applied, Change, Kind},
    engine::{Error, Options, Proxy},
};
use plenipo_testkit::{
    Client,
    config::{Cluster, Listener, bootstrap},
    until, within,
};
use serde_json::Value;

/// A proxy that is killed when the test ends.
pub struct Running(pub Proxy);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill();
    }
}

/// Options of most tests: so many workers, and times that suit a test.
pub fn options(workers: usize) -> Options {
    Options { concurrency: Some(workers), flush_interval: Duration::from_millis(5), ..Options::default() }
}

/// The document of a value.
pub fn input(value: &Value) -> Input {
    Input::json(value.to_string())
}

/// A proxy with these static resources.
pub async fn start(workers: usize, listeners: &[&Listener], clusters: &[&Cluster]) -> Running {
    start_with(options(workers), &bootstrap(listeners, clusters)).await.expect("the proxy starts")
}

/// A proxy with these options and this bootstrap.
pub async fn start_with(options: Options, config: &Value) -> Result<Running, Error> {
    let proxy = Running(Proxy::new(options));
    within(proxy.0.start(vec![input(config)], None)).await?;
    Ok(proxy)
}

/// A change that adds or replaces these.
pub fn change(listeners: &[&Listener], clusters: &[&Cluster]) -> Change {
    Change {
        clusters: clusters.iter().map(|c| input(&c.json())).collect(),
        listeners: listeners.iter().map(|l| input(&l.json())).collect(),
        ..Change::default()
    }
}

/// A change that removes a listener.
pub fn without_listener(name: &str) -> Change {
    Change { removals: vec![(Kind::Listener, name.to_owned())], ..Change::default() }
}

impl Running {
    /// Where a listener is bound.
    pub fn at(&self, listener: &str) -> SocketAddr {
        let all = self.0.addresses();
        all.iter().find(|a| a.listener == listener).unwrap_or_else(|| panic!("no listener {listener} among {all:?}")).address
    }

    /// A new connection to a listener.
    pub async fn client(&self, listener: &str) -> Client {
        Client::connect(self.at(listener)).await
    }

    /// Applies a change.
    pub async fn apply(&self, change: Change) -> Result<Applied, Error> {
        within(self.0.apply(change)).await
    }

    /// The value of a counter or gauge, 0 where there is none.
    pub fn stat(&self, name: &str) -> u64 {
        self.0.stats().value(name).unwrap_or(0)
    }

    /// Waits until a counter or gauge has a value.
    pub async fn wait_stat(&self, name: &str, value: u64) {
        until(&format!("{name} = {value}"), || self.stat(name) == value).await;
    }
}
