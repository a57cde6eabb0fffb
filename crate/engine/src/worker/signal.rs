//! Wakes every task that listens: how a worker tells its connections that they drain or must end.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Instant,
};

/// One generation of connections that can be told to drain, then to end. Belongs to one worker.
#[derive(Default)]
pub struct Signal {
    draining: Cell<Option<Instant>>,
    ended: Cell<bool>,
    wakers: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
    waiting: RefCell<Option<Waker>>,
}

impl Signal {
    /// A signal that nothing was told yet.
    pub fn new() -> Rc<Signal> {
        Rc::default()
    }

    /// Tells all listeners to take no new work.
    pub fn drain(&self) {
        if self.draining.get().is_none() {
            self.draining.set(Some(Instant::now()));
            self.wake();
        }
    }

    /// Tells all listeners to end now.
    pub fn end(&self) {
        self.drain();
        self.ended.set(true);
        self.wake();
    }

    /// Since when draining is on.
    pub fn draining(&self) -> Option<Instant> {
        self.draining.get()
    }

    /// Whether all must end now.
    pub fn ended(&self) -> bool {
        self.ended.get()
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        self.wakers.borrow().len() - self.free.borrow().len()
    }

    /// Begins to listen; the task is woken at every change until the guard is dropped.
    pub fn listen(self: &Rc<Signal>) -> Listening {
        let slot = match self.free.borrow_mut().pop() {
            Some(slot) => slot,
            None => {
                let mut wakers = self.wakers.borrow_mut();
                wakers.push(None);
                wakers.len() - 1
            }
        };
        Listening { signal: self.clone(), slot, set: false }
    }

    /// Resolves when nobody listens any more.
    pub async fn quiet(&self) {
        std::future::poll_fn(|cx| {
            if self.listeners() == 0 {
                return Poll::Ready(());
            }
            *self.waiting.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn wake(&self) {
        for waker in self.wakers.borrow().iter().flatten() {
            waker.wake_by_ref();
        }
    }
}

/// A task's place among the listeners of a [`Signal`].
pub struct Listening {
    signal: Rc<Signal>,
    slot: usize,
    set: bool,
}

impl Listening {
    /// Leaves the task's waker with the signal; called from every poll, does its work in the first.
    pub fn register(&mut self, cx: &Context<'_>) {
        if !self.set {
            self.set = true;
            self.signal.wakers.borrow_mut()[self.slot] = Some(cx.waker().clone());
        }
    }

    /// The signal listened to.
    pub fn signal(&self) -> &Rc<Signal> {
        &self.signal
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.signal.wakers.borrow_mut()[self.slot] = None;
        self.signal.free.borrow_mut().push(self.slot);
        if self.signal.listeners() == 0
            && let Some(waker) = self.signal.waiting.borrow_mut().take()
        {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::Relaxed},
        },
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Count>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn drain_wakes_once_and_end_wakes_again() {
        let (signal, count) = (Signal::new(), Arc::new(Count::default()));
        let waker = Waker::from(count.clone());
        let mut listening = signal.listen();
        listening.register(&Context::from_waker(&waker));
        assert_eq!((signal.draining(), signal.ended()), (None, false));
        signal.drain();
        let since = signal.draining();
        signal.drain();
        assert_eq!((count.0.load(Relaxed), signal.draining(), signal.ended()), (1, since, false));
        assert!(since.is_some());
        signal.end();
        assert_eq!((count.0.load(Relaxed), signal.draining(), signal.ended()), (2, since, true));
    }

    #[test]
    fn who_has_left_is_not_woken_and_its_place_is_used_again() {
        let (signal, count) = (Signal::new(), Arc::new(Count::default()));
        let waker = Waker::from(count.clone());
        let mut gone = signal.listen();
        gone.register(&Context::from_waker(&waker));
        drop(gone);
        let _here = signal.listen();
        assert_eq!((signal.listeners(), signal.wakers.borrow().len()), (1, 1));
        signal.end();
        assert_eq!(count.0.load(Relaxed), 0);
    }

    #[test]
    fn quiet_is_when_the_last_one_leaves() {
        let (signal, count) = (Signal::new(), Arc::new(Count::default()));
        let waker = Waker::from(count.clone());
        let mut cx = Context::from_waker(&waker);
        let (one, two) = (signal.listen(), signal.listen());
        let mut quiet = pin!(signal.quiet());
        assert!(quiet.as_mut().poll(&mut cx).is_pending());
        drop(one);
        assert_eq!(count.0.load(Relaxed), 0);
        drop(two);
        assert_eq!(count.0.load(Relaxed), 1);
        assert!(quiet.as_mut().poll(&mut cx).is_ready());
    }
}
