//! Copies of a request to other clusters (`request_mirror_policies`). A shadow is a stream of its own, forwarded by the same loop; nobody
//! waits for its answer, and nothing that becomes of it reaches the request.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use super::{
    Timeout, answer::Answer, attempt::Limits, attempts::Attempts, charge_answer, charge_no_host, controls::Controls, policy::Retries,
    tally::Tally,
};
use crate::{
    cluster::{Cluster, Priority},
    error::Failure,
    http::{
        body::{Body, PollBody},
        client_address::append_forwarded_for,
        header::{HeaderList, Known},
        stream::{Interim, Stream},
    },
    route::{Mirror, RouteMatch},
    stream_info::StreamInfo,
    upstream::{copy::copy, request::Source},
};

/// A shadow that is about to be sent.
pub struct Shadow {
    headers: HeaderList,
    cluster: Arc<Cluster>,
}

/// The shadows of a request whose headers are as its upstream will see them.
pub fn of(stream: &Stream, mirrors: &[Mirror]) -> Vec<Shadow> {
    // As in Envoy a tunnel is not copied.
    if stream.headers.method() == b"CONNECT" {
        return Vec::new();
    }
    let chosen = mirrors.iter().filter(|mirror| mirror.copies(stream.random));
    chosen.filter_map(|mirror| Shadow::new(stream, mirror)).collect()
}

impl Shadow {
    fn new(stream: &Stream, mirror: &Mirror) -> Option<Shadow> {
        let cluster = stream.snapshot.cluster(mirror.cluster.name(&stream.headers)).cloned()?;
        let mut headers = stream.headers.clone();
        mirror.edit(&mut headers, &stream.info);
        headers.set(Known::EnvoyInternal, b"true");
        append_forwarded_for(&mut headers, stream.worker.local_address);
        Some(Shadow { headers, cluster })
    }

    /// Sends it beside the request. Of the request's body at most `limit` bytes wait for it; a shadow that is slower is given up.
    pub fn start(self, stream: &Stream, route: &RouteMatch, source: &Source, timeout: Option<Duration>, limit: usize) {
        let (body, broken) = if source.is_empty() {
            (Body::Empty, None)
        } else {
            let (feed, body, broken) = copy(limit);
            source.copy_to(feed);
            (Body::stream(body), Some(broken))
        };
        let own = Stream {
            headers: self.headers,
            grpc: stream.grpc,
            body: Body::Empty,
            info: StreamInfo::new(stream.info.connection.clone(), stream.info.protocol, stream.worker.random.next()),
            route_cleared: false,
            snapshot: stream.snapshot.clone(),
            manager: stream.manager.clone(),
            under_way: None,
            worker: stream.worker.clone(),
            random: stream.random,
            buffer_limit: limit,
            timer: Rc::default(),
            close: false,
            redirected: None,
            interim: Interim::default(),
        };
        let (route, cluster) = (route.clone(), self.cluster);
        stream.worker.spawn(async move {
            let mut sending = pin!(send(own, &route, &cluster, Source::new(body, 0), timeout));
            poll_fn(|cx| match &broken {
                Some(broken) if broken.poll(cx).is_ready() => Poll::Ready(()),
                _ => sending.as_mut().poll(cx),
            })
            .await;
        });
    }
}

async fn send(mut stream: Stream, route: &RouteMatch, cluster: &Arc<Cluster>, source: Source, timeout: Option<Duration>) {
    let Some(action) = route.forward() else { return };
    let timer = stream.timer.clone();
    let priority = if action.high_priority { Priority::High } else { Priority::Default };
    let controls = Controls::within(timeout);
    let timeout = Timeout { timer: &timer, source: &source, after: timeout };
    let tally = Tally::of(cluster);
    let retries = Retries::new(None, &tally, priority);
    let mut attempts = Attempts::new(route, &tally, &source, &controls, timeout, Limits::default(), retries);
    let outcome = match attempts.begin(&mut stream) {
        Ok(()) => attempts.run(&mut stream).await,
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(answered) => {
            charge_answer(&stream, &tally, &answered);
            let mut body = Answer::body(answered.attempt, tally, timer, stream.info.started, (true, false));
            while let Some(Ok(_)) = poll_fn(|cx| body.poll_frame(cx)).await {}
        }
        Err(Failure::NoHealthyHost) => charge_no_host(&stream, &tally),
        // Charged where it was made.
        Err(_) => {}
    }
}
