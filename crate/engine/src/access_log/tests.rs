//! Access logs: every line arrives once and whole, whatever the workers, the disk and the rotation do.

use std::{net::SocketAddr, path::PathBuf, rc::Rc, time::Duration};

use super::*;
use crate::{
    error::Flags,
    format::Program,
    http::header::{HeaderList, HeaderName},
    route::{HeaderMatch, HeaderTest, StringMatch},
    stats::Store,
    stream_info::{ConnectionInfo, Protocol, StreamInfo},
};

/// A folder that goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("plenipo-log-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn info() -> StreamInfo {
    let address: SocketAddr = "127.0.0.1:80".parse().unwrap();
    StreamInfo::new(Rc::new(ConnectionInfo::plain(1, address, address)), Protocol::Http11, 1)
}

fn access_log(files: &Files, path: &std::path::Path, format: &str) -> AccessLog {
    let file = files.open(&Target::Path(path.into())).unwrap();
    AccessLog { filter: None, format: Format::Text(Program::compile(format, false).unwrap()), file }
}

#[test]
fn lines_of_all_threads_arrive_once_and_whole() {
    let folder = Folder::new("threads");
    let path = folder.0.join("access.log");
    let store = Store::with_workers(3);
    let files = Files::start(&store).unwrap();
    let log = access_log(&files, &path, "%REQ(X)% padding padding padding padding\n");
    const EACH: usize = 5_000;
    std::thread::scope(|scope| {
        let threads = [0, 1, 2].map(|thread| {
            let (log, store) = (&log, &store);
            scope.spawn(move || {
                let _guard = store.register_worker();
                let info = info();
                for i in 0..EACH {
                    let mut request = HeaderList::new();
                    request.append(b"x", format!("{thread}-{i}").as_bytes());
                    log.log(&Context::new(&info, Some(&request), None));
                }
            })
        });
        // The end of the thread flushes what is left; only a join waits for it.
        threads.into_iter().for_each(|t| t.join().unwrap());
    });
    files.stop();
    let text = std::fs::read_to_string(&path).unwrap();
    let mut next = [0; 3];
    for line in text.lines() {
        let (id, rest) = line.split_once(' ').unwrap();
        assert_eq!(rest, "padding padding padding padding");
        let (thread, i) = id.split_once('-').unwrap();
        let thread: usize = thread.parse().unwrap();
        // The lines of one thread keep their order.
        assert_eq!(i.parse::<usize>().unwrap(), next[thread]);
        next[thread] += 1;
    }
    assert_eq!(next, [EACH; 3]);
    assert_eq!(store.value("filesystem.write_buffered"), Some(3 * EACH as u64));
    assert_eq!(store.value("filesystem.write_total_buffered"), Some(0));
    assert_eq!(store.value("filesystem.write_failed"), Some(0));
    assert!(store.value("filesystem.write_completed").unwrap() >= 9);
}

#[test]
fn a_short_line_waits_for_the_flush() {
    let folder = Folder::new("flush");
    let path = folder.0.join("access.log");
    let store = Store::new();
    let files = Files::start(&store).unwrap();
    let log = access_log(&files, &path, "x\n");
    log.log(&Context::new(&info(), None, None));
    files.sync();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
    assert_eq!(store.value("filesystem.write_total_buffered"), Some(2));
    flush_thread();
    flush_thread();
    files.sync();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "x\n");
    assert_eq!(store.value("filesystem.flushed_by_timer"), Some(1));
}

#[test]
fn rotation_reopens_and_a_failure_keeps_the_old_file() {
    let folder = Folder::new("rotate");
    let (path, moved) = (folder.0.join("access.log"), folder.0.join("old.log"));
    let store = Store::new();
    let files = Files::start(&store).unwrap();
    let log = access_log(&files, &path, "%REQ(X)%\n");
    let line = |text: &[u8]| {
        let mut request = HeaderList::new();
        request.append(b"x", text);
        log.log(&Context::new(&info(), Some(&request), None));
        flush_thread();
    };
    line(b"before");
    files.sync();
    std::fs::rename(&path, &moved).unwrap();
    line(b"moved");
    files.reopen();
    line(b"after");
    files.sync();
    assert_eq!(std::fs::read_to_string(&moved).unwrap(), "before\nmoved\n");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "after\n");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    files.reopen();
    line(b"nowhere");
    files.sync();
    assert_eq!(store.value("filesystem.reopen_failed"), Some(1));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_counted_and_ends_nothing() {
    let store = Store::new();
    let files = Files::start(&store).unwrap();
    let log = access_log(&files, std::path::Path::new("/dev/full"), "x\n");
    for _ in 0..3 {
        log.log(&Context::new(&info(), None, None));
        flush_thread();
    }
    files.sync();
    assert_eq!(store.value("filesystem.write_failed"), Some(3));
    // Lines after the stop are dropped and counted too.
    files.stop();
    log.log(&Context::new(&info(), None, None));
    flush_thread();
    assert_eq!(store.value("filesystem.write_failed"), Some(4));
    assert_eq!(store.value("filesystem.write_total_buffered"), Some(0));
}

#[test]
fn one_path_is_one_file_and_a_dropped_one_is_closed() {
    let folder = Folder::new("one");
    let path = Target::Path(folder.0.join("access.log"));
    let files = Files::start(&Store::new()).unwrap();
    let (a, b) = (files.open(&path).unwrap(), files.open(&path).unwrap());
    assert!(Arc::ptr_eq(&a, &b));
    a.write(|line| line.extend_from_slice(b"x\n"));
    let weak = Arc::downgrade(&a);
    drop((a, b));
    flush_thread();
    files.sync();
    assert!(weak.upgrade().is_none());
    assert!(files.open(&Target::Path(folder.0.join("no/such/folder"))).is_err());
    assert_eq!(Target::of("/dev/stdout"), Target::Stdout);
}

#[test]
fn a_header_decides() {
    let filter = Filter::Header(HeaderMatch {
        name: HeaderName::new("x-log"),
        test: HeaderTest::Text(StringMatch::exact("yes", false)),
        invert: false,
        missing_is_empty: false,
    });
    let info = info();
    for (value, expected) in [(Some(&b"yes"[..]), true), (Some(b"no"), false), (None, false)] {
        let mut request = HeaderList::new();
        value.iter().for_each(|v| request.append(b"X-Log", v));
        assert_eq!(filter.takes(&Context::new(&info, Some(&request), None)), expected);
    }
    assert!(!filter.takes(&Context::new(&info, None, None)));
}

#[test]
fn filters_decide() {
    let mut info = info();
    info.status = 503;
    info.end = Some(info.started + Duration::from_millis(30));
    info.flags.insert(Flags::UPSTREAM_CONNECTION_FAILURE);
    let compare = |op, value| Comparison { op, value };
    let takes = |filter: &Filter| filter.takes(&Context::new(&info, None, None));
    for (filter, expected) in [
        (Filter::Status(compare(Op::Ge, 500)), true),
        (Filter::Status(compare(Op::Eq, 200)), false),
        (Filter::Status(compare(Op::Ne, 200)), true),
        (Filter::Status(compare(Op::Le, 502)), false),
        (Filter::Duration(compare(Op::Ge, 30)), true),
        (Filter::Duration(compare(Op::Le, 29)), false),
        (Filter::ResponseFlag(vec![]), true),
        (Filter::ResponseFlag(vec!["NR".into(), "UF".into()]), true),
        (Filter::ResponseFlag(vec!["NR".into()]), false),
        (Filter::NotHealthCheck, true),
        (Filter::And(vec![Filter::NotHealthCheck, Filter::Status(compare(Op::Eq, 200))]), false),
        (Filter::Or(vec![Filter::Status(compare(Op::Eq, 200)), Filter::NotHealthCheck]), true),
    ] {
        assert_eq!(takes(&filter), expected, "{filter:?}");
    }
}
