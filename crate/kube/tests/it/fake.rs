//! A scripted API server: it hands each request to a closure, and writes what the closure says.
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What to write for one request; the connection is closed after the last step.
pub enum Step {
    Send(String),
    Wait(Duration),
    /// Keep the connection open until the server goes.
    Hang,
}

/// A request as the script sees it.
#[derive(Debug, Clone)]
pub struct Request {
    /// `services` or `endpointslices`.
    pub resource: String,
    pub is_watch: bool,
    pub query: String,
    pub token: String,
    /// How many requests for the same resource and verb came before.
    pub nth: usize,
}

pub struct Fake {
    pub url: String,
    pub seen: Arc<Mutex<Vec<Request>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    pub async fn start(script: impl Fn(&Request) -> Vec<Step> + Send + Sync + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (script, log) = (Arc::new(script), seen.clone());
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, script.clone(), log.clone()));
            }
        });
        Fake { url, seen, task }
    }

    pub fn count(&self, resource: &str, is_watch: bool) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|r| r.resource == resource && r.is_watch == is_watch).count()
    }
}

async fn serve(mut stream: TcpStream, script: Arc<impl Fn(&Request) -> Vec<Step>>, log: Arc<Mutex<Vec<Request>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1).unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let token = head.lines().find_map(|l| l.strip_prefix("authorization: Bearer ")).unwrap_or("");
    let request = {
        let mut seen = log.lock().unwrap();
        let mut request = Request {
            resource: path.rsplit('/').next().unwrap().into(),
            is_watch: query.contains("watch=true"),
            query: query.into(),
            token: token.into(),
            nth: 0,
        };
        request.nth = seen.iter().filter(|r| r.resource == request.resource && r.is_watch == request.is_watch).count();
        seen.push(request.clone());
        request
    };
    for step in script(&request) {
        match step {
            Step::Send(text) => {
                if stream.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
            }
            Step::Wait(time) => tokio::time::sleep(time).await,
            Step::Hang => std::future::pending::<()>().await,
        }
    }
}

/// A whole answer.
pub fn answer(status: u16, body: &str) -> Vec<Step> {
    let length = body.len();
    vec![Step::Send(format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    ))]
}

/// The head of a watch, and its first lines; `connection: close` framing.
pub fn watch(lines: &[String]) -> Vec<Step> {
    let mut text = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n".to_owned();
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    vec![Step::Send(text)]
}

pub fn status(code: u16, message: &str) -> String {
    format!(r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"{message}","reason":"X","code":{code}}}"#)
}
