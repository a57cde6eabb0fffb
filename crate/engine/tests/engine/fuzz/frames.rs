//! What is seen of HTTP/2 frames below the library: the same however the bytes are cut.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use plenipo_engine::{
    cluster::{Cluster, Settings},
    http::{
        frames::{Flood, Role, Watch, Watched},
        io::Meter,
        settings::FloodLimits,
    },
    stats::{Http2Stats, Store},
};
use plenipo_testkit::fuzz::fuzz;
use tokio::io::{AsyncRead, ReadBuf};

/// A peer that sends these pieces, the last first, and then closes.
struct Pieces<'a>(Vec<&'a [u8]>);

impl AsyncRead for Pieces<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(piece) = self.0.pop() {
            let (now, later) = piece.split_at(piece.len().min(buf.remaining()));
            buf.put_slice(now);
            if !later.is_empty() {
                self.0.push(later);
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[test]
fn frames() {
    let cluster = Arc::new(Cluster::new("c", Settings::default(), &Store::with_workers(1), None));
    let words = [
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\0\0\0\x04\0\0\0\0\0",
        "\0\0\x08\x06\0\0\0\0\0",
        "\0\0\0\0\0\0\0\0\x01",
        "\0\0\x04\x08\0\0\0\0\0",
        "\0\0\x05\x02\0\0\0\0\x03",
        "\0\0\x04\x03\0\0\0\0\x03\0\0\0\x08",
        "\0\0\x05\x01\x04\0\0\0\x01\x44\x01/\x02\0",
        "\0\0\x01\x01\x05\0\0\0\x01\x04",
        "\0\0\x02\x09\x04\0\0\0\x01\x01/",
    ];
    fuzz(include_str!("../../corpus/h2-frames.txt"), &words, |input, numbers| {
        let limits = FloodLimits {
            control_frames: 3,
            empty_frames: 2,
            priority_frames: 1,
            window_updates: 1,
            reset_burst: 2,
            ..FloodLimits::default()
        };
        let (role, room) = (*numbers.of(&[Role::Server, Role::Client]), 1 + numbers.below(300));
        let read = |mut pieces: Vec<&[u8]>, room: usize| {
            let store = Store::with_workers(1);
            let watch = Watch::new(role, limits, Http2Stats::new(&store, "http2"));
            pieces.reverse();
            let mut watched = Watched::new(Pieces(pieces), Meter::Upstream(cluster.clone()), watch.clone(), &[]);
            let mut cx = Context::from_waker(Waker::noop());
            let mut passed = Vec::new();
            let mut scratch = vec![0; room];
            let error = loop {
                let mut buf = ReadBuf::new(&mut scratch);
                match Pin::new(&mut watched).poll_read(&mut cx, &mut buf) {
                    Poll::Ready(Ok(())) if buf.filled().is_empty() && watch.flood().is_none() => break false,
                    Poll::Ready(Ok(())) => passed.extend_from_slice(buf.filled()),
                    Poll::Ready(Err(_)) => break true,
                    Poll::Pending if watch.flood() == Some(Flood::Reset) => break true,
                    Poll::Pending => assert!(watch.flood().is_some(), "it only ever waits once, for a flood to end"),
                }
            };
            assert_eq!(error, watch.flood().is_some());
            let malformed: Vec<u32> = (0..8).filter(|stream| watch.ended_with_pseudo(*stream)).collect();
            (passed, watch.flood(), (watch.streams.active(), malformed))
        };
        let whole = read(vec![input], 64 * 1024);
        let pieces = read(numbers.cut(input), room);
        assert_eq!((whole.1, whole.2), (pieces.1, pieces.2));
        assert!(input.starts_with(&whole.0) && input.starts_with(&pieces.0), "only what came is passed on");
        if whole.1.is_none() {
            assert_eq!((whole.0.len(), pieces.0.len()), (input.len(), input.len()), "and all of it, but for a flood");
        }
        (whole.1.map(|flood| flood.detail()), whole.0.len().min(400) / 9)
    });
}
