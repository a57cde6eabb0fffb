//! Handshakes over loopback between contexts of both sides, with the certificates of the parity tests.

use std::path::Path;

use rustls::server::Acceptor;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::LazyConfigAcceptor;

use super::*;
use crate::route::{Pattern, StringMatch};

fn pem(file: &str) -> Vec<u8> {
    let certs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/certs");
    std::fs::read(certs.join(file)).expect("a certificate of the repository")
}

fn identity(name: &str) -> Identity {
    Identity::from_pem(&pem(&format!("{name}.crt")), &pem(&format!("{name}.key"))).unwrap()
}

const BOTH: Versions = Versions { v12: true, v13: true };

fn server_options() -> ServerOptions {
    ServerOptions {
        identities: vec![identity("server")],
        client_roots: None,
        client_names: Vec::new(),
        require_client_certificate: false,
        alpn: Vec::new(),
        versions: BOTH,
    }
}

fn client_options() -> ClientOptions {
    ClientOptions {
        roots: Some(roots(&pem("ca.crt")).unwrap()),
        names: Vec::new(),
        identity: None,
        sni: "a.test".into(),
        alpn: Vec::new(),
        alpn_http2: None,
        versions: BOTH,
    }
}

/// What the server learned of a connection over which a byte went both ways; `None` where either side refused.
fn handshake(server: ServerOptions, client: ClientOptions) -> Option<TlsInfo> {
    handshake_for(server, client, None)
}

/// The same, with a certificate that must be for `checked`.
fn handshake_for(server: ServerOptions, client: ClientOptions, checked: Option<&str>) -> Option<TlsInfo> {
    let (server, client) = (ServerContext::new(server).unwrap(), ClientContext::new(client).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accept = async {
            let (stream, _) = listener.accept().await.unwrap();
            let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await.ok()?;
            let (mut stream, shown) = server.accept(start).await.ok()?;
            let byte = stream.read_u8().await.ok()?;
            stream.write_u8(byte + 1).await.ok()?;
            stream.flush().await.ok()?;
            Some(info(stream.get_ref().1, stream.get_ref().1.server_name(), shown))
        };
        let connect = async {
            let stream = TcpStream::connect(address).await.unwrap();
            let (mut stream, _) = client.connect(stream, TlsNames { sent: None, checked }, false).await.ok()?;
            stream.write_u8(6).await.ok()?;
            stream.flush().await.ok()?;
            stream.read_u8().await.ok()
        };
        let (learned, byte) = tokio::join!(accept, connect);
        learned.filter(|_| byte == Some(7))
    })
}

#[test]
fn versions_alpn_and_sni() {
    let alpn = |list: &[&str]| list.iter().map(|p| p.as_bytes().to_vec()).collect::<Vec<_>>();
    let only12 = Versions { v12: true, v13: false };
    let learned = handshake(
        ServerOptions { alpn: alpn(&["h2", "http/1.1"]), ..server_options() },
        ClientOptions { alpn: alpn(&["http/1.1"]), versions: only12, ..client_options() },
    )
    .unwrap();
    assert_eq!((learned.version, learned.alpn.as_deref(), learned.sni.as_deref()), ("TLSv1.2", Some("http/1.1"), Some("a.test")));
    assert!(learned.cipher.starts_with("ECDHE-ECDSA-") && learned.peer.is_empty());
    let stranger = ClientOptions { alpn: alpn(&["other"]), sni: String::new(), ..client_options() };
    let learned = handshake(ServerOptions { alpn: alpn(&["h2"]), ..server_options() }, stranger).unwrap();
    assert_eq!((learned.version, learned.alpn, learned.sni), ("TLSv1.3", None, None));
    let only13 = Versions { v12: false, v13: true };
    let refused = handshake(ServerOptions { versions: only13, ..server_options() }, ClientOptions { versions: only12, ..client_options() });
    assert!(refused.is_none());
}

#[test]
fn the_certificate_is_chosen_by_name() {
    let exact = |name: &str| vec![NameMatch::DnsExact(name.into())];
    for (sni, has) in
        [("a.test", "a.test"), ("b.test", "b.test"), ("x.wild.test", "any.wild.test"), ("unknown.test", "a.test"), ("", "a.test")]
    {
        let server = ServerOptions { identities: vec![identity("server"), identity("other")], ..server_options() };
        let client = ClientOptions { sni: sni.into(), names: exact(has), ..client_options() };
        assert!(handshake(server, client).is_some(), "{sni}");
    }
}

#[test]
fn hosts_are_checked_by_chain_and_names() {
    let regex = |text: &str| StringMatch::Regex(Pattern::new(text).unwrap());
    for (names, good) in [
        (vec![], true),
        (vec![NameMatch::DnsExact("A.TEST".into())], true),
        (vec![NameMatch::DnsExact("c.test".into())], false),
        (vec![NameMatch::DnsExact("c.test".into()), NameMatch::DnsExact("localhost".into())], true),
        (vec![NameMatch::Dns(StringMatch::suffix(".test", false))], true),
        (vec![NameMatch::Dns(regex("[b-z].test"))], false),
        (vec![NameMatch::Ip("127.0.0.1".parse().unwrap())], true),
        (vec![NameMatch::Ip("127.0.0.2".parse().unwrap())], false),
        (vec![NameMatch::Uri(StringMatch::prefix("", false))], false),
    ] {
        let client = ClientOptions { names: names.clone(), ..client_options() };
        assert_eq!(handshake(server_options(), client).is_some(), good, "{names:?}");
    }
    // Whatever server name is sent.
    for (host, good) in [("a.test", true), ("other.test", false), ("127.0.0.1", true), ("127.0.0.2", false), ("", false), ("a b", false)] {
        assert_eq!(handshake_for(server_options(), client_options(), Some(host)).is_some(), good, "{host:?}");
    }
    // A certificate that the trusted one did not sign; unchecked without trust.
    let strangers = Some(roots(&pem("client.crt")).unwrap());
    assert!(handshake(server_options(), ClientOptions { roots: strangers, ..client_options() }).is_none());
    assert!(handshake(server_options(), ClientOptions { roots: None, ..client_options() }).is_some());
}

#[test]
fn clients_are_checked_by_chain_and_names() {
    let spiffe = |id: &str| vec![NameMatch::Uri(StringMatch::exact(id, false))];
    let trusted = || Some(roots(&pem("ca.crt")).unwrap());
    let strangers = || Some(roots(&pem("client.crt")).unwrap());
    for versions in [Versions { v12: true, v13: false }, Versions { v12: false, v13: true }] {
        for (client_roots, client_names, required, shown, good) in [
            (trusted(), vec![], true, true, true),
            (trusted(), vec![], true, false, false),
            (trusted(), vec![], false, false, true),
            (strangers(), vec![], false, true, false),
            (trusted(), spiffe("spiffe://parity/client"), true, true, true),
            (trusted(), spiffe("spiffe://parity/other"), true, true, false),
            (trusted(), spiffe("spiffe://parity/client"), false, true, true),
            (trusted(), spiffe("spiffe://parity/client"), false, false, false),
            (None, vec![], true, false, true),
        ] {
            let what = format!("{client_names:?} required {required} shown {shown} {versions:?}");
            let server = ServerOptions { client_roots, client_names, require_client_certificate: required, versions, ..server_options() };
            let client = ClientOptions { identity: shown.then(|| identity("client")), ..client_options() };
            assert_eq!(handshake(server, client).is_some(), good, "{what}");
        }
    }
}

#[test]
fn wildcards_stand_for_one_label() {
    let names = |name: &str| vec![NameMatch::DnsExact(name.into())];
    for (wanted, good) in
        [("x.wild.test", true), ("X.WILD.test", true), ("wild.test", false), ("a.b.wild.test", false), ("*.wild.test", true)]
    {
        let server = ServerOptions { identities: vec![identity("other")], ..server_options() };
        assert_eq!(handshake(server, ClientOptions { names: names(wanted), ..client_options() }).is_some(), good, "{wanted}");
    }
}

#[test]
fn bad_pem_is_told_without_its_contents() {
    let secret = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
    let told = |result: Result<Identity, TlsError>| result.err().map(|e| e.to_string()).unwrap_or_default();
    let no_key = told(Identity::from_pem(&pem("server.crt"), b""));
    assert!(no_key.contains("private key"), "{no_key}");
    assert!(told(Identity::from_pem(b"", &pem("server.key"))).contains("no certificate"));
    let identity = Identity::from_pem(&pem("server.crt"), secret.as_bytes());
    let message = match identity {
        Err(e) => e.to_string(),
        Ok(identity) => ServerContext::new(ServerOptions { identities: vec![identity], ..server_options() }).err().unwrap().to_string(),
    };
    assert!(!message.is_empty() && !message.contains("c2VjcmV0") && !message.contains("secret"), "{message}");
    let other = Identity::from_pem(&pem("server.crt"), &pem("other.key")).unwrap();
    let message = ServerContext::new(ServerOptions { identities: vec![other], ..server_options() }).err().unwrap().to_string();
    assert!(message.contains("do not fit"), "{message}");
    assert!(roots(b"nothing").is_err());
}

#[test]
fn alpn_lists_may_hold_several_in_one_string() {
    assert_eq!(alpn(&["h2, http/1.1".into(), "".into(), "x".into()]), [b"h2".to_vec(), b"http/1.1".to_vec(), b"x".to_vec()]);
}
