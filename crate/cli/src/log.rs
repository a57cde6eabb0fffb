//! The command's own log: levels, components and line format as in Envoy.

mod format;

use std::{
    collections::HashSet,
    fs::{File, OpenOptions},
    io::{self, Write},
    panic::Location,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::SystemTime,
};

use format::{Entry, Format};
pub use plenipo_engine::admin::LogLevel as Level;
use plenipo_engine::engine::Proxy;

/// Envoy's default of `--log-format`.
pub const DEFAULT_FORMAT: &str = "[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v";

/// The components that lines come from.
const OURS: [&str; 3] = ["admin", "config", "main"];

/// Names that `--component-log-level` takes: Envoy's loggers, so that its command lines work unchanged. [`OURS`] are those that we write as.
const COMPONENTS: &str = "a2a admin ai_protocol_manager alternate_protocols_cache aws assert backtrace basic_auth cache_filter client config \
    connection conn_handler compression credential_injector decompression dns dubbo envoy_bug ext_authz ext_proc rocketmq file filter \
    forward_proxy geolocation grpc happy_eyeballs hc health_checker http http2 hystrix init io jwt json_rpc kafka key_value_store lua \
    local_rate_limit main matcher mcp misc mongo multi_connection notification oauth2 quic quic_stream pool rate_limit_quota rbac rds redis \
    router runtime stats secret sse tap testing thrift tracing upstream udp wasm websocket golang stats_sinks dynamic_modules ip_tagging";

/// The level of a name; the error is Envoy's.
fn level_of(name: &str) -> Result<Level, String> {
    let name = if name == "warn" { "warning" } else { name };
    Level::of(name).ok_or_else(|| format!("error: invalid log level specified '{name}'"))
}

/// What the flags say about the log.
#[derive(Debug, Default)]
pub struct Settings<'a> {
    /// `--log-level`
    pub level: &'a str,
    /// `--component-log-level`
    pub components: Option<&'a str>,
    /// `--log-format`
    pub format: &'a str,
    /// `--log-format-escaped`
    pub escaped: bool,
    /// `--log-path`; standard error without one.
    pub path: Option<&'a Path>,
}

/// Where lines go and which are written.
pub struct Log {
    level: Level,
    components: Vec<(String, Level)>,
    format: Format,
    file: Option<(PathBuf, Mutex<File>)>,
    proxy: OnceLock<Proxy>,
}

impl Log {
    /// A log by its flags; the error is the text for the user.
    pub fn new(settings: &Settings<'_>) -> Result<Log, String> {
        let level = level_of(settings.level)?;
        let components = levels(settings.components.unwrap_or_default())?;
        let format = Format::parse(settings.format, settings.escaped)?;
        let file = match settings.path {
            Some(path) => {
                let file = open(path).map_err(|e| format!("error: cannot open the log file {}: {e}", path.display()))?;
                Some((path.to_owned(), Mutex::new(file)))
            }
            None => None,
        };
        Ok(Log { level, components, format, file, proxy: OnceLock::new() })
    }

    /// Writes a line of a component, unless its level is too low.
    #[track_caller]
    pub fn write(&self, level: Level, component: &str, message: &str) {
        if level < self.least(component) {
            return;
        }
        let place = Location::caller();
        let entry = Entry { time: SystemTime::now(), level: level.as_str(), component, file: place.file(), line: place.line(), message };
        let mut line = self.format.line(&entry);
        line.push(b'\n');
        // There is nobody to tell that the log cannot be written.
        let _ = match &self.file {
            Some((_, file)) => lock(file).write_all(&line),
            None => io::stderr().write_all(&line),
        };
    }

    /// From now on the proxy keeps the levels, so that its admin interface can show and change them.
    pub fn follow(&self, proxy: &Proxy) {
        for component in OURS {
            proxy.set_log_level(component, self.least(component));
        }
        // A second proxy would be a second call; the command has one.
        let _ = self.proxy.set(proxy.clone());
    }

    fn least(&self, component: &str) -> Level {
        let by_flag = || self.components.iter().find(|(name, _)| name == component).map_or(self.level, |(_, level)| *level);
        self.proxy.get().and_then(|proxy| proxy.log_level(component)).unwrap_or_else(by_flag)
    }

    /// Writes an `info` line of `main`.
    #[track_caller]
    pub fn info(&self, message: &str) {
        self.write(Level::Info, "main", message);
    }

    /// Writes a `warning` line of `main`.
    #[track_caller]
    pub fn warn(&self, message: &str) {
        self.write(Level::Warning, "main", message);
    }

    /// Writes a `critical` line of `main`.
    #[track_caller]
    pub fn critical(&self, message: &str) {
        self.write(Level::Critical, "main", message);
    }

    /// Opens the log file again, after a rotation; the old one stays in use where that fails.
    pub fn reopen(&self) {
        let Some((path, file)) = &self.file else { return };
        match open(path) {
            Ok(new) => *lock(file) = new,
            Err(e) => self.warn(&format!("cannot open the log file {} again: {e}", path.display())),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn lock(file: &Mutex<File>) -> MutexGuard<'_, File> {
    // A file is whole whoever held it.
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `upstream:debug,config:trace`; of two levels for one component the last counts, as in Envoy.
fn levels(list: &str) -> Result<Vec<(String, Level)>, String> {
    let known: HashSet<&str> = COMPONENTS.split_ascii_whitespace().collect();
    let mut levels = Vec::new();
    for one in list.split(',').filter(|one| !one.is_empty()) {
        let (name, level) = one.split_once(':').ok_or_else(|| format!("error: component log level not correctly specified '{one}'"))?;
        let level = level_of(level)?;
        if !known.contains(name) {
            return Err(format!("error: invalid component specified '{name}'"));
        }
        levels.insert(0, (name.to_owned(), level));
    }
    Ok(levels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_envoys_names() {
        for (name, want) in [("trace", Level::Trace), ("warn", Level::Warning), ("warning", Level::Warning), ("off", Level::Off)] {
            assert_eq!(level_of(name), Ok(want), "{name}");
        }
        assert_eq!(level_of("loud"), Err("error: invalid log level specified 'loud'".to_owned()));
        assert!(Level::Debug < Level::Info && Level::Critical < Level::Off);
    }

    #[test]
    fn components_have_levels_of_their_own() {
        assert_eq!(levels("config:trace,,main:off"), Ok(vec![("main".to_owned(), Level::Off), ("config".to_owned(), Level::Trace)]));
        for (list, want) in [
            ("config", "error: component log level not correctly specified 'config'"),
            ("config:loud", "error: invalid log level specified 'loud'"),
            ("nope:debug", "error: invalid component specified 'nope'"),
        ] {
            assert_eq!(levels(list), Err(want.to_owned()), "{list}");
        }
    }
}
