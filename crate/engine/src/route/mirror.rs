//! Which copies of a request go to other clusters, and what is changed in them (`request_mirror_policies`).

use super::{Choice, HeaderMutations, RuntimeFraction};
use crate::{
    http::header::{HeaderList, Known},
    stream_info::StreamInfo,
};

/// `RouteAction.RequestMirrorPolicy`. Its `trace_sampled` decides about spans only, and there are none without a tracer.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// `cluster` or `cluster_header`
    pub cluster: Choice,
    /// `runtime_fraction`: which share of the requests is copied; all without.
    pub fraction: Option<RuntimeFraction>,
    /// `host_rewrite_literal`
    pub host: Option<Box<[u8]>>,
    /// The host of a copy ends in `-shadow`: not with `disable_shadow_host_suffix_append`, and not where it is rewritten.
    pub suffix: bool,
    /// `request_headers_mutations`, one of each, in order.
    pub edits: Vec<HeaderMutations>,
}

impl Mirror {
    /// Whether the stream with this random number is copied.
    pub fn copies(&self, random: u64) -> bool {
        self.fraction.is_none_or(|fraction| fraction.matches(random))
    }

    /// Edits the headers of a copy.
    pub fn edit(&self, headers: &mut HeaderList, info: &StreamInfo) {
        self.edits.iter().for_each(|edit| edit.apply_to_request(headers, info));
        if let Some(host) = &self.host {
            headers.set(Known::Authority, host);
        } else if self.suffix {
            let host = shadow_host(headers.authority());
            headers.set(Known::Authority, &host);
        }
    }
}

/// The host with `-shadow` before its port.
fn shadow_host(host: &[u8]) -> Vec<u8> {
    let end = host.iter().rposition(|b| *b == b']').unwrap_or(0);
    let port = host[end..].iter().position(|b| *b == b':').map_or(host.len(), |at| end + at);
    [&host[..port], b"-shadow", &host[port..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suffix_stands_before_the_port() {
        for (host, shadow) in [
            ("a.test", "a.test-shadow"),
            ("a.test:80", "a.test-shadow:80"),
            ("[::1]", "[::1]-shadow"),
            ("[::1]:80", "[::1]-shadow:80"),
            ("", "-shadow"),
        ] {
            assert_eq!(String::from_utf8_lossy(&shadow_host(host.as_bytes())), shadow);
        }
    }
}
