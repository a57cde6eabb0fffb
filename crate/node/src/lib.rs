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
    let arguments = std::iter::once("plenipo".to_owned()).chain(arguments).map(OsString::from);
    u32::from(plenipo_cli::main(arguments))
}
