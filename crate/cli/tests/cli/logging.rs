//! The log: level, components, format, file.

use std::fs;

use crate::harness::{Folder, Running, answer, direct, plenipo, send, stderr, until};

fn init_only(flags: &[&str]) -> String {
    let folder = Folder::new();
    let file = folder.file("envoy.yaml", &direct());
    let output = plenipo(&[&["run", "--mode", "init_only", "-c", &file, "--concurrency", "1"], flags].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    stderr(&output)
}

#[test]
fn lines_have_envoys_default_form() {
    let log = init_only(&[]);
    let line = log.lines().find(|l| l.contains("starts")).unwrap_or_default();
    let (time, rest) = line.split_at(25.min(line.len()));
    let digits: String = time.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    assert_eq!(digits, "[9999-99-99 99:99:99.999]", "{log}");
    let rest = rest.trim_start_matches('[').trim_start_matches(|c: char| c.is_ascii_digit());
    assert!(rest.starts_with("][info][main] [crate/cli/src/run.rs:"), "{log}");
}

#[test]
fn level_and_components_decide_what_is_written() {
    for (flags, main, admin) in [
        (&["-l", "info"][..], true, true),
        (&["-l", "warning"], false, false),
        (&["-l", "off"], false, false),
        (&["-l", "off", "--component-log-level", "admin:info"], false, true),
        (&["--component-log-level", "admin:off"], true, false),
    ] {
        let log = init_only(flags);
        assert_eq!((log.contains("listener 'main'"), log.contains("admin address: ")), (main, admin), "{flags:?}:\n{log}");
    }
}

#[test]
fn the_format_is_the_flags() {
    let log = init_only(&["--log-format", "<%L %=8n> %v"]);
    assert!(log.lines().any(|l| l.starts_with("<I   main  > plenipo ")), "{log}");
    let log = init_only(&["--log-format", "%v", "--log-format-escaped"]);
    assert!(log.contains("listener \\'main\\' listens on "), "{log}");
}

#[test]
fn the_file_is_appended_to_and_opened_again() {
    let folder = Folder::new();
    let path = folder.path("plenipo.log");
    fs::write(&path, "before\n").unwrap();
    let file = folder.file("envoy.yaml", &direct());
    let mut running = Running::spawn(&["run", "-c", &file, "--log-path", &path.display().to_string()]);
    let log = || fs::read_to_string(&path).unwrap_or_default();
    until("it serves", || log().contains("starting main dispatch loop"));
    assert!(log().starts_with("before\n["), "{}", log());
    fs::rename(&path, folder.path("old")).unwrap();
    running.signal("USR1");
    until("the file is there again", || path.exists());
    running.signal("TERM");
    assert_eq!(running.ended().code(), Some(0));
    assert!(log().ends_with("exiting\n") && !log().contains("before"), "{}", log());
    assert_eq!(running.log(), "");
}

#[test]
fn the_admin_interface_shows_and_changes_levels() {
    let folder = Folder::new();
    let running = Running::serving(&folder, &direct(), &["--component-log-level", "config:error"]);
    let ask = |path: &str| answer(send(running.admin(), "POST", path));
    let levels = ask("/logging");
    assert!(levels.contains("  admin: info\n  config: error\n  main: info\n"), "{levels}");
    running.signal("HUP");
    running.wait_for("caught SIGHUP");
    assert!(ask("/logging?main=off").contains("  main: off\n"));
    running.signal("USR1");
    // The line that is not written has no trace to wait for; the one after it has.
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(ask("/logging?level=debug").contains("  config: debug\n  main: debug\n"));
    running.signal("HUP");
    until("the log speaks again", || running.log().matches("caught SIGHUP").count() == 2);
    assert!(!running.log().contains("SIGUSR1"), "{}", running.log());
}
