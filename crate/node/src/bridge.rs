//! One JavaScript thread's connection: the way back to it, the calls under way, and the end of everything it started.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use napi::bindgen_prelude::{FnArgs, Function};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Env, Status};
use napi_derive::napi;
use plenipo_engine::engine::{Proxy, State as ProxyState};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::executor::Executor;
use crate::wire::{Failure, answer};
use crate::{config, kube};

type Message = FnArgs<(i64, String, bool)>;
type Callback = ThreadsafeFunction<Message, (), Message, Status, false, true>;

/// Sends messages to JavaScript, from any thread, as long as it runs.
#[derive(Clone)]
pub struct Sink {
    callback: Arc<Callback>,
    closed: Arc<AtomicBool>,
}

impl Sink {
    /// Sends `text` under the number `id`; `last` tells that nothing follows under it.
    pub fn send(&self, id: i64, text: String, last: bool) {
        if !self.closed.load(Ordering::Acquire) {
            // It fails only when the environment is going away; nobody waits for the message then.
            let _ = self.callback.call((id, text, last).into(), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }
}

/// What all of a bridge's objects share.
pub struct Shared {
    /// The way to JavaScript.
    pub sink: Sink,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    over: bool,
    executor: Option<Executor>,
    cancels: HashMap<i64, oneshot::Sender<()>>,
    proxies: Vec<Proxy>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a task on the bridge's thread. `cancel` is called for the number `id` at most once.
    fn spawn<F: Future<Output = ()> + Send + 'static>(
        self: &Arc<Self>,
        id: i64,
        make: impl FnOnce(oneshot::Receiver<()>) -> F,
    ) -> Result<(), Failure> {
        let mut state = self.state();
        if state.over {
            return Err(Failure::new("ERR_PLENIPO_STATE", "the process is ending"));
        }
        if state.executor.is_none() {
            let started = Executor::start();
            state.executor =
                Some(started.map_err(|error| Failure::new("ERR_PLENIPO_ENGINE_CRASH", format!("no thread can be started: {error}")))?);
        }
        let (cancel, cancelled) = oneshot::channel();
        state.cancels.insert(id, cancel);
        let task = make(cancelled);
        let shared = Arc::clone(self);
        if let Some(executor) = &state.executor {
            executor.spawn(async move {
                task.await;
                shared.state().cancels.remove(&id);
            });
        }
        Ok(())
    }

    /// Runs a call that may be given up at any time, and sends its answer.
    pub fn call<F>(self: &Arc<Self>, id: i64, future: F) -> Option<String>
    where
        F: Future<Output = Result<Value, Failure>> + Send + 'static,
    {
        let sink = self.sink.clone();
        let started = self.spawn(id, |cancelled| async move {
            let result = tokio::select! {
                biased;
                Ok(()) = cancelled => Err(Failure::aborted()),
                result = future => result,
            };
            sink.send(id, answer(result), true);
        });
        refused(started)
    }

    /// Runs a call that decides by itself what an abort means, and sends its answer.
    pub fn call_with_cancel<F>(self: &Arc<Self>, id: i64, make: impl FnOnce(oneshot::Receiver<()>) -> F) -> Option<String>
    where
        F: Future<Output = Result<Value, Failure>> + Send + 'static,
    {
        let sink = self.sink.clone();
        let started = self.spawn(id, |cancelled| {
            let future = make(cancelled);
            async move { sink.send(id, answer(future.await), true) }
        });
        refused(started)
    }

    /// Runs a stream of messages until it ends or is cancelled.
    pub fn stream<F>(self: &Arc<Self>, id: i64, future: F) -> Option<String>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let started = self.spawn(id, |cancelled| async move {
            tokio::select! {
                Ok(()) = cancelled => {}
                () = future => {}
            }
        });
        refused(started)
    }

    /// Remembers a proxy, to end it with the bridge.
    pub fn keep(&self, proxy: &Proxy) {
        let mut state = self.state();
        // What never started, or has stopped, holds nothing but memory.
        state.proxies.retain(|each| each.state() != ProxyState::Stopped);
        state.proxies.push(proxy.clone());
    }

    /// Forgets a proxy that has ended.
    pub fn forget(&self, proxy: &Proxy) {
        self.state().proxies.retain(|each| !each.is_same(proxy));
    }

    /// Ends everything, once: from here on JavaScript is not called any more.
    fn shutdown(&self) {
        self.sink.closed.store(true, Ordering::Release);
        let (executor, cancels, proxies) = {
            let mut state = self.state();
            state.over = true;
            (state.executor.take(), std::mem::take(&mut state.cancels), std::mem::take(&mut state.proxies))
        };
        // Starts and changes that still warm end at once, or the control threads would not see that they are to end.
        for (_, cancel) in cancels {
            let _ = cancel.send(());
        }
        // First the thread that may be starting a proxy, so that none starts after it was to end.
        if let Some(executor) = executor {
            executor.stop();
        }
        for proxy in proxies {
            proxy.kill();
        }
    }
}

/// What a method returns whose work could not even begin.
fn refused(started: Result<(), Failure>) -> Option<String> {
    started.err().map(|failure| answer(Err(failure)))
}

/// One JavaScript thread's connection to the addon.
#[napi]
pub struct Bridge {
    pub(crate) shared: Arc<Shared>,
}

#[napi]
impl Bridge {
    /// `receive(id, text, last)` gets every answer and event.
    #[napi(constructor, ts_args_type = "receive: (id: number, text: string, last: boolean) => void")]
    pub fn new(env: Env, receive: Function<'_, Message, ()>) -> napi::Result<Bridge> {
        let callback = receive.build_threadsafe_function::<Message>().weak::<true>().build()?;
        let sink = Sink { callback: Arc::new(callback), closed: Arc::default() };
        let shared = Arc::new(Shared { sink, state: Mutex::default() });
        // Hooks run in reverse order: this one before the thread-safe function's own.
        env.add_env_cleanup_hook(Arc::clone(&shared), |shared| shared.shutdown())?;
        Ok(Bridge { shared })
    }

    /// Ends all that this thread started, and waits until it has.
    #[napi]
    pub fn shutdown(&self) {
        self.shared.shutdown();
    }

    /// Aborts the call, or ends the stream, with this number.
    #[napi]
    pub fn cancel(&self, id: i64) {
        let cancel = self.shared.state().cancels.remove(&id);
        if let Some(cancel) = cancel {
            // It fails when the call has just ended.
            let _ = cancel.send(());
        }
    }

    /// Reads a Service's endpoints once.
    #[napi]
    pub fn kube_discover(&self, id: i64, request: String) -> Option<String> {
        match kube::read(&request) {
            Ok(request) => self.shared.call(id, kube::discover(request)),
            Err(failure) => Some(answer(Err(failure))),
        }
    }

    /// Watches Services until cancelled.
    #[napi]
    pub fn kube_watch(&self, id: i64, request: String) -> Option<String> {
        match kube::read(&request) {
            Ok(request) => self.shared.stream(id, kube::watch(request, self.shared.sink.clone(), id)),
            Err(failure) => Some(answer(Err(failure))),
        }
    }

    /// All issues of a configuration: a text, by its file's name, or an object's JSON.
    #[napi]
    pub fn validate(&self, text: String, file: Option<String>, object: bool) -> String {
        answer(Ok(config::validate(text, file.as_deref(), object)))
    }

    /// Reads a configuration file's text and answers with its Bootstrap as JSON.
    #[napi]
    pub fn load(&self, id: i64, text: String, file: String) -> Option<String> {
        self.shared.call(id, async move { config::load(text, &file) })
    }
}
