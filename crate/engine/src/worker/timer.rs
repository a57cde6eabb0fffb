//! A deadline that is cheap to move: the runtime's timer is touched only when it fires too early or must fire sooner.
//!
//! A keep-alive connection sets a new deadline with every request and nearly never reaches it. Moving a deadline later
//! therefore only stores it; the timer that was registered earlier fires once in vain and is then set to what is due.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::time::Sleep;

/// A movable deadline, owned and polled by one task.
#[derive(Default)]
pub struct Deadline {
    at: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// Sets the deadline to `after` from now; zero or `None` disarms it, as a zero duration does in Envoy's timeouts.
    pub fn set(&mut self, after: Option<Duration>) {
        self.at = after.filter(|d| !d.is_zero()).and_then(|d| Instant::now().checked_add(d));
    }

    /// Sets the deadline to a moment, or disarms it.
    pub fn set_at(&mut self, at: Option<Instant>) {
        self.at = at;
    }

    /// Whether a deadline is set.
    pub fn is_set(&self) -> bool {
        self.at.is_some()
    }

    /// Ready when the deadline has passed; it is then disarmed. Pending, without a wake-up to come, when none is set.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        let due = tokio::time::Instant::from_std(at);
        let sleep = match &mut self.sleep {
            Some(sleep) => {
                if sleep.deadline() > due {
                    sleep.as_mut().reset(due);
                }
                sleep
            }
            None => self.sleep.insert(Box::pin(tokio::time::sleep_until(due))),
        };
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() >= due || Instant::now() >= at {
                self.at = None;
                self.sleep = None;
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn fires_at_the_last_deadline_that_was_set() {
        let mut deadline = Deadline::default();
        let begun = tokio::time::Instant::now();
        let at = begun.into_std();
        deadline.set_at(Some(at + Duration::from_secs(1)));
        assert!(std::future::poll_fn(|cx| Poll::Ready(deadline.poll(cx).is_pending())).await);
        deadline.set_at(Some(at + Duration::from_secs(3)));
        poll_fn(|cx| deadline.poll(cx)).await;
        assert!(begun.elapsed() >= Duration::from_secs(3));
        assert!(!deadline.is_set());
    }
}
