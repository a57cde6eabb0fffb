//! Version, help, flags that are wrong, and command lines of envoy.

use crate::harness::{Folder, Running, direct, plenipo, stderr, stdout};

/// Every flag of `envoy --help`, version 1.40.
const ENVOYS: &str = "--stats-tag --enable-core-dump --socket-mode --socket-path --disable-extensions --cpuset-threads \
    --enable-mutex-tracing --disable-hot-restart --mode --parent-shutdown-time-s --drain-strategy --drain-time-s --file-flush-min-size-kb \
    --file-flush-interval-msec --service-zone --service-node --service-cluster --hot-restart-version --restart-epoch --log-path \
    --enable-fine-grain-logging --log-format-escaped --log-format --component-log-level -l, --log-level --local-address-ip-version \
    --admin-address-path --log-stacktrace-single-entry --skip-deprecated-logs --ignore-unknown-dynamic-fields \
    --reject-unknown-dynamic-fields --allow-unknown-static-fields --allow-unknown-fields --config-yaml -c, --config-path --concurrency \
    --base-id-path --skip-hot-restart-parent-stats --skip-hot-restart-on-no-parent --use-dynamic-base-id --base-id --version -h, --help";

#[test]
fn version_and_help_go_to_standard_output_with_status_0() {
    let want = format!("plenipo {}\n", env!("CARGO_PKG_VERSION"));
    for arguments in [&["--version"][..], &["-V"], &["run", "--version"], &["validate", "--version"]] {
        let output = plenipo(arguments);
        assert_eq!((output.status.code(), stdout(&output), stderr(&output)), (Some(0), want.clone(), String::new()), "{arguments:?}");
    }
    for arguments in [&["--help"][..], &["-h"], &["help"]] {
        let output = plenipo(arguments);
        assert_eq!(output.status.code(), Some(0));
        for word in ["run", "validate", "help", "--version"] {
            assert!(stdout(&output).contains(word), "{arguments:?} does not name {word}");
        }
    }
}

#[test]
fn help_of_run_names_every_flag_of_envoy() {
    let output = plenipo(&["run", "--help"]);
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    let words: Vec<&str> = text.split([' ', '\n', ']']).collect();
    for flag in ENVOYS.split_whitespace() {
        assert!(words.contains(&flag), "{flag}");
    }
}

#[test]
fn what_is_no_argument_is_named_with_status_1() {
    for (arguments, want) in [
        (&["run", "--bogus"][..], "'--bogus'"),
        (&["--bogus"], "'--bogus'"),
        (&["serve"], "'serve'"),
        (&["run", "envoy.yaml"], "'envoy.yaml'"),
        (&["run", "--mode", "wrong"], "'wrong'"),
        (&["run", "--concurrency", "many"], "'many'"),
        (&["run", "--drain-strategy", "x"], "'x'"),
        (&["run", "-l", "info", "--log-level", "info"], "cannot be used multiple times"),
        (&["validate"], "FILE"),
        (&["run", "-l", "loud"], "error: invalid log level specified 'loud'"),
        (&["run", "--component-log-level", "nope:debug"], "error: invalid component specified 'nope'"),
        (&["run", "--log-format", "%Q"], "error: --log-format: %Q is not implemented"),
        (&["run", "--log-path", "/nowhere/at/all.log"], "error: cannot open the log file /nowhere/at/all.log"),
        (&["run"], "At least one of --config-path or --config-yaml should be non-empty"),
        (&["run", "-c", "", "--config-yaml", ""], "At least one of --config-path or --config-yaml should be non-empty"),
    ] {
        let output = plenipo(arguments);
        assert_eq!((output.status.code(), stdout(&output)), (Some(1), String::new()), "{arguments:?}");
        assert!(stderr(&output).contains(want), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn nothing_at_all_is_answered_with_the_help() {
    let output = plenipo(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("Usage: plenipo"), "{}", stderr(&output));
}

/// The arguments of a container that ran envoy: no subcommand, flags that mean nothing here, words behind `--`.
#[test]
fn a_command_line_of_envoy_runs_unchanged_with_one_warning_a_flag_without_effect() {
    let folder = Folder::new();
    let file = folder.file("envoy.yaml", &direct());
    let without_effect = "--stats-tag a:b --stats-tag c:d --enable-core-dump --socket-mode 600 --socket-path @s --disable-extensions x \
        --enable-mutex-tracing --disable-hot-restart --file-flush-min-size-kb 64 --restart-epoch 0 --enable-fine-grain-logging \
        --local-address-ip-version v4 --log-stacktrace-single-entry --skip-deprecated-logs --base-id-path b --skip-hot-restart-parent-stats \
        --skip-hot-restart-on-no-parent --use-dynamic-base-id --base-id 3";
    let with_effect = "--drain-time-s 1 --drain-strategy immediate --parent-shutdown-time-s 2 --file-flush-interval-msec 100 \
        --cpuset-threads --reject-unknown-dynamic-fields --ignore-unknown-dynamic-fields --allow-unknown-fields --mode serve";
    let mut arguments = vec!["-c", &file];
    arguments.extend(without_effect.split_whitespace().chain(with_effect.split_whitespace()).chain(["--", "any", "--thing"]));
    let mut running = Running::spawn(&arguments);
    running.wait_for("starting main dispatch loop");
    let log = running.log();
    let mut flags: Vec<&str> = without_effect.split_whitespace().filter(|w| w.starts_with("--")).collect();
    flags.dedup();
    for flag in &flags {
        assert_eq!(log.matches(&format!("{flag} has no effect here")).count(), 1, "{flag}:\n{log}");
    }
    assert_eq!(log.matches("has no effect here").count(), flags.len(), "{log}");
    running.signal("TERM");
    assert_eq!(running.ended().code(), Some(0));
}

#[test]
fn the_hot_restart_version_is_that_of_an_envoy_without_it() {
    let output = plenipo(&["run", "--hot-restart-version"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).ends_with("disabled\n"), "{}", stderr(&output));
}
