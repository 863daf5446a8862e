//! The segment that is written to.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use millstream_log::LogResult;

use crate::errors;
use crate::files::segment_path;
use crate::frame::{Head, Op, SEGMENT_HEADER, segment_header};

/// The end of the log. Owned by whoever holds the append lock.
pub(crate) struct Appender {
    dir: PathBuf,
    file: File,
    pub segment: u32,
    /// Where the next frame begins.
    pub position: u64,
    /// The next frame's number.
    pub sequence: u64,
    /// Frames below this number are on the disk for certain.
    pub synced: u64,
    /// When the last frame was written; time never goes back in the log.
    pub written: i64,
    /// Why nothing can be appended any more.
    broken: Option<String>,
}

impl Appender {
    /// Begins a new segment whose first frame is the whole state. It appears under its name only when complete.
    pub fn create(
        dir: &Path,
        segment: u32,
        sequence: u64,
        written: i64,
        snapshot: Vec<Op>,
        sync: bool,
    ) -> LogResult<Self> {
        let draft = dir.join("segment.new");
        let path = segment_path(dir, segment);
        let head = Head { written, ops: snapshot, rows: Vec::new() }.encode(sequence, sequence, 0);
        let make = || -> io::Result<File> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&draft)?;
            file.write_all(&segment_header(segment))?;
            file.write_all(&head)?;
            if sync {
                file.sync_all()?;
            }
            std::fs::rename(&draft, &path)?;
            if sync {
                File::open(dir)?.sync_all()?;
            }
            Ok(file)
        };
        let file = make().map_err(|e| errors::disk_full(&path, &e))?;
        let position = (SEGMENT_HEADER + head.len()) as u64;
        let synced = if sync { sequence + 1 } else { sequence };
        let dir = dir.to_owned();
        Ok(Self { dir, file, segment, position, sequence: sequence + 1, synced, written, broken: None })
    }

    /// Goes on at the end of a segment that is there.
    pub fn resume(dir: &Path, segment: u32, position: u64, sequence: u64, written: i64) -> LogResult<Self> {
        let path = segment_path(dir, segment);
        let open = || -> io::Result<File> {
            let mut file = OpenOptions::new().write(true).open(&path)?;
            file.seek(SeekFrom::Start(position))?;
            Ok(file)
        };
        let file = open().map_err(|e| errors::io("cannot open", &path, &e))?;
        Ok(Self { dir: dir.to_owned(), file, segment, position, sequence, synced: 0, written, broken: None })
    }

    /// Whether anything can be appended.
    pub fn usable(&self) -> LogResult<()> {
        match &self.broken {
            None => Ok(()),
            Some(why) => {
                let message =
                    format!("the log in {} takes no more writes: {why}; restart to go on", self.dir.display());
                Err(millstream_log::LogError::new(millstream_log::Class::Fatal, "log_broken", message))
            }
        }
    }

    /// Appends one frame. If it cannot be written whole, nothing of it stays.
    pub fn write(&mut self, head: &[u8], data: &[Bytes]) -> LogResult<()> {
        self.usable()?;
        let len = head.len() + data.iter().map(Bytes::len).sum::<usize>();
        match write_all(&mut self.file, head, data) {
            Ok(()) => {
                self.position += len as u64;
                self.sequence += 1;
                Ok(())
            }
            Err(error) => {
                let back =
                    self.file.set_len(self.position).and_then(|()| self.file.seek(SeekFrom::Start(self.position)));
                if let Err(again) = back {
                    self.broken = Some(format!("a write failed ({error}) and could not be undone ({again})"));
                }
                Err(errors::disk_full(&segment_path(&self.dir, self.segment), &error))
            }
        }
    }

    /// Forces everything written to the disk. After a failure nobody knows what is there, so nothing more is taken.
    pub fn sync(&mut self) -> LogResult<()> {
        self.usable()?;
        match self.file.sync_data() {
            Ok(()) => {
                self.synced = self.sequence;
                Ok(())
            }
            Err(error) => Err(self.sync_failed(&error)),
        }
    }

    /// A second handle of the file, to force it to the disk without holding the append lock.
    pub fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Notes that forcing to the disk failed.
    pub fn sync_failed(&mut self, error: &io::Error) -> millstream_log::LogError {
        self.broken = Some(format!("writes could not be forced to the disk: {error}"));
        errors::io("cannot force to the disk:", &segment_path(&self.dir, self.segment), error)
    }
}

fn write_all(file: &mut File, head: &[u8], data: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(1 + data.len());
    slices.push(IoSlice::new(head));
    slices.extend(data.iter().map(|b| IoSlice::new(b)));
    let mut rest = &mut slices[..];
    // Skips empty slices, which would look like a file that takes no more.
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match file.write_vectored(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => IoSlice::advance_slices(&mut rest, n),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
