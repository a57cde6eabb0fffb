//! Checks certificates of both sides beyond what their chains say: the subject alternative names that the configuration wants.

use std::{net::IpAddr, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ParsedCertificate,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use webpki::EndEntityCert;

use crate::route::StringMatch;

/// `SubjectAltNameMatcher`: a name that a certificate must have.
#[derive(Clone, Debug)]
pub enum NameMatch {
    /// A DNS name that matches, in any case; a wildcard in the certificate stands for one label.
    DnsExact(Box<str>),
    /// A DNS name whose text matches.
    Dns(StringMatch),
    /// A URI whose text matches.
    Uri(StringMatch),
    /// This address.
    Ip(IpAddr),
}

impl NameMatch {
    /// Of a certificate for this name or address.
    pub(super) fn of(host: &str) -> NameMatch {
        host.parse().map_or_else(|_| NameMatch::DnsExact(host.into()), NameMatch::Ip)
    }

    fn matches(&self, certificate: &EndEntityCert<'_>) -> bool {
        match self {
            NameMatch::DnsExact(wanted) => certificate.valid_dns_names().any(|name| covers(name, wanted)),
            NameMatch::Dns(wanted) => certificate.valid_dns_names().any(|name| wanted.matches(name.as_bytes())),
            NameMatch::Uri(wanted) => certificate.valid_uri_names().any(|name| wanted.matches(name.as_bytes())),
            NameMatch::Ip(address) => certificate.verify_is_valid_for_subject_name(&ServerName::from(*address)).is_ok(),
        }
    }
}

/// Whether a name of a certificate covers `wanted`.
fn covers(name: &str, wanted: &str) -> bool {
    let rest = |text: &str| text.split_once('.').map(|(_, rest)| rest.to_ascii_lowercase());
    name.eq_ignore_ascii_case(wanted) || (name.starts_with("*.") && rest(name).is_some() && rest(name) == rest(wanted))
}

/// One of `names` must be in the certificate; nothing is asked for where there are none, as in Envoy.
fn check_names(end_entity: &CertificateDer<'_>, names: &[NameMatch]) -> Result<(), Error> {
    if names.is_empty() {
        return Ok(());
    }
    let parsed = EndEntityCert::try_from(end_entity).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let found = names.iter().any(|name| name.matches(&parsed));
    if found { Ok(()) } else { Err(Error::InvalidCertificate(CertificateError::NotValidForName)) }
}

/// The part of both verifiers' traits that checks handshake signatures with `self.provider`.
macro_rules! check_signatures {
    () => {
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
    };
}

/// Checks a host's certificate: the chain, then the names that the configuration asks for; never the host name by itself.
#[derive(Clone, Debug)]
pub(super) struct HostVerifier {
    /// Who signs; nothing is checked where this is absent, as in Envoy.
    pub(super) roots: Option<Arc<RootCertStore>>,
    pub(super) names: Arc<[NameMatch]>,
    /// A name that the certificate must have, too.
    pub(super) also: Option<NameMatch>,
    pub(super) provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for HostVerifier {
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
        check_names(end_entity, &self.names)?;
        check_names(end_entity, self.also.as_slice())?;
        Ok(ServerCertVerified::assertion())
    }

    check_signatures!();
}

/// Checks a client's certificate: the chain as `chain` does, then the names.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    pub(super) chain: Arc<dyn ClientCertVerifier>,
    pub(super) names: Vec<NameMatch>,
    pub(super) provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for PeerVerifier {
    fn offer_client_auth(&self) -> bool {
        self.chain.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.chain.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        check_names(end_entity, &self.names)?;
        Ok(verified)
    }

    check_signatures!();
}
