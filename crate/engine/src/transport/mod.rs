//! Transport sockets: the seam between a TCP connection and the protocol on it (raw or TLS, either behind a PROXY protocol header).

pub mod proxy_protocol;

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::TlsStream;

/// A connection of either role, with bytes that were read ahead to tell its protocol.
pub struct Transport {
    /// Read before anything else.
    ahead: BytesMut,
    socket: Socket,
}

enum Socket {
    Raw(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Transport {
    /// A connection in clear text.
    pub fn raw(stream: TcpStream) -> Transport {
        Transport { ahead: BytesMut::new(), socket: Socket::Raw(stream) }
    }

    /// A connection whose TLS handshake is done.
    pub fn tls(stream: impl Into<TlsStream<TcpStream>>) -> Transport {
        Transport { ahead: BytesMut::new(), socket: Socket::Tls(Box::new(stream.into())) }
    }

    /// Gives bytes back that were read to tell the protocol.
    pub fn unread(&mut self, bytes: BytesMut) {
        debug_assert!(self.ahead.is_empty());
        self.ahead = bytes;
    }

    /// The protocol that ALPN chose.
    pub fn alpn(&self) -> Option<&[u8]> {
        match &self.socket {
            Socket::Raw(_) => None,
            Socket::Tls(stream) => stream.get_ref().1.alpn_protocol(),
        }
    }

    /// The TCP socket below.
    pub fn tcp(&self) -> &TcpStream {
        match &self.socket {
            Socket::Raw(stream) => stream,
            Socket::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.ahead.is_empty() {
            let n = this.ahead.len().min(buf.remaining());
            buf.put_slice(&this.ahead[..n]);
            this.ahead.advance(n);
            if this.ahead.is_empty() {
                this.ahead = BytesMut::new();
            }
            return Poll::Ready(Ok(()));
        }
        match &mut this.socket {
            Socket::Raw(stream) => Pin::new(stream).poll_read(cx, buf),
            Socket::Tls(stream) => match Pin::new(stream).poll_read(cx, buf) {
                // A peer that closes without close_notify has closed all the same; framing tells whether that truncates.
                Poll::Ready(Err(e)) if e.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
                other => other,
            },
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().socket {
            Socket::Raw(stream) => Pin::new(stream).poll_write(cx, buf),
            Socket::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().socket {
            Socket::Raw(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Socket::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Raw(stream) => Pin::new(stream).poll_flush(cx),
            Socket::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Raw(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
