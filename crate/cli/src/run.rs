//! `plenipo run`: one proxy, its log lines, and the signals. Only the command handles signals, never the library.

use std::{collections::HashSet, io::Write, path::Path, time::Duration};

use plenipo_api::{Input, Issue, Severity, UnknownFields};
use plenipo_engine::engine::{self, Event, Options, Proxy};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc::UnboundedReceiver, oneshot},
};

use crate::{
    flags::{DrainStrategy, Mode, Run},
    log::{Level, Log, Settings},
    validate::{line, read},
};

/// Runs until a signal, `/quitquitquit` or a failure; gives the exit status.
pub fn run(flags: &Run) -> u8 {
    let settings = Settings {
        level: &flags.log_level,
        components: flags.component_log_level.as_deref(),
        format: &flags.log_format,
        escaped: flags.log_format_escaped,
        path: flags.log_path.as_deref(),
    };
    let log = match Log::new(&settings) {
        Ok(log) => log,
        Err(message) => {
            let _ = writeln!(std::io::stderr(), "{message}");
            return 1;
        }
    };
    for name in flags.ignored.given() {
        log.warn(&format!("{name} has no effect here"));
    }
    if flags.ignored.hot_restart_version {
        let _ = writeln!(std::io::stderr(), "disabled");
        return 0;
    }
    let inputs = match inputs(flags) {
        Ok(inputs) => inputs,
        Err(issues) => return refused(&log, flags, &issues),
    };
    if inputs.is_empty() {
        log.critical("At least one of --config-path or --config-yaml should be non-empty");
        return 1;
    }
    if flags.mode == Mode::Validate {
        return validate(flags, &log, inputs);
    }
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(serve(flags, &log, inputs)),
        Err(e) => {
            log.critical(&format!("cannot start: {e}"));
            1
        }
    }
}

/// The bootstrap file and what is merged over it; empty when neither is given.
fn inputs(flags: &Run) -> Result<Vec<Input>, Vec<Issue>> {
    let mut inputs = Vec::new();
    if let Some(file) = flags.config_path.as_deref().filter(|f| !f.as_os_str().is_empty()) {
        inputs.push(read(file)?);
    }
    if let Some(yaml) = flags.config_yaml.as_deref().filter(|y| !y.is_empty()) {
        inputs.push(Input::yaml(yaml).named("--config-yaml"));
    }
    Ok(inputs)
}

fn unknown_fields(flags: &Run) -> UnknownFields {
    if flags.allow_unknown_static_fields { UnknownFields::Warn } else { UnknownFields::Reject }
}

/// What the engine is told.
fn options(flags: &Run) -> Options {
    Options {
        concurrency: flags.concurrency,
        pin_workers: flags.cpuset_threads,
        service_cluster: flags.service_cluster.clone(),
        service_node: flags.service_node.clone(),
        service_zone: flags.service_zone.clone(),
        unknown_fields: unknown_fields(flags),
        unknown_dynamic_fields: unknown_dynamic_fields(flags),
        share_port: flags.share_ports,
        drain_time: Duration::from_secs(flags.drain_time_s),
        gradual_drain: flags.drain_strategy == DrainStrategy::Gradual,
        flush_interval: Duration::from_millis(flags.file_flush_interval_msec),
        admin_address_path: flags.admin_address_path.clone(),
        init_only: flags.mode == Mode::InitOnly,
        ..Options::default()
    }
}

/// As in Envoy, refusing counts more than ignoring.
fn unknown_dynamic_fields(flags: &Run) -> UnknownFields {
    match (flags.reject_unknown_dynamic_fields, flags.ignore_unknown_dynamic_fields) {
        (true, _) => UnknownFields::Reject,
        (false, true) => UnknownFields::Ignore,
        (false, false) => UnknownFields::Warn,
    }
}

/// `--mode validate`: says what Envoy says when all is well.
fn validate(flags: &Run, log: &Log, inputs: Vec<Input>) -> u8 {
    let issues = engine::validate(inputs, &options(flags));
    if issues.iter().any(|i| i.severity == Severity::Error) {
        return refused(log, flags, &issues);
    }
    tell(log, flags, &issues);
    let _ = writeln!(std::io::stdout(), "configuration '{}' OK", config_name(flags));
    0
}

async fn serve(flags: &Run, log: &Log, inputs: Vec<Input>) -> u8 {
    let mut options = options(flags);
    options.command_line = flags.as_json(options.workers());
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(e) => {
            log.critical(&format!("cannot listen to signals: {e}"));
            return 1;
        }
    };
    log.info(&format!("plenipo {} starts, workers: {}", crate::version(), options.workers()));
    let proxy = Proxy::new(options);
    log.follow(&proxy);
    let mut events = proxy.events();
    match start(&proxy, inputs, &mut signals, log).await {
        Started::Serves(warnings) => tell(log, flags, &warnings),
        Started::Ended => {
            log.info("exiting");
            return 0;
        }
        Started::Failed(e) => {
            if e.issues.is_empty() {
                log.critical(&e.message);
            }
            return refused(log, flags, &e.issues);
        }
    }
    for bound in proxy.addresses() {
        match bound.listener.as_str() {
            "admin" => log.write(Level::Info, "admin", &format!("admin address: {}", bound.address)),
            name => log.info(&format!("listener '{name}' listens on {}", bound.address)),
        }
    }
    if flags.mode == Mode::InitOnly {
        proxy.stop(None).await;
        log.info("initialized; exiting, as --mode init_only says");
        return 0;
    }
    log.info("starting main dispatch loop");
    let status = match until_end(&proxy, &mut events, &mut signals, log).await {
        End::Signal => drain(&proxy, &mut events, &mut signals, flags.grace(), log).await,
        End::Quit => 0,
        End::Crashed => {
            log.critical("the control thread failed; its message stands above");
            1
        }
    };
    proxy.stop(None).await;
    log.info("exiting");
    status
}

/// How a start went.
enum Started {
    /// It serves; these are the warnings of its configuration.
    Serves(Vec<Issue>),
    /// A signal came first.
    Ended,
    Failed(engine::Error),
}

async fn start(proxy: &Proxy, inputs: Vec<Input>, signals: &mut Signals, log: &Log) -> Started {
    let (cancel, cancelled) = oneshot::channel();
    let mut cancel = Some(cancel);
    let start = proxy.start(inputs, Some(cancelled));
    tokio::pin!(start);
    let result = loop {
        tokio::select! {
            result = &mut start => break result,
            got = signals.next() => match got {
                Got::Reopen(name) => log.info(&format!("caught {name}")),
                Got::End(name) => {
                    log.info(&format!("caught {name} while starting"));
                    match cancel.take() {
                        // The start may have ended just now; then it is stopped below.
                        Some(cancel) => drop(cancel.send(())),
                        None => at_once(log),
                    }
                }
            },
        }
    };
    if cancel.is_none() {
        proxy.stop(None).await;
        return Started::Ended;
    }
    match result {
        Ok(applied) => Started::Serves(applied.warnings),
        Err(e) => Started::Failed(e),
    }
}

/// Why a proxy that serves shall end.
enum End {
    Signal,
    Quit,
    Crashed,
}

async fn until_end(proxy: &Proxy, events: &mut UnboundedReceiver<Event>, signals: &mut Signals, log: &Log) -> End {
    loop {
        tokio::select! {
            got = signals.next() => match got {
                Got::Reopen(name) => reopen(proxy, name, log),
                Got::End(name) => {
                    log.info(&format!("caught {name}"));
                    return End::Signal;
                }
            },
            event = events.recv() => match event {
                Some(Event::QuitRequested) => {
                    log.info("the admin interface was asked to quit");
                    return End::Quit;
                }
                Some(Event::Warning(message)) => log.warn(&message),
                Some(Event::Crashed) => return End::Crashed,
                Some(Event::Stopped) | None => return End::Quit,
                Some(_) => {}
            },
        }
    }
}

/// Drains; a second signal or `/quitquitquit` does not wait for the rest.
async fn drain(proxy: &Proxy, events: &mut UnboundedReceiver<Event>, signals: &mut Signals, grace: Duration, log: &Log) -> u8 {
    log.info(&format!("draining: no new connections; running requests may take {} s more", grace.as_secs()));
    let drain = proxy.drain(grace);
    tokio::pin!(drain);
    loop {
        tokio::select! {
            report = &mut drain => match report {
                Ok(report) if report.reset == 0 => {
                    log.info(&format!("drained: {} requests were under way and ended", report.completed));
                    return 0;
                }
                Ok(report) => {
                    log.warn(&format!("drained: {} requests ended, {} requests were reset", report.completed, report.reset));
                    return 0;
                }
                Err(e) => {
                    log.critical(&format!("cannot drain: {e}"));
                    return 1;
                }
            },
            got = signals.next() => match got {
                Got::Reopen(name) => reopen(proxy, name, log),
                Got::End(_) => at_once(log),
            },
            Some(event) = events.recv() => match event {
                Event::Warning(message) => log.warn(&message),
                Event::QuitRequested => {
                    log.info("the admin interface was asked to quit");
                    return 0;
                }
                _ => {}
            },
        }
    }
}

fn reopen(proxy: &Proxy, name: &str, log: &Log) {
    log.info(&format!("caught {name}. Reopening access logs."));
    proxy.reopen_logs();
    log.reopen();
}

/// A second signal: whoever sends it does not want to wait.
fn at_once(log: &Log) -> ! {
    log.warn("a second signal: exiting at once");
    std::process::exit(1)
}

/// What a signal asks for; with its name.
enum Got {
    End(&'static str),
    Reopen(&'static str),
}

/// The signals that the command handles.
struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    usr1: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            usr1: signal(SignalKind::user_defined1())?,
        })
    }

    async fn next(&mut self) -> Got {
        tokio::select! {
            _ = self.term.recv() => Got::End("SIGTERM"),
            _ = self.int.recv() => Got::End("SIGINT"),
            _ = self.hup.recv() => Got::Reopen("SIGHUP"),
            _ = self.usr1.recv() => Got::Reopen("SIGUSR1"),
        }
    }
}

fn config_name(flags: &Run) -> String {
    flags.config_path.as_ref().map(|p| p.display().to_string()).unwrap_or_default()
}

/// Writes each issue once.
fn tell(log: &Log, flags: &Run, issues: &[Issue]) {
    let file = flags.config_path.as_deref().unwrap_or(Path::new("--config-yaml"));
    let mut seen = HashSet::new();
    for issue in issues {
        let text = line(issue, file);
        if seen.insert(text.clone()) {
            let level = if issue.severity == Severity::Error { Level::Critical } else { Level::Warning };
            log.write(level, "config", &text);
        }
    }
}

/// Writes every issue and what they come to; gives the exit status.
fn refused(log: &Log, flags: &Run, issues: &[Issue]) -> u8 {
    tell(log, flags, issues);
    let errors = issues.iter().filter(|i| i.severity == Severity::Error).count();
    if errors > 0 {
        let s = if errors == 1 { "" } else { "s" };
        log.critical(&format!("error initializing configuration '{}': {errors} problem{s}", config_name(flags)));
    }
    1
}
