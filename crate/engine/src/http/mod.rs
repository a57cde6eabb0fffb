//! HTTP: the header list, codecs, connection manager, normalization and local replies.

pub mod body;
pub mod casing;
pub mod client_address;
pub mod client_certificate;
pub mod connection;
pub mod convert;
pub mod frames;
pub mod grpc;
pub mod h1;
pub mod h3;
pub mod header;
pub mod headers;
pub mod io;
pub mod keepalive;
pub mod local_reply;
pub mod manager;
pub mod normalize;
pub mod proxy_status;
pub mod settings;
pub mod stream;
pub mod streams;
