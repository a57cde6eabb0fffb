//! The TLS context of a cluster.

use std::{net::IpAddr, sync::Arc};

use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{
    Certificate, Identity, PROVIDER, TlsError, Versions,
    verify::{HostVerifier, NameMatch},
};
use crate::{stream_info::TlsInfo, transport::Transport};

/// What a context is made of.
pub struct ClientOptions {
    /// Who signs the hosts' certificates; without it they are not checked, as in Envoy.
    pub roots: Option<RootCertStore>,
    /// Names of which the certificate must have one; none are asked for where this is empty, as in Envoy.
    pub names: Vec<NameMatch>,
    /// What we show to hosts that ask for a certificate.
    pub identity: Option<Identity>,
    /// Whether the certificate must be for the server name (`auto_san_validation`).
    pub check_server_name: bool,
    /// The server name that is sent; none where it is empty.
    pub sni: String,
    /// Protocols that are offered.
    pub alpn: Vec<Vec<u8>>,
    /// Protocols that are offered where HTTP/2 will be spoken, if these are others.
    pub alpn_http2: Option<Vec<Vec<u8>>>,
    /// Versions.
    pub versions: Versions,
}

/// A compiled context.
pub struct ClientContext {
    connector: TlsConnector,
    http2: Option<TlsConnector>,
    name: Option<ServerName<'static>>,
    /// What we show to hosts that ask.
    local: Option<Arc<Certificate>>,
}

impl std::fmt::Debug for ClientContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientContext").field("name", &self.name).finish_non_exhaustive()
    }
}

impl ClientContext {
    /// Checks and compiles.
    pub fn new(options: ClientOptions) -> Result<ClientContext, TlsError> {
        let provider = PROVIDER.clone();
        let verifier =
            HostVerifier { roots: options.roots, names: options.names, server_name: options.check_server_name, provider: provider.clone() };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&options.versions.list())
            .map_err(|e| TlsError(e.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let local = options.identity.as_ref().and_then(|i| i.chain.first()).map(|c| Arc::new(Certificate::new(c.clone())));
        let mut config = match options.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder
                .with_client_auth_cert(identity.chain, identity.key)
                .map_err(|e| TlsError(format!("certificate and private key do not fit: {e}")))?,
        };
        config.alpn_protocols = options.alpn;
        let name = match options.sni.as_str() {
            "" => None,
            sni => Some(ServerName::try_from(sni.to_owned()).map_err(|_| TlsError(format!("{sni:?} is no server name")))?),
        };
        let http2 = options.alpn_http2.map(|alpn| {
            let mut config = config.clone();
            config.alpn_protocols = alpn;
            TlsConnector::from(Arc::new(config))
        });
        Ok(ClientContext { connector: TlsConnector::from(Arc::new(config)), http2, name, local })
    }

    /// Secures a connection to the server name that a request asked for, or the configured one, on which HTTP/2 will be spoken or not; the error is in
    /// Envoy's words as far as it has some.
    pub async fn connect(&self, stream: TcpStream, server_name: Option<&str>, http2: bool) -> Result<(Transport, TlsInfo), TlsError> {
        let peer = stream.peer_addr().map_or(IpAddr::from([0, 0, 0, 0]), |a| a.ip());
        let asked = server_name.and_then(|name| ServerName::try_from(name.to_owned()).ok());
        // An address is never sent as a server name.
        let name = asked.or_else(|| self.name.clone()).unwrap_or_else(|| ServerName::from(peer));
        let connector = self.http2.as_ref().filter(|_| http2).unwrap_or(&self.connector);
        let stream = connector.connect(name.clone(), stream).await.map_err(|e| TlsError(format!("TLS_error: {e}")))?;
        let sni = match &name {
            ServerName::DnsName(name) => Some(name.as_ref()),
            _ => None,
        };
        let info = super::info(stream.get_ref().1, sni, self.local.clone());
        Ok((Transport::tls(stream), info))
    }
}
