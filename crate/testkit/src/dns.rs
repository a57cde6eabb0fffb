//! A DNS server that answers every question for an IPv4 address with one address, from when it is told to.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::{net::UdpSocket, sync::watch, task::AbortHandle};

/// The server; it ends when dropped.
pub struct Dns {
    /// Where it listens.
    pub address: SocketAddr,
    answer: watch::Sender<Option<Ipv4Addr>>,
    asked: watch::Receiver<usize>,
    task: AbortHandle,
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Dns {
    /// A server that does not answer yet.
    pub async fn silent() -> Dns {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port of loopback");
        let address = socket.local_addr().expect("it is bound");
        let (answer, mut current) = watch::channel(None);
        let (count, asked) = watch::channel(0);
        let task = tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((n, from)) = socket.recv_from(&mut buffer).await {
                count.send_modify(|c| *c += 1);
                let question = buffer[..n].to_vec();
                let Ok(ip) = current.wait_for(|a| a.is_some()).await.map(|a| *a) else { return };
                if let Some(reply) = ip.and_then(|ip| reply(&question, ip)) {
                    let _ = socket.send_to(&reply, from).await;
                }
            }
        });
        Dns { address, answer, asked, task: task.abort_handle() }
    }

    /// Answers with this address from now on, also what was asked before.
    pub fn answer(&self, ip: Ipv4Addr) {
        self.answer.send_replace(Some(ip));
    }

    /// Waits for the first question.
    pub async fn asked(&mut self) {
        let _ = crate::within(self.asked.wait_for(|n| *n > 0)).await;
    }
}

/// The answer to a question; none to what is no question.
fn reply(query: &[u8], ip: Ipv4Addr) -> Option<Vec<u8>> {
    let mut end = 12;
    while *query.get(end)? != 0 {
        end += usize::from(query[end]) + 1;
    }
    let question = query.get(12..end + 5)?;
    let is_a = question[question.len() - 4..] == [0, 1, 0, 1];
    let mut reply = query[..2].to_vec();
    reply.extend([0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
    reply.extend(question);
    if is_a {
        // Name (a pointer to the question's), type, class, 60 s, length, address.
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        reply.extend(ip.octets());
    }
    Some(reply)
}
