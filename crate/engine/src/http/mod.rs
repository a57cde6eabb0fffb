//! HTTP: the header list, codecs, connection manager, normalization and local replies.

pub mod header;
pub mod settings;
pub mod h1;
pub mod headers;
pub mod local_reply;
pub mod normalize;
