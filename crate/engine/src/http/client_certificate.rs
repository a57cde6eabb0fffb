//! `x-forwarded-client-cert`: what upstreams are told of a client's certificate, and what a client may say of it.

use std::{borrow::Cow, sync::OnceLock};

use super::{
    header::{HeaderList, Known},
    headers::append_value,
};
use crate::{stream_info::TlsInfo, tls::Certificate};

/// `forward_client_cert_details`: what becomes of `x-forwarded-client-cert`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardClientCert {
    /// `SANITIZE`: removed.
    #[default]
    Sanitize,
    /// `FORWARD_ONLY`: forwarded where the connection is mutual TLS, else removed.
    ForwardOnly,
    /// `APPEND_FORWARD`: this client's details are appended where the connection is mutual TLS, else removed.
    AppendForward(Details),
    /// `SANITIZE_SET`: this client's details take its place where the connection is mutual TLS, else removed.
    SanitizeSet(Details),
    /// `ALWAYS_FORWARD_ONLY`: forwarded always.
    AlwaysForwardOnly,
}

/// `set_current_client_cert_details`: what is told beside the URIs of our own certificate (`By`) and the hash of the client's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// `cert`
    pub cert: bool,
    /// `chain`
    pub chain: bool,
    /// `subject`
    pub subject: bool,
    /// `uri`
    pub uri: bool,
    /// `dns`
    pub dns: bool,
    /// `issuer`
    pub issuer: bool,
    /// `format` is `JSON`.
    pub json: bool,
}

/// What a connection tells of its client, made once: as text and as JSON.
#[derive(Clone, Debug, Default)]
pub struct Told([OnceLock<Box<str>>; 2]);

/// Edits `x-forwarded-client-cert` of a request that came in over `tls`.
pub fn edit(headers: &mut HeaderList, forward: ForwardClientCert, tls: Option<&TlsInfo>) {
    let mutual = tls.filter(|tls| !tls.peer.is_empty());
    match (forward, mutual) {
        (ForwardClientCert::AlwaysForwardOnly, _) | (ForwardClientCert::ForwardOnly, Some(_)) => {}
        (ForwardClientCert::Sanitize, _) | (_, None) => {
            headers.remove(Known::ForwardedClientCert);
        }
        (ForwardClientCert::SanitizeSet(details), Some(tls)) => {
            let told = told(tls, details, details.json);
            if details.json {
                headers.set(Known::ForwardedClientCert, format!("[{told}]").as_bytes());
            } else {
                headers.set(Known::ForwardedClientCert, told.as_bytes());
            }
        }
        (ForwardClientCert::AppendForward(details), Some(tls)) => append(headers, details, tls),
    }
}

/// Appends in the format that the header has already, and in the configured one where there is none.
fn append(headers: &mut HeaderList, details: Details, tls: &TlsInfo) {
    let before = headers.get(Known::ForwardedClientCert).filter(|value| !value.is_empty());
    let list = before.and_then(|value| value.strip_prefix(b"[")?.strip_suffix(b"]"));
    let json = if before.is_some() { list.is_some() } else { details.json };
    let told = told(tls, details, json);
    if !json {
        return append_value(headers, Known::ForwardedClientCert, b",", told.as_bytes());
    }
    let mut value = Vec::with_capacity(told.len() + list.map_or(0, <[u8]>::len) + 3);
    value.push(b'[');
    if let Some(list) = list {
        value.extend_from_slice(list);
        value.push(b',');
    }
    value.extend_from_slice(told.as_bytes());
    value.push(b']');
    headers.set(Known::ForwardedClientCert, &value);
}

/// One connection has one connection manager, so that what is told of its client never changes.
fn told(tls: &TlsInfo, details: Details, json: bool) -> &str {
    tls.told.0[usize::from(json)].get_or_init(|| if json { as_json(tls, details) } else { as_text(tls, details) }.into())
}

fn as_text(tls: &TlsInfo, details: Details) -> String {
    let mut out = String::new();
    let mut pair = |key: &str, value: &str, quote: &str| {
        if !out.is_empty() {
            out.push(';');
        }
        out.extend([key, "=", quote, value, quote]);
    };
    let Some(client) = tls.peer.first() else { return out };
    for uri in ours(tls) {
        pair("By", &printable(uri), "");
    }
    pair("Hash", &client.sha256(), "");
    if details.cert {
        pair("Cert", &client.url_encoded_pem(), "\"");
    }
    if details.chain {
        pair("Chain", &tls.peer.iter().map(Certificate::url_encoded_pem).collect::<String>(), "\"");
    }
    let facts = client.facts();
    if details.subject {
        pair("Subject", &facts.subject, "\"");
    }
    if details.uri {
        if facts.uris.is_empty() {
            pair("URI", "", "");
        }
        for uri in &facts.uris {
            pair("URI", &printable(uri), "");
        }
    }
    if details.dns {
        for name in &facts.dns_names {
            pair("DNS", &printable(name), "");
        }
    }
    if details.issuer {
        pair("Issuer", &facts.issuer, "\"");
    }
    out
}

/// A name of a certificate with its control characters percent-encoded: a line end in it would begin another header.
fn printable(name: &str) -> Cow<'_, str> {
    if !name.contains(|c: char| c.is_ascii_control()) {
        return name.into();
    }
    name.chars().map(|c| if c.is_ascii_control() { format!("%{:02X}", u32::from(c)) } else { c.to_string() }).collect()
}

/// As in Envoy, what is empty is left out.
fn as_json(tls: &TlsInfo, details: Details) -> String {
    use serde_json::{Map, Value};
    let Some(client) = tls.peer.first() else { return "{}".into() };
    let facts = client.facts();
    let mut out = Map::new();
    let mut put = |wanted: bool, key: &str, value: Value| {
        let empty = matches!(&value, Value::String(text) if text.is_empty()) || matches!(&value, Value::Array(list) if list.is_empty());
        if wanted && !empty {
            out.insert(key.into(), value);
        }
    };
    put(true, "by", ours(tls).into());
    put(true, "hash", client.sha256().into());
    put(details.cert, "cert", client.pem().into());
    put(details.chain, "chain", tls.peer.iter().map(Certificate::pem).collect());
    put(details.subject, "subject", facts.subject.as_str().into());
    put(details.uri, "uri", facts.uris.as_slice().into());
    put(details.dns, "dns", facts.dns_names.as_slice().into());
    put(details.issuer, "issuer", facts.issuer.as_str().into());
    Value::Object(out).to_string()
}

/// The URIs of the certificate that the client was shown.
fn ours(tls: &TlsInfo) -> &[String] {
    tls.local.as_ref().map_or(&[], |local| &local.facts().uris)
}
