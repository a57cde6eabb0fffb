//! Fakes for tests of the engine: upstream servers, a raw client, a DNS server and configurations; a fuzzer. Never part of a build.

pub mod client;
pub mod config;
pub mod dns;
pub mod fuzz;
pub mod upstream;

use std::{future::Future, time::Duration};

pub use client::{Answer, Client};
pub use upstream::Upstream;

/// How long any one step of a test may take.
pub const LIMIT: Duration = Duration::from_secs(20);

/// The result of a future; a test that takes longer than [`LIMIT`] fails here.
#[track_caller]
pub fn within<T>(future: impl Future<Output = T>) -> impl Future<Output = T> {
    let place = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(LIMIT, future).await {
            Ok(value) => value,
            Err(_) => panic!("{place}: not done after {LIMIT:?}"),
        }
    }
}

/// Waits until a condition holds.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let end = tokio::time::Instant::now() + LIMIT;
        while !holds() {
            assert!(tokio::time::Instant::now() < end, "{place}: {what} did not come true in {LIMIT:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Waits until a number has not changed for 300 ms, and gives it.
pub async fn settled(mut read: impl FnMut() -> u64) -> u64 {
    let end = tokio::time::Instant::now() + LIMIT;
    let mut last = read();
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = read();
        if now == last {
            return now;
        }
        assert!(tokio::time::Instant::now() < end, "the number still changes after {LIMIT:?}");
        last = now;
    }
}
