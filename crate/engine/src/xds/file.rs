//! Routes in a file: read at the start and whenever a file is moved into its place.

use std::{
    io,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
};

use plenipo_api::Input;

use super::{
    Accepted, Discovery, Found,
    response::{self, Unread},
};

/// `path_config_source` of a source of routes.
pub struct RouteFile {
    /// The source's key.
    pub key: u64,
    /// The name of the routes.
    pub name: Arc<str>,
    /// The file.
    pub path: PathBuf,
    /// The directory that is watched instead of the file's own.
    pub watched: Option<PathBuf>,
}

/// Why a file gives no routes.
enum Refused {
    /// It cannot be read.
    Failure(String),
    /// What it says is not used.
    Rejected(String),
}

impl RouteFile {
    /// Reads the file now and after every move, for ever.
    pub async fn follow(self, discovery: Rc<Discovery>, accepted: Accepted) {
        // Watched first, so that no move falls between.
        let moved = match &self.watched {
            Some(directory) => discovery.watcher.watch(directory, None),
            None => discovery.watcher.watch(directory_of(&self.path), self.path.file_name()),
        };
        if let Err(e) = &moved {
            discovery.warn(format!("{} cannot be watched: {e}", self.path.display()));
        }
        self.refresh(&discovery, &accepted).await;
        let Ok(moved) = moved else { return };
        loop {
            moved.notified().await;
            self.refresh(&discovery, &accepted).await;
        }
    }

    async fn refresh(&self, discovery: &Discovery, accepted: &Accepted) {
        accepted.stats.update_attempt().inc();
        match self.load(discovery).await {
            Ok(version) => return accepted.accept(&version),
            Err(Refused::Failure(message)) => {
                accepted.stats.update_failure().inc();
                discovery.warn(format!("Filesystem config update failure: {message}"));
            }
            Err(Refused::Rejected(message)) => {
                accepted.stats.update_rejected().inc();
                discovery.warn(format!("Filesystem config update rejected: {message}"));
            }
        }
        // The door knows that there is nothing; what it answers changes nothing.
        let _ = discovery.submit(self.key, Found::Nothing).await;
    }

    /// Reads the file and submits what it says; gives its version.
    async fn load(&self, discovery: &Discovery) -> Result<String, Refused> {
        let unknown = discovery.unknown_dynamic_fields();
        let input = read(&self.path).map_err(|e| Refused::Failure(format!("{}: {e}", self.path.display())))?;
        let response = response::read(input, unknown).map_err(|unread| match unread {
            Unread::Broken(message) => Refused::Failure(message),
            Unread::UnknownFields(message) => Refused::Rejected(message),
        })?;
        discovery.tell_unknown(&response.warnings);
        let (found, warnings) = response::routes(&response, &self.name, unknown).map_err(Refused::Rejected)?;
        discovery.tell_unknown(&warnings);
        discovery.submit(self.key, found).await.map_err(Refused::Rejected)?;
        Ok(response.version)
    }
}

/// The file in the format that its name tells; as Envoy does for such files, JSON where it tells none.
fn read(path: &Path) -> io::Result<Input> {
    let bytes = std::fs::read(path)?;
    let name = path.display().to_string();
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    Ok(match ending.as_str() {
        "yaml" | "yml" => Input::yaml(bytes).named(name),
        "pb" => Input::binary(bytes).named(name),
        "pb_text" => return Err(io::Error::new(io::ErrorKind::Unsupported, "protobuf text is not read; write YAML, JSON or .pb")),
        _ => Input::json(bytes).named(name),
    })
}

/// Where a file stands.
fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
