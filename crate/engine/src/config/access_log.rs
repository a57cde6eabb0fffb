//! Compiles `envoy.config.accesslog.v3.AccessLog` and `SubstitutionFormatString`.

use std::sync::Arc;

use plenipo_api::{
    Issue, IssueCode,
    proto::envoy::{
        config::{
            accesslog::v3::{self as proto, access_log::ConfigType},
            bootstrap::v3::Admin,
            core::v3::{DataSource, SubstitutionFormatString, data_source::Specifier, substitution_format_string},
        },
        extensions::{
            access_loggers::{
                file::v3::{FileAccessLog, file_access_log::AccessLogFormat},
                stream::v3::{StderrAccessLog, StdoutAccessLog, stderr_access_log, stdout_access_log},
            },
            formatter::{metadata::v3::Metadata as MetadataFormatter, req_without_query::v3::ReqWithoutQuery},
        },
    },
};
use prost::{Message, Name};
use prost_types::{Struct, Value, value::Kind};

use super::{issues::At, log_filter};
use crate::{
    access_log::{AccessLog, File, Files, Target},
    format::{DEFAULT, Format, FormatError, Formatters, JsonProgram, Program},
};

/// Compiles a list of access logs; `path` is the list's field path (`….access_log`). Files are opened through `files`.
pub fn compile(logs: &[proto::AccessLog], path: &str, files: &Files, issues: &mut Vec<Issue>) -> Vec<AccessLog> {
    logs.iter().enumerate().filter_map(|(i, log)| compile_one(log, &format!("{path}[{i}]"), files, issues)).collect()
}

/// The access logs of the admin interface, `access_log_path` included; `path` is the field path of `admin`.
pub fn compile_admin(admin: &Admin, path: &str, files: &Files, issues: &mut Vec<Issue>) -> Vec<AccessLog> {
    let mut logs = compile(&admin.access_log, &format!("{path}.access_log"), files, issues);
    #[allow(deprecated)]
    let file = admin.access_log_path.as_str();
    if !file.is_empty() {
        let path = format!("{path}.access_log_path");
        let format = compile_text(DEFAULT, false, Formatters::default(), &path, issues);
        let opened = open(files, &Target::of(file), path, issues);
        logs.extend(format.zip(opened).map(|(format, file)| AccessLog { filter: None, format, file }));
    }
    logs
}

fn compile_one(log: &proto::AccessLog, path: &str, files: &Files, issues: &mut Vec<Issue>) -> Option<AccessLog> {
    let before = issues.len();
    let filter = log.filter.as_ref().and_then(|f| log_filter::compile(f, &At::Root(path).field("filter"), issues));
    let typed = format!("{path}.typed_config");
    let Some(ConfigType::TypedConfig(any)) = &log.config_type else {
        issues.push(Issue::error(IssueCode::ConfigInvalid, typed, format!("access log {:?} has no typed_config", log.name)));
        return None;
    };
    let (target, format) = match any.type_url.rsplit('/').next().unwrap_or_default() {
        name if name == FileAccessLog::full_name() => {
            let config: FileAccessLog = decode(&any.value, &typed, issues)?;
            let format = file_format(&config, &typed, issues);
            (Target::of(&config.path), format)
        }
        name if name == StdoutAccessLog::full_name() => {
            let config: StdoutAccessLog = decode(&any.value, &typed, issues)?;
            let format = config.access_log_format.map(|stdout_access_log::AccessLogFormat::LogFormat(f)| f);
            (Target::Stdout, optional_format(format.as_ref(), &typed, issues))
        }
        name if name == StderrAccessLog::full_name() => {
            let config: StderrAccessLog = decode(&any.value, &typed, issues)?;
            let format = config.access_log_format.map(|stderr_access_log::AccessLogFormat::LogFormat(f)| f);
            (Target::Stderr, optional_format(format.as_ref(), &typed, issues))
        }
        other => {
            issues.push(Issue::error(IssueCode::Unsupported, typed, format!("access logger {other} is not implemented")));
            return None;
        }
    };
    let format = format?;
    if issues.len() > before {
        return None;
    }
    let file = open(files, &target, format!("{typed}.path"), issues)?;
    Some(AccessLog { filter, format, file })
}

fn open(files: &Files, target: &Target, path: String, issues: &mut Vec<Issue>) -> Option<Arc<File>> {
    let failed = |error: std::io::Error| {
        let name = match target {
            Target::Path(name) => name.display().to_string(),
            other => format!("{other:?}"),
        };
        issues.push(Issue::error(IssueCode::ConfigInvalid, path, format!("unable to open file '{name}': {error}")));
    };
    files.open(target).map_err(failed).ok()
}

/// Compiles a format of text or JSON; `path` is its field path. Also for local replies.
pub fn compile_format(config: &SubstitutionFormatString, path: &str, issues: &mut Vec<Issue>) -> Option<Format> {
    let formatters = compile_formatters(config, path, issues)?;
    let omit = config.omit_empty_values;
    match &config.format {
        #[allow(deprecated)]
        Some(substitution_format_string::Format::TextFormat(text)) => {
            compile_text(text, omit, formatters, &format!("{path}.text_format"), issues)
        }
        Some(substitution_format_string::Format::TextFormatSource(source)) => {
            let path = format!("{path}.text_format_source");
            let text = read_source(source, &path, issues)?;
            compile_text(&text, omit, formatters, &path, issues)
        }
        Some(substitution_format_string::Format::JsonFormat(template)) => {
            compile_json(template, omit, formatters, &format!("{path}.json_format"), issues)
        }
        None => {
            issues.push(Issue::error(IssueCode::ConfigInvalid, path, "a format is missing").expected("text_format_source or json_format"));
            None
        }
    }
}

/// The extensions that a format names. Those of operators that are Envoy's own by now have nothing to add.
fn compile_formatters(config: &SubstitutionFormatString, path: &str, issues: &mut Vec<Issue>) -> Option<Formatters> {
    let mut formatters = Formatters::default();
    for (i, extension) in config.formatters.iter().enumerate() {
        let path = format!("{path}.formatters[{i}].typed_config");
        let name = extension.typed_config.as_ref().map_or("", |any| any.type_url.rsplit('/').next().unwrap_or_default());
        if name == ReqWithoutQuery::full_name() {
            formatters.req_without_query = true;
        } else if name != MetadataFormatter::full_name() {
            issues.push(Issue::error(IssueCode::Unsupported, path, format!("formatter {name} is not implemented")));
            return None;
        }
    }
    Some(formatters)
}

fn optional_format(config: Option<&SubstitutionFormatString>, path: &str, issues: &mut Vec<Issue>) -> Option<Format> {
    match config {
        Some(config) => compile_format(config, &format!("{path}.log_format"), issues),
        None => compile_text(DEFAULT, false, Formatters::default(), path, issues),
    }
}

#[allow(deprecated)]
fn file_format(config: &FileAccessLog, path: &str, issues: &mut Vec<Issue>) -> Option<Format> {
    match &config.access_log_format {
        Some(AccessLogFormat::LogFormat(format)) => optional_format(Some(format), path, issues),
        // Envoy takes an empty format for none.
        Some(AccessLogFormat::Format(text)) if !text.is_empty() => {
            compile_text(text, false, Formatters::default(), &format!("{path}.format"), issues)
        }
        Some(AccessLogFormat::JsonFormat(template)) => {
            compile_json(template, false, Formatters::default(), &format!("{path}.json_format"), issues)
        }
        Some(AccessLogFormat::TypedJsonFormat(template)) => {
            compile_json(template, false, Formatters::default(), &format!("{path}.typed_json_format"), issues)
        }
        Some(AccessLogFormat::Format(_)) | None => optional_format(None, path, issues),
    }
}

fn compile_text(text: &str, omit: bool, formatters: Formatters, path: &str, issues: &mut Vec<Issue>) -> Option<Format> {
    Program::compile_with(text, omit, formatters).map(Format::Text).map_err(|e| issues.push(format_issue(&e, path, text))).ok()
}

fn compile_json(template: &Struct, omit: bool, formatters: Formatters, path: &str, issues: &mut Vec<Issue>) -> Option<Format> {
    let json = json_object(template);
    JsonProgram::compile(&json, omit, formatters).map(Format::Json).map_err(|e| issues.push(format_issue(&e, path, ""))).ok()
}

fn format_issue(error: &FormatError, path: &str, text: &str) -> Issue {
    let code = if error.message.contains("not implemented") { IssueCode::Unsupported } else { IssueCode::ConfigInvalid };
    let issue = Issue::error(code, path, error.to_string());
    // Positions of the parser are those of a percent sign, so on a character's boundary.
    let got: String = text.get(error.position..).unwrap_or_default().chars().take(40).collect();
    if got.is_empty() { issue } else { issue.got(got) }
}

fn json_object(fields: &Struct) -> serde_json::Value {
    serde_json::Value::Object(fields.fields.iter().map(|(key, value)| (key.clone(), json_value(value))).collect())
}

fn json_value(value: &Value) -> serde_json::Value {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => serde_json::Value::Null,
        Some(Kind::BoolValue(b)) => (*b).into(),
        Some(Kind::NumberValue(n)) => (*n).into(),
        Some(Kind::StringValue(text)) => text.as_str().into(),
        Some(Kind::StructValue(fields)) => json_object(fields),
        Some(Kind::ListValue(list)) => list.values.iter().map(json_value).collect(),
    }
}

fn read_source(source: &DataSource, path: &str, issues: &mut Vec<Issue>) -> Option<String> {
    if source.watched_directory.is_some() {
        issues.push(Issue::error(IssueCode::Unsupported, format!("{path}.watched_directory"), "watched_directory is not implemented"));
    }
    let read = match &source.specifier {
        Some(Specifier::InlineString(text)) => Ok(text.clone()),
        Some(Specifier::InlineBytes(bytes)) => String::from_utf8(bytes.clone()).map_err(|e| e.to_string()),
        Some(Specifier::Filename(name)) => std::fs::read_to_string(name).map_err(|e| format!("unable to read file '{name}': {e}")),
        Some(Specifier::EnvironmentVariable(name)) => std::env::var(name).map_err(|_| format!("environment variable {name} doesn't exist")),
        None => Err("a source is missing".into()),
    };
    read.map_err(|message| issues.push(Issue::error(IssueCode::ConfigInvalid, path, message))).ok()
}

fn decode<M: Message + Default>(bytes: &[u8], path: &str, issues: &mut Vec<Issue>) -> Option<M> {
    M::decode(bytes).map_err(|e| issues.push(Issue::error(IssueCode::ConfigInvalid, path, e.to_string()))).ok()
}

#[cfg(test)]
mod tests {
    use plenipo_api::{Input, Options};

    use super::*;
    use crate::access_log::{Comparison, Filter, Op};

    /// Compiles one access log from its YAML.
    fn compile_yaml(yaml: &str) -> Result<AccessLog, Vec<Issue>> {
        let (message, _): (proto::AccessLog, _) = plenipo_api::read_message(vec![Input::yaml(yaml)], &Options::default())?;
        let mut issues = Vec::new();
        let mut logs = compile(&[message], "access_log", &Files::for_validation(), &mut issues);
        match logs.pop() {
            Some(log) if issues.is_empty() => Ok(log),
            _ => Err(issues),
        }
    }

    fn file(inside: &str, outside: &str) -> String {
        format!(
            "name: x\n{outside}\ntyped_config: {{'@type': type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /no/such/dir/log{inside}}}"
        )
    }

    #[test]
    fn every_kind_of_format_compiles() {
        for (inside, json) in [
            ("", false),
            (", format: ''", false),
            (", format: '%RESPONSE_CODE%'", false),
            (", json_format: {a: '%RESPONSE_CODE%'}", true),
            (", typed_json_format: {a: '%RESPONSE_CODE%'}", true),
            (", log_format: {text_format: 'x'}", false),
            (", log_format: {text_format_source: {inline_string: 'x'}}", false),
            (", log_format: {text_format_source: {inline_bytes: eA==}}", false),
            (", log_format: {json_format: {a: [1, {b: '%PROTOCOL%'}]}, omit_empty_values: true}", true),
        ] {
            let log = compile_yaml(&file(inside, "")).unwrap_or_else(|e| panic!("{inside}: {e:?}"));
            assert_eq!(matches!(log.format, Format::Json(_)), json, "{inside}");
        }
        let stdout = "name: x\ntyped_config: {'@type': type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog}";
        assert!(compile_yaml(stdout).is_ok());
    }

    #[test]
    fn filters_compile_or_are_refused_by_name() {
        let status = "status_code_filter: {comparison: {op: GE, value: {default_value: 500, runtime_key: x}}}";
        let log = compile_yaml(&file("", &format!("filter: {{or_filter: {{filters: [{{{status}}}, {{response_flag_filter: {{}}}}]}}}}")))
            .unwrap();
        let Some(Filter::Or(filters)) = log.filter else { panic!("{:?}", log.filter) };
        assert!(
            matches!(&filters[..], [Filter::Status(Comparison { op: Op::Ge, value: 500 }), Filter::ResponseFlag(flags)] if flags.is_empty())
        );
        let log = compile_yaml(&file("", "filter: {header_filter: {header: {name: X-Log, string_match: {prefix: abc}}}}")).unwrap();
        assert!(matches!(log.filter, Some(Filter::Header(_))), "{:?}", log.filter);
        let broken = "filter: {header_filter: {header: {name: x, string_match: {safe_regex: {regex: '('}}}}}";
        let issues = compile_yaml(&file("", broken)).unwrap_err();
        assert!(issues[0].path.starts_with("access_log[0].filter.header_filter.header.string_match"), "{:?}", issues[0]);
        let traceable = format!("filter: {{and_filter: {{filters: [{{{status}}}, {{extension_filter: {{name: x}}}}]}}}}");
        let issues = compile_yaml(&file("", &traceable)).unwrap_err();
        assert_eq!(
            (issues[0].code, &*issues[0].path),
            (IssueCode::Unsupported, "access_log[0].filter.and_filter.filters[1].extension_filter")
        );
    }

    #[test]
    fn problems_name_the_field_and_the_place_in_the_format() {
        for (inside, code, path, part) in [
            (", log_format: {text_format: 'ab %NOPE%'}", IssueCode::ConfigInvalid, ".log_format.text_format", "NOPE (at position 3)"),
            (
                ", log_format: {json_format: {a: {b: '%NOPE%'}}}",
                IssueCode::ConfigInvalid,
                ".log_format.json_format",
                "a: b: there is no operator NOPE",
            ),
            (", format: '%CEL(x)%'", IssueCode::Unsupported, ".format", "CEL is not implemented"),
            (
                ", log_format: {text_format_source: {filename: /no/such/file}}",
                IssueCode::ConfigInvalid,
                ".log_format.text_format_source",
                "/no/such/file",
            ),
            (
                ", log_format: {text_format_source: {environment_variable: PLENIPO_NO_SUCH}}",
                IssueCode::ConfigInvalid,
                ".log_format.text_format_source",
                "doesn't exist",
            ),
        ] {
            let issues = compile_yaml(&file(inside, "")).unwrap_err();
            assert_eq!((issues[0].code, issues[0].path.as_str()), (code, &*format!("access_log[0].typed_config{path}")), "{inside}");
            assert!(issues[0].message.contains(part), "{inside}: {:?}", issues[0]);
        }
    }

    #[test]
    fn the_admin_interface_has_logs_too() {
        let yaml = "{access_log_path: /dev/stdout, access_log: [{name: x, typed_config: {'@type': \
            type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StderrAccessLog}}]}";
        let (admin, _): (Admin, _) = plenipo_api::read_message(vec![Input::yaml(yaml)], &Options::default()).unwrap();
        let mut issues = Vec::new();
        let logs = compile_admin(&admin, "admin", &Files::for_validation(), &mut issues);
        assert_eq!((logs.len(), issues.len()), (2, 0));
        assert_eq!(format!("{:?} {:?}", logs[0].file, logs[1].file), "File(Stderr) File(Stdout)");
        #[allow(deprecated)]
        let admin = Admin { access_log_path: "/no/such/dir/log".into(), ..Admin::default() };
        let files = Files::start(&crate::stats::Store::new()).unwrap();
        assert!(compile_admin(&admin, "admin", &files, &mut issues).is_empty());
        assert_eq!(issues[0].path, "admin.access_log_path");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_issue() {
        let (message, _): (proto::AccessLog, _) = plenipo_api::read_message(vec![Input::yaml(file("", ""))], &Options::default()).unwrap();
        let files = Files::start(&crate::stats::Store::new()).unwrap();
        let mut issues = Vec::new();
        assert!(compile(&[message], "access_log", &files, &mut issues).is_empty());
        assert_eq!(issues[0].path, "access_log[0].typed_config.path");
        assert!(issues[0].message.starts_with("unable to open file '/no/such/dir/log'"), "{:?}", issues[0]);
    }
}
