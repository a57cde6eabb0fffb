//! Resolves the names of STRICT_DNS and LOGICAL_DNS clusters again and again, and keeps the last good answer.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    fmt, fs,
    hash::{BuildHasher, RandomState},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use futures_util::future::join_all;
use hickory_resolver::{
    TokioResolver,
    config::{self as hickory, ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts},
    net::runtime::TokioRuntimeProvider,
};

use super::{
    Cluster, Discovery,
    host::Endpoint,
    host_set::{HostEntry, HostSet},
    settings::{DnsEndpoint, DnsSettings, FailureRefresh, LookupFamily, ResolverConfig},
};

/// The files that tell the system's resolver what to do; looked at anew when they change.
const SYSTEM_FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// Time to live of answers that have none, such as those of the hosts file.
const NO_TTL: u32 = hickory_resolver::MAX_TTL;

/// Why a name was not resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsError(String);

impl fmt::Display for DnsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DnsError {}

/// The resolvers of one proxy, one for each distinct configuration. Answers are not cached: clusters keep their own.
#[derive(Default)]
pub struct Resolvers {
    made: Mutex<HashMap<(ResolverConfig, LookupFamily), Made>>,
}

struct Made {
    resolver: Arc<TokioResolver>,
    /// When the system's files had last changed.
    stamp: [Option<SystemTime>; 2],
}

/// The addresses of a name and for how long they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    addresses: Vec<IpAddr>,
    ttl: Option<Duration>,
}

impl Resolvers {
    /// No resolver yet.
    pub fn new() -> Resolvers {
        Resolvers::default()
    }

    /// Asks for the addresses of a name, with search domains and the hosts file as the system has them.
    async fn lookup(&self, config: &ResolverConfig, family: LookupFamily, name: &str) -> Result<Answer, DnsError> {
        if let Ok(address) = name.parse::<IpAddr>() {
            let fits = match family {
                LookupFamily::V4Only => address.is_ipv4(),
                LookupFamily::V6Only => address.is_ipv6(),
                _ => true,
            };
            let wrong = || DnsError(format!("{name} is of the other address family"));
            return fits.then(|| Answer { addresses: vec![address], ttl: None }).ok_or_else(wrong);
        }
        let resolver = self.resolver(config, family)?;
        let found = resolver.lookup_ip(name).await.map_err(|e| DnsError(e.to_string()))?;
        let records = found.as_lookup().answers();
        let mut seen = HashSet::new();
        let addresses: Vec<IpAddr> = records.iter().filter_map(|r| r.data.ip_addr()).filter(|a| seen.insert(*a)).collect();
        if addresses.is_empty() {
            return Err(DnsError(format!("{name} has no address")));
        }
        let ttl = records.iter().map(|r| r.ttl).min().filter(|ttl| *ttl != 0 && *ttl != NO_TTL);
        Ok(Answer { addresses, ttl: ttl.map(|ttl| Duration::from_secs(ttl.into())) })
    }

    fn resolver(&self, config: &ResolverConfig, family: LookupFamily) -> Result<Arc<TokioResolver>, DnsError> {
        let stamp = SYSTEM_FILES.map(|file| fs::metadata(file).and_then(|m| m.modified()).ok());
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = made.get(&(config.clone(), family)).filter(|known| known.stamp == stamp) {
            return Ok(known.resolver.clone());
        }
        let resolver = Arc::new(build(config, family)?);
        made.insert((config.clone(), family), Made { resolver: resolver.clone(), stamp });
        Ok(resolver)
    }
}

fn build(config: &ResolverConfig, family: LookupFamily) -> Result<TokioResolver, DnsError> {
    let say = |e: hickory_resolver::net::NetError| DnsError(format!("cannot read the system's resolver configuration: {e}"));
    let system = hickory_resolver::system_conf::read_system_conf();
    let mut options = system.as_ref().map(|(_, options)| options.clone()).unwrap_or_default();
    options.ip_strategy = match family {
        LookupFamily::Auto => LookupIpStrategy::Ipv6thenIpv4,
        LookupFamily::V4Only => LookupIpStrategy::Ipv4Only,
        LookupFamily::V6Only => LookupIpStrategy::Ipv6Only,
        LookupFamily::V4Preferred => LookupIpStrategy::Ipv4thenIpv6,
        LookupFamily::All => LookupIpStrategy::Ipv4AndIpv6,
    };
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Always;
    options.timeout = config.timeout;
    options.attempts = config.tries.saturating_sub(1) as usize;
    let (mut domain, mut search, mut servers) = (None, Vec::new(), Vec::new());
    if config.servers.is_empty() || !config.no_search {
        match system {
            Ok((system, _)) => (domain, search, servers) = system.into_parts(),
            Err(e) if config.servers.is_empty() => return Err(say(e)),
            Err(_) => {}
        }
    }
    if config.no_search {
        (domain, search) = (None, Vec::new());
    }
    if !config.servers.is_empty() {
        servers = config.servers.iter().map(|server| name_server(*server)).collect();
    }
    if config.tcp {
        for server in &mut servers {
            server.connections.retain(|c| matches!(c.protocol, hickory::ProtocolConfig::Tcp));
        }
    }
    let parts = hickory::ResolverConfig::from_parts(domain, search, servers);
    let builder = TokioResolver::builder_with_config(parts, TokioRuntimeProvider::default()).with_options(options);
    builder.build().map_err(|e| DnsError(format!("cannot make a resolver: {e}")))
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    server.connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()]
        .into_iter()
        .map(|mut connection| {
            connection.port = address.port();
            connection
        })
        .collect();
    server
}

/// Keeps the hosts of a DNS cluster as DNS tells them, for ever; drop the future to stop. Other clusters return at once.
/// Runs on the control runtime.
pub async fn run_dns(cluster: Arc<Cluster>, resolvers: Arc<Resolvers>) {
    let Discovery::Dns(dns) = &cluster.settings.discovery else { return };
    let carried = cluster.hosts();
    let slot = |name: &DnsEndpoint| Slot { asked: false, hosts: carried_hosts(&carried, name) };
    let work = Work { cluster: &cluster, dns, slots: RefCell::new(dns.names.iter().map(slot).collect()) };
    drop(carried);
    if dns.names.is_empty() {
        cluster.set_warm();
    }
    join_all(dns.names.iter().enumerate().map(|(at, name)| work.follow(at, name, &resolvers))).await;
}

struct Work<'c> {
    cluster: &'c Cluster,
    dns: &'c DnsSettings,
    slots: RefCell<Vec<Slot>>,
}

/// What is known of one name.
struct Slot {
    /// Whether there was an answer or a failure.
    asked: bool,
    /// The last good answer.
    hosts: Vec<Endpoint>,
}

/// What the configuration before had found out about a name.
fn carried_hosts(hosts: &HostSet, name: &DnsEndpoint) -> Vec<Endpoint> {
    let of_name = |entry: &&HostEntry| entry.host.hostname == name.hostname && entry.host.address().port() == name.port;
    hosts.entries().iter().filter(of_name).map(|entry| name.at(entry.host.address().ip())).collect()
}

impl Work<'_> {
    async fn follow(&self, at: usize, name: &DnsEndpoint, resolvers: &Resolvers) {
        let literal = name.name.parse::<IpAddr>().is_ok();
        let mut failures = 0;
        loop {
            self.cluster.config_stats.update_attempt().inc();
            let answer = resolvers.lookup(&self.dns.resolver, self.dns.family, &name.name).await;
            let pause = match answer {
                Ok(answer) => {
                    failures = 0;
                    self.take(at, name, &answer.addresses);
                    let refresh = answer.ttl.filter(|_| self.dns.respect_ttl).unwrap_or(self.dns.refresh);
                    refresh + jitter(self.dns.jitter)
                }
                Err(_) => {
                    failures += 1;
                    self.cluster.config_stats.update_failure().inc();
                    self.asked(at, None);
                    failure_pause(self.dns, failures)
                }
            };
            if literal {
                return;
            }
            tokio::time::sleep(pause.max(Duration::from_millis(1))).await;
        }
    }

    fn take(&self, at: usize, name: &DnsEndpoint, addresses: &[IpAddr]) {
        self.cluster.config_stats.update_success().inc();
        let wanted = if self.dns.strict { addresses.len() } else { 1 };
        self.cluster.looked_at(wanted, if self.dns.strict { name.weight } else { 0 });
        self.asked(at, Some(addresses.iter().take(wanted).map(|ip| name.at(*ip)).collect()));
    }

    /// Notes an answer, or that there was none, and publishes what is known now.
    fn asked(&self, at: usize, hosts: Option<Vec<Endpoint>>) {
        let mut slots = self.slots.borrow_mut();
        slots[at].asked = true;
        if let Some(hosts) = hosts {
            slots[at].hosts = hosts;
            let mut seen = HashSet::new();
            let all = slots.iter().flat_map(|slot| &slot.hosts).filter(|endpoint| seen.insert(endpoint.address));
            let all: Vec<Endpoint> = all.cloned().collect();
            let published = match all.first() {
                Some(first) if !self.dns.strict => self.cluster.set_logical(first),
                _ => self.cluster.publish(&all),
            };
            if !published {
                self.cluster.config_stats.update_no_rebuild().inc();
            }
        }
        if slots.iter().all(|slot| slot.asked) {
            self.cluster.set_warm();
        }
    }
}

impl Cluster {
    /// Says where the one host of a LOGICAL_DNS cluster is now.
    fn set_logical(&self, endpoint: &Endpoint) -> bool {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(next) = HostSet::logical(&self.hosts.load(), endpoint, &self.settings, &self.stats) else { return false };
        self.hosts.store(Arc::new(next));
        self.endpoint_stats.membership_change().inc();
        self.count_members();
        true
    }
}

fn failure_pause(dns: &DnsSettings, failures: u32) -> Duration {
    match dns.failure_refresh {
        None => dns.refresh,
        Some(FailureRefresh { base, max }) => jitter(base.saturating_mul(1u32.checked_shl(failures - 1).unwrap_or(u32::MAX)).min(max)),
    }
}

/// A random time below `bound`.
fn jitter(bound: Duration) -> Duration {
    // Every `RandomState` has keys of its own: random enough to spread timers.
    let random = RandomState::new().hash_one(0u8);
    bound.mul_f64((random >> 11) as f64 / (1u64 << 53) as f64)
}
