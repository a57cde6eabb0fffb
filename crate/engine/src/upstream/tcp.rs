//! A request that ends here and goes on as bytes: CONNECT with a `connect_config`, on a TCP connection of its own.

use std::{
    rc::Rc,
    task::{Context, Poll},
};

use super::{Head, connect::Connected, request::Cursor};
use crate::{
    error::Failure,
    http::{
        body::{BodyError, Frame},
        header::HeaderList,
        io::Io,
    },
    stream_info::UpstreamConnection,
};

/// A connection that was made for one request.
pub struct Connection {
    io: Io,
    meta: Connected,
}

impl Connection {
    /// A connection that was just made.
    pub fn new(io: Io, meta: Connected) -> Connection {
        Connection { io, meta }
    }
}

/// One request's bytes, both ways.
pub struct Exchange {
    connection: Connection,
    request: Cursor,
    answered: bool,
    /// The client's side is over.
    over: bool,
    /// The client's side is over, and the upstream was told.
    shut: bool,
    /// The upstream's side is over.
    ended: bool,
}

impl Exchange {
    /// Begins to pass bytes on.
    pub fn new(connection: Connection, request: Cursor) -> Exchange {
        connection.meta.carries_request();
        Exchange { connection, request, answered: false, over: false, shut: false, ended: false }
    }

    /// What is told of the connection.
    pub fn facts(&self) -> &Rc<UpstreamConnection> {
        &self.connection.meta.facts
    }

    /// Whether the answer has begun.
    pub fn answered(&self) -> bool {
        self.answered
    }

    /// Whether the client's side is over.
    pub fn sent(&self) -> bool {
        self.shut
    }

    /// Whether the upstream's side is over.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Sends what can be sent now.
    pub fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        let io = &mut self.connection.io;
        while !self.shut {
            let mut waiting = false;
            while !waiting && !self.over && io.has_room() {
                match self.request.poll_frame(cx) {
                    Poll::Pending => waiting = true,
                    Poll::Ready(Some(Ok(Frame::Data(data)))) => drop(io.push(data)),
                    Poll::Ready(Some(Ok(Frame::Trailers(_))) | None) => self.over = true,
                    Poll::Ready(Some(Err(_))) => return Err(Failure::RemoteReset),
                }
            }
            match io.poll_flush(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(_)) => return Err(Failure::ConnectionTermination),
                Poll::Ready(Ok(())) if self.over => {
                    // Half a connection may stay open: the upstream goes on until it is done. What fails here, reading tells.
                    if io.poll_shutdown(cx).is_pending() {
                        return Ok(());
                    }
                    self.shut = true;
                }
                Poll::Ready(Ok(())) if waiting => return Ok(()),
                Poll::Ready(Ok(())) => {}
            }
        }
        Ok(())
    }

    /// 200, as the connection is there.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        self.poll_send(cx)?;
        self.answered = true;
        let mut headers = HeaderList::new();
        headers.set_status(200);
        Poll::Ready(Ok(Head { headers, informational: false }))
    }

    /// The next bytes of the upstream.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        if let Err(failure) = self.poll_send(cx) {
            return Poll::Ready(Some(Err(BodyError::Upstream(failure))));
        }
        let io = &mut self.connection.io;
        match std::task::ready!(io.poll_fill(cx)) {
            Ok(1..) => Poll::Ready(Some(Ok(Frame::Data(io.input.split().freeze())))),
            Ok(0) => {
                self.ended = true;
                self.connection.meta.closed_by_peer();
                Poll::Ready(None)
            }
            Err(_) => {
                self.connection.meta.closed_by_peer();
                Poll::Ready(Some(Err(BodyError::Upstream(Failure::ConnectionTermination))))
            }
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.meta.closed_at_work();
        }
    }
}
