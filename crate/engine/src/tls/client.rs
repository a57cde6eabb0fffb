//! The TLS context of a cluster.

use std::{net::IpAddr, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Identity, PROVIDER, TlsError, Versions};
use crate::{route::StringMatch, transport::Transport};

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
    /// Versions.
    pub versions: Versions,
}

/// A name that a certificate must have: a DNS name in it that matches.
#[derive(Clone, Debug)]
pub struct NameMatch(pub StringMatch);

/// A compiled context.
pub struct ClientContext {
    connector: TlsConnector,
    name: Option<ServerName<'static>>,
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
        let verifier = Verifier { roots: options.roots, names: options.names, provider: provider.clone() };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&options.versions.list())
            .map_err(|e| TlsError(e.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match options.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder
                .with_client_auth_cert(identity.chain, identity.key)
                .map_err(|e| TlsError(format!("certificate and private key do not fit: {e}")))?,
        };
        config.alpn_protocols = options.alpn;
        config.enable_sni = !options.sni.is_empty();
        let name = match options.sni.as_str() {
            "" => None,
            sni => Some(ServerName::try_from(sni.to_owned()).map_err(|_| TlsError(format!("{sni:?} is no server name")))?),
        };
        Ok(ClientContext { connector: TlsConnector::from(Arc::new(config)), name })
    }

    /// Secures a connection; the error is in Envoy's words as far as it has some.
    pub async fn connect(&self, stream: TcpStream) -> Result<Transport, TlsError> {
        let peer = stream.peer_addr().map_or(IpAddr::from([0, 0, 0, 0]), |a| a.ip());
        let name = self.name.clone().unwrap_or_else(|| ServerName::from(peer));
        let stream = self.connector.connect(name, stream).await.map_err(|e| TlsError(format!("TLS_error: {e}")))?;
        Ok(Transport::tls(stream))
    }
}

/// Checks the chain, then the names that the configuration asks for: never the host name by itself.
#[derive(Debug)]
struct Verifier {
    roots: Option<RootCertStore>,
    names: Vec<NameMatch>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(roots) = &self.roots else { return Ok(ServerCertVerified::assertion()) };
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms)?;
        if !self.names.is_empty() {
            let parsed =
                webpki::EndEntityCert::try_from(end_entity).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
            let matches = parsed.valid_dns_names().any(|name| self.names.iter().any(|wanted| wanted.0.matches(name.as_bytes())));
            if !matches {
                return Err(Error::InvalidCertificate(CertificateError::NotValidForName));
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
