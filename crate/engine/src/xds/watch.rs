//! Tells when a file is moved into a directory (inotify). One descriptor serves all watches of a proxy.

use std::{
    cell::RefCell,
    collections::HashMap,
    ffi::{OsStr, OsString},
    io,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
    rc::Rc,
};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use tokio::{io::unix::AsyncFd, sync::Notify, task::JoinHandle};

/// The watches of a proxy; made with the first.
#[derive(Default)]
pub struct Watcher(RefCell<Option<Running>>);

struct Running {
    watches: Rc<Watches>,
    task: JoinHandle<()>,
}

struct Watches {
    descriptor: AsyncFd<OwnedFd>,
    /// By the number that the kernel gives to a directory.
    list: RefCell<HashMap<i32, Vec<Watch>>>,
}

struct Watch {
    /// Only a file of this name.
    name: Option<OsString>,
    moved: Rc<Notify>,
}

impl Watcher {
    /// Tells from now on, for as long as the handle lives, when a file of this name, or any, is moved into `directory`.
    pub fn watch(&self, directory: &Path, name: Option<&OsStr>) -> io::Result<Rc<Notify>> {
        let mut running = self.0.borrow_mut();
        let running = match &mut *running {
            Some(running) => running,
            none => none.insert(Running::new()?),
        };
        let watches = &running.watches;
        let number = inotify::add_watch(watches.descriptor.get_ref(), directory, WatchFlags::MOVED_TO)?;
        let moved = Rc::new(Notify::new());
        let mut list = watches.list.borrow_mut();
        list.entry(number).or_default().push(Watch { name: name.map(OsStr::to_owned), moved: moved.clone() });
        list.retain(|number, of| {
            of.retain(|watch| Rc::strong_count(&watch.moved) > 1);
            if of.is_empty() {
                // Fails where the directory is gone, and the watch with it.
                let _ = inotify::remove_watch(watches.descriptor.get_ref(), *number);
            }
            !of.is_empty()
        });
        Ok(moved)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Some(running) = self.0.get_mut() {
            running.task.abort();
        }
    }
}

impl Running {
    fn new() -> io::Result<Running> {
        let descriptor = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        #[allow(deprecated, reason = "it asks for no proof that the descriptor stays open; this one is owned by what is made here")]
        let descriptor = AsyncFd::new(descriptor)?;
        let watches = Rc::new(Watches { descriptor, list: RefCell::default() });
        Ok(Running { task: tokio::task::spawn_local(watches.clone().run()), watches })
    }
}

impl Watches {
    async fn run(self: Rc<Watches>) {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
        // Readiness fails only when the runtime ends.
        while let Ok(mut ready) = self.descriptor.readable().await {
            let mut reader = Reader::new(self.descriptor.get_ref(), &mut buffer);
            while let Ok(event) = reader.next() {
                let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                self.tell(event.wd(), name, event.events().contains(ReadFlags::QUEUE_OVERFLOW));
            }
            ready.clear_ready();
        }
    }

    /// Wakes who waits for this; all, where the kernel lost events.
    fn tell(&self, number: i32, name: Option<&OsStr>, lost: bool) {
        for (of, list) in self.list.borrow().iter() {
            for watch in list.iter().filter(|watch| lost || *of == number && watch.name.as_deref().is_none_or(|n| Some(n) == name)) {
                watch.moved.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;

    /// Whether a move is told within a time that a machine under load needs at most; or, where none is meant to be, a short one.
    async fn told(moved: &Notify, wanted: bool) -> bool {
        let limit = Duration::from_millis(if wanted { 10_000 } else { 50 });
        tokio::time::timeout(limit, moved.notified()).await.is_ok()
    }

    #[tokio::test(flavor = "local")]
    async fn moves_are_told_to_who_waits_for_them() {
        let folder = std::env::temp_dir().join(format!("plenipo-watch-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let put = |name: &str| {
            fs::write(folder.join("new"), "text").unwrap();
            fs::rename(folder.join("new"), folder.join(name)).unwrap();
        };
        let watcher = Watcher::default();
        let (a, any) = (watcher.watch(&folder, Some(OsStr::new("a"))).unwrap(), watcher.watch(&folder, None).unwrap());
        put("b");
        assert!(told(&any, true).await && !told(&a, false).await);
        put("a");
        assert!(told(&a, true).await && told(&any, true).await);
        // Written where it stands: no move.
        fs::write(folder.join("a"), "other").unwrap();
        assert!(!told(&a, false).await);
        // Whoever went is forgotten, and the directory with the last one.
        drop((a, any));
        let elsewhere = watcher.watch(Path::new("/"), None).unwrap();
        assert_eq!(watcher.0.borrow().as_ref().unwrap().watches.list.borrow().len(), 1);
        drop(elsewhere);
        fs::remove_dir_all(&folder).unwrap();
        assert!(watcher.watch(&folder, None).is_err());
    }
}
