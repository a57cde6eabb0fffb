//! `plenipo run`: one proxy, its log lines, and the signals. Only the command handles signals, never the library.

use std::{path::Path, time::Duration};

use plenipo_api::{Input, Issue, Severity, UnknownFields};
use plenipo_engine::engine::{self, Event, Options, Proxy};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    flags::{Mode, Run},
    log::{Level, Log},
    validate::{line, read},
};

/// Runs until a signal, `/quitquitquit` or a failure; gives the exit status.
pub fn run(flags: &Run) -> u8 {
    let log = match Log::new(&flags.log_level, flags.component_log_level.as_deref(), &flags.log_format, flags.log_path.as_deref()) {
        Ok(log) => log,
        Err(message) => {
            eprintln!("{message}");
            return 1;
        }
    };
    for name in flags.ignored.given() {
        log.warn(&format!("{name} has no effect here"));
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            log.write(Level::Critical, "main", &format!("cannot start: {e}"));
            return 1;
        }
    };
    runtime.block_on(serve(flags, &log))
}

fn inputs(flags: &Run) -> Result<Vec<Input>, Vec<Issue>> {
    let mut inputs = Vec::new();
    if let Some(file) = &flags.config_path {
        inputs.push(read(file)?);
    }
    if let Some(yaml) = &flags.config_yaml {
        inputs.push(Input::yaml(yaml.as_str()).named("--config-yaml"));
    }
    if inputs.is_empty() {
        let message = "At least one of --config-path or --config-yaml must be non-empty";
        return Err(vec![Issue::error(plenipo_api::IssueCode::ConfigInvalid, "", message)]);
    }
    Ok(inputs)
}

fn tell(log: &Log, flags: &Run, issues: &[Issue]) {
    let file = flags.config_path.as_deref().unwrap_or(Path::new("plenipo"));
    for issue in issues {
        let level = if issue.severity == Severity::Error { Level::Critical } else { Level::Warning };
        log.write(level, "config", &line(issue, file));
    }
}

async fn serve(flags: &Run, log: &Log) -> u8 {
    let inputs = match inputs(flags) {
        Ok(inputs) => inputs,
        Err(issues) => {
            tell(log, flags, &issues);
            return 1;
        }
    };
    let unknown_fields = if flags.allow_unknown_static_fields { UnknownFields::Warn } else { UnknownFields::Reject };
    if flags.mode == Mode::Validate {
        let issues = engine::validate(inputs, unknown_fields);
        tell(log, flags, &issues);
        let failed = issues.iter().any(|i| i.severity == Severity::Error);
        if !failed {
            println!("configuration '{}' OK", flags.config_path.as_ref().map(|p| p.display().to_string()).unwrap_or_default());
        }
        return u8::from(failed);
    }
    let mut options = Options {
        concurrency: flags.concurrency,
        pin_workers: flags.cpuset_threads,
        service_cluster: flags.service_cluster.clone(),
        service_node: flags.service_node.clone(),
        service_zone: flags.service_zone.clone(),
        unknown_fields,
        share_port: flags.share_ports,
        drain_time: Duration::from_secs(flags.drain_time_s),
        flush_interval: Duration::from_millis(flags.file_flush_interval_msec),
        admin_address_path: flags.admin_address_path.clone(),
        ..Options::default()
    };
    options.command_line = flags.as_json(options.workers());
    log.info(&format!("plenipo {} starts {} workers", crate::version(), options.workers()));
    let proxy = Proxy::new(options);
    let mut events = proxy.events();
    let signals = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
        signal(SignalKind::hangup()),
        signal(SignalKind::user_defined1()),
    );
    let (Ok(mut term), Ok(mut int), Ok(mut hup), Ok(mut usr1)) = signals else {
        log.write(Level::Critical, "main", "cannot listen to signals");
        return 1;
    };
    match proxy.start(inputs, None).await {
        Ok(applied) => tell(log, flags, &applied.warnings),
        Err(e) => {
            if e.issues.is_empty() {
                log.write(Level::Critical, "main", &e.message);
            }
            tell(log, flags, &e.issues);
            return 1;
        }
    }
    for bound in proxy.addresses() {
        log.info(&format!("{} listens on {}", bound.listener, bound.address));
    }
    if flags.mode == Mode::InitOnly {
        proxy.stop(None).await;
        log.info("initialized; exiting, as --mode init_only says");
        return 0;
    }
    log.info("starting main dispatch loop");
    loop {
        tokio::select! {
            _ = term.recv() => { log.info("caught SIGTERM"); break }
            _ = int.recv() => { log.info("caught SIGINT"); break }
            _ = hup.recv() => { log.info("caught SIGHUP: access logs are opened again"); proxy.reopen_logs(); }
            _ = usr1.recv() => { log.info("caught SIGUSR1: access logs are opened again"); proxy.reopen_logs(); }
            event = events.recv() => match event {
                Some(Event::QuitRequested) => { log.info("the admin interface was asked to quit"); break }
                Some(Event::Stopped) | None => return 0,
                Some(_) => {}
            },
        }
    }
    let grace = flags.grace();
    log.info(&format!("draining: running requests may go on for {} s", grace.as_secs()));
    tokio::select! {
        report = proxy.drain(grace) => {
            if let Ok(report) = report {
                log.info(&format!("drained: {} requests ended, {} connections were reset", report.completed, report.reset));
            }
        }
        _ = term.recv() => at_once(log),
        _ = int.recv() => at_once(log),
    }
    proxy.stop(None).await;
    log.info("exiting");
    0
}

/// A second signal: whoever sends it does not want to wait.
fn at_once(log: &Log) -> ! {
    log.info("a second signal: exiting at once");
    std::process::exit(1)
}
