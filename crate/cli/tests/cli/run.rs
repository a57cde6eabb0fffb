//! `plenipo run`: how a start ends, what is merged, what is written where.

use std::{fs, net::TcpListener};

use crate::harness::{Folder, Running, Upstream, answer, direct, forwarding, get, plenipo, send, stderr, stdout, until};

#[test]
fn a_bad_configuration_ends_the_start_with_every_problem() {
    let folder = Folder::new();
    let file = folder.file("envoy.yaml", "static_resources:\n  clusters:\n  - {name: a, lb_polcy: RANDOM}\n  - {name: b, type: NOWHERE}\n");
    let output = plenipo(&["run", "-c", &file]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), String::new()));
    let log = stderr(&output);
    for want in [
        "[critical][config] ".to_owned(),
        format!("{file}:3:15: error: static_resources.clusters[0].lb_polcy: "),
        format!("{file}:4:21: error: "),
    ] {
        assert!(log.contains(&want), "{want}:\n{log}");
    }
    let missing = plenipo(&["run", "-c", "no-such.yaml"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("no-such.yaml: error: cannot be read: No such file or directory"), "{}", stderr(&missing));
}

#[test]
fn a_taken_port_ends_the_start_and_says_so() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for of in [0, 1] {
        let mut parts: Vec<String> = direct().split("port_value: 0").map(str::to_owned).collect();
        parts[of].push_str(&format!("port_value: {port}"));
        parts[1 - of].push_str("port_value: 0");
        let file = folder.file("envoy.yaml", &parts.concat());
        let output = plenipo(&["run", "-c", &file]);
        assert_eq!(output.status.code(), Some(1));
        let log = stderr(&output);
        assert!(log.contains("EADDRINUSE") && log.contains(&format!("127.0.0.1:{port}")), "{log}");
    }
}

/// A listening socket of several workers has SO_REUSEPORT, so it is the second proxy that decides, and only on purpose.
#[test]
fn a_second_proxy_shares_a_port_only_where_it_says_so() {
    for (first, second, shared) in [
        (&[][..], &[][..], false),
        (&["--share-ports"], &[], false),
        (&[], &["--share-ports"], true),
        (&["--share-ports"], &["--share-ports"], true),
    ] {
        let folder = Folder::new();
        let running = Running::serving(&folder, &direct(), first);
        let port = running.listener().port();
        // The second port of the text is the listener's.
        let parts: Vec<String> = direct().splitn(3, "port_value: 0").map(str::to_owned).collect();
        let file = folder.file("second.yaml", &format!("{}port_value: 0{}port_value: {port}{}", parts[0], parts[1], parts[2]));
        let output = plenipo(&[&["run", "--mode", "init_only", "-c", &file], second].concat());
        assert_eq!(output.status.success(), shared, "{first:?} {second:?}: {}", stderr(&output));
        assert_eq!(stderr(&output).contains("EADDRINUSE"), !shared, "{}", stderr(&output));
    }
}

#[test]
fn unknown_fields_are_warnings_where_that_is_asked_for() {
    let folder = Folder::new();
    let with_unknown = direct().replace("  - name: main\n", "  - name: main\n    nonsense: 1\n");
    let file = folder.file("envoy.yaml", &with_unknown);
    assert_eq!(plenipo(&["run", "--mode", "init_only", "-c", &file]).status.code(), Some(1));
    let output = plenipo(&["run", "--mode", "init_only", "--allow-unknown-static-fields", "-c", &file]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let place = format!("{file}:6:5: warning: static_resources.listeners[0].nonsense: ");
    assert_eq!(stderr(&output).matches(&place).count(), 1, "{}", stderr(&output));
}

#[test]
fn config_yaml_is_merged_over_the_file() {
    let folder = Folder::new();
    let upstream = Upstream::new();
    let cluster = forwarding(upstream.address);
    let cluster = &cluster[cluster.find("clusters: [").unwrap()..];
    // The file has no cluster of this name: the route needs the one that the flag appends; the node is the flag's.
    let file = forwarding(upstream.address).replace(cluster, "clusters: []\n") + "node: {id: file, cluster: file}\n";
    let over = format!("node: {{id: flag}}\nstatic_resources:\n  {cluster}");
    let running = Running::serving(&folder, &file, &["--config-yaml", &over]);
    let request = send(running.listener(), "GET", "/");
    upstream.requested();
    upstream.answer();
    assert!(answer(request).ends_with("done"));
    let info = get(running.admin(), "/server_info");
    assert!(info.contains(r#""id": "flag""#) && info.contains(r#""cluster": "file""#), "{info}");
}

#[test]
fn problems_of_config_yaml_name_the_flag() {
    let folder = Folder::new();
    let file = folder.file("envoy.yaml", &direct());
    let output = plenipo(&["run", "-c", &file, "--config-yaml", "{static_resources: {clusters: [{nme: a}]}}"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("--config-yaml:1:33: error: static_resources.clusters[0].nme: "), "{}", stderr(&output));
}

#[test]
fn init_only_starts_and_ends() {
    let folder = Folder::new();
    let file = folder.file("envoy.yaml", &direct());
    let output = plenipo(&["run", "--mode", "init_only", "-c", &file]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("listener 'main' listens on 127.0.0.1:"), "{}", stderr(&output));
}

#[test]
fn the_admin_address_is_written_to_its_file() {
    let folder = Folder::new();
    let path = folder.path("admin");
    let running = Running::serving(&folder, &direct(), &["--admin-address-path", &path.display().to_string()]);
    let address = fs::read_to_string(&path).unwrap();
    assert_eq!(address.parse(), Ok(running.admin()));
    assert!(get(running.admin(), "/ready").contains("LIVE\n"));
    assert!(get(running.listener(), "/").ends_with("hello"));
}

#[test]
fn server_info_shows_the_flags_and_the_node_that_they_name() {
    let folder = Folder::new();
    let flags = ["--service-cluster", "c1", "--service-node", "n1", "--service-zone", "z1", "--drain-time-s", "7", "-l", "info"];
    let running = Running::serving(&folder, &direct(), &flags);
    let info = get(running.admin(), "/server_info");
    for want in [
        r#""id": "n1""#,
        r#""cluster": "c1""#,
        r#""zone": "z1""#,
        r#""service_cluster": "c1""#,
        r#""service_node": "n1""#,
        r#""service_zone": "z1""#,
        r#""concurrency": 1"#,
        r#""drain_time": "7s""#,
        r#""log_level": "info""#,
    ] {
        assert!(info.contains(want), "{want}:\n{info}");
    }
}

#[test]
fn an_admin_interface_that_is_open_to_all_is_warned_of() {
    let folder = Folder::new();
    let open = direct().replacen("address: 127.0.0.1", "address: 0.0.0.0", 1);
    let running = Running::serving(&folder, &open, &[]);
    assert_eq!(running.log().matches("warning: admin.address.socket_address.address: ").count(), 1, "{}", running.log());
}

#[test]
fn quitquitquit_does_not_wait_for_requests() {
    let folder = Folder::new();
    let upstream = Upstream::new();
    let mut running = Running::serving(&folder, &forwarding(upstream.address), &[]);
    let request = send(running.listener(), "GET", "/");
    upstream.requested();
    let said = answer(send(running.admin(), "POST", "/quitquitquit"));
    assert!(said.contains("OK\n"), "{said:?}\n{}", running.log());
    assert_eq!(running.ended().code(), Some(0), "{}", running.log());
    assert_eq!(answer(request), "");
}

#[test]
fn access_logs_are_flushed_as_often_as_the_flag_says() {
    let folder = Folder::new();
    let path = folder.path("access.log");
    let log = format!(
        "          access_log: [{{name: f, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, \
         path: {}}}}}]\n          http_filters:\n",
        path.display()
    );
    let config = direct().replace("          http_filters:\n", &log);
    let running = Running::serving(&folder, &config, &["--file-flush-interval-msec", "20"]);
    assert!(get(running.listener(), "/seen").ends_with("hello"));
    let lines = || fs::read_to_string(&path).unwrap_or_default();
    until("the line is written", || lines().contains("GET /seen"));
    // The rotation of a log: moved away, and opened again when told.
    for (signal, round) in [("USR1", "a"), ("HUP", "b")] {
        fs::rename(&path, folder.path(round)).unwrap();
        running.signal(signal);
        running.wait_for(&format!("caught SIG{signal}. Reopening access logs."));
        until("the file is there again", || path.exists());
        get(running.listener(), &format!("/{round}"));
        until("the line is in the new file", || lines().contains(&format!("GET /{round} ")));
    }
}

/// As in Envoy, what is discovered may have unknown fields unless that is forbidden; the log tells of them unless that is.
#[test]
fn unknown_fields_of_discovered_routes_are_told_refused_or_ignored() {
    let answers = |text: &str, extra: &str| {
        format!(
            r#"{{"resources": [{{"@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "name": "local", {extra}
            "virtual_hosts": [{{"name": "v", "domains": ["*"], "routes": [{{"match": {{"prefix": "/"}}, "direct_response": {{"status": 200, "body": {{"inline_string": "{text}"}}}}}}]}}]}}]}}"#
        )
    };
    for (flags, used, told) in [
        (&[][..], true, true),
        (&["--ignore-unknown-dynamic-fields"], true, false),
        (&["--reject-unknown-dynamic-fields"], false, false),
        (&["--reject-unknown-dynamic-fields", "--ignore-unknown-dynamic-fields"], false, false),
    ] {
        let folder = Folder::new();
        let file = folder.file("rds.json", &answers("before", ""));
        let inline = direct();
        let (from, to) = (inline.find("route_config:").unwrap(), inline.find("http_filters:").unwrap());
        let rds = format!("rds: {{route_config_name: local, config_source: {{path_config_source: {{path: {file}}}}}}}\n          ");
        let text = format!("{}{rds}{}", &inline[..from], &inline[to..]);
        let running = Running::serving(&folder, &text, &[&["--service-node", "n", "--service-cluster", "c"], flags].concat());
        assert!(get(running.listener(), "/").ends_with("before"));
        let new = folder.file("new.json", &answers("after", r#""nonsense": 1,"#));
        fs::rename(new, &file).unwrap();
        let stat = |name: &str, value: u32| get(running.admin(), "/stats").contains(&format!("{name}: {value}\n"));
        until("an update", || stat("rds.local.update_success", 2) || stat("rds.local.update_rejected", 1));
        let want = if used { "after" } else { "before" };
        assert!(get(running.listener(), "/").ends_with(want), "{flags:?}: {}", running.log());
        assert!(stat("server.dynamic_unknown_fields", u32::from(told)), "{flags:?}");
        if told {
            running.wait_for("Unknown field: ");
        }
        if !used {
            running.wait_for("Filesystem config update rejected: ");
        }
        assert_eq!(running.log().contains("Unknown field: "), told, "{}", running.log());
    }
}
