//! What a certificate says: names, validity, fingerprints, PEM. Parsed when first asked, and once.

use std::{fmt::Write as _, net::IpAddr, sync::OnceLock};

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::pki_types::CertificateDer;
use x509_parser::{
    der_parser::asn1_rs::{Any, Tag, ToDer as _},
    extensions::{GeneralName, ParsedExtension},
    prelude::{FromDer as _, X509Certificate},
    x509::X509Name,
};

/// A certificate of either side of a connection.
#[derive(Clone, Debug)]
pub struct Certificate {
    der: CertificateDer<'static>,
    facts: OnceLock<Facts>,
}

/// What is read out of a certificate. Everything is empty or 0 where the certificate cannot be read, which its verification has ruled out.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The subject as RFC 2253 and OpenSSL write it: last part first, `CN=a,O=b\, c`.
    pub subject: String,
    /// The issuer, written in the same way.
    pub issuer: String,
    /// The serial number in lower-case hexadecimal digits, without leading zeros.
    pub serial: String,
    /// Seconds of the epoch from which the certificate is valid.
    pub valid_from: i64,
    /// Seconds of the epoch until which the certificate is valid.
    pub valid_until: i64,
    /// Subject alternative names: URIs.
    pub uris: Vec<String>,
    /// Subject alternative names: DNS names.
    pub dns_names: Vec<String>,
    /// Subject alternative names: addresses.
    pub addresses: Vec<IpAddr>,
    /// Subject alternative names: e-mail addresses.
    pub emails: Vec<String>,
}

impl Certificate {
    /// A certificate in DER.
    pub fn new(der: CertificateDer<'static>) -> Certificate {
        Certificate { der, facts: OnceLock::new() }
    }

    /// What it says.
    pub fn facts(&self) -> &Facts {
        self.facts.get_or_init(|| X509Certificate::from_der(&self.der).map(|(_, parsed)| Facts::of(&parsed)).unwrap_or_default())
    }

    /// SHA-256 of the whole certificate in lower-case hexadecimal digits.
    pub fn sha256(&self) -> String {
        hex(digest::digest(&digest::SHA256, &self.der).as_ref())
    }

    /// SHA-1 of the whole certificate in lower-case hexadecimal digits.
    pub fn sha1(&self) -> String {
        hex(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &self.der).as_ref())
    }

    /// The certificate in PEM, with a line feed at its end.
    pub fn pem(&self) -> String {
        let text = STANDARD.encode(&self.der);
        let mut pem = String::with_capacity(text.len() + text.len() / 64 + 64);
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let mut rest = &*text;
        while !rest.is_empty() {
            let (line, more) = rest.split_at(rest.len().min(64));
            pem.push_str(line);
            pem.push('\n');
            rest = more;
        }
        pem.push_str("-----END CERTIFICATE-----\n");
        pem
    }

    /// The certificate in PEM, with what a URL cannot hold escaped as Envoy escapes it.
    pub fn url_encoded_pem(&self) -> String {
        let pem = self.pem();
        let mut out = String::with_capacity(pem.len() + 64);
        for character in pem.chars() {
            match character {
                '\n' => out.push_str("%0A"),
                ' ' => out.push_str("%20"),
                '+' => out.push_str("%2B"),
                '/' => out.push_str("%2F"),
                '=' => out.push_str("%3D"),
                other => out.push(other),
            }
        }
        out
    }
}

impl Facts {
    fn of(certificate: &X509Certificate<'_>) -> Facts {
        let mut facts = Facts {
            subject: name(certificate.subject()),
            issuer: name(certificate.issuer()),
            serial: certificate.serial.to_str_radix(16),
            valid_from: certificate.validity().not_before.timestamp(),
            valid_until: certificate.validity().not_after.timestamp(),
            ..Facts::default()
        };
        let names = certificate.extensions().iter().filter_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
            _ => None,
        });
        for name in names.flatten() {
            match name {
                GeneralName::URI(uri) => facts.uris.push((*uri).to_owned()),
                GeneralName::DNSName(name) => facts.dns_names.push((*name).to_owned()),
                GeneralName::RFC822Name(email) => facts.emails.push((*email).to_owned()),
                GeneralName::IPAddress(bytes) => facts.addresses.extend(address(bytes)),
                _ => {}
            }
        }
        facts
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// A name as OpenSSL's `XN_FLAG_RFC2253` prints it.
fn name(name: &X509Name<'_>) -> String {
    let mut out = String::new();
    let sets: Vec<_> = name.iter_rdn().collect();
    for (i, set) in sets.iter().rev().enumerate() {
        let parts: Vec<_> = set.iter().collect();
        for (j, part) in parts.iter().rev().enumerate() {
            match (i, j) {
                (0, 0) => {}
                (_, 0) => out.push(','),
                _ => out.push('+'),
            }
            let oid = part.attr_type().to_id_string();
            let known = short_name(&oid);
            out.push_str(known.unwrap_or(&oid));
            out.push('=');
            match known.and_then(|_| text(part.attr_value())) {
                Some(text) => escape(&text, &mut out),
                // What has no name is dumped.
                None => {
                    out.push('#');
                    out.push_str(&hex(&part.attr_value().to_der_vec().unwrap_or_default()).to_ascii_uppercase());
                }
            }
        }
    }
    out
}

/// The text of a value, whichever string type it has.
fn text(value: &Any<'_>) -> Option<String> {
    let bytes = value.data;
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::VisibleString => {
            std::str::from_utf8(bytes).ok().map(str::to_owned)
        }
        // Latin 1, as OpenSSL takes it.
        Tag::T61String => Some(bytes.iter().map(|byte| char::from(*byte)).collect()),
        Tag::BmpString => {
            let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
            String::from_utf16(&units).ok()
        }
        Tag::UniversalString => {
            bytes.chunks_exact(4).map(|four| char::from_u32(u32::from_be_bytes([four[0], four[1], four[2], four[3]]))).collect()
        }
        _ => None,
    }
}

/// Escapes a value as RFC 2253 wants it, and every byte that is not printable ASCII.
fn escape(text: &str, out: &mut String) {
    let last = text.len().saturating_sub(1);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => out.extend(['\\', char::from(byte)]),
            b'#' if at == 0 => out.push_str("\\#"),
            b' ' if at == 0 || at == last => out.push_str("\\ "),
            b' '..=b'~' => out.push(char::from(byte)),
            // Writing to a string cannot fail.
            _ => drop(write!(out, "\\{byte:02X}")),
        }
    }
}

/// OpenSSL's short name of an attribute.
fn short_name(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "street",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.12" => "title",
        "2.5.4.13" => "description",
        "2.5.4.15" => "businessCategory",
        "2.5.4.17" => "postalCode",
        "2.5.4.41" => "name",
        "2.5.4.42" => "GN",
        "2.5.4.43" => "initials",
        "2.5.4.44" => "generationQualifier",
        "2.5.4.45" => "x500UniqueIdentifier",
        "2.5.4.46" => "dnQualifier",
        "2.5.4.65" => "pseudonym",
        "2.5.4.72" => "role",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        "1.2.840.113549.1.9.2" => "unstructuredName",
        "1.2.840.113549.1.9.8" => "unstructuredAddress",
        _ => return None,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    fn certificate(file: &str) -> Certificate {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/certs").join(file);
        Certificate::new(CertificateDer::from_pem_file(path).expect("a certificate of the repository"))
    }

    #[test]
    fn names_are_written_as_openssl_writes_them() {
        let jane = certificate("jane.crt");
        let facts = jane.facts();
        assert_eq!(
            facts.subject,
            r#"emailAddress=jane@a.test,CN=J\C3\A4ne \\ #1,OU=\ two words \\\ +UID=jane,O=A \"quoted\" org\, with\; all=kinds \+ of \<signs\>,C=DE"#
        );
        assert_eq!(facts.issuer, r"CN=people intermediate,O=people\, inc,C=DE");
        assert_eq!(facts.uris, ["spiffe://people/jane;Hash=forged", "https://a.test/x,y"]);
        assert_eq!(facts.dns_names, ["jane.test", "*.jane.test"]);
        assert_eq!(facts.emails, ["jane@a.test"]);
        assert_eq!(facts.addresses, ["10.1.2.3".parse::<IpAddr>().unwrap(), "2001:db8::1".parse().unwrap()]);
        assert!(facts.valid_until - facts.valid_from == 36500 * 86400);
        assert_eq!(certificate("nobody.crt").facts().subject, "");
    }

    #[test]
    fn the_certificate_comes_back_from_its_pem() {
        let jane = certificate("jane.crt");
        assert_eq!(CertificateDer::from_pem_slice(jane.pem().as_bytes()).unwrap(), jane.der);
        let encoded = jane.url_encoded_pem();
        assert!(encoded.starts_with("-----BEGIN%20CERTIFICATE-----%0A") && encoded.ends_with("-----END%20CERTIFICATE-----%0A"));
        assert_eq!((jane.sha256().len(), jane.sha1().len()), (64, 40));
    }

    #[test]
    fn what_is_no_certificate_says_nothing() {
        let none = Certificate::new(CertificateDer::from(vec![0x30, 0x03, 1, 2, 3]));
        assert_eq!((none.facts().subject.as_str(), none.facts().valid_until), ("", 0));
    }

    #[test]
    fn values_are_escaped_where_they_could_be_read_otherwise() {
        let escaped = |text| {
            let mut out = String::new();
            escape(text, &mut out);
            out
        };
        assert_eq!(escaped("#a#"), "\\#a#");
        assert_eq!(escaped(" "), "\\ ");
        assert_eq!(escaped("a\u{1}\u{7f}é"), "a\\01\\7F\\C3\\A9");
        assert_eq!(escaped(""), "");
    }
}
