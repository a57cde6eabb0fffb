//! Compiles what routes do: clusters to forward to, hosts to write, redirects, direct responses.

// Deprecated fields are Envoy's, and are read as long as Envoy reads them.
#![allow(deprecated)]

use std::sync::Arc;

use plenipo_api::proto::envoy::{
    config::route::v3::{
        self as proto,
        redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier},
        route_action::{ClusterSpecifier, HostRewriteSpecifier},
        weighted_cluster::{ClusterWeight, RandomValueSpecifier, cluster_weight},
    },
    extensions::path::rewrite::uri_template::v3::UriTemplateRewriteConfig,
};

use super::{
    super::{any, headers, issues::At, local_reply, value},
    Compiler,
};
use crate::{
    http::header::HeaderName,
    route::{
        Choice, Destination, DirectResponse, HostRewrite, PathMatch, PathRedirect, PathRewrite, Redirect, TemplateRewrite, WeightBy,
        WeightedCluster,
    },
};

impl Compiler<'_, '_> {
    pub(super) fn destination(&mut self, config: &proto::RouteAction, at: &At<'_>) -> Option<Destination> {
        match &config.cluster_specifier {
            Some(ClusterSpecifier::Cluster(name)) => Some(Destination::Cluster(name.as_str().into())),
            Some(ClusterSpecifier::ClusterHeader(name)) => Some(Destination::Header(HeaderName::of_request(name))),
            Some(ClusterSpecifier::WeightedClusters(weighted)) => self.weighted(weighted, &at.field("weighted_clusters")),
            Some(ClusterSpecifier::ClusterSpecifierPlugin(_)) => {
                self.issues.push(at.field("cluster_specifier_plugin").unsupported("cluster specifier plugins are not implemented"));
                None
            }
            Some(ClusterSpecifier::InlineClusterSpecifierPlugin(_)) => {
                let at = at.field("inline_cluster_specifier_plugin");
                self.issues.push(at.unsupported("cluster specifier plugins are not implemented"));
                None
            }
            None => {
                self.issues.push(at.invalid("a route needs a cluster").expected("cluster, cluster_header or weighted_clusters"));
                None
            }
        }
    }

    fn weighted(&mut self, config: &proto::WeightedCluster, at: &At<'_>) -> Option<Destination> {
        let clusters_at = at.field("clusters");
        let clusters: Vec<WeightedCluster> =
            config.clusters.iter().enumerate().filter_map(|(i, c)| self.weighted_cluster(c, &clusters_at.index(i))).collect();
        if clusters.len() < config.clusters.len() {
            return None;
        }
        let total: u64 = clusters.iter().map(|c| u64::from(c.weight)).sum();
        if total == 0 {
            self.issues.push(at.invalid("Sum of weights in the weighted_cluster must be greater than 0."));
            return None;
        }
        if total > u64::from(u32::MAX) {
            let message = format!("The sum of weights of all weighted clusters cannot be greater than {}", u32::MAX);
            self.issues.push(at.invalid(message).got(total.to_string()));
            return None;
        }
        let by = match &config.random_value_specifier {
            Some(RandomValueSpecifier::HeaderName(name)) => WeightBy::Header(HeaderName::of_request(name)),
            Some(RandomValueSpecifier::UseHashPolicy(true)) => WeightBy::Hash,
            Some(RandomValueSpecifier::UseHashPolicy(false)) | None => WeightBy::Random,
        };
        Some(Destination::Weighted { clusters: clusters.into(), total, by })
    }

    fn weighted_cluster(&mut self, config: &ClusterWeight, at: &At<'_>) -> Option<WeightedCluster> {
        let cluster = match (config.name.as_str(), config.cluster_header.as_str()) {
            (name, "") if !name.is_empty() => Choice::Name(name.into()),
            ("", header) if !header.is_empty() => Choice::Header(HeaderName::of_request(header)),
            ("", _) => {
                self.issues.push(at.invalid("At least one of name or cluster_header need to be specified"));
                return None;
            }
            _ => {
                self.issues.push(at.invalid("Only one of name or cluster_header can be specified"));
                return None;
            }
        };
        let [request_headers, response_headers] = self.header_edits(
            (&config.request_headers_to_add, &config.request_headers_to_remove),
            (&config.response_headers_to_add, &config.response_headers_to_remove),
            at,
        );
        Some(WeightedCluster {
            cluster,
            weight: config.weight.unwrap_or(0),
            host_rewrite: config.host_rewrite_specifier.as_ref().and_then(|h| match h {
                cluster_weight::HostRewriteSpecifier::HostRewriteLiteral(host) => (!host.is_empty()).then(|| host.as_bytes().into()),
            }),
            request_headers,
            response_headers,
            filters: self.filter_configs(&config.typed_per_filter_config, at),
        })
    }

    /// What is written over the path; `matched` is the route's path condition, where that is right.
    pub(super) fn path_rewrite(&mut self, config: &proto::RouteAction, matched: Option<&PathMatch>, at: &At<'_>) -> Option<PathRewrite> {
        let template = match matched {
            Some(PathMatch::Template(template)) => Some(template),
            _ => None,
        };
        let format_at = at.field("path_rewrite");
        match (config.prefix_rewrite.as_str(), &config.regex_rewrite, &config.path_rewrite_policy, config.path_rewrite.as_str()) {
            ("", None, None, "") => Some(PathRewrite::None),
            ("", None, None, format) => headers::program(format, true, &format_at, self.issues).map(PathRewrite::Format),
            (prefix, None, None, "") if template.is_none() => Some(PathRewrite::Prefix(prefix.as_bytes().into())),
            (_, None, None, "") => {
                self.issues.push(at.field("prefix_rewrite").invalid("Cannot use prefix_rewrite with matcher extension"));
                None
            }
            ("", Some(regex), None, "") => Some(PathRewrite::Regex(value::rewrite(regex, &at.field("regex_rewrite"), self.issues)?)),
            ("", None, Some(policy), "") => {
                let at = at.field("path_rewrite_policy");
                let config: UriTemplateRewriteConfig = any::extension(policy.typed_config.as_ref(), &at, self.issues)?;
                let text = config.path_template_rewrite;
                let made = match (matched, template) {
                    (None, _) => return None,
                    (_, None) => Err("it needs a uri template in path_match_policy".into()),
                    (_, Some(template)) => TemplateRewrite::new(template, &text),
                };
                let invalid = |e| at.field("typed_config").field("path_template_rewrite").invalid(format!("is invalid: {e}")).got(&*text);
                Some(PathRewrite::Template(made.map_err(|e: String| self.issues.push(invalid(e))).ok()?))
            }
            _ => {
                let message = "Specify only one of prefix_rewrite, regex_rewrite or path_rewrite_policy";
                self.issues.push(at.invalid(message));
                None
            }
        }
    }

    pub(super) fn host_rewrite(&mut self, config: &proto::RouteAction, at: &At<'_>) -> HostRewrite {
        match &config.host_rewrite_specifier {
            Some(HostRewriteSpecifier::HostRewriteLiteral(host)) if !host.is_empty() => HostRewrite::Literal(host.as_bytes().into()),
            Some(HostRewriteSpecifier::AutoHostRewrite(true)) => HostRewrite::Auto,
            Some(HostRewriteSpecifier::HostRewriteHeader(name)) if !name.is_empty() => HostRewrite::Header(HeaderName::of_request(name)),
            Some(HostRewriteSpecifier::HostRewritePathRegex(rewrite)) => {
                let rewrite = value::rewrite(rewrite, &at.field("host_rewrite_path_regex"), self.issues);
                rewrite.map_or(HostRewrite::None, HostRewrite::PathRegex)
            }
            Some(HostRewriteSpecifier::HostRewrite(format)) if !format.is_empty() => {
                headers::program(format, false, &at.field("host_rewrite"), self.issues).map_or(HostRewrite::None, HostRewrite::Format)
            }
            _ => HostRewrite::None,
        }
    }

    pub(super) fn redirect(&mut self, config: &proto::RedirectAction, matched: Option<&PathMatch>, at: &At<'_>) -> Option<Redirect> {
        let text = |text: &str| (!text.is_empty()).then(|| Box::from(text));
        let path = match &config.path_rewrite_specifier {
            Some(PathRewriteSpecifier::PathRedirect(path)) if !path.is_empty() => PathRedirect::Whole(path.as_bytes().into()),
            Some(PathRewriteSpecifier::PrefixRewrite(prefix)) if !prefix.is_empty() && matches!(matched, Some(PathMatch::Template(_))) => {
                let issue = at.field("prefix_rewrite").invalid("Cannot use redirect.prefix_rewrite with path_match_policy");
                self.issues.push(issue.got(prefix));
                return None;
            }
            Some(PathRewriteSpecifier::PrefixRewrite(prefix)) if !prefix.is_empty() => {
                PathRedirect::Rewrite(PathRewrite::Prefix(prefix.as_bytes().into()))
            }
            Some(PathRewriteSpecifier::RegexRewrite(rewrite)) => {
                PathRedirect::Rewrite(PathRewrite::Regex(value::rewrite(rewrite, &at.field("regex_rewrite"), self.issues)?))
            }
            Some(PathRewriteSpecifier::PathRewrite(format)) if !format.is_empty() => {
                PathRedirect::Format(headers::program(format, true, &at.field("path_rewrite"), self.issues)?)
            }
            _ => PathRedirect::Keep,
        };
        let port = match u16::try_from(config.port_redirect) {
            Ok(port) => (port != 0).then_some(port),
            Err(_) => {
                self.issues.push(at.field("port_redirect").invalid("not a port").got(config.port_redirect.to_string()));
                return None;
            }
        };
        Some(Redirect {
            status: match RedirectResponseCode::try_from(config.response_code) {
                Ok(RedirectResponseCode::Found) => 302,
                Ok(RedirectResponseCode::SeeOther) => 303,
                Ok(RedirectResponseCode::TemporaryRedirect) => 307,
                Ok(RedirectResponseCode::PermanentRedirect) => 308,
                Ok(RedirectResponseCode::MovedPermanently) | Err(_) => 301,
            },
            scheme: match &config.scheme_rewrite_specifier {
                Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => Some("https".into()),
                Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => text(scheme),
                _ => None,
            },
            host: text(&config.host_redirect),
            port,
            path,
            strip_query: config.strip_query,
        })
    }

    pub(super) fn direct_response(&mut self, config: &proto::DirectResponseAction, at: &At<'_>) -> Option<DirectResponse> {
        let format = match &config.body_format {
            Some(format) => Some(Arc::new(local_reply::body_format(format, &at.field("body_format"), self.issues)?)),
            None => None,
        };
        let body_at = at.field("body");
        let body = match &config.body {
            Some(source) => value::data_source(source, &body_at, self.issues)?,
            None => Vec::new(),
        };
        if body.len() > self.body_limit as usize {
            let message = format!("response body size is {} bytes; maximum is {}", body.len(), self.body_limit);
            self.issues.push(body_at.invalid(message).hint("raise max_direct_response_body_size_bytes"));
        }
        // The rules of the API bound it to 200 to 599.
        Some(DirectResponse { status: config.status as u16, body: body.into(), format })
    }
}
