//! The HTTP connection manager: takes one request through normalization, routing, filters and forwarding to its answer.

use std::sync::Arc;

use super::{
    body::Body,
    h1,
    header::{HeaderList, Known},
    headers::{self, RequestContext, ResponseContext},
    local_reply::{LocalReplies, LocalReply},
    normalize,
    settings::{ClientAddress, ConnectionManager, Router},
    stream::{Response, Stream},
};
use crate::{
    access_log::{AccessLog, LogType},
    error::Flags,
    filter::{
        Verdict,
        chain::{Chain, Link},
        header_mutation,
    },
    format,
    forward::forward,
    route::Routes,
    stats::{Http1Stats, Http2Stats, Http3Stats, HttpStats, ListenerHttpStats, RouteResolutionStats, RouterStats, TracingStats},
    stream_info::{Protocol, StreamInfo},
};

/// How often a filter may recreate one stream.
const MAX_RECREATED: u32 = 10;

/// A compiled connection manager.
pub struct Manager {
    /// All that the configuration says of it.
    pub settings: ConnectionManager,
    /// Its routes.
    pub routes: Routes,
    /// Its filters, the router left out.
    pub filters: Vec<Link>,
    /// The kinds of upgrades that have filters of their own (`upgrade_configs.filters`), the router left out.
    pub upgrade_filters: Vec<(Box<str>, Vec<Link>)>,
    /// Its access logs.
    pub access_log: Vec<AccessLog>,
    /// `access_log_options.flush_access_log_on_new_request`: a line when a request begins, too.
    pub log_new_requests: bool,
    /// `local_reply_config`
    pub local_replies: Option<LocalReplies>,
    /// All that the configuration says of the router, which is the last filter.
    pub router_settings: Router,
    /// `http.<stat_prefix>`
    pub stats: HttpStats,
    /// `http.<stat_prefix>`, the router's part.
    pub router: RouterStats,
    /// `http.<stat_prefix>.tracing`
    pub tracing: TracingStats,
    /// `http1`: all HTTP/1 connections of clients.
    pub http1: Http1Stats,
    /// `http2`: all HTTP/2 connections of clients.
    pub http2: Http2Stats,
    /// `http3`: all HTTP/3 connections of clients.
    pub http3: Http3Stats,
    /// `record_route_resolution_stats`
    pub route_resolution: Option<RouteResolutionStats>,
    /// `listener.<address>.http.<stat_prefix>`
    pub listener_stats: ListenerHttpStats,
}

/// The answer to a stream's request.
pub async fn serve(stream: &mut Stream) -> Response {
    let manager = stream.manager.clone();
    let mut chain = Chain::default();
    let mut response = match decide(stream, &manager, &mut chain).await {
        Ok(response) => response,
        Err(reply) => stream.reply(reply),
    };
    if response.headers.status() / 100 == 2 && stream.headers.contains(Known::Upgrade) && h1::is_upgrade(&stream.headers) {
        // As in Envoy: a success that is no upgrade loses its body, so that nothing passes for a tunnel's bytes.
        response.headers.remove(Known::ContentLength);
        response.body = Body::Empty;
    }
    if let Verdict::Reply(reply) = chain.response(stream, &mut response).await {
        response = stream.reply(reply);
    }
    edit_response(stream, &mut response);
    response
}

/// The answer of a stream that its connection ends before it has one.
pub fn reply(stream: &mut Stream, reply: LocalReply) -> Response {
    let mut response = stream.reply(reply);
    edit_response(stream, &mut response);
    response
}

/// The connection manager's own edits of an answer.
fn edit_response(stream: &mut Stream, response: &mut Response) {
    let date = stream.worker.date();
    let context = ResponseContext { settings: &stream.manager.settings, request: Some(&stream.headers), date: &date };
    headers::edit_response(&mut response.headers, context);
    if let Some(status) = &stream.manager.settings.proxy_status {
        status.edit(&mut response.headers, &stream.info);
    }
    stream.info.status = response.headers.status();
}

/// A client that this proxy meets first says in an absolute URL that its clear text is https: whoever believes that is deceived.
fn check_scheme(stream: &Stream, manager: &Manager) -> Result<(), LocalReply> {
    let first = matches!(manager.settings.client_address, ClientAddress::Peer { trusted_hops: 0, .. });
    // HTTP/1 has a scheme only in an absolute URL.
    let https = stream.info.protocol.is_http1() && stream.headers.get(Known::Scheme) == Some(b"https");
    if first && https && stream.info.connection.tls.is_none() {
        let reply = LocalReply::new(403, "Forbidden", "http1.https_url_on_plaintext_connection");
        return Err(reply.flag(Flags::DOWNSTREAM_PROTOCOL_ERROR).closing());
    }
    Ok(())
}

async fn decide(stream: &mut Stream, manager: &Arc<Manager>, chain: &mut Chain) -> Result<Response, LocalReply> {
    check_scheme(stream, manager)?;
    let port = stream.info.connection.local.port();
    normalize::normalize_request(&mut stream.headers, &manager.settings, port).inspect_err(|reply| manager.counts_path(reply))?;
    header_mutation::mutate_request(&manager.settings.early_mutations, &mut stream.headers, &stream.info);
    let context = RequestContext {
        settings: &manager.settings,
        connection: &stream.info.connection,
        local_address: stream.worker.local_address,
        internal_only: stream.snapshot.table(&manager.routes).map_or(&[], |table| &table.settings.internal_only_headers),
    };
    let origin = headers::edit_request(&mut stream.headers, context, || stream.worker.random.next())
        .inspect_err(|_| manager.stats.downstream_rq_rejected_via_ip_detection().inc())?;
    stream.info.client = origin.client;
    let mut recreated = 0;
    loop {
        stream.find_route();
        let links = check_upgrade(stream, manager)?;
        if manager.log_new_requests {
            manager.log(LogType::DownstreamStart, &stream.info, Some(&stream.headers), None, None);
        }
        *chain = Chain::default();
        match chain.request(links, stream).await {
            // How often upstreams may redirect is the route's to say.
            Verdict::Continue => match forward(stream).await {
                Some(response) => return Ok(response),
                None => redirected(stream, manager),
            },
            Verdict::Reply(reply) => return Err(reply),
            Verdict::Recreate if recreated == MAX_RECREATED => return Err(LocalReply::new(500, "", "too_many_recreated_streams")),
            Verdict::Recreate => recreated += 1,
        }
    }
}

/// Ends the part of a stream that an upstream has redirected, with a log line of its own; the stream goes on as another request.
fn redirected(stream: &mut Stream, manager: &Arc<Manager>) {
    stream.info.detail = Some("internal_redirect".into());
    manager.finish(stream, None, None);
    stream.under_way = Some(manager.begin(stream.info.protocol));
    let info = &mut stream.info;
    (info.status, info.attempts, info.flags, info.detail, info.end) = (0, 0, Flags::default(), None, None);
    (info.route_resolutions, info.route_resolution_time) = Default::default();
    info.virtual_cluster = None;
}

/// The filters that a request goes through. An upgrade goes on only where the route or the connection manager allows its kind, and through the
/// filters of that kind where it has some.
fn check_upgrade<'m>(stream: &Stream, manager: &'m Manager) -> Result<&'m [Link], LocalReply> {
    let kind: Option<&[u8]> = if stream.headers.method() == b"CONNECT" {
        // Nothing to allow: it is answered 404.
        if stream.info.route.is_none() {
            return Ok(&manager.filters);
        }
        Some(stream.headers.get(Known::Protocol).unwrap_or(b"CONNECT"))
    } else {
        stream.headers.get(Known::Upgrade)
    };
    let Some(kind) = kind else { return Ok(&manager.filters) };
    let by_route = stream.info.route.as_ref().and_then(|r| r.forward()).and_then(|f| f.upgrade_enabled(kind));
    if by_route.unwrap_or_else(|| manager.settings.allows_upgrade(kind)) {
        let own = manager.upgrade_filters.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(kind));
        return Ok(own.map_or(&manager.filters, |(_, links)| links));
    }
    manager.stats.downstream_rq_ws_on_non_ws_route().inc();
    Err(LocalReply::new(403, "", "upgrade_failed").closing())
}

/// Counts a request that is under way, however it ends.
pub struct UnderWay(Arc<Manager>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.stats.downstream_rq_active().dec();
    }
}

impl Manager {
    /// Counts a request that begins.
    pub fn begin(self: &Arc<Manager>, protocol: Protocol) -> UnderWay {
        self.stats.downstream_rq_total().inc();
        match protocol {
            Protocol::Http2 => self.stats.downstream_rq_http2_total().inc(),
            Protocol::Http3 => self.stats.downstream_rq_http3_total().inc(),
            Protocol::Http10 | Protocol::Http11 => self.stats.downstream_rq_http1_total().inc(),
        }
        self.stats.downstream_rq_active().inc();
        UnderWay(self.clone())
    }

    /// Counts a request that is answered because of its path.
    fn counts_path(&self, reply: &LocalReply) {
        match (reply.status, &*reply.detail) {
            (307, "path_normalization_failed") => self.stats.downstream_rq_redirected_with_normalized_path().inc(),
            (_, "path_normalization_failed") => self.stats.downstream_rq_failed_path_normalization().inc(),
            _ => {}
        }
    }

    /// Counts a stream that has ended, and writes its log lines.
    pub fn finish(&self, stream: &mut Stream, response: Option<&HeaderList>, trailers: Option<&HeaderList>) {
        let now = std::time::Instant::now();
        stream.info.end = Some(now);
        stream.under_way = None;
        self.stats.downstream_rq_time().record(now.saturating_duration_since(stream.info.started).as_millis() as u64);
        self.log_end(&stream.info, Some(&stream.headers), response, trailers);
    }

    /// Writes the log lines of a stream that has ended, and counts how its route was found.
    pub fn log_end(&self, info: &StreamInfo, request: Option<&HeaderList>, response: Option<&HeaderList>, trailers: Option<&HeaderList>) {
        if let Some(stats) = &self.route_resolution {
            stats.downstream_rq_route_resolution_time_us().record(info.route_resolution_time.as_micros() as u64);
            stats.downstream_rq_route_resolutions().record(info.route_resolutions.into());
        }
        self.log(LogType::DownstreamEnd, info, request, response, trailers);
    }

    /// Counts an answer whose head goes to the client.
    pub fn answers(&self, status: u16) {
        self.stats.answer(status);
        self.listener_stats.answer(status);
    }

    /// Writes the log lines of a stream.
    pub fn log(
        &self,
        log_type: LogType,
        info: &StreamInfo,
        request: Option<&HeaderList>,
        response: Option<&HeaderList>,
        trailers: Option<&HeaderList>,
    ) {
        for log in &self.access_log {
            log.log(&format::Context { log_type, trailers, ..format::Context::new(info, request, response) });
        }
    }
}
