//! One thread with a tokio runtime: where a bridge's futures are polled. It starts with the first task.

use std::future::Future;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// What blocks at shutdown, such as a name lookup in the C library, is waited for this long, then left behind.
const BLOCKING_TASKS_END: Duration = Duration::from_secs(1);

/// The thread and the way to it.
pub struct Executor {
    handle: Handle,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Executor {
    /// Starts the thread. Fails if the system has no thread or descriptor left.
    pub fn start() -> std::io::Result<Executor> {
        let runtime = Builder::new_current_thread().enable_all().thread_name("plenipo-block").max_blocking_threads(8).build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("plenipo-node".into()).spawn(move || {
            // An error means that the sender is gone, which ends the thread as well.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_timeout(BLOCKING_TASKS_END);
        })?;
        Ok(Executor { handle, stop, thread })
    }

    /// Runs a task. Tasks are first polled in the order in which one thread spawned them.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(task);
    }

    /// Ends all tasks where they wait, and the thread.
    pub fn stop(self) {
        // It fails only if the thread is gone already.
        let _ = self.stop.send(());
        // The thread's tasks catch their own panics; there is nobody to tell of one here.
        let _ = self.thread.join();
    }
}
