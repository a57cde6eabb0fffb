//! Buffered reading and writing of one HTTP/1 connection, in either role.
//!
//! Reads go through one scratch buffer a thread, so that an idle connection holds no buffer at all; small writes are
//! gathered, a large piece of a body is written from where it lies.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::manager::Manager;
use crate::{cluster::Cluster, transport::Transport};

const SCRATCH: usize = 64 * 1024;
/// Pieces of a body up to this size are copied behind what is already gathered.
const COPY_MAX: usize = 4 * 1024;

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}

/// Reads once, whatever is there up to `limit` bytes, behind what `into` holds; 0 at the end of the stream. Nothing is reserved while it waits.
pub fn poll_read_some(transport: &mut Transport, cx: &mut Context<'_>, into: &mut BytesMut, limit: usize) -> Poll<io::Result<usize>> {
    READ.with_borrow_mut(|scratch| {
        let most = limit.clamp(1, scratch.len());
        let mut buf = ReadBuf::new(&mut scratch[..most]);
        std::task::ready!(Pin::new(transport).poll_read(cx, &mut buf))?;
        into.extend_from_slice(buf.filled());
        Poll::Ready(Ok(buf.filled().len()))
    })
}

/// Who counts the bytes of a connection.
pub enum Meter {
    /// The connection manager of a client's connection.
    Downstream(Arc<Manager>),
    /// The cluster of an upstream connection.
    Upstream(Arc<Cluster>),
}

impl Meter {
    /// Counts bytes that came.
    pub fn read(&self, bytes: usize) {
        match self {
            Meter::Downstream(manager) => manager.stats.downstream_cx_rx_bytes_total().add(bytes as u64),
            Meter::Upstream(cluster) => cluster.stats.upstream_cx_rx_bytes_total().add(bytes as u64),
        }
    }

    /// Counts bytes that went.
    pub fn wrote(&self, bytes: usize) {
        match self {
            Meter::Downstream(manager) => manager.stats.downstream_cx_tx_bytes_total().add(bytes as u64),
            Meter::Upstream(cluster) => cluster.stats.upstream_cx_tx_bytes_total().add(bytes as u64),
        }
    }
}

/// One connection's two directions.
pub struct Io {
    meter: Meter,
    transport: Transport,
    /// What was read and not yet taken.
    pub input: BytesMut,
    output: BytesMut,
    large: Bytes,
    /// Most that is read at once, and about the most that is gathered before it is written.
    limit: usize,
    /// The peer will send no more.
    pub eof: bool,
}

impl Io {
    /// Wraps a connection. `limit` is its `per_connection_buffer_limit_bytes`; 0 is no limit, as in Envoy, but no more than [`SCRATCH`] is ever read at once.
    pub fn new(transport: Transport, meter: Meter, limit: usize) -> Io {
        let limit = if limit == 0 { SCRATCH } else { limit.min(SCRATCH) };
        Io { meter, transport, input: BytesMut::new(), output: BytesMut::new(), large: Bytes::new(), limit, eof: false }
    }

    /// The connection below.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Reads once into `input`; 0 at the end of the stream.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.eof {
            return Poll::Ready(Ok(0));
        }
        let n = std::task::ready!(poll_read_some(&mut self.transport, cx, &mut self.input, self.limit))?;
        self.eof = n == 0;
        self.meter.read(n);
        Poll::Ready(Ok(n))
    }

    /// Where heads and framing are written to.
    pub fn output(&mut self) -> &mut BytesMut {
        debug_assert!(self.large.is_empty());
        &mut self.output
    }

    /// Adds a piece of a body; `false` when it must be flushed before more is added.
    pub fn push(&mut self, data: Bytes) -> bool {
        debug_assert!(self.large.is_empty());
        if data.len() <= COPY_MAX {
            self.output.extend_from_slice(&data);
        } else {
            self.large = data;
        }
        self.has_room()
    }

    /// Whether more may be added before a flush.
    pub fn has_room(&self) -> bool {
        self.large.is_empty() && self.output.len() < self.limit
    }

    /// Whether something waits to be written.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty() || !self.large.is_empty()
    }

    /// Writes all that was gathered.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.has_output() {
            let socket = Pin::new(&mut self.transport);
            let n = match (self.output.is_empty(), self.large.is_empty()) {
                (false, false) => {
                    let pieces = [io::IoSlice::new(&self.output), io::IoSlice::new(&self.large)];
                    std::task::ready!(socket.poll_write_vectored(cx, &pieces))?
                }
                (false, true) => std::task::ready!(socket.poll_write(cx, &self.output))?,
                _ => std::task::ready!(socket.poll_write(cx, &self.large))?,
            };
            self.meter.wrote(n);
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let from_output = n.min(self.output.len());
            self.output.advance(from_output);
            self.large.advance(n - from_output);
        }
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    /// Gives memory back while nothing is under way.
    pub fn release(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        if !self.has_output() {
            self.output = BytesMut::new();
        }
    }

    /// Sends the end of the stream.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }

    /// Whether a connection that should be silent still is: nothing came in and it did not close.
    pub fn is_quiet(&mut self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        self.input.is_empty() && self.poll_fill(&mut cx).is_pending()
    }

    /// Takes the connection apart for another protocol.
    pub fn into_transport(mut self) -> Transport {
        if !self.input.is_empty() {
            self.transport.unread(self.input);
        }
        self.transport
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::AsyncWriteExt,
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::{cluster::Settings, stats::Store};

    async fn pair(limit: usize) -> (Io, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (here, there) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let cluster = Arc::new(Cluster::new("c", Settings::default(), &Store::with_workers(1), None));
        (Io::new(Transport::raw(here.unwrap()), Meter::Upstream(cluster), limit), there.unwrap().0)
    }

    #[tokio::test]
    async fn no_more_is_read_at_once_than_the_buffer_limit() {
        for (limit, most) in [(1000, 1000), (0, SCRATCH), (1 << 20, SCRATCH)] {
            let (mut io, mut peer) = pair(limit).await;
            peer.write_all(&vec![b'x'; 4 * SCRATCH]).await.unwrap();
            let mut largest = 0;
            let mut total = 0;
            while total < 4 * SCRATCH {
                let n = std::future::poll_fn(|cx| io.poll_fill(cx)).await.unwrap();
                assert!(n > 0);
                (largest, total) = (largest.max(n), total + n);
                io.input.clear();
            }
            assert!(largest <= most, "{largest} with a limit of {limit}");
        }
    }

    #[tokio::test]
    async fn what_was_gathered_up_to_the_limit_is_written_before_more_is_taken() {
        let (mut io, _peer) = pair(100).await;
        assert!(io.push(Bytes::from_static(&[b'x'; 60])));
        assert!(!io.push(Bytes::from_static(&[b'x'; 60])));
        std::future::poll_fn(|cx| io.poll_flush(cx)).await.unwrap();
        assert!(io.has_room());
    }
}
