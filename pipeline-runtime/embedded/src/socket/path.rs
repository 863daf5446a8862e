//! Where the socket is. A socket's path is short by decree of the operating system; where the folder's is too long,
//! the socket is in a folder of its own elsewhere, and a file in the log's folder says where.

use std::fs::{DirBuilder, Permissions};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Bytes that a socket's path may have on every Unix, its end included.
const MOST: usize = 104;
const NAME: &str = "millstream.sock";
/// Says where the socket is, when it is not in the folder.
const ELSEWHERE: &str = "millstream.socket";

/// A listening socket and what to remove with it.
pub(crate) struct Bound {
    pub listener: UnixListener,
    pub path: PathBuf,
    elsewhere: Option<PathBuf>,
}

impl Bound {
    /// Listens for a folder that this process owns. What an owner before left behind is removed.
    pub fn new(dir: &Path) -> io::Result<Self> {
        remove(&dir.join(NAME))?;
        remove(&dir.join(ELSEWHERE))?;
        let (path, elsewhere) = match fits(dir.join(NAME)) {
            Some(path) => (path, None),
            None => {
                let private = private_folder()?;
                (private.join("s"), Some(dir.join(ELSEWHERE)))
            }
        };
        let listener = UnixListener::bind(&path)?;
        // Whoever may use the folder's files may use the log, nobody else.
        std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        if let Some(note) = &elsewhere {
            std::fs::write(note, path.as_os_str().as_encoded_bytes())?;
        }
        Ok(Self { listener, path, elsewhere })
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        // Leftovers do no harm: the next owner removes them.
        let _ = remove(&self.path);
        if let Some(note) = &self.elsewhere {
            let _ = remove(note);
            if let Some(folder) = self.path.parent() {
                let _ = std::fs::remove_dir(folder);
            }
        }
    }
}

/// Where the socket of a folder should be.
pub(crate) fn find(dir: &Path) -> io::Result<PathBuf> {
    if let Some(path) = fits(dir.join(NAME)) {
        return Ok(path);
    }
    Ok(PathBuf::from(std::fs::read_to_string(dir.join(ELSEWHERE))?))
}

fn fits(path: PathBuf) -> Option<PathBuf> {
    (path.as_os_str().len() < MOST).then_some(path)
}

/// A new folder with a short name that only this user can enter.
fn private_folder() -> io::Result<PathBuf> {
    let name = format!("millstream-{:x}", RandomState::new().hash_one(std::process::id()));
    let candidates = [std::env::temp_dir(), PathBuf::from("/tmp")].map(|base| base.join(&name));
    let path = candidates.into_iter().find(|path| path.as_os_str().len() + 2 < MOST).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidFilename,
            "no folder for temporary files has a name short enough for a socket",
        )
    })?;
    DirBuilder::new().mode(0o700).create(&path)?;
    Ok(path)
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
