//! Files that log lines go to: buffers of the worker, one writer thread a proxy, one file a path.
//!
//! A line is formatted into a buffer of the thread that logs it; a full buffer goes to the writer as a whole. Workers
//! call [`flush_thread`] at every `file_flush_interval`; the end of a thread flushes by itself (join it to be sure).

use std::{
    cell::RefCell,
    collections::HashMap,
    fmt,
    fs::OpenOptions,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread::JoinHandle,
};

use crate::stats::{FilesystemStats, Store};

/// A buffer of this size goes to the writer (`file_flush_min_size_kb`, 64 KiB).
const FLUSH_SIZE: usize = 64 * 1024;
/// What may wait for a disk, for each file; more is dropped and counted. (Envoy's grows without a bound.)
const MAX_WAITING: usize = 64 * 1024 * 1024;

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A file, made where it is not there, appended to.
    Path(PathBuf),
    /// Standard output of the process.
    Stdout,
    /// Standard error of the process.
    Stderr,
}

impl Target {
    /// The target of a configured path. The paths of the standard streams are the streams themselves: opening them
    /// anew fails where they are sockets.
    pub fn of(path: &str) -> Target {
        match path {
            "/dev/stdout" => Target::Stdout,
            "/dev/stderr" => Target::Stderr,
            path => Target::Path(path.into()),
        }
    }
}

/// The log files of one proxy; cloning gives another handle on the same. The last handle that goes stops the writer.
#[derive(Clone)]
pub struct Files(Arc<Inner>);

struct Inner {
    files: Mutex<HashMap<Target, Weak<File>>>,
    stats: FilesystemStats,
    /// None where nothing is opened or written.
    writer: Option<mpsc::Sender<Message>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Message {
    Lines(Arc<Shared>, Vec<u8>),
    /// Open all of them again, then answer.
    Reopen(Vec<Arc<Shared>>),
    /// Answer when all that came before is written.
    Sync(mpsc::Sender<()>),
    Stop,
}

/// One file, shared by every access log and worker that writes to it.
pub struct File {
    shared: Arc<Shared>,
    stats: FilesystemStats,
    writer: Option<mpsc::Sender<Message>>,
}

/// What the writer needs of a file.
struct Shared {
    target: Target,
    output: Mutex<Output>,
    waiting: AtomicUsize,
}

enum Output {
    File(std::fs::File),
    Stdout,
    Stderr,
    /// Only checked, never written.
    Nothing,
}

impl Files {
    /// Starts the writer. `filesystem.*` is counted in `store`.
    pub fn start(store: &Store) -> io::Result<Files> {
        let (sender, receiver) = mpsc::channel();
        let stats = FilesystemStats::new(store, "filesystem");
        let for_writer = stats.clone();
        let thread = std::thread::Builder::new().name("plenipo-log".into()).spawn(move || run_writer(&receiver, &for_writer))?;
        Ok(Files(Arc::new(Inner { files: Mutex::default(), stats, writer: Some(sender), thread: Mutex::new(Some(thread)) })))
    }

    /// Opens and writes nothing: for `validate`.
    pub fn for_validation() -> Files {
        let stats = FilesystemStats::new(&Store::with_workers(0), "filesystem");
        Files(Arc::new(Inner { files: Mutex::default(), stats, writer: None, thread: Mutex::new(None) }))
    }

    /// The file of a target; opened unless it is open already.
    pub fn open(&self, target: &Target) -> io::Result<Arc<File>> {
        let mut files = lock(&self.0.files);
        if let Some(file) = files.get(target).and_then(Weak::upgrade) {
            return Ok(file);
        }
        let output = match target {
            _ if self.0.writer.is_none() => Output::Nothing,
            Target::Path(path) => Output::File(open(path)?),
            Target::Stdout => Output::Stdout,
            Target::Stderr => Output::Stderr,
        };
        let shared = Arc::new(Shared { target: target.clone(), output: Mutex::new(output), waiting: AtomicUsize::new(0) });
        let file = Arc::new(File { shared, stats: self.0.stats.clone(), writer: self.0.writer.clone() });
        files.retain(|_, f| f.strong_count() > 0);
        files.insert(target.clone(), Arc::downgrade(&file));
        Ok(file)
    }

    /// Opens every path again, after a rotation (`POST /reopen_logs`). One that fails is counted and keeps its old file.
    pub fn reopen(&self) {
        let files = lock(&self.0.files).values().filter_map(Weak::upgrade).map(|f| f.shared.clone()).collect();
        if let Some(writer) = &self.0.writer {
            // Without a writer there is nothing to reopen.
            let _ = writer.send(Message::Reopen(files));
        }
    }

    /// Waits until everything that was flushed so far is written. Blocks; not for workers.
    pub fn sync(&self) {
        let (sender, receiver) = mpsc::channel();
        if let Some(writer) = &self.0.writer
            && writer.send(Message::Sync(sender)).is_ok()
        {
            // An error means that the writer has gone, and with it what there was to wait for.
            let _ = receiver.recv();
        }
    }

    /// Writes what is there and ends the writer. Lines that come later are dropped and counted. Call it when the workers
    /// have gone. Blocks; not for workers.
    pub fn stop(&self) {
        self.0.stop();
    }
}

impl Inner {
    fn stop(&self) {
        if let (Some(writer), Some(thread)) = (&self.writer, lock(&self.thread).take()) {
            let _ = writer.send(Message::Stop);
            // A writer that panicked has nothing more to say; its panic was reported.
            let _ = thread.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Buffer {
    file: Arc<File>,
    lines: Vec<u8>,
}

/// Flushes when its thread ends.
struct Buffers(Vec<Buffer>);

impl Drop for Buffers {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(Buffer::flush);
    }
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = const { RefCell::new(Buffers(Vec::new())) };
}

impl File {
    /// Has `format` append a line to this thread's buffer.
    pub fn write(self: &Arc<File>, format: impl FnOnce(&mut Vec<u8>)) {
        // A thread that is ending has flushed already and has no buffers any more; its last lines go one by one.
        let format = RefCell::new(Some(format));
        let take = |lines: &mut Vec<u8>| format.borrow_mut().take().map(|f| f(lines));
        let buffered = BUFFERS.try_with(|buffers| {
            let mut buffers = buffers.borrow_mut();
            let buffers = &mut buffers.0;
            let at = match buffers.iter().position(|b| Arc::ptr_eq(&b.file, self)) {
                Some(at) => at,
                None => {
                    buffers.push(Buffer { file: self.clone(), lines: Vec::with_capacity(FLUSH_SIZE / 16) });
                    buffers.len() - 1
                }
            };
            let buffer = &mut buffers[at];
            let before = buffer.lines.len();
            take(&mut buffer.lines);
            self.stats.write_buffered().inc();
            self.stats.write_total_buffered().add((buffer.lines.len() - before) as u64);
            if buffer.lines.len() >= FLUSH_SIZE {
                buffer.flush();
            }
        });
        if buffered.is_err() {
            let mut lines = Vec::new();
            take(&mut lines);
            self.stats.write_buffered().inc();
            self.stats.write_total_buffered().add(lines.len() as u64);
            self.send(lines);
        }
    }

    fn send(&self, lines: Vec<u8>) {
        let len = lines.len();
        if self.shared.waiting.fetch_add(len, Relaxed) + len <= MAX_WAITING
            && let Some(writer) = &self.writer
            && writer.send(Message::Lines(self.shared.clone(), lines)).is_ok()
        {
            return;
        }
        self.shared.waiting.fetch_sub(len, Relaxed);
        self.stats.write_failed().inc();
        self.stats.write_total_buffered().sub(len as u64);
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("File").field(&self.shared.target).finish()
    }
}

impl Buffer {
    fn flush(&mut self) {
        if !self.lines.is_empty() {
            let next = Vec::with_capacity(self.lines.len().min(FLUSH_SIZE) + 1024);
            self.file.send(std::mem::replace(&mut self.lines, next));
        }
    }
}

/// Hands this thread's lines to the writer; a worker calls it at every `file_flush_interval`, when it drains and when it stops.
pub fn flush_thread() {
    // A thread that is ending has flushed already.
    let _ = BUFFERS.try_with(|buffers| {
        let buffers = &mut buffers.borrow_mut().0;
        for buffer in buffers.iter_mut().filter(|b| !b.lines.is_empty()) {
            buffer.file.stats.flushed_by_timer().inc();
            buffer.flush();
        }
        // A file that no configuration names any more is closed here.
        buffers.retain(|b| Arc::strong_count(&b.file) > 1);
    });
}

fn run_writer(messages: &mpsc::Receiver<Message>, stats: &FilesystemStats) {
    while let Ok(message) = messages.recv() {
        match message {
            Message::Lines(file, lines) => {
                let written = lock(&file.output).write(&lines);
                file.waiting.fetch_sub(lines.len(), Relaxed);
                stats.write_total_buffered().sub(lines.len() as u64);
                match written {
                    Ok(()) => stats.write_completed().inc(),
                    Err(_) => stats.write_failed().inc(),
                }
            }
            Message::Reopen(files) => {
                for file in files {
                    let Target::Path(path) = &file.target else { continue };
                    match open(path) {
                        Ok(fresh) => *lock(&file.output) = Output::File(fresh),
                        Err(_) => stats.reopen_failed().inc(),
                    }
                }
            }
            // Who asked may have stopped waiting.
            Message::Sync(done) => drop(done.send(())),
            Message::Stop => break,
        }
    }
}

impl Output {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Output::File(file) => file.write_all(lines),
            Output::Stdout => io::stdout().lock().write_all(lines).and_then(|()| io::stdout().flush()),
            Output::Stderr => io::stderr().lock().write_all(lines),
            Output::Nothing => Ok(()),
        }
    }
}

fn open(path: &Path) -> io::Result<std::fs::File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// A panic elsewhere leaves these whole: they are changed by single calls only.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
