//! crate/kube against a scripted HTTP server, and against a real kube-apiserver of its own.
mod fake;
mod real;
mod scripted;
mod server;
