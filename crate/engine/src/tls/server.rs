//! The TLS context of a filter chain.

use std::{fmt, io, sync::Arc};

use rustls::{
    RootCertStore, ServerConfig,
    server::{ClientHello, NoClientAuth, ResolvesServerCert, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
};
use tokio::net::TcpStream;
use tokio_rustls::{StartHandshake, server::TlsStream};

use super::{
    Certificate, Identity, PROVIDER, TlsError, Versions,
    verify::{NameMatch, PeerVerifier},
};

/// What a context is made of.
pub struct ServerOptions {
    /// The certificates; the first is for clients that ask for no name, or for one that none has.
    pub identities: Vec<Identity>,
    /// Who signs client certificates; they are not asked for without it.
    pub client_roots: Option<RootCertStore>,
    /// Names of which a client's certificate must have one; none are asked for where this is empty.
    pub client_names: Vec<NameMatch>,
    /// Whether a client must show one; with `client_names` it must in any case.
    pub require_client_certificate: bool,
    /// Protocols in order of preference.
    pub alpn: Vec<Vec<u8>>,
    /// Versions.
    pub versions: Versions,
}

/// A compiled context.
pub struct ServerContext {
    config: Arc<ServerConfig>,
    choices: Arc<ByName>,
}

impl ServerContext {
    /// Checks and compiles.
    pub fn new(options: ServerOptions) -> Result<ServerContext, TlsError> {
        let provider = PROVIDER.clone();
        let verifier: Arc<dyn ClientCertVerifier> = match options.client_roots {
            // As in Envoy a certificate is not even asked for where nobody could vouch for it.
            None => Arc::new(NoClientAuth),
            Some(roots) => {
                let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
                // Who must have a name must have a certificate, as in Envoy.
                let mandatory = options.require_client_certificate || !options.client_names.is_empty();
                let builder = if mandatory { builder } else { builder.allow_unauthenticated() };
                let chain = builder.build().map_err(|e| TlsError(format!("cannot check client certificates: {e}")))?;
                Arc::new(PeerVerifier { chain, names: options.client_names, provider: provider.clone() })
            }
        };
        let mut certificates = Vec::with_capacity(options.identities.len());
        for identity in options.identities {
            let key = CertifiedKey::from_der(identity.chain, identity.key, &provider)
                .map_err(|e| TlsError(format!("certificate and private key do not fit: {e}")))?;
            certificates.push(Choice::new(key));
        }
        let choices = Arc::new(ByName(certificates));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&options.versions.list())
            .map_err(|e| TlsError(e.to_string()))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(choices.clone());
        config.alpn_protocols = options.alpn;
        Ok(ServerContext { config: Arc::new(config), choices })
    }

    /// The context for QUIC, which always speaks TLS 1.3.
    pub fn quic(&self) -> Result<Arc<dyn quinn::crypto::ServerConfig>, TlsError> {
        let config = quinn::crypto::rustls::QuicServerConfig::try_from(self.config.clone());
        config.map(|config| Arc::new(config) as Arc<dyn quinn::crypto::ServerConfig>).map_err(|e| TlsError(e.to_string()))
    }

    /// The certificate that a client sees that asks for this server name.
    pub fn shown(&self, server_name: Option<&str>) -> Option<Arc<Certificate>> {
        self.choices.find(server_name).map(|choice| choice.certificate.clone())
    }

    /// Finishes a handshake whose ClientHello was read; also tells which certificate the client was shown.
    pub async fn accept(&self, start: StartHandshake<TcpStream>) -> io::Result<(TlsStream<TcpStream>, Option<Arc<Certificate>>)> {
        let mut config = self.config.clone();
        let shown = self.shown(start.client_hello().server_name());
        if !shares_protocol(&config, &start.client_hello()) {
            // As in Envoy a client whose protocols are all unknown gets a connection without ALPN, not an alert.
            let mut without = ServerConfig::clone(&config);
            without.alpn_protocols.clear();
            config = Arc::new(without);
        }
        Ok((start.into_stream(config).await?, shown))
    }
}

fn shares_protocol(config: &ServerConfig, hello: &ClientHello<'_>) -> bool {
    config.alpn_protocols.is_empty() || hello.alpn().is_none_or(|mut offered| offered.any(|p| config.alpn_protocols.iter().any(|o| o == p)))
}

/// A certificate with its key, and what it is chosen by.
struct Choice {
    names: Vec<String>,
    key: Arc<CertifiedKey>,
    certificate: Arc<Certificate>,
}

impl Choice {
    fn new(key: CertifiedKey) -> Choice {
        let end_entity = key.cert.first().and_then(|c| webpki::EndEntityCert::try_from(c).ok());
        let names = end_entity.map(|c| c.valid_dns_names().map(str::to_owned).collect()).unwrap_or_default();
        // An identity has at least one certificate.
        let der = key.cert.first().map(|der| der.clone().into_owned()).unwrap_or_else(|| Vec::new().into());
        Choice { names, key: Arc::new(key), certificate: Arc::new(Certificate::new(der)) }
    }
}

/// Chooses a certificate by the names in it.
struct ByName(Vec<Choice>);

impl ByName {
    fn find(&self, server_name: Option<&str>) -> Option<&Choice> {
        let wanted = server_name.unwrap_or_default();
        let wildcard = wanted.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        let by = |name: &str| self.0.iter().find(|choice| choice.names.iter().any(|n| n.eq_ignore_ascii_case(name)));
        by(wanted).or_else(|| by(wildcard.as_deref()?)).or_else(|| self.0.first())
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name()).map(|choice| choice.key.clone())
    }
}

impl fmt::Debug for ByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|choice| &choice.names)).finish()
    }
}
