//! Compiles TLS contexts of both sides.

use plenipo_api::proto::envoy::extensions::transport_sockets::tls::v3::DownstreamTlsContext;

use super::{
    Context,
    issues::{At, Issues},
};
use crate::tls::ServerContext;

/// Compiles the TLS context of a filter chain.
pub fn server(_config: &DownstreamTlsContext, _context: &Context<'_>, at: &At<'_>, issues: &mut Issues) -> Option<ServerContext> {
    issues.push(at.unsupported("TLS is not implemented"));
    None
}
