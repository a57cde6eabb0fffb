//! Compiles what tells a connection manager who its client is, and who counts as internal.

use std::net::{Ipv4Addr, Ipv6Addr};

use plenipo_api::proto::envoy::{
    config::core::v3::TypedExtensionConfig,
    extensions::{
        filters::network::http_connection_manager::v3::{HttpConnectionManager, http_connection_manager::InternalAddressConfig},
        http::original_ip_detection::{custom_header::v3::CustomHeaderConfig, xff::v3::XffConfig},
    },
};

use super::super::{
    any,
    issues::{At, Issues},
    value,
};
use crate::{
    cidr::Cidr,
    http::{
        header::HeaderName,
        settings::{ClientAddress, Detection, InternalAddresses, Trust},
    },
};

/// Compiles `use_remote_address`, `xff_num_trusted_hops`, `skip_xff_append` and `original_ip_detection_extensions`.
pub fn client(config: &HttpConnectionManager, at: &At<'_>, issues: &mut Issues) -> ClientAddress {
    let hops = config.xff_num_trusted_hops as usize;
    let use_remote_address = config.use_remote_address.unwrap_or(false);
    if config.represent_ipv4_remote_address_as_ipv4_mapped_ipv6 {
        let at = at.field("represent_ipv4_remote_address_as_ipv4_mapped_ipv6");
        issues.push(at.warning("Envoy reads this field and does nothing with it; so do we"));
    }
    let extensions = &config.original_ip_detection_extensions;
    if !extensions.is_empty() {
        let at = at.field("original_ip_detection_extensions");
        if use_remote_address {
            issues.push(at.invalid("original IP detection extensions and use_remote_address may not be mixed"));
        }
        if hops > 0 {
            issues.push(at.invalid("original IP detection extensions and xff_num_trusted_hops may not be mixed"));
        }
        let list = extensions.iter().enumerate().filter_map(|(i, e)| detection(e, &at.index(i), issues)).collect();
        return ClientAddress::Detected(list);
    }
    if use_remote_address {
        return ClientAddress::Peer { trusted_hops: hops, append: !config.skip_xff_append };
    }
    ClientAddress::Detected(Box::new([Detection::Forwarded { trust: Trust::Hops(hops), append: false }]))
}

fn detection(extension: &TypedExtensionConfig, at: &At<'_>, issues: &mut Issues) -> Option<Detection> {
    const XFF: &str = "envoy.extensions.http.original_ip_detection.xff.v3.XffConfig";
    const CUSTOM_HEADER: &str = "envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig";
    let at = at.field("typed_config");
    let Some(config) = &extension.typed_config else {
        issues.push(at.invalid("an extension needs its typed_config").got(&*extension.name));
        return None;
    };
    match any::type_name(config) {
        XFF => forwarded(&any::decode(config, &at, issues)?, &at, issues),
        CUSTOM_HEADER => custom_header(&any::decode(config, &at, issues)?),
        other => {
            issues.push(at.unsupported("this way to detect a client's address is not implemented").got(other));
            None
        }
    }
}

fn forwarded(config: &XffConfig, at: &At<'_>, issues: &mut Issues) -> Option<Detection> {
    let before = issues.len();
    let trust = match &config.xff_trusted_cidrs {
        Some(_) if config.xff_num_trusted_hops > 0 => {
            issues.push(at.invalid("cannot set both xff_num_trusted_hops and xff_trusted_cidrs"));
            return None;
        }
        // Envoy drops a range that it cannot read, which may leave none, and with that everybody trusted.
        Some(trusted) => match value::ranges(&trusted.cidrs, &at.field("xff_trusted_cidrs").field("cidrs"), issues) {
            ranges if ranges.is_empty() => Trust::Hops(0),
            ranges => Trust::Ranges(ranges.into()),
        },
        None => Trust::Hops(config.xff_num_trusted_hops as usize),
    };
    (issues.len() == before).then(|| Detection::Forwarded { trust, append: !config.skip_xff_append.unwrap_or(true) })
}

fn custom_header(config: &CustomHeaderConfig) -> Option<Detection> {
    // As in Envoy a rejection is no success.
    let status = |code| u16::try_from(code).ok().filter(|code| (400..600).contains(code)).unwrap_or(403);
    let reject = config.reject_with_status.as_ref().map(|s| status(s.code));
    let name = HeaderName::of_request(&config.header_name);
    Some(Detection::Header { name, trusted: config.allow_extension_to_set_address_as_trusted, reject })
}

/// Compiles `internal_address_config`: nobody is internal without it, and the private ranges where it names none.
pub fn internal(config: Option<&InternalAddressConfig>, at: &At<'_>, issues: &mut Issues) -> InternalAddresses {
    let Some(config) = config else { return InternalAddresses::default() };
    let mut ranges = value::ranges(&config.cidr_ranges, &at.field("cidr_ranges"), issues);
    if config.cidr_ranges.is_empty() {
        let v4 = |address: [u8; 4], bits| Cidr::new(Ipv4Addr::from(address).into(), bits);
        ranges.extend([v4([10, 0, 0, 0], 8), v4([172, 16, 0, 0], 12), v4([192, 168, 0, 0], 16), v4([127, 0, 0, 1], 32)]);
        ranges.extend([Cidr::new(Ipv6Addr::LOCALHOST.into(), 128), Cidr::new(Ipv6Addr::from(0xfd << 120).into(), 8)]);
    }
    InternalAddresses { ranges }
}

#[cfg(test)]
mod tests {
    use plenipo_api::{Input, Options, read_message};

    use super::*;

    fn compiled(yaml: &str) -> (ClientAddress, Vec<String>) {
        let yaml = format!("stat_prefix: x\nroute_config: {{}}\n{yaml}");
        let (config, _) = read_message::<HttpConnectionManager>(vec![Input::yaml(yaml)], &Options::default()).expect("valid by the schema");
        let mut issues = Issues::new();
        let settings = client(&config, &At::Root("hcm"), &mut issues);
        (settings, issues.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn an_unreadable_trusted_range_is_refused_instead_of_trusting_everybody() {
        let xff = "original_ip_detection_extensions: [{name: x, typed_config: {\"@type\": \
            type.googleapis.com/envoy.extensions.http.original_ip_detection.xff.v3.XffConfig, xff_trusted_cidrs: {cidrs: [RANGE]}}}]";
        let (_, issues) = compiled(&xff.replace("RANGE", "{address_prefix: nowhere}"));
        assert_eq!(issues.len(), 1);
        assert!(issues[0].contains("typed_config.xff_trusted_cidrs.cidrs[0].address_prefix"), "{issues:?}");
        let (settings, issues) = compiled(&xff.replace("RANGE", "{address_prefix: 10.0.0.0, prefix_len: 8}"));
        assert!(issues.is_empty(), "{issues:?}");
        let ClientAddress::Detected(list) = settings else { panic!("use_remote_address is false") };
        assert!(matches!(&*list, [Detection::Forwarded { trust: Trust::Ranges(ranges), append: false }] if ranges.len() == 1));
    }

    #[test]
    fn a_field_without_effect_is_told() {
        let (_, issues) = compiled("represent_ipv4_remote_address_as_ipv4_mapped_ipv6: true");
        assert!(issues.len() == 1 && issues[0].contains("represent_ipv4_remote_address_as_ipv4_mapped_ipv6"), "{issues:?}");
    }
}
