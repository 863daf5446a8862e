//! The segment files as readers use them: few are open at a time.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::signal::guard;

/// Most files kept open for reading.
const OPEN: usize = 64;

/// Opens segment files for reading and keeps the recently used ones open.
pub(crate) struct Files {
    dir: PathBuf,
    open: Mutex<VecDeque<(u32, Arc<File>)>>,
}

impl Files {
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), open: Mutex::default() }
    }

    /// Reads a range of a segment. `NotFound` if the segment was deleted.
    pub fn read(&self, segment: u32, at: u32, len: u32) -> io::Result<Bytes> {
        let file = self.file(segment)?;
        let mut buffer = vec![0; len as usize];
        file.read_exact_at(&mut buffer, u64::from(at))?;
        Ok(buffer.into())
    }

    /// Forgets a segment that is about to be deleted; who reads it now can finish.
    pub fn forget(&self, segment: u32) {
        guard(&self.open).retain(|(number, _)| *number != segment);
    }

    fn file(&self, segment: u32) -> io::Result<Arc<File>> {
        let mut open = guard(&self.open);
        if let Some(place) = open.iter().position(|(number, _)| *number == segment) {
            // The most recently used one is at the end.
            if let Some(entry) = open.remove(place) {
                open.push_back(entry);
            }
        } else {
            let file = File::open(segment_path(&self.dir, segment))?;
            if open.len() >= OPEN {
                open.pop_front();
            }
            open.push_back((segment, Arc::new(file)));
        }
        open.back().map(|(_, file)| file.clone()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Where a segment is.
pub(crate) fn segment_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:010}.seg"))
}

/// The numbers of all segments in a folder, rising.
pub(crate) fn list_segments(dir: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        if let Some(number) = name.to_str().and_then(|n| n.strip_suffix(".seg")).and_then(|n| n.parse().ok()) {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}
