//! A client of HTTP/1.1 that writes the bytes of the test and reads answers one by one.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use crate::within;

/// One connection.
pub struct Client(pub BufReader<TcpStream>);

/// An answer, its body whole.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Names in lower case with their values, in order.
    pub headers: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| &**v)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the answer asks for the connection to be closed.
    pub fn closes(&self) -> bool {
        self.header("connection") == Some("close")
    }
}

impl Client {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Client {
        Client(BufReader::new(within(TcpStream::connect(address)).await.expect("the proxy listens")))
    }

    /// Writes bytes; an error is what the read after it shows.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = within(self.0.get_mut().write_all(bytes.as_ref())).await;
    }

    /// A GET without a body on this connection.
    pub async fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        self.answer().await
    }

    /// A POST with this body.
    pub async fn post(&mut self, path: &str, body: &[u8]) -> Answer {
        self.send(format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len())).await;
        self.send(body).await;
        self.answer().await
    }

    /// The next answer; the test fails without one.
    #[track_caller]
    pub fn answer(&mut self) -> impl Future<Output = Answer> {
        let place = std::panic::Location::caller();
        async move {
            match self.read().await {
                Ok(answer) => answer,
                Err(e) => panic!("{place}: no answer: {e}"),
            }
        }
    }

    /// The head of the next answer.
    pub async fn head(&mut self) -> io::Result<Answer> {
        let mut answer = Answer::default();
        let first = self.line().await?;
        answer.status = first.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(|| io::Error::other(first.clone()))?;
        loop {
            let line = self.line().await?;
            match line.split_once(':') {
                Some((name, value)) => answer.headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
                None => return Ok(answer),
            }
        }
    }

    /// The next answer, or why there is none.
    pub async fn read(&mut self) -> io::Result<Answer> {
        let mut answer = self.head().await?;
        if let Some(length) = answer.header("content-length").and_then(|l| l.parse::<usize>().ok()) {
            answer.body.resize(length, 0);
            within(self.0.read_exact(&mut answer.body)).await?;
        } else if answer.header("transfer-encoding") == Some("chunked") {
            loop {
                let size = usize::from_str_radix(&self.line().await?, 16).map_err(io::Error::other)?;
                let start = answer.body.len();
                answer.body.resize(start + size, 0);
                within(self.0.read_exact(&mut answer.body[start..])).await?;
                self.line().await?;
                if size == 0 {
                    break;
                }
            }
        } else if !matches!(answer.status, 100..200 | 204 | 304) {
            within(self.0.read_to_end(&mut answer.body)).await?;
        }
        Ok(answer)
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if within(self.0.read_line(&mut line)).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// Waits for the other side to close; whether nothing came before that.
    pub async fn closed(&mut self) -> bool {
        let mut rest = Vec::new();
        // A reset closes as well.
        let _ = within(self.0.read_to_end(&mut rest)).await;
        rest.is_empty()
    }

    /// Exactly so many bytes.
    pub async fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        within(self.0.read_exact(&mut bytes)).await.expect("so many bytes come");
        bytes
    }
}

/// One GET on a new connection.
pub async fn get(address: SocketAddr, path: &str) -> Answer {
    Client::connect(address).await.get(path).await
}
