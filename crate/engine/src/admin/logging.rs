//! `/logging`: levels of our own log.

use super::{AdminSource, LogLevel, handler::Answer, handler::Parameters};

const LEVELS: [(&str, LogLevel); 7] = [
    ("trace", LogLevel::Trace),
    ("debug", LogLevel::Debug),
    ("info", LogLevel::Info),
    ("warning", LogLevel::Warning),
    ("error", LogLevel::Error),
    ("critical", LogLevel::Critical),
    ("off", LogLevel::Off),
];

impl LogLevel {
    /// As Envoy prints it.
    pub fn as_str(self) -> &'static str {
        LEVELS.iter().find(|l| l.1 == self).map_or("", |l| l.0)
    }

    /// The level of a name.
    pub fn of(name: &str) -> Option<LogLevel> {
        LEVELS.iter().find(|l| l.0 == name).map(|l| l.1)
    }
}

/// `/logging`
pub(super) fn logging(source: &dyn AdminSource, parameters: &Parameters) -> Answer {
    let (status, mut body) = match change(source, parameters) {
        Ok(()) => (200, String::new()),
        Err(error) => {
            let usage = "usage: /logging?<name>=<level> (change single level)\n\
                usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)\n\
                usage: /logging?level=<level> (change all levels)\n\
                levels: trace debug info warning error critical off \n";
            (400, format!("error: {error}\n\n{usage}"))
        }
    };
    body.push_str("active loggers:\n");
    for (name, level) in source.log_levels() {
        body.push_str(&format!("  {name}: {}\n", level.as_str()));
    }
    body.push('\n');
    Answer { status, ..Answer::text(body) }
}

/// All or nothing: every name and level is looked at before any is set.
fn change(source: &dyn AdminSource, parameters: &Parameters) -> Result<(), &'static str> {
    let (name, value) = match parameters.all() {
        [] => return Ok(()),
        [(name, value)] => (name.as_str(), value.as_str()),
        _ => return Err("invalid number of parameters"),
    };
    let level = |name: &str| LogLevel::of(name).ok_or("unknown logger level");
    if name == "level" {
        if !value.is_empty() {
            source.set_log_level(None, level(value)?);
        }
        return Ok(());
    }
    let pairs: Vec<(&str, &str)> = match name {
        "paths" => value
            .split(',')
            .filter(|p| !p.is_empty())
            .map(|p| p.split_once(':').ok_or("invalid logger name/level pair"))
            .collect::<Result<_, _>>()?,
        name => vec![(name, value)],
    };
    let known = source.log_levels();
    let mut changes = Vec::new();
    for (name, value) in pairs {
        let level = level(value)?;
        if !known.iter().any(|(k, _)| k == name) {
            return Err("unknown logger name");
        }
        changes.push((name, level));
    }
    changes.into_iter().for_each(|(name, level)| source.set_log_level(Some(name), level));
    Ok(())
}
