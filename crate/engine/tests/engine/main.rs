//! The engine in this process against fake upstream servers, over real sockets of loopback.

mod apply;
mod circuit;
mod drain;
mod filters;
mod fuzz;
mod lifecycle;
mod retries;
mod streams;
mod support;
