//! Compiles `LocalReplyConfig`.

use plenipo_api::proto::envoy::{
    config::core::v3::SubstitutionFormatString,
    extensions::filters::network::http_connection_manager::v3::{LocalReplyConfig, ResponseMapper},
};

use super::{
    access_log, headers,
    issues::{At, Issues},
    log_filter, value,
};
use crate::http::local_reply::{BodyFormat, LocalReplies, Mapper};

/// Compiles the rules for local replies; not to be used where there are issues.
pub fn compile(config: &LocalReplyConfig, at: &At<'_>, issues: &mut Issues) -> LocalReplies {
    let list = at.field("mappers");
    let mappers = config.mappers.iter().enumerate().filter_map(|(i, m)| mapper(m, &list.index(i), issues)).collect();
    LocalReplies { mappers, format: config.body_format.as_ref().and_then(|f| body_format(f, &at.field("body_format"), issues)) }
}

/// Compiles the format of a body.
pub fn body_format(config: &SubstitutionFormatString, at: &At<'_>, issues: &mut Issues) -> Option<BodyFormat> {
    let format = access_log::compile_format(config, &at.to_string(), issues)?;
    Some(BodyFormat::new(format, &config.content_type))
}

fn mapper(config: &ResponseMapper, at: &At<'_>, issues: &mut Issues) -> Option<Mapper> {
    let filter_at = at.field("filter");
    let Some(filter) = &config.filter else {
        issues.push(filter_at.invalid("a filter is missing"));
        return None;
    };
    let filter = log_filter::compile(filter, &filter_at, issues);
    let body = config.body.as_ref().and_then(|source| value::data_source(source, &at.field("body"), issues));
    let format = config.body_format_override.as_ref().and_then(|f| body_format(f, &at.field("body_format_override"), issues));
    let headers = headers::mutations(&config.headers_to_add, &[], ("headers_to_add", ""), at, issues);
    // The validate rule keeps it below 600.
    let status = config.status_code.and_then(|code| u16::try_from(code).ok());
    Some(Mapper { filter: filter?, status, body: body.map(Into::into), headers, format })
}
