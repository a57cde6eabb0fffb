//! The proxy engine: everything but Node and Kubernetes.

pub mod access_log;
pub mod admin;
pub mod balance;
pub mod cluster;
pub mod config;
pub mod error;
pub mod format;
pub mod http;
pub mod route;
pub mod stats;
pub mod stream_info;
