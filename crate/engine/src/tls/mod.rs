//! TLS contexts of both sides: certificates, trust, versions and ALPN, compiled once and shared by all workers.

mod certificate;
mod client;
mod names;
mod server;
#[cfg(test)]
mod tests;
mod verify;

pub use certificate::{Certificate, Facts};
pub use client::{ClientContext, ClientOptions, TlsNames};
pub use server::{ServerContext, ServerOptions};
pub use verify::NameMatch;

use std::{fmt, sync::Arc};

use once_cell::sync::Lazy;
use rustls::{
    RootCertStore, SupportedProtocolVersion,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::stream_info::TlsInfo;

/// The one provider of cryptography in the process.
static PROVIDER: Lazy<Arc<CryptoProvider>> = Lazy::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));

/// Why a context cannot be made. Says what is wrong, never what is in a key.
#[derive(Debug)]
pub struct TlsError(pub String);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A certificate with its chain and key.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Reads both from PEM.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Identity, TlsError> {
        let chain = certificates(chain)?;
        if chain.is_empty() {
            return Err(TlsError("there is no certificate in the certificate chain".into()));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError("there is no usable private key in PEM form".into()))?;
        Ok(Identity { chain, key })
    }
}

/// The certificates of a PEM text.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    read.map_err(|e| TlsError(format!("cannot read a certificate: {e}")))
}

/// Trusted certificates of a PEM text.
pub fn roots(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem)? {
        store.add(certificate).map_err(|e| TlsError(format!("cannot trust a certificate: {e}")))?;
    }
    if store.is_empty() {
        return Err(TlsError("there is no certificate in trusted_ca".into()));
    }
    Ok(store)
}

/// Which versions of TLS are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// 1.2
    pub v12: bool,
    /// 1.3
    pub v13: bool,
}

impl Versions {
    fn list(self) -> Vec<&'static SupportedProtocolVersion> {
        let mut list = Vec::new();
        if self.v13 {
            list.push(&rustls::version::TLS13);
        }
        if self.v12 {
            list.push(&rustls::version::TLS12);
        }
        list
    }
}

/// The protocols of an `alpn_protocols` list; one string may hold several, as in real files.
pub fn alpn(list: &[String]) -> Vec<Vec<u8>> {
    list.iter().flat_map(|p| p.split(',')).map(|p| p.trim().as_bytes().to_vec()).filter(|p| !p.is_empty()).collect()
}

/// What a handshake settled, in either role; `sni` is the name that was asked for, `local` our own certificate.
pub fn info(connection: &rustls::CommonState, sni: Option<&str>, local: Option<Arc<Certificate>>) -> TlsInfo {
    let suite = connection.negotiated_cipher_suite().map(|s| s.suite());
    TlsInfo {
        sni: sni.map(str::to_owned),
        alpn: connection.alpn_protocol().map(|p| String::from_utf8_lossy(p).into_owned()),
        version: match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "",
        },
        cipher: suite.map_or("", names::openssl),
        group: connection.negotiated_key_exchange_group().map_or("", |group| names::group(group.name())),
        peer: connection.peer_certificates().unwrap_or_default().iter().map(|c| Certificate::new(c.clone().into_owned())).collect(),
        local,
        ..TlsInfo::default()
    }
}
