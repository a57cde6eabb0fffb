//! A client's connection that closes late: after our last bytes it gives the client a moment to read them and to close first.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{http::io::poll_read_some, transport::Transport, worker::timer::Deadline};

/// A transport whose shutdown ends when the client has closed, too, or `delayed_close_timeout` later. What comes in meanwhile is dropped, as
/// unread bytes would make the close a reset, which takes what the client has not read yet with it.
pub struct Lingering {
    transport: Transport,
    delay: Option<Duration>,
    patience: Deadline,
    shut: bool,
}

impl Lingering {
    /// `delay` is `delayed_close_timeout`; without it the connection closes at once.
    pub fn new(transport: Transport, delay: Option<Duration>) -> Lingering {
        Lingering { transport, delay, patience: Deadline::default(), shut: false }
    }
}

impl AsyncRead for Lingering {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_read(cx, buf)
    }
}

impl AsyncWrite for Lingering {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write(cx, buf)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.shut {
            ready!(Pin::new(&mut this.transport).poll_shutdown(cx))?;
            this.shut = true;
            this.patience.set(this.delay);
        }
        let mut dropped = BytesMut::new();
        while this.delay.is_some() {
            match poll_read_some(&mut this.transport, cx, &mut dropped, usize::MAX) {
                Poll::Ready(Ok(1..)) => dropped.clear(),
                Poll::Ready(_) => break,
                Poll::Pending => return this.patience.poll(cx).map(Ok),
            }
        }
        Poll::Ready(Ok(()))
    }
}
