//! PING frames that show whether the peer of an HTTP/2 connection is still there (`connection_keepalive`).

use std::{cell::Cell, rc::Rc, time::Instant};

use h2::{Ping, PingPong};
use tokio::sync::Notify;

use super::{frames::Watch, settings::Keepalive};
use crate::worker::random::Random;

/// Asks for a ping ahead of the clock: `connection_idle_interval`.
#[derive(Clone, Default)]
pub struct PingNow(Rc<Notify>);

impl PingNow {
    /// Pings where `idle_interval` has passed since the connection was last of use, which it is now.
    pub fn used(&self, last: &Cell<Instant>, keepalive: Option<&Keepalive>) {
        let before = last.replace(Instant::now());
        if keepalive.and_then(|k| k.idle_interval).is_some_and(|idle| before.elapsed() >= idle) {
            self.0.notify_one();
        }
    }
}

/// Ends when the peer did not answer a ping in time; the connection then has to be closed.
pub async fn run(mut pings: PingPong, keepalive: Keepalive, jitter: u64, now: PingNow, watch: Rc<Watch>) {
    let random = Random::seeded(jitter);
    loop {
        let asked = now.0.notified();
        match keepalive.interval {
            Some(interval) => {
                // Only asked for where there is an idle interval: else the clock alone decides.
                let _ = tokio::time::timeout(random.lengthen(interval, keepalive.jitter), asked).await;
            }
            None => asked.await,
        }
        match tokio::time::timeout(keepalive.timeout, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            // The connection is over anyway.
            Ok(Err(_)) => return std::future::pending().await,
            Err(_) => {
                watch.stats.keepalive_timeout().inc();
                return;
            }
        }
    }
}
