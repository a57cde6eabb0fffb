//! The TLS context of a cluster.

use std::{net::IpAddr, sync::Arc};

use rustls::{ClientConfig, RootCertStore, client::Resumption, pki_types::ServerName};
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
    /// The server name that is sent; none where it is empty.
    pub sni: String,
    /// Protocols that are offered.
    pub alpn: Vec<Vec<u8>>,
    /// Protocols that are offered where HTTP/2 will be spoken, if these are others.
    pub alpn_http2: Option<Vec<Vec<u8>>>,
    /// Versions.
    pub versions: Versions,
}

/// What a request asks of the TLS of its connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct TlsNames<S> {
    /// The server name, in place of the configured one.
    pub sent: Option<S>,
    /// What the host's certificate must be for.
    pub checked: Option<S>,
}

impl TlsNames<Box<str>> {
    /// The same, borrowed.
    pub fn as_deref(&self) -> TlsNames<&str> {
        TlsNames { sent: self.sent.as_deref(), checked: self.checked.as_deref() }
    }
}

/// A compiled context.
pub struct ClientContext {
    config: Arc<ClientConfig>,
    http2: Option<Arc<ClientConfig>>,
    verifier: HostVerifier,
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
            HostVerifier { roots: options.roots.map(Arc::new), names: options.names.into(), also: None, provider: provider.clone() };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&options.versions.list())
            .map_err(|e| TlsError(e.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier.clone()));
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
            Arc::new(config)
        });
        Ok(ClientContext { config: Arc::new(config), http2, verifier, name, local })
    }

    /// Secures a connection on which HTTP/2 will be spoken or not; the error is in Envoy's words as far as it has some.
    pub async fn connect(&self, stream: TcpStream, names: TlsNames<&str>, http2: bool) -> Result<(Transport, TlsInfo), TlsError> {
        let peer = stream.peer_addr().map_or(IpAddr::from([0, 0, 0, 0]), |a| a.ip());
        let asked = names.sent.and_then(|name| ServerName::try_from(name.to_owned()).ok());
        // An address is never sent as a server name.
        let name = asked.or_else(|| self.name.clone()).unwrap_or_else(|| ServerName::from(peer));
        let config = self.http2.as_ref().filter(|_| http2).unwrap_or(&self.config);
        let config = match names.checked {
            None => config.clone(),
            Some(host) => {
                let mut config = ClientConfig::clone(config);
                let verifier = HostVerifier { also: Some(NameMatch::of(host)), ..self.verifier.clone() };
                config.dangerous().set_certificate_verifier(Arc::new(verifier));
                // A session that is resumed is not checked again, and may be of a connection for another host.
                config.resumption = Resumption::disabled();
                Arc::new(config)
            }
        };
        let stream = TlsConnector::from(config).connect(name.clone(), stream).await.map_err(|e| TlsError(format!("TLS_error: {e}")))?;
        let sni = match &name {
            ServerName::DnsName(name) => Some(name.as_ref()),
            _ => None,
        };
        let info = super::info(stream.get_ref().1, sni, self.local.clone());
        Ok((Transport::tls(stream), info))
    }
}
