//! What the tests need: the program in a process of its own, files in a folder of their own, an upstream, raw HTTP.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// Longer than anything takes on a busy machine; whoever waits longer waits for a fault.
pub const LONG: Duration = Duration::from_secs(30);

/// A folder that goes away with the test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let path = std::env::temp_dir().join(format!("plenipo-cli-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed)));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file; its path as text.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A bootstrap: admin and one listener `main` on port 0, with this route and these clusters.
pub fn bootstrap(route: &str, clusters: &str) -> String {
    format!(
        r#"
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  listeners:
  - name: main
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: main
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{match: {{prefix: /}}, {route}}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters: [{clusters}]
"#
    )
}

/// [`bootstrap`] that answers `hello` itself.
pub fn direct() -> String {
    bootstrap("direct_response: {status: 200, body: {inline_string: hello}}", "")
}

/// [`bootstrap`] that forwards everything to this address.
pub fn forwarding(upstream: SocketAddr) -> String {
    let endpoint =
        format!("{{endpoint: {{address: {{socket_address: {{address: {}, port_value: {}}}}}}}}}", upstream.ip(), upstream.port());
    let cluster = format!("{{name: app, load_assignment: {{cluster_name: app, endpoints: [{{lb_endpoints: [{endpoint}]}}]}}}}");
    bootstrap("route: {cluster: app, timeout: 0s}", &cluster)
}

/// Runs the program to its end.
pub fn plenipo(arguments: &[&str]) -> Output {
    Command::new(program()).args(arguments).stdin(Stdio::null()).output().unwrap()
}

pub fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_plenipo"))
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The program while it runs; killed when the test ends.
pub struct Running {
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Running {
    /// Starts `plenipo` with these arguments.
    pub fn spawn(arguments: &[&str]) -> Running {
        let mut child =
            Command::new(program()).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (reader, to) = (BufReader::new(child.stderr.take().unwrap()), log.clone());
        let reader = thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                let mut log = to.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Running { child, log, reader: Some(reader) }
    }

    /// Starts `plenipo run -c` with this bootstrap, further arguments behind it, and waits until it serves.
    pub fn serving(folder: &Folder, bootstrap: &str, arguments: &[&str]) -> Running {
        let file = folder.file("envoy.yaml", bootstrap);
        let running = Running::spawn(&[&["run", "-c", &file, "--concurrency", "1"], arguments].concat());
        running.wait_for("starting main dispatch loop");
        running
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits for a line with this text.
    pub fn wait_for(&self, text: &str) {
        let start = Instant::now();
        while !self.log().contains(text) {
            assert!(start.elapsed() < LONG, "{text:?} was not logged; the log:\n{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The address behind this text in the log.
    fn address(&self, before: &str) -> SocketAddr {
        self.wait_for(before);
        let log = self.log();
        let rest = log.split(before).nth(1).unwrap_or_default();
        let address = rest.split_whitespace().next().unwrap_or_default();
        address.parse().unwrap_or_else(|_| panic!("{address:?} is no address"))
    }

    /// Where the listener `main` is bound.
    pub fn listener(&self) -> SocketAddr {
        self.address("listener 'main' listens on ")
    }

    /// Where the admin interface is bound.
    pub fn admin(&self) -> SocketAddr {
        self.address("admin address: ")
    }

    /// Sends a signal: `TERM`, `INT`, `HUP`, `USR1`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end, and for the last line of the log.
    pub fn ended(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.reader.take().map(|reader| reader.join());
                return status;
            }
            assert!(start.elapsed() < LONG, "still running; the log:\n{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An upstream that says when a request has come and answers when it is told to.
pub struct Upstream {
    pub address: SocketAddr,
    requests: mpsc::Receiver<()>,
    answer: mpsc::Sender<()>,
}

impl Upstream {
    pub fn new() -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (came, requests) = mpsc::channel();
        let (answer, answers) = mpsc::channel::<()>();
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let mut reader = BufReader::new(connection);
                while head(&mut reader).is_some() {
                    if came.send(()).is_err() || answers.recv().is_err() {
                        return;
                    }
                    let _ = reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone");
                }
            }
        });
        Upstream { address, requests, answer }
    }

    /// Waits for a request.
    pub fn requested(&self) {
        self.requests.recv_timeout(LONG).unwrap();
    }

    /// Lets one request be answered.
    pub fn answer(&self) {
        self.answer.send(()).unwrap();
    }
}

fn head(reader: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    loop {
        let before = head.len();
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
        if &head[before..] == "\r\n" {
            return Some(head);
        }
    }
}

/// Sends a request; read the answer with [`answer`].
pub fn send(to: SocketAddr, method: &str, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
    stream
}

/// All that is said until the connection ends.
pub fn answer(mut stream: TcpStream) -> String {
    let mut all = Vec::new();
    // A reset ends it too.
    let _ = stream.read_to_end(&mut all);
    String::from_utf8_lossy(&all).into_owned()
}

/// Sends a request and reads the answer.
pub fn get(to: SocketAddr, path: &str) -> String {
    answer(send(to, "GET", path))
}

/// Waits until this holds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LONG, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
