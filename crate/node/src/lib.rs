//! The Node addon: conversion between JavaScript and the engine, and the threads' orderly end. No business logic.
//!
//! # How the two sides speak
//!
//! A [`Bridge`](bridge::Bridge) is one JavaScript thread's connection. Every asynchronous call carries a number that JavaScript chose; answers and
//! events go through one weak thread-safe function, `(number, JSON text, last)`, so that the addon never keeps a process alive and
//! there is one place that knows whether JavaScript still runs. Synchronous calls return JSON: `{"value":…}` or `{"error":…}`.
//!
//! # How it ends
//!
//! `Bridge.shutdown` (called at `process.exit`) and the environment's clean-up hook (a worker that ends) do the same, once: nothing is sent to JavaScript
//! any more, all proxies are stopped by force, all threads are joined. The library stays mapped (`-z nodelete`, from napi-build).
//!
//! The allocator is the C library's: mimalloc's thread state does not survive a worker thread that loads the addon, ends, and is followed by another.

mod bridge;
mod config;
mod executor;
mod kube;
mod proxy;
mod wire;

use std::ffi::OsString;

use napi_derive::napi;

/// Runs the `plenipo` command with these arguments, until it has ended; gives the exit status. It handles its own signals.
#[napi]
pub fn cli(arguments: Vec<String>) -> u32 {
    forget_nodes_signals();
    let arguments = std::iter::once("plenipo".to_owned()).chain(arguments).map(OsString::from);
    u32::from(plenipo_cli::main(arguments))
}

/// Node's own handlers of these signals send the signal again. The command's are called after them, as it is the custom to chain, and would never end.
#[cfg(unix)]
fn forget_nodes_signals() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2] {
        // SAFETY: resetting a disposition touches no memory of ours; only the command's process comes here, before it has threads of its own.
        #[allow(unsafe_code)]
        unsafe {
            libc::signal(signal, libc::SIG_DFL)
        };
    }
}

#[cfg(not(unix))]
fn forget_nodes_signals() {}
