//! Times the reader on 10,000 clusters and 10,000 virtual hosts: `cargo run --release -p plenipo-api --example measure`.
use std::{fmt::Write as _, time::Instant};

use plenipo_api::{Input, Options, Support, proto::envoy::config::cluster::v3::Cluster, read_bootstrap};

fn main() {
    let count: usize = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(10_000);
    let support =
        std::env::args().nth(2).and_then(|f| std::fs::read_to_string(f).ok()).map(|t| Support::parse(&t).expect("a support list"));
    let text = json(count);
    println!("{count} clusters and virtual hosts, {} bytes of JSON; resident before {} KB", text.len(), resident("VmRSS"));
    let options = Options { support: support.as_ref(), ..Options::default() };
    for round in 0..3 {
        let input = vec![Input::json(text.clone())];
        let (start, cpu) = (Instant::now(), cpu_ms());
        let loaded = match read_bootstrap(input, &options) {
            Ok(loaded) => loaded,
            Err(issues) => return println!("{} issues, the first: {}", issues.len(), issues[0]),
        };
        let (read, read_cpu) = (start.elapsed(), cpu_ms() - cpu);
        let mut names = 0;
        for cluster in &loaded.clusters {
            names += cluster.decode::<Cluster>().map_or(0, |c| c.name.len());
        }
        println!(
            "round {round}: read and checked in {:.1} ms ({read_cpu:.1} ms of CPU), clusters decoded one by one in {:.1} ms ({names}); resident {} KB, peak {} KB",
            read.as_secs_f64() * 1e3,
            (start.elapsed() - read).as_secs_f64() * 1e3,
            resident("VmRSS"),
            resident("VmHWM")
        );
    }
    let yaml = text.replace("},{", "},\n {");
    let start = Instant::now();
    let ok = read_bootstrap(vec![Input::yaml(yaml)], &options).is_ok();
    println!("the same as YAML: {:.1} ms, accepted: {ok}; peak {} KB", start.elapsed().as_secs_f64() * 1e3, resident("VmHWM"));
}

fn json(count: usize) -> String {
    let mut out = String::from("{\"static_resources\":{\"clusters\":[");
    for i in 0..count {
        let comma = if i == 0 { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "{comma}{{\"name\":\"cluster-{i}\",\"connect_timeout\":\"0.25s\",\"type\":\"STATIC\",\"lb_policy\":\"ROUND_ROBIN\",\
             \"load_assignment\":{{\"cluster_name\":\"cluster-{i}\",\"endpoints\":[{{\"lb_endpoints\":[\
             {{\"endpoint\":{{\"address\":{{\"socket_address\":{{\"address\":\"127.0.0.1\",\"port_value\":8080}}}}}}}},\
             {{\"endpoint\":{{\"address\":{{\"socket_address\":{{\"address\":\"127.0.0.2\",\"port_value\":8080}}}}}}}}]}}]}}}}"
        );
    }
    out.push_str(
        "],\"listeners\":[{\"name\":\"l\",\"address\":{\"socket_address\":{\"address\":\"127.0.0.1\",\"port_value\":0}},\"filter_chains\":[{\"filters\":[\
         {\"name\":\"hcm\",\"typed_config\":{\"@type\":\"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\",\
         \"stat_prefix\":\"x\",\"http_filters\":[{\"name\":\"envoy.filters.http.router\",\"typed_config\":{\"@type\":\
         \"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router\"}}],\"route_config\":{\"name\":\"r\",\"virtual_hosts\":[",
    );
    for i in 0..count {
        let comma = if i == 0 { "" } else { "," };
        let _ = write!(
            out,
            "{comma}{{\"name\":\"host-{i}\",\"domains\":[\"host-{i}.example.com\"],\"routes\":[{{\"match\":{{\"prefix\":\"/\"}},\"route\":{{\"cluster\":\"cluster-{i}\"}}}}]}}"
        );
    }
    out.push_str("]}}}]}]}]}}");
    out
}

/// CPU time of this thread so far, 0 where the system does not tell.
fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) / 1e6
}

/// A field of `/proc/self/status` in KB, 0 where there is none.
fn resident(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find_map(|l| l.strip_prefix(field)?.trim_start_matches(':').split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
