//! Whether answers ask their clients to close: while health checks fail, and while listeners drain gracefully.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// What the control side tells all workers; read at every answer.
#[derive(Default)]
pub struct Closing {
    failed: AtomicBool,
    drain: OnceLock<Drain>,
}

/// A graceful drain.
struct Drain {
    since: Instant,
    /// Over so long more and more answers ask (`--drain-strategy gradual`); zero is all at once.
    over: Duration,
}

impl Closing {
    /// All answers ask while health checks fail.
    pub fn set_failed(&self, failed: bool) {
        self.failed.store(failed, Relaxed);
    }

    /// From now on answers ask: over this time more and more, then all. A drain that has begun goes on as it is.
    pub fn drain(&self, over: Duration) {
        self.drain.get_or_init(|| Drain { since: Instant::now(), over });
    }

    /// Whether an answer of this moment asks.
    pub fn asks(&self, random: impl FnOnce() -> u64) -> bool {
        self.failed.load(Relaxed) || self.drain.get().is_some_and(|drain| drain.asks(drain.since.elapsed(), random))
    }
}

impl Drain {
    fn asks(&self, elapsed: Duration, random: impl FnOnce() -> u64) -> bool {
        // The more of the time is over, the more likely, as in Envoy.
        elapsed >= self.over || elapsed.as_secs_f64() / self.over.as_secs_f64() > random() as f64 / u64::MAX as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::random::Random;

    #[test]
    fn a_gradual_drain_asks_more_and_more_and_an_immediate_one_at_once() {
        let random = Random::seeded(3);
        let share = |over, elapsed| {
            let drain = Drain { since: Instant::now(), over: Duration::from_secs(over) };
            (0..1_000).filter(|_| drain.asks(Duration::from_secs(elapsed), || random.next())).count()
        };
        assert_eq!(share(100, 0), 0);
        assert!((200..300).contains(&share(100, 25)));
        assert!((700..800).contains(&share(100, 75)));
        assert_eq!((share(100, 100), share(0, 0)), (1_000, 1_000));
    }

    #[test]
    fn failed_health_checks_come_and_go() {
        let closing = Closing::default();
        let asks = || closing.asks(|| u64::MAX);
        assert!(!asks());
        closing.set_failed(true);
        assert!(asks());
        closing.set_failed(false);
        assert!(!asks());
        closing.drain(Duration::ZERO);
        assert!(asks());
    }
}
