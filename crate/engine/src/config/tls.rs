//! Compiles TLS contexts of both sides.

use plenipo_api::{
    IssueCode,
    proto::envoy::extensions::transport_sockets::tls::v3::{
        CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, TlsCertificate, TlsParameters, UpstreamTlsContext,
        common_tls_context::ValidationContextType, subject_alt_name_matcher::SanType, tls_parameters::TlsProtocol,
    },
};

use super::{
    issues::{At, Issues},
    value,
};
use crate::tls::{self, ClientContext, ClientOptions, Identity, NameMatch, ServerContext, ServerOptions, TlsError, Versions};

/// Compiles the TLS context of a filter chain.
pub fn server(config: &DownstreamTlsContext, at: &At<'_>, issues: &mut Issues) -> Option<ServerContext> {
    let at = at.field("common_tls_context");
    let common = config.common_tls_context.clone().unwrap_or_default();
    let identities = identities(&common, &at, issues)?;
    if identities.is_empty() {
        issues.push(at.field("tls_certificates").error(IssueCode::Tls, "No TLS certificates found for server context"));
        return None;
    }
    let validation = validation(&common, &at, issues)?;
    let client_roots = match validation {
        None => None,
        Some(context) => roots(context, &at.field("validation_context"), issues)?,
    };
    let require_client_certificate = config.require_client_certificate.unwrap_or(false);
    let versions = versions(common.tls_params.as_ref(), &at.field("tls_params"), issues)?;
    let options = ServerOptions { identities, client_roots, require_client_certificate, alpn: tls::alpn(&common.alpn_protocols), versions };
    told(ServerContext::new(options), &at, issues)
}

/// Compiles the TLS context of a cluster; `h2` tells which protocol is spoken inside.
pub fn client(config: &UpstreamTlsContext, h2: bool, at: &At<'_>, issues: &mut Issues) -> Option<ClientContext> {
    let at = at.field("common_tls_context");
    let common = config.common_tls_context.clone().unwrap_or_default();
    let mut identities = identities(&common, &at, issues)?;
    if identities.len() > 1 {
        issues.push(at.field("tls_certificates").error(IssueCode::Tls, "Multiple TLS certificates are not supported for client contexts"));
        return None;
    }
    let validation_at = at.field("validation_context");
    let (mut names, mut trusted) = (Vec::new(), None);
    if let Some(context) = validation(&common, &at, issues)? {
        trusted = roots(context, &validation_at, issues)?;
        names = san_matchers(context, &validation_at, issues)?;
    }
    if trusted.is_none() {
        issues.push(at.warning("the hosts' certificates are not checked").hint("set validation_context.trusted_ca"));
    }
    let versions = versions(common.tls_params.as_ref(), &at.field("tls_params"), issues)?;
    let mut alpn = tls::alpn(&common.alpn_protocols);
    if alpn.is_empty() && h2 {
        alpn.push(b"h2".to_vec());
    }
    let options = ClientOptions { roots: trusted, names, identity: identities.pop(), sni: config.sni.clone(), alpn, versions };
    told(ClientContext::new(options), &at, issues)
}

fn told<T>(result: Result<T, TlsError>, at: &At<'_>, issues: &mut Issues) -> Option<T> {
    result.map_err(|e| issues.push(at.error(IssueCode::Tls, e.to_string()))).ok()
}

fn identities(common: &CommonTlsContext, at: &At<'_>, issues: &mut Issues) -> Option<Vec<Identity>> {
    let list = at.field("tls_certificates");
    common.tls_certificates.iter().enumerate().map(|(i, certificate)| identity(certificate, &list.index(i), issues)).collect()
}

fn identity(certificate: &TlsCertificate, at: &At<'_>, issues: &mut Issues) -> Option<Identity> {
    let mut read = |source: Option<&_>, name| match source {
        Some(source) => value::data_source(source, &at.field(name), issues),
        None => {
            issues.push(at.field(name).error(IssueCode::Tls, "is missing"));
            None
        }
    };
    let chain = read(certificate.certificate_chain.as_ref(), "certificate_chain");
    let key = read(certificate.private_key.as_ref(), "private_key");
    told(Identity::from_pem(&chain?, &key?), at, issues)
}

fn validation<'c>(common: &'c CommonTlsContext, at: &At<'_>, issues: &mut Issues) -> Option<Option<&'c CertificateValidationContext>> {
    match &common.validation_context_type {
        None => Some(None),
        Some(ValidationContextType::ValidationContext(context)) => Some(Some(context)),
        Some(_) => {
            issues.push(at.unsupported("only an inline validation_context is implemented"));
            None
        }
    }
}

fn roots(context: &CertificateValidationContext, at: &At<'_>, issues: &mut Issues) -> Option<Option<rustls::RootCertStore>> {
    let Some(source) = &context.trusted_ca else { return Some(None) };
    let at = at.field("trusted_ca");
    let pem = value::data_source(source, &at, issues)?;
    told(tls::roots(&pem), &at, issues).map(Some)
}

fn san_matchers(context: &CertificateValidationContext, at: &At<'_>, issues: &mut Issues) -> Option<Vec<NameMatch>> {
    let list = at.field("match_typed_subject_alt_names");
    let one = |(i, matcher): (usize, &plenipo_api::proto::envoy::extensions::transport_sockets::tls::v3::SubjectAltNameMatcher)| {
        let at = list.index(i);
        if matcher.san_type() != SanType::Dns {
            issues.push(at.field("san_type").unsupported("only DNS names are matched").got(matcher.san_type().as_str_name()));
            return None;
        }
        value::string_match(matcher.matcher.as_ref()?, &at.field("matcher"), issues).map(NameMatch)
    };
    context.match_typed_subject_alt_names.iter().enumerate().map(one).collect()
}

fn versions(params: Option<&TlsParameters>, at: &At<'_>, issues: &mut Issues) -> Option<Versions> {
    let params = params.cloned().unwrap_or_default();
    let number = |version: TlsProtocol, default: u8| match version {
        TlsProtocol::TlsAuto => default,
        TlsProtocol::TlSv10 => 0,
        TlsProtocol::TlSv11 => 1,
        TlsProtocol::TlSv12 => 2,
        TlsProtocol::TlSv13 => 3,
    };
    let min = number(params.tls_minimum_protocol_version(), 2);
    let max = number(params.tls_maximum_protocol_version(), 3);
    if min < 2 {
        issues.push(at.field("tls_minimum_protocol_version").warning("TLS 1.0 and 1.1 are not spoken; 1.2 is the lowest"));
    }
    if max < 2 || min > max {
        issues.push(at.field("tls_maximum_protocol_version").error(IssueCode::Tls, "no version of TLS is left"));
        return None;
    }
    Some(Versions { v12: min <= 2, v13: max >= 3 })
}
