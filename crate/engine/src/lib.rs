//! The proxy engine: everything but Node and Kubernetes.

pub mod access_log;
pub mod admin;
pub mod balance;
pub mod cidr;
pub mod cluster;
pub mod config;
pub mod control;
pub mod engine;
pub mod error;
pub mod filter;
pub mod filter_state;
pub mod format;
pub mod forward;
pub mod http;
pub mod listener;
pub mod metadata;
pub mod route;
pub mod snapshot;
pub mod stats;
pub mod stream_info;
pub mod tls;
pub mod transport;
pub mod upstream;
pub mod worker;
mod xds;
