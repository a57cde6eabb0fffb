//! HTTPS_PROXY and NO_PROXY, as Go's clients read them: the kubeconfig's own proxy-url is not touched by these.
use std::net::IpAddr;

/// The proxy for `server` that the environment asks for.
pub(crate) fn for_server(server: &http::Uri, env: impl Fn(&str) -> Option<String>) -> Result<Option<http::Uri>, String> {
    let either = |upper: &str, lower: &str| env(upper).filter(|v| !v.is_empty()).or_else(|| env(lower).filter(|v| !v.is_empty()));
    if server.scheme_str() != Some("https") {
        return Ok(None);
    }
    let Some(proxy) = either("HTTPS_PROXY", "https_proxy") else { return Ok(None) };
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
    let port = server.port_u16().unwrap_or(443);
    let no_proxy = either("NO_PROXY", "no_proxy").unwrap_or_default();
    if is_local(&host) || no_proxy.split(',').any(|rule| matches(rule.trim(), &host, port)) {
        return Ok(None);
    }
    // A proxy without a scheme is an http one. The value can hold a password: it is not repeated.
    let url = if proxy.contains("://") { proxy } else { format!("http://{proxy}") };
    url.parse().map(Some).map_err(|_| "HTTPS_PROXY is not a URL".into())
}

/// This host is never reached through a proxy of the environment.
fn is_local(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn matches(rule: &str, host: &str, port: u16) -> bool {
    let rule = rule.to_ascii_lowercase();
    if rule.is_empty() {
        return false;
    }
    if rule == "*" {
        return true;
    }
    let ip = host.parse::<IpAddr>().ok();
    if let (Some(ip), Some((net, bits))) = (ip, rule.split_once('/')) {
        return in_network(ip, net, bits);
    }
    let (name, wanted) = match rule.rsplit_once(':') {
        Some((name, p)) if !name.contains(':') || name.ends_with(']') => (name.to_owned(), p.parse::<u16>().ok()),
        _ => (rule, None),
    };
    if wanted.is_some_and(|p| p != port) {
        return false;
    }
    let name = name.trim_matches(['[', ']']);
    if let Some(ip) = ip {
        return name.parse() == Ok(ip);
    }
    match name.strip_prefix("*.").or_else(|| name.strip_prefix('.')) {
        Some(suffix) => host.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.')),
        None => host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')),
    }
}

fn in_network(ip: IpAddr, net: &str, bits: &str) -> bool {
    let (Ok(net), Ok(bits)) = (net.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    match (ip, net) {
        (IpAddr::V4(a), IpAddr::V4(b)) if bits <= 32 => {
            let shift = 32 - bits;
            u64::from(u32::from(a)) >> shift == u64::from(u32::from(b)) >> shift
        }
        (IpAddr::V6(a), IpAddr::V6(b)) if bits <= 128 => {
            let differing = u128::from(a) ^ u128::from(b);
            differing.leading_zeros() >= bits
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_is_compared_with_the_server() {
        let table = [
            ("https://10.1.2.3:6443", "", true),
            ("https://10.1.2.3:6443", "10.0.0.0/8", false),
            ("https://10.1.2.3:6443", "11.0.0.0/8", true),
            ("https://10.1.2.3:6443", "0.0.0.0/0", false),
            ("https://10.1.2.3:6443", "10.1.2.3", false),
            ("https://10.1.2.3:6443", "10.1.2.3:443", true),
            ("https://10.1.2.3:6443", "10.1.2.3:6443", false),
            ("https://[fd00::1]:6443", "fd00::/8", false),
            ("https://[fd00::1]:6443", "fe00::/8", true),
            ("https://[fd00::1]", "[fd00::1]", false),
            ("https://api.example.com", "example.com", false),
            ("https://api.example.com", ".example.com", false),
            ("https://api.example.com", "*.example.com", false),
            ("https://example.com", ".example.com", true),
            ("https://badexample.com", "example.com", true),
            ("https://api.example.com", "a.b, API.example.COM", false),
            ("https://api.example.com", "*", false),
            ("https://127.0.0.1:6443", "", false),
            ("https://localhost:6443", "", false),
            ("http://api.example.com", "", false),
        ];
        for (server, no_proxy, proxied) in table {
            let env = |name: &str| match name {
                "https_proxy" => Some("proxy.example:3128".to_string()),
                "NO_PROXY" => Some(no_proxy.to_string()),
                _ => None,
            };
            let got = for_server(&server.parse().unwrap(), env).unwrap();
            assert_eq!(got.is_some(), proxied, "{server} with {no_proxy:?}");
            assert!(got.is_none_or(|p| p == "http://proxy.example:3128/"));
        }
    }

    #[test]
    fn a_bad_proxy_is_refused_without_repeating_it() {
        let env = |name: &str| (name == "HTTPS_PROXY").then(|| "http://me:SECRET@ bad".to_string());
        let error = for_server(&"https://api.example.com".parse().unwrap(), env).unwrap_err();
        assert!(!error.contains("SECRET"));
    }
}
