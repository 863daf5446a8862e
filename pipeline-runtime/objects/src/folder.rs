//! A folder with all below it.

use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;

use bytes::Bytes;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use walkdir::{DirEntry, WalkDir};

use crate::decide::State;
use crate::record::encoded;
use crate::store::{Found, ReadError, Store, StoreError};

/// Objects of a page.
const PAGE: usize = 1_000;
/// Folders held open at a time.
const OPEN: usize = 32;
/// What programs call a file while they write it.
const UNFINISHED: [&str; 7] = [".tmp", ".part", ".partial", ".crdownload", ".filepart", ".swp", "~"];

/// A folder.
pub struct Folder {
    root: PathBuf,
    base: String,
    /// Names that are left out although a pattern may fit them.
    taken: Taken,
    walk: Option<Box<dyn Iterator<Item = walkdir::Result<DirEntry>> + Send>>,
    incomplete: bool,
    said: Said,
}

/// Which unusual names the pattern asks for by name.
#[derive(Clone, Copy)]
struct Taken {
    hidden: bool,
    unfinished: Option<&'static str>,
}

/// What was said once.
#[derive(Default)]
struct Said {
    links: bool,
    unreadable: bool,
}

impl Folder {
    /// Of a path, which need not exist, and the pattern of names, if any.
    pub fn new(path: &Path, pattern: Option<&str>) -> Self {
        let root = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let text = root.as_os_str().as_bytes();
        let text = text.strip_suffix(b"/").unwrap_or(text);
        let pattern = pattern.unwrap_or("");
        let taken = Taken {
            hidden: pattern.split(['/', '{', ',']).any(|part| part.starts_with('.')),
            unfinished: UNFINISHED.into_iter().find(|end| pattern.ends_with(end)),
        };
        Self {
            base: format!("file://{}/", encoded(text)),
            root,
            taken,
            walk: None,
            incomplete: false,
            said: Said::default(),
        }
    }

    /// Says on `wake` when something happens in the folder, for as long as what is returned lives.
    ///
    /// # Errors
    /// The folder is not there yet, or the machine does not watch (so many) folders.
    pub fn watch(&self, wake: SyncSender<()>) -> notify::Result<RecommendedWatcher> {
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // To read a file is no news. What went wrong is looked at: something may have been missed.
            if event.is_err() || event.is_ok_and(|event| !event.kind.is_access() || event.need_rescan()) {
                // One word is enough for many events.
                let _ = wake.try_send(());
            }
        })?;
        watcher.watch(&self.root, RecursiveMode::Recursive)?;
        Ok(watcher)
    }

    fn path(&self, name: &[u8]) -> PathBuf {
        self.root.join(OsStr::from_bytes(name))
    }

    fn name<'e>(&self, entry: &'e DirEntry) -> Option<&'e [u8]> {
        entry.path().strip_prefix(&self.root).ok().map(|path| path.as_os_str().as_bytes())
    }

    /// What the walk gives, if it is an object.
    fn object(&mut self, entry: walkdir::Result<DirEntry>) -> Result<Option<Found>, StoreError> {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return self.failed(&error).map(|()| None),
        };
        if entry.path_is_symlink() {
            if !std::mem::replace(&mut self.said.links, true) {
                tracing::info!(path = %entry.path().display(), "symbolic links are not followed; this one is left out");
            }
            return Ok(None);
        }
        let unfinished = |name: &OsStr| {
            let ends = |end: &str| name.as_bytes().ends_with(end.as_bytes());
            UNFINISHED.into_iter().any(|end| ends(end) && self.taken.unfinished != Some(end))
        };
        if !entry.file_type().is_file() || unfinished(entry.file_name()) {
            return Ok(None);
        }
        match entry.metadata() {
            Ok(meta) => Ok(self.name(&entry).map(|name| Found { name: name.to_vec(), state: state(&meta) })),
            Err(error) => self.failed(&error).map(|()| None),
        }
    }

    /// What vanishes while it is listed is gone; what may not be read leaves the listing incomplete.
    fn failed(&mut self, error: &walkdir::Error) -> Result<(), StoreError> {
        let what = error.io_error().map_or(io::ErrorKind::Other, io::Error::kind);
        if error.depth() == 0 {
            return Err(of_folder(&self.root, error.io_error()));
        }
        if what == io::ErrorKind::NotFound {
            return Ok(());
        }
        self.incomplete = true;
        if !std::mem::replace(&mut self.said.unreadable, true) {
            tracing::warn!(
                code = "objects_unreadable",
                "{error}; what is in there is not seen, and nothing is taken for deleted, until it can be read"
            );
        }
        Ok(())
    }
}

fn of_folder(root: &Path, error: Option<&io::Error>) -> StoreError {
    let path = root.display();
    match error.map(io::Error::kind) {
        Some(io::ErrorKind::NotFound) => {
            StoreError::new("objects_missing", format!("`{path}` does not exist; it is looked for again until it does"))
        }
        Some(io::ErrorKind::PermissionDenied) => {
            StoreError::new("objects_denied", format!("`{path}` may not be read by this user; mend its rights"))
        }
        _ => {
            let why = error.map_or_else(|| "no folder".to_owned(), ToString::to_string);
            StoreError::new("objects_unreachable", format!("`{path}` cannot be listed: {why}"))
        }
    }
}

fn state(meta: &Metadata) -> State {
    let modified = meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec());
    State { size: meta.size(), modified: Some(modified), etag: format!("{:x}-{:x}", meta.size(), modified) }
}

impl Store for Folder {
    fn base(&self) -> &str {
        &self.base
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        self.incomplete = false;
        let meta = std::fs::metadata(&self.root).map_err(|e| of_folder(&self.root, Some(&e)))?;
        if !meta.is_dir() {
            let message = format!("`{}` is no folder; `url` names the folder of the objects", self.root.display());
            return Err(StoreError::new("objects_missing", message));
        }
        let hidden = self.taken.hidden;
        let shown =
            move |entry: &DirEntry| entry.depth() == 0 || hidden || !entry.file_name().as_bytes().starts_with(b".");
        let walk = WalkDir::new(&self.root).max_open(OPEN).min_depth(1).into_iter().filter_entry(shown);
        self.walk = Some(Box::new(walk));
        Ok(())
    }

    fn page(&mut self) -> Result<Vec<Found>, StoreError> {
        let mut page = Vec::new();
        while page.len() < PAGE {
            let Some(entry) = self.walk.as_mut().and_then(Iterator::next) else { break };
            page.extend(self.object(entry)?);
        }
        Ok(page)
    }

    fn incomplete(&self) -> bool {
        self.incomplete
    }

    fn there(&mut self, name: &[u8]) -> bool {
        !matches!(std::fs::symlink_metadata(self.path(name)), Err(e) if e.kind() == io::ErrorKind::NotFound || e.kind() == io::ErrorKind::NotADirectory)
    }

    fn read(&mut self, name: &[u8], wanted: &State) -> Result<Bytes, ReadError> {
        let path = self.path(name);
        let failed = |error: io::Error| match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP) => ReadError::Changed,
            _ => ReadError::Object(format!("`{}` cannot be read: {error}", path.display())),
        };
        // Nobody leads out of the folder by a link put there since it was listed; a pipe put there would block.
        let mut open = OpenOptions::new();
        let open = open.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let mut file: File = open.open(&path).map_err(failed)?;
        let within = path.canonicalize().and_then(|path| Ok(path.starts_with(self.root.canonicalize()?)));
        if !within.map_err(failed)? {
            return Err(ReadError::Changed);
        }
        let mut bytes = Vec::new();
        (&mut file).take(wanted.size + 1).read_to_end(&mut bytes).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        let same = meta.is_file() && state(&meta) == *wanted && bytes.len() as u64 == wanted.size;
        if same { Ok(Bytes::from(bytes)) } else { Err(ReadError::Changed) }
    }
}
