//! `envoy.filters.http.grpc_stats`: counts the messages and statuses of gRPC and Connect calls, in the cluster that they go to.

pub mod config;

use std::{
    borrow::Cow,
    cell::Cell,
    collections::HashSet,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use super::{Filter, FilterFactory, RouteConfig, Verdict};
use crate::{
    cluster::{GrpcCounters, GrpcProtocol},
    filter_state::Object,
    http::{
        body::{Body, BodyError, Frame, PollBody},
        grpc::{self, Messages},
        header::{HeaderList, HeaderName, Known},
        stream::{Response, Stream},
    },
    metadata::{Struct, Value},
};

/// Whose names are part of the counters' names.
#[derive(Clone, Debug, Default)]
pub enum Names {
    /// Nobody's: one set of counters a cluster.
    #[default]
    None,
    /// `stats_for_all_methods`; with `replace_dots_in_grpc_service_name`, `_` for `.` in services.
    All {
        /// `replace_dots_in_grpc_service_name`
        replace_dots: bool,
    },
    /// `individual_method_stats_allowlist`: these services and methods.
    Listed(HashSet<(String, String)>),
}

/// The filter in a chain.
pub struct Factory {
    /// Its name in the chain.
    pub name: String,
    /// Whose names are part of the counters' names.
    pub names: Arc<Names>,
    /// `emit_filter_state`: the numbers of messages are left in the stream's filter state.
    pub emit_filter_state: bool,
}

/// Where the numbers of messages are left in the filter state.
pub const STATE: &str = "envoy.filters.http.grpc_stats";

impl FilterFactory for Factory {
    fn name(&self) -> &str {
        &self.name
    }

    fn create(&self, _route: &[RouteConfig]) -> Option<Box<dyn Filter>> {
        let counts = self.emit_filter_state.then(Rc::default);
        Some(Box::new(GrpcStats { names: self.names.clone(), counts, call: None }))
    }
}

/// How many messages a stream had.
#[derive(Debug, Default)]
struct Counts {
    request: Cell<u64>,
    response: Cell<u64>,
}

impl Object for Counts {
    fn text(&self) -> Option<Cow<'_, [u8]>> {
        Some(format!("{},{}", self.request.get(), self.response.get()).into_bytes().into())
    }

    fn message(&self) -> Option<Value> {
        let all = [("requestMessageCount", &self.request), ("responseMessageCount", &self.response)];
        // As JSON has it, 64-bit numbers are text, and fields without a value are left out.
        let fields =
            all.into_iter().filter(|(_, n)| n.get() != 0).map(|(name, n)| (name.into(), Value::String(n.get().to_string().into())));
        Some(Value::Struct(Struct(fields.collect())))
    }
}

struct GrpcStats {
    names: Arc<Names>,
    counts: Option<Rc<Counts>>,
    /// What is counted, once the request was seen to be a call.
    call: Option<(Kind, GrpcCounters)>,
}

/// How a call looks on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Grpc,
    ConnectStreaming,
    ConnectUnary,
}

impl Filter for GrpcStats {
    fn poll_request(&mut self, _cx: &mut Context<'_>, stream: &mut Stream) -> Poll<Verdict> {
        if let Some(kind) = kind(&stream.headers)
            && let Some(counters) = counters(stream, &self.names)
        {
            let body = std::mem::take(&mut stream.body);
            stream.body = counted(body, kind, Side::Request, counters.clone(), self.counts.clone());
            if let Some(counts) = &self.counts {
                stream.info.filter_state_mut().set(STATE, counts.clone());
            }
            self.call = Some((kind, counters));
        }
        Poll::Ready(Verdict::Continue)
    }

    fn poll_response(&mut self, _cx: &mut Context<'_>, _stream: &mut Stream, response: &mut Response) -> Poll<Verdict> {
        let Some((kind, counters)) = self.call.take() else { return Poll::Ready(Verdict::Continue) };
        let end = response.body.is_end();
        match kind {
            Kind::ConnectUnary => counters.outcome(response.headers.status() == 200),
            _ if is_connect_stream(&response.headers) => {}
            _ => {
                if let Some(status) = response.headers.get(Known::GrpcStatus) {
                    counters.status(status);
                }
            }
        }
        let counts_messages = kind != Kind::Grpc || grpc::is_grpc_response(&response.headers, end);
        let body = std::mem::take(&mut response.body);
        response.body = counted(body, kind, if counts_messages { Side::Response } else { Side::Trailers }, counters, self.counts.clone());
        Poll::Ready(Verdict::Continue)
    }
}

fn is_connect_stream(headers: &HeaderList) -> bool {
    headers.status() == 200 && grpc::is_connect_streaming(headers)
}

fn kind(headers: &HeaderList) -> Option<Kind> {
    headers.get(Known::Path)?;
    if grpc::is_grpc(headers) {
        Some(Kind::Grpc)
    } else if grpc::is_connect_streaming(headers) {
        Some(Kind::ConnectStreaming)
    } else {
        headers.get_name(&HeaderName::new("connect-protocol-version")).map(|_| Kind::ConnectUnary)
    }
}

/// The counters of a stream's call; `None` where it goes to no cluster, or its path names no method.
fn counters(stream: &mut Stream, names: &Names) -> Option<GrpcCounters> {
    let cluster = stream.cluster()?;
    let (service, method) = grpc::service_and_method(stream.headers.path())?;
    let count = |named| cluster.grpc_stats.counters(cluster.stats.block().prefix(), GrpcProtocol::Grpc, named);
    Some(match names {
        Names::All { replace_dots: true } => count(Some((&service.replace('.', "_"), method))),
        Names::All { replace_dots: false } => count(Some((service, method))),
        Names::Listed(list) if list.contains(&(service.to_owned(), method.to_owned())) => count(Some((service, method))),
        Names::Listed(_) | Names::None => count(None),
    })
}

/// Which way a body goes, and what of it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Request,
    Response,
    /// An answer whose body is no gRPC: only its trailers count.
    Trailers,
}

fn counted(body: Body, kind: Kind, side: Side, counters: GrpcCounters, counts: Option<Rc<Counts>>) -> Body {
    if body.is_end() {
        return body;
    }
    let messages = match (kind, side) {
        (Kind::ConnectStreaming, Side::Response) => Messages::of_connect_stream(),
        _ => Messages::default(),
    };
    Body::stream(Counted { body, kind, side, counters, counts, messages, over: false })
}

/// A body whose messages are counted as they pass.
struct Counted {
    body: Body,
    kind: Kind,
    side: Side,
    counters: GrpcCounters,
    counts: Option<Rc<Counts>>,
    messages: Messages,
    over: bool,
}

impl Counted {
    fn add(&self, count: u64) {
        if let Some(counts) = &self.counts {
            let cell = if self.side == Side::Request { &counts.request } else { &counts.response };
            cell.set(cell.get() + count);
        }
        match self.side {
            _ if count == 0 => {}
            Side::Request => self.counters.request_messages(count),
            Side::Response => self.counters.response_messages(count),
            Side::Trailers => {}
        }
    }

    fn ended(&mut self) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        if self.kind == Kind::ConnectUnary {
            self.add(1);
        } else if let Some(success) = self.messages.connect_success() {
            self.counters.outcome(success);
        }
    }
}

impl PollBody for Counted {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let frame = std::task::ready!(self.body.poll_frame(cx));
        match &frame {
            Some(Ok(Frame::Data(data))) => {
                if self.kind != Kind::ConnectUnary && self.side != Side::Trailers {
                    let count = self.messages.feed(data);
                    self.add(count);
                }
            }
            Some(Ok(Frame::Trailers(trailers))) => {
                if self.kind == Kind::Grpc
                    && self.side != Side::Request
                    && let Some(status) = trailers.get(Known::GrpcStatus)
                {
                    self.counters.status(status);
                }
            }
            Some(Err(_)) => self.over = true,
            None => self.ended(),
        }
        Poll::Ready(frame)
    }

    fn poll_background(&mut self, cx: &mut Context<'_>) {
        self.body.poll_background(cx);
    }

    fn length(&self) -> Option<u64> {
        self.body.length()
    }
}
