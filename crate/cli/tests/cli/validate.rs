//! `plenipo validate` and `--mode validate`.

use std::{
    io::Read,
    net::TcpListener,
    process::{Command, Stdio},
};

use crate::harness::{Folder, direct, plenipo, program, stderr, stdout};

const BROKEN: &str = "\
static_resources:
  clusters:
  - name: a
    lb_polcy: RANDOM
  - name: b
    connect_timeout: soon
";

#[test]
fn every_problem_is_printed_with_its_place() {
    let folder = Folder::new();
    let (good, broken) = (folder.file("good.yaml", &direct()), folder.file("broken.yaml", BROKEN));
    let missing = folder.path("missing.yaml").display().to_string();
    let output = plenipo(&["validate", &good, &broken, &missing]);
    let text = stdout(&output);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((output.status.code(), lines.len(), stderr(&output)), (Some(1), 4, String::new()), "{text}");
    assert_eq!(lines[0], format!("{good}: OK"));
    assert!(lines[1].starts_with(&format!("{broken}:4:5: error: static_resources.clusters[0].lb_polcy: ")), "{text}");
    assert!(lines[1].ends_with("; did you mean \"lb_policy\"?"), "{text}");
    assert!(lines[2].starts_with(&format!("{broken}:6:22: error: static_resources.clusters[1].connect_timeout: ")), "{text}");
    assert!(lines[2].contains("expected ") && lines[2].contains("got \"soon\""), "{text}");
    assert_eq!(lines[3], format!("{missing}: error: cannot be read: No such file or directory (os error 2)"));
}

#[test]
fn verdicts() {
    let folder = Folder::new();
    let good = folder.file("good.yaml", &direct());
    // Valid for Envoy, and nothing that this proxy has.
    let wasm = direct().replace(
        "          http_filters:\n",
        "          http_filters:\n          - name: wasm\n            typed_config: \
         {\"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm, config: {name: x}}\n",
    );
    let unsupported = folder.file("unsupported.yaml", &wasm);
    let warned = folder.file("warned.yaml", &direct().replacen("address: 127.0.0.1", "address: 0.0.0.0", 1));
    let invalid = folder.file("invalid.yaml", "static_resources: {clusters: [{name: ''}]}");
    let syntax = folder.file("syntax.yaml", "a: [\n");
    let json = folder.file("good.json", r#"{"staticResources": {"clusters": [{"name": "a"}]}}"#);
    for (arguments, status, want) in [
        (&[good.as_str()][..], 0, "OK"),
        (&[&json], 0, "OK"),
        (&[&unsupported], 1, "envoy.extensions.filters.http.wasm.v3.Wasm"),
        (&["--schema", &unsupported], 0, "OK"),
        (&["--schema", &invalid], 1, "clusters[0].name"),
        (&[&invalid], 1, "clusters[0].name"),
        (&[&syntax], 1, "syntax.yaml:1:4: error: "),
        (&[&warned], 0, ": warning: admin.address.socket_address.address: "),
        (&["--strict", &warned], 1, ": warning: admin.address.socket_address.address: "),
        (&["--strict", &good], 0, "OK"),
    ] {
        let output = plenipo(&[&["validate"], arguments].concat());
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {}", stdout(&output));
        assert!(stdout(&output).contains(want), "{arguments:?}: {}", stdout(&output));
    }
}

#[test]
fn what_a_file_holds_cannot_break_the_line() {
    let folder = Folder::new();
    let file = folder.file("odd.yaml", r#"static_resources: {"odd\nkey\e[31m": 1}"#);
    let output = plenipo(&["validate", &file]);
    let text = stdout(&output);
    assert_eq!((output.status.code(), text.lines().count()), (Some(1), 1), "{text:?}");
    assert!(!text.trim_end().contains(char::is_control), "{text:?}");
}

#[test]
fn a_closed_pipe_is_no_panic() {
    let folder = Folder::new();
    let many = format!("static_resources:\n  clusters:\n{}", "  - {nme: a}\n".repeat(5_000));
    let file = folder.file("many.yaml", &many);
    let mut child = Command::new(program()).args(["validate", &file]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut some = [0; 64];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(1), String::new()));
}

#[test]
fn mode_validate_says_what_envoy_says_and_binds_nothing() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let file = folder.file("envoy.yaml", &direct().replace("port_value: 0", &format!("port_value: {port}")));
    let output = plenipo(&["run", "--mode", "validate", "-c", &file]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), format!("configuration '{file}' OK\n")), "{}", stderr(&output));
    let output = plenipo(&["run", "--mode", "validate", "--config-yaml", "--- {}"]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), "configuration '' OK\n".to_owned()), "{}", stderr(&output));
    let broken = folder.file("broken.yaml", BROKEN);
    let output = plenipo(&["run", "--mode", "validate", "-c", &broken]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), String::new()));
    let log = stderr(&output);
    for want in [
        format!("{broken}:4:5: error: "),
        format!("{broken}:6:22: error: "),
        format!("error initializing configuration '{broken}': 2 problems"),
    ] {
        assert!(log.contains(&want), "{want}:\n{log}");
    }
}
