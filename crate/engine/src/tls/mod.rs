//! TLS contexts of both sides.

use std::io;

use tokio::net::TcpStream;
use tokio_rustls::{StartHandshake, server::TlsStream};

use crate::stream_info::TlsInfo;

/// What a listener's transport socket says of TLS.
pub enum ServerContext {}

impl ServerContext {
    /// Chooses the configuration by the ClientHello and finishes the handshake.
    pub async fn accept(&self, _start: StartHandshake<TcpStream>) -> io::Result<TlsStream<TcpStream>> {
        match *self {}
    }
}

/// What the handshake settled.
pub fn info(_connection: &rustls::ServerConnection) -> TlsInfo {
    TlsInfo::default()
}
