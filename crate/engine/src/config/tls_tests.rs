//! TLS contexts in YAML: what is refused, and where.

use std::path::Path;

use plenipo_api::{Input, Options, Severity, read_message};

use super::*;

/// `${certs}` stands for the certificates of the parity tests.
fn yaml(text: &str) -> Vec<Input> {
    let certs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/certs");
    vec![Input::yaml(text.replace("${certs}", &certs.to_string_lossy()))]
}

fn server_problems(text: &str) -> Vec<String> {
    let (config, _) = read_message::<DownstreamTlsContext>(yaml(text), &Options::default()).expect("valid by the schema");
    let mut issues = Issues::new();
    let made = server(&config, &At::Root("tls"), &mut issues);
    let errors: Vec<String> = issues.iter().filter(|i| i.severity == Severity::Error).map(ToString::to_string).collect();
    assert_eq!(made.is_none(), !errors.is_empty());
    errors
}

fn client_problems(text: &str) -> Vec<String> {
    let (config, _) = read_message::<UpstreamTlsContext>(yaml(text), &Options::default()).expect("valid by the schema");
    let mut issues = Issues::new();
    let made = client(&config, &UpstreamProtocol::Http1(Default::default()), false, &At::Root("tls"), &mut issues);
    let errors: Vec<String> = issues.iter().filter(|i| i.severity == Severity::Error).map(ToString::to_string).collect();
    assert_eq!(made.is_none(), !errors.is_empty());
    errors
}

const CERTIFICATE: &str = "{certificate_chain: {filename: '${certs}/server.crt'}, private_key: {filename: '${certs}/server.key'}}";

fn with(common: &str) -> String {
    format!("common_tls_context: {{tls_certificates: [{CERTIFICATE}]{common}}}")
}

#[test]
fn good_contexts() {
    let ca = "trusted_ca: {filename: '${certs}/ca.crt'}";
    let names = "match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: a}}, {san_type: URI, matcher: {prefix: spiffe://}},
        {san_type: IP_ADDRESS, matcher: {exact: '::1'}}]";
    for common in [
        String::new(),
        ", alpn_protocols: ['h2,http/1.1'], tls_params: {tls_minimum_protocol_version: TLSv1_3}".into(),
        format!(", validation_context: {{{ca}}}"),
        format!(", validation_context: {{{ca}, {names}}}"),
    ] {
        assert_eq!(server_problems(&with(&common)), Vec::<String>::new(), "{common}");
        assert_eq!(client_problems(&with(&common)), Vec::<String>::new(), "{common}");
    }
    assert_eq!(client_problems("sni: a.test"), Vec::<String>::new());
}

#[test]
fn names_without_a_trusted_ca_are_refused() {
    let names = with(", validation_context: {match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: a}}]}");
    for told in [server_problems(&names), client_problems(&names)] {
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with("error: tls.common_tls_context.validation_context: SAN-based verification"), "{told:?}");
    }
}

#[test]
fn what_cannot_be_used_is_told_with_its_place() {
    let ca = |names: &str| {
        with(&format!(", validation_context: {{trusted_ca: {{filename: '${{certs}}/ca.crt'}}, match_typed_subject_alt_names: [{names}]}}"))
    };
    for (text, want) in [
        ("common_tls_context: {}".into(), "tls_certificates: No TLS certificates"),
        (
            "common_tls_context: {tls_certificates: [{certificate_chain: {filename: /nowhere.crt}, private_key: {filename: /nowhere.key}}]}".into(),
            "tls_certificates[0].certificate_chain.filename: cannot read \"/nowhere.crt\"",
        ),
        ("common_tls_context: {tls_certificates: [{certificate_chain: {inline_string: x}}]}".into(), "tls_certificates[0].private_key: is missing"),
        (with(", tls_params: {tls_maximum_protocol_version: TLSv1_1}"), "tls_params.tls_maximum_protocol_version: no version"),
        (with(", validation_context: {trusted_ca: {inline_string: none}}"), "validation_context.trusted_ca: there is no certificate"),
        (ca("{san_type: EMAIL, matcher: {exact: a}}"), "validation_context.match_typed_subject_alt_names[0].san_type: only DNS, URI"),
        (ca("{san_type: IP_ADDRESS, matcher: {prefix: '10.'}}"), "validation_context.match_typed_subject_alt_names[0].matcher: addresses"),
        (ca("{san_type: IP_ADDRESS, matcher: {exact: ten}}"), "validation_context.match_typed_subject_alt_names[0].matcher.exact: not an IP"),
    ] {
        let told = server_problems(&text);
        assert!(told.iter().any(|t| t.starts_with(&format!("error: tls.common_tls_context.{want}"))), "{want}: {told:?}");
    }
}
