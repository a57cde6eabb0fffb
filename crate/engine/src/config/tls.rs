//! Compiles TLS contexts of both sides.

use plenipo_api::{
    IssueCode,
    proto::envoy::{
        extensions::transport_sockets::tls::v3::{
            CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SubjectAltNameMatcher, TlsCertificate, TlsParameters,
            UpstreamTlsContext, common_tls_context::ValidationContextType, subject_alt_name_matcher::SanType, tls_parameters::TlsProtocol,
        },
        r#type::matcher::v3::string_matcher::MatchPattern,
    },
};

use super::{
    issues::{At, Issues},
    value,
};
use crate::{
    cluster::UpstreamProtocol,
    tls::{self, ClientContext, ClientOptions, Identity, NameMatch, ServerContext, ServerOptions, TlsError, Versions},
};

/// Compiles the TLS context of a filter chain.
pub fn server(config: &DownstreamTlsContext, at: &At<'_>, issues: &mut Issues) -> Option<ServerContext> {
    let common = config.common_tls_context.clone().unwrap_or_default();
    let versions = versions(common.tls_params.as_ref(), 3, &at.field("common_tls_context").field("tls_params"), issues)?;
    let alpn = tls::alpn(&common.alpn_protocols);
    context(config, common, alpn, versions, at, issues)
}

/// Compiles the TLS context of a filter chain for QUIC: as in Envoy it speaks TLS 1.3 whatever `tls_params` say, and h3 where no protocol is named.
pub fn quic(config: &DownstreamTlsContext, at: &At<'_>, issues: &mut Issues) -> Option<ServerContext> {
    let common = config.common_tls_context.clone().unwrap_or_default();
    let validates = common.validation_context_type.is_some();
    if config.require_client_certificate == Some(true) && !validates {
        let at = at.field("require_client_certificate");
        issues.push(
            at.error(IssueCode::Tls, "QUIC downstream TLS context sets require_client_certificate but configures no validation context"),
        );
        return None;
    }
    if common.tls_params.is_some() {
        let at = at.field("common_tls_context");
        issues.push(at.field("tls_params").warning("has no effect on the version: QUIC speaks TLS 1.3 only, as in Envoy"));
    }
    let mut alpn = tls::alpn(&common.alpn_protocols);
    if alpn.is_empty() {
        alpn.push(b"h3".to_vec());
    }
    context(config, common, alpn, Versions { v12: false, v13: true }, at, issues)
}

fn context(
    config: &DownstreamTlsContext,
    common: CommonTlsContext,
    alpn: Vec<Vec<u8>>,
    versions: Versions,
    at: &At<'_>,
    issues: &mut Issues,
) -> Option<ServerContext> {
    let at = at.field("common_tls_context");
    let identities = identities(&common, &at, issues)?;
    if identities.is_empty() {
        issues.push(at.field("tls_certificates").error(IssueCode::Tls, "No TLS certificates found for server context"));
        return None;
    }
    let validation = validation(&common, &at, issues)?;
    let (client_roots, client_names) = peers(validation, &at.field("validation_context"), issues)?;
    let require_client_certificate = config.require_client_certificate.unwrap_or(false);
    let options = ServerOptions { identities, client_roots, client_names, require_client_certificate, alpn, versions };
    told(ServerContext::new(options), &at, issues)
}

/// Compiles the TLS context of a cluster; `h2` tells which protocol is spoken inside.
pub fn client(
    config: &UpstreamTlsContext,
    protocol: &UpstreamProtocol,
    checks_names: bool,
    at: &At<'_>,
    issues: &mut Issues,
) -> Option<ClientContext> {
    let at = at.field("common_tls_context");
    let common = config.common_tls_context.clone().unwrap_or_default();
    let mut identities = identities(&common, &at, issues)?;
    if identities.len() > 1 {
        issues.push(at.field("tls_certificates").error(IssueCode::Tls, "Multiple TLS certificates are not supported for client contexts"));
        return None;
    }
    let (trusted, names) = peers(validation(&common, &at, issues)?, &at.field("validation_context"), issues)?;
    if trusted.is_none() && checks_names {
        issues.push(at.error(IssueCode::Tls, "'auto_san_validation' needs a validation context").hint("set validation_context.trusted_ca"));
        return None;
    }
    if trusted.is_none() {
        issues.push(at.warning("the hosts' certificates are not checked").hint("set validation_context.trusted_ca"));
    }
    let versions = versions(common.tls_params.as_ref(), 2, &at.field("tls_params"), issues)?;
    let mut alpn = tls::alpn(&common.alpn_protocols);
    let mut alpn_http2 = None;
    if alpn.is_empty() {
        let (http1, http2) = (b"http/1.1".to_vec(), b"h2".to_vec());
        match protocol {
            UpstreamProtocol::Http1(_) => {}
            UpstreamProtocol::Http2(_) => alpn = vec![http2],
            UpstreamProtocol::Downstream(_) => (alpn, alpn_http2) = (vec![http1], Some(vec![http2])),
            UpstreamProtocol::Negotiated(_) => alpn = vec![http2, http1],
        }
    }
    let options = ClientOptions { roots: trusted, names, identity: identities.pop(), sni: config.sni.clone(), alpn, alpn_http2, versions };
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

/// Who signs the peers' certificates, and the names of which they must have one.
fn peers(
    context: Option<&CertificateValidationContext>,
    at: &At<'_>,
    issues: &mut Issues,
) -> Option<(Option<rustls::RootCertStore>, Vec<NameMatch>)> {
    let Some(context) = context else { return Some((None, Vec::new())) };
    let names = san_matchers(&context.match_typed_subject_alt_names, &at.field("match_typed_subject_alt_names"), issues)?;
    let Some(source) = &context.trusted_ca else {
        if names.is_empty() {
            return Some((None, names));
        }
        let message = "SAN-based verification of peer certificates without trusted CA is insecure and not allowed";
        issues.push(at.error(IssueCode::Tls, message));
        return None;
    };
    let at = at.field("trusted_ca");
    let pem = value::data_source(source, &at, issues)?;
    let roots = told(tls::roots(&pem), &at, issues)?;
    Some((Some(roots), names))
}

fn san_matchers(list: &[SubjectAltNameMatcher], at: &At<'_>, issues: &mut Issues) -> Option<Vec<NameMatch>> {
    list.iter().enumerate().map(|(i, matcher)| san_matcher(matcher, &at.index(i), issues)).collect()
}

fn san_matcher(config: &SubjectAltNameMatcher, at: &At<'_>, issues: &mut Issues) -> Option<NameMatch> {
    let matcher_at = at.field("matcher");
    let Some(matcher) = &config.matcher else {
        issues.push(matcher_at.invalid("a matcher is missing"));
        return None;
    };
    match (config.san_type(), &matcher.match_pattern) {
        (SanType::Dns, Some(MatchPattern::Exact(name))) => Some(NameMatch::DnsExact(name.as_str().into())),
        (SanType::Dns, _) => value::string_match(matcher, &matcher_at, issues).map(NameMatch::Dns),
        (SanType::Uri, _) => value::string_match(matcher, &matcher_at, issues).map(NameMatch::Uri),
        (SanType::IpAddress, Some(MatchPattern::Exact(address))) => {
            let invalid = || matcher_at.field("exact").invalid("not an IP address").got(&**address);
            address.parse().map(NameMatch::Ip).map_err(|_| issues.push(invalid())).ok()
        }
        (SanType::IpAddress, _) => {
            issues.push(matcher_at.unsupported("addresses are matched exactly only").expected("exact"));
            None
        }
        (other, _) => {
            let issue = at.field("san_type").unsupported("only DNS, URI and IP_ADDRESS are matched");
            issues.push(issue.got(other.as_str_name()));
            None
        }
    }
}

/// `default_max` is the newest minor version that is spoken where the configuration names none: as in Envoy 1.3 to clients, 1.2 to hosts.
/// A minimum beyond it raises it; in Envoy no connection could be made then.
fn versions(params: Option<&TlsParameters>, default_max: u8, at: &At<'_>, issues: &mut Issues) -> Option<Versions> {
    let params = params.cloned().unwrap_or_default();
    let number = |version: TlsProtocol, default: u8| match version {
        TlsProtocol::TlsAuto => default,
        TlsProtocol::TlSv10 => 0,
        TlsProtocol::TlSv11 => 1,
        TlsProtocol::TlSv12 => 2,
        TlsProtocol::TlSv13 => 3,
    };
    let min = number(params.tls_minimum_protocol_version(), 2);
    let max = number(params.tls_maximum_protocol_version(), default_max.max(min));
    if min < 2 {
        issues.push(at.field("tls_minimum_protocol_version").warning("TLS 1.0 and 1.1 are not spoken; 1.2 is the lowest"));
    }
    if max < 2 || min > max {
        issues.push(at.field("tls_maximum_protocol_version").error(IssueCode::Tls, "no version of TLS is left"));
        return None;
    }
    Some(Versions { v12: min <= 2, v13: max >= 3 })
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
