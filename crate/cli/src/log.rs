//! The command's own log: levels, components and format as in Envoy.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::Path,
    sync::Mutex,
    time::SystemTime,
};

use plenipo_engine::format::TimeFormat;

/// Envoy's default of `--log-format`.
pub const DEFAULT_FORMAT: &str = "[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v";

/// How important a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warning,
    Error,
    Critical,
    Off,
}

impl Level {
    /// The level of a name, in Envoy's spelling.
    pub fn parse(name: &str) -> Result<Level, String> {
        Ok(match name {
            "trace" => Level::Trace,
            "debug" => Level::Debug,
            "info" => Level::Info,
            "warning" | "warn" => Level::Warning,
            "error" => Level::Error,
            "critical" => Level::Critical,
            "off" => Level::Off,
            _ => return Err(format!("error: invalid log level specified '{name}'")),
        })
    }

    fn name(self) -> &'static str {
        match self {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Error => "error",
            Level::Critical => "critical",
            Level::Off => "off",
        }
    }
}

/// Where lines go and which are written.
pub struct Log {
    level: Level,
    components: Vec<(String, Level)>,
    format: Vec<Piece>,
    file: Option<Mutex<File>>,
}

enum Piece {
    Text(String),
    Time(TimeFormat),
    Thread,
    Level,
    ShortLevel,
    Component,
    Source,
    Line,
    Message,
}

impl Log {
    /// A log by its flags.
    pub fn new(level: &str, components: Option<&str>, format: &str, path: Option<&Path>) -> Result<Log, String> {
        let mut by_component = Vec::new();
        for one in components.unwrap_or_default().split(',').filter(|c| !c.is_empty()) {
            let (name, level) = one.split_once(':').ok_or_else(|| format!("error: component log level not correctly specified '{one}'"))?;
            by_component.push((name.to_owned(), Level::parse(level)?));
        }
        let open = |path: &Path| {
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.map(Mutex::new).map_err(|e| format!("error: cannot open log file {}: {e}", path.display()))
        };
        Ok(Log { level: Level::parse(level)?, components: by_component, format: parse(format)?, file: path.map(open).transpose()? })
    }

    /// Writes a line of a component, unless its level is too low.
    pub fn write(&self, level: Level, component: &str, message: &str) {
        let least = self.components.iter().find(|(name, _)| name == component).map_or(self.level, |(_, level)| *level);
        if level < least {
            return;
        }
        let now = SystemTime::now();
        let mut line = Vec::new();
        for piece in &self.format {
            match piece {
                Piece::Text(text) => line.extend_from_slice(text.as_bytes()),
                Piece::Time(format) => format.write(now, &mut line),
                Piece::Thread => line.extend_from_slice(std::process::id().to_string().as_bytes()),
                Piece::Level => line.extend_from_slice(level.name().as_bytes()),
                Piece::ShortLevel => line.extend_from_slice(&level.name().to_ascii_uppercase().as_bytes()[..1]),
                Piece::Component => line.extend_from_slice(component.as_bytes()),
                Piece::Source => line.extend_from_slice(b"plenipo"),
                Piece::Line => line.push(b'0'),
                Piece::Message => line.extend_from_slice(message.as_bytes()),
            }
        }
        line.push(b'\n');
        // There is nobody to tell that the log cannot be written.
        let _ = match &self.file {
            Some(file) => file.lock().unwrap_or_else(std::sync::PoisonError::into_inner).write_all(&line),
            None => std::io::stderr().write_all(&line),
        };
    }

    /// Writes an `info` line of `main`.
    pub fn info(&self, message: &str) {
        self.write(Level::Info, "main", message);
    }

    /// Writes a `warning` line of `config`.
    pub fn warn(&self, message: &str) {
        self.write(Level::Warning, "config", message);
    }
}

fn parse(format: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            match pieces.last_mut() {
                Some(Piece::Text(text)) => text.push(c),
                _ => pieces.push(Piece::Text(c.into())),
            }
            continue;
        }
        let time = |format: &str| TimeFormat::parse(format).map(Piece::Time);
        pieces.push(match rest.next() {
            Some('Y') => time("%Y")?,
            Some('m') => time("%m")?,
            Some('d') => time("%d")?,
            Some('T') => time("%H:%M:%S")?,
            Some('H') => time("%H")?,
            Some('M') => time("%M")?,
            Some('S') => time("%S")?,
            Some('e') => time("%3f")?,
            Some('f') => time("%6f")?,
            Some('t' | 'P') => Piece::Thread,
            Some('l') => Piece::Level,
            Some('L') => Piece::ShortLevel,
            Some('n') => Piece::Component,
            Some('g' | 's' | '@' | '!') => Piece::Source,
            Some('#') => Piece::Line,
            // As in Envoy's own additions: escaped or plain, here they are the same.
            Some('v' | '_' | 'j') => Piece::Message,
            Some('%') => Piece::Text("%".into()),
            Some('^' | '$') => continue,
            other => return Err(format!("error: --log-format: %{} is not implemented", other.map(String::from).unwrap_or_default())),
        });
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_format_is_understood_and_others_are_refused_by_name() {
        assert!(parse(DEFAULT_FORMAT).is_ok());
        assert_eq!(parse("%Q").err().as_deref(), Some("error: --log-format: %Q is not implemented"));
    }

    #[test]
    fn components_have_levels_of_their_own() {
        let log = Log::new("warn", Some("config:trace"), "%v", None).ok();
        assert_eq!(log.map(|l| (l.level, l.components)), Some((Level::Warning, vec![("config".to_owned(), Level::Trace)])));
        assert!(Log::new("loud", None, "%v", None).is_err());
    }
}
