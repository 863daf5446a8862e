//! Opening a folder that has segments: memory is built again from the heads of all frames, and a torn end is cut.
//!
//! Only the newest segment can have a torn end: the one before was finished, and forced to the disk, before it was
//! begun. So every other segment must check to its last byte, and of the newest one everything up to the first frame
//! that does not check is kept. What follows that frame decides what happened:
//!
//! | behind the bad frame | it is | what is done |
//! |---|---|---|
//! | no frame | a torn end: the process died while it wrote | cut |
//! | frames written before it was forced to disk | a power cut: the disk kept some pages and not others | set aside in a file, then cut |
//! | a frame that says it had been forced to disk | damage | refused, nothing is changed |

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use millstream_log::{Class, LogError, LogResult};

use crate::errors;
use crate::files::{list_segments, segment_path};
use crate::frame::{FRAME_HEADER, FrameHeader, Head, MAGIC, Op, SEGMENT_HEADER, SEGMENT_MAGIC, segment_header};
use crate::index::Place;
use crate::options::{EmbeddedOptions, Fsync};
use crate::segment::Appender;
use crate::state::State;

/// Read ahead by this much where only heads are wanted.
const WINDOW: usize = 32 << 10;

/// What a folder holds.
pub(crate) struct Recovered {
    pub state: State,
    pub appender: Appender,
}

/// Reads a folder, or makes the first segment of a new one.
pub(crate) fn recover(dir: &Path, options: &EmbeddedOptions) -> LogResult<Recovered> {
    let mut state = State::new(options.cache_bytes);
    let numbers = list_segments(dir).map_err(|e| errors::io("cannot list", dir, &e))?;
    let Some(last) = numbers.last().copied() else {
        let sync = options.fsync != Fsync::Off;
        let appender = Appender::create(dir, 1, 1, crate::core::now(), state.snapshot(), sync)?;
        state.segments.insert(1, appender.position);
        return Ok(Recovered { state, appender });
    };
    let mut before: Option<(u32, u64)> = None;
    let mut written = 0;
    let mut position = 0;
    for number in numbers {
        let first = before.filter(|(n, _)| n + 1 == number).map(|(_, sequence)| sequence);
        let mut scan = Scan::open(dir, number, first)?;
        scan.run(&mut state, number == last)?;
        state.segments.insert(number, scan.position);
        before = Some((number, scan.sequence.unwrap_or(1)));
        written = scan.written.max(written);
        position = scan.position;
    }
    check_holes(dir, &state)?;
    let sequence = before.map_or(1, |(_, sequence)| sequence);
    let appender = Appender::resume(dir, last, position, sequence, written)?;
    Ok(Recovered { state, appender })
}

/// Records can be missing only below the first one; what compaction removes leaves an entry.
fn check_holes(dir: &Path, state: &State) -> LogResult<()> {
    for topic in state.by_id.values() {
        for (number, partition) in topic.partitions.iter().enumerate() {
            if let Some(offset) = partition.index.hole(partition.low, partition.next) {
                let message = format!(
                    "records of {}/{number} are missing in {} from offset {offset} on: a segment file is gone; nothing was changed",
                    topic.name,
                    dir.display()
                );
                return Err(LogError::new(Class::Fatal, "log_damaged", message));
            }
        }
    }
    Ok(())
}

/// Topics that a segment's first frame does not name were deleted, in a segment that is itself deleted now.
fn forget_deleted(state: &mut State, head: &Head) {
    let named = |id: u32| head.ops.iter().any(|op| matches!(op, Op::Topic { id: known, .. } if *known == id));
    let deleted: Vec<u32> = state.by_id.keys().copied().filter(|id| !named(*id)).collect();
    for id in deleted {
        state.apply_op(&Op::TopicDeleted { id });
    }
}

/// Goes through one segment.
struct Scan<'a> {
    dir: &'a Path,
    number: u32,
    file: File,
    len: u64,
    /// Where the next frame begins.
    position: u64,
    /// The number the next frame must have, if known.
    sequence: Option<u64>,
    written: i64,
    window: Vec<u8>,
    window_at: u64,
}

impl<'a> Scan<'a> {
    fn open(dir: &'a Path, number: u32, sequence: Option<u64>) -> LogResult<Self> {
        let path = segment_path(dir, number);
        let open = || -> io::Result<(File, u64, Vec<u8>)> {
            let mut file = File::open(&path)?;
            let len = file.metadata()?.len();
            let mut header = Vec::new();
            file.by_ref().take(SEGMENT_HEADER as u64).read_to_end(&mut header)?;
            Ok((file, len, header))
        };
        let (file, len, header) = open().map_err(|e| errors::io("cannot read", &path, &e))?;
        if header != segment_header(number) {
            return Err(
                if header.starts_with(&SEGMENT_MAGIC[..7]) && header.get(7).is_some_and(|v| *v != SEGMENT_MAGIC[7]) {
                    errors::other_version(&path)
                } else {
                    errors::damaged(&path, 0, "this is no segment of a millstream log")
                },
            );
        }
        let position = SEGMENT_HEADER as u64;
        Ok(Self { dir, number, file, len, position, sequence, written: 0, window: Vec::new(), window_at: 0 })
    }

    /// Applies every frame. Of the newest segment the records are checked too, and a torn end is cut.
    fn run(&mut self, state: &mut State, newest: bool) -> LogResult<()> {
        while self.position < self.len {
            let Some((header, head)) = self.frame(newest).map_err(|e| self.io(&e))? else {
                if self.is_of_a_later_version().map_err(|e| self.io(&e))? {
                    return Err(errors::other_version(&segment_path(self.dir, self.number)));
                }
                if newest && self.position > SEGMENT_HEADER as u64 {
                    return self.cut();
                }
                return Err(self.damaged("no whole frame"));
            };
            let first = self.position == SEGMENT_HEADER as u64;
            if first != matches!(head.ops.first(), Some(Op::Reset { .. })) {
                return Err(self.damaged("the state of the log is not where it must be"));
            }
            self.apply(state, &header, &head)?;
        }
        if self.position == SEGMENT_HEADER as u64 {
            return Err(self.damaged("the segment has no frame"));
        }
        Ok(())
    }

    fn apply(&mut self, state: &mut State, header: &FrameHeader, head: &Head) -> LogResult<()> {
        let data = self.position + FRAME_HEADER as u64 + u64::from(header.head_len);
        let end = self.position + header.frame_len();
        let place = Place { segment: self.number, frame: self.position as u32, data: data as u32, end: end as u32 };
        if let Some(Op::Reset { .. }) = head.ops.first() {
            forget_deleted(state, head);
        }
        for op in &head.ops {
            state.apply_op(op);
        }
        for row in &head.rows {
            let known = state.partition_mut(row.topic, row.partition).map(|p| p.next);
            if !row.moved && known.is_some_and(|next| next != row.base) {
                return Err(self.damaged("offsets do not follow each other"));
            }
            state.apply_run(row, place);
        }
        self.written = self.written.max(head.written);
        self.position = end;
        self.sequence = Some(header.sequence + 1);
        Ok(())
    }

    /// The frame at the position. `None` if there is no whole one.
    fn frame(&mut self, with_data: bool) -> io::Result<Option<(FrameHeader, Head)>> {
        let Some((header, head)) = self.head_at(self.position)? else { return Ok(None) };
        if self.sequence.is_some_and(|s| s != header.sequence) || self.position + header.frame_len() > self.len {
            return Ok(None);
        }
        let Some(head) = Head::parse(&head) else { return Ok(None) };
        if with_data {
            let from = self.position + FRAME_HEADER as u64 + u64::from(header.head_len);
            let mut data = vec![0; header.data_len as usize];
            self.file.read_exact_at(&mut data, from)?;
            let data = bytes::Bytes::from(data);
            let good = |at: u32, len: u32| {
                let (at, len) = (at as usize, len as usize);
                at + len <= data.len() && crate::fetch::checked(&data.slice(at..at + len)).is_some()
            };
            if !head.rows.iter().all(|row| good(row.at, row.len)) {
                return Ok(None);
            }
        }
        Ok(Some((header, head)))
    }

    /// Whether here is a frame that is whole and that this version cannot read: to cut it off would lose what it holds.
    fn is_of_a_later_version(&mut self) -> io::Result<bool> {
        let position = self.position;
        let Some(fixed) = self.bytes(position, FRAME_HEADER)?.map(<[u8]>::to_vec) else { return Ok(false) };
        let Some(header) = FrameHeader::parse_any(&fixed) else { return Ok(false) };
        let Some(head) = self.bytes(position + FRAME_HEADER as u64, header.head_len as usize)? else {
            return Ok(false);
        };
        Ok(header.checks(&fixed, head) && (!fixed.starts_with(&MAGIC) || Head::parse(head).is_none()))
    }

    /// The checked header and head bytes at a position, if there are any.
    fn head_at(&mut self, position: u64) -> io::Result<Option<(FrameHeader, Vec<u8>)>> {
        let Some(fixed) = self.bytes(position, FRAME_HEADER)?.map(<[u8]>::to_vec) else { return Ok(None) };
        let Some(header) = FrameHeader::parse(&fixed) else { return Ok(None) };
        let head = self.bytes(position + FRAME_HEADER as u64, header.head_len as usize)?;
        Ok(head.filter(|head| header.checks(&fixed, head)).map(|head| (header, head.to_vec())))
    }

    /// Bytes of the file through the window. `None` beyond its end.
    fn bytes(&mut self, at: u64, len: usize) -> io::Result<Option<&[u8]>> {
        if at + len as u64 > self.len {
            return Ok(None);
        }
        let inside = at >= self.window_at && at + len as u64 <= self.window_at + self.window.len() as u64;
        if !inside {
            let most = (self.len - at).min(len.max(WINDOW) as u64) as usize;
            self.window.resize(most, 0);
            self.window_at = at;
            self.file.read_exact_at(&mut self.window, at)?;
        }
        let from = (at - self.window_at) as usize;
        Ok(Some(&self.window[from..from + len]))
    }

    /// Deals with what does not check at the end of the newest segment, as the table above says.
    fn cut(&mut self) -> LogResult<()> {
        let expected = self.sequence.unwrap_or(0);
        let mut follows = false;
        let mut at = self.position + 1;
        while let Some(found) = self.next_magic(at).map_err(|e| self.io(&e))? {
            if let Some((header, _)) = self.head_at(found).map_err(|e| self.io(&e))?
                && header.sequence >= expected
            {
                if header.synced > expected {
                    return Err(self.damaged("a frame does not check, and it had been forced to the disk"));
                }
                follows = true;
            }
            at = found + 1;
        }
        let path = segment_path(self.dir, self.number);
        let (position, lost) = (self.position, self.len - self.position);
        let failed = |e: io::Error| errors::io("cannot cut the torn end of", &path, &e);
        if follows {
            let aside = self.dir.join(format!("torn-{:010}-{position}.bin", self.number));
            let mut from = File::open(&path).map_err(failed)?;
            io::Seek::seek(&mut from, io::SeekFrom::Start(position)).map_err(failed)?;
            let mut to = File::create(&aside).map_err(failed)?;
            io::copy(&mut from, &mut to).and_then(|_| to.sync_all()).map_err(failed)?;
            tracing::warn!(
                file = %path.display(), position, bytes = lost, kept_in = %aside.display(),
                "the last writes before a crash of the machine are incomplete and were set aside"
            );
        } else {
            tracing::info!(file = %path.display(), position, bytes = lost, "cut an unfinished write off the end of the log");
        }
        let file = OpenOptions::new().write(true).open(&path).map_err(failed)?;
        file.set_len(position).and_then(|()| file.sync_all()).map_err(failed)?;
        self.len = position;
        Ok(())
    }

    /// The next place from `at` on where a frame could begin.
    fn next_magic(&mut self, mut at: u64) -> io::Result<Option<u64>> {
        const STEP: u64 = 1 << 20;
        while at + FRAME_HEADER as u64 <= self.len {
            let len = STEP.min(self.len - at);
            let mut chunk = vec![0; len as usize];
            self.file.read_exact_at(&mut chunk, at)?;
            if let Some(found) = chunk.windows(MAGIC.len()).position(|w| w == MAGIC) {
                return Ok(Some(at + found as u64));
            }
            // A magic may lie across two chunks.
            at += len.saturating_sub(MAGIC.len() as u64 - 1).max(1);
        }
        Ok(None)
    }

    fn damaged(&self, what: &str) -> LogError {
        errors::damaged(&segment_path(self.dir, self.number), self.position, what)
    }

    fn io(&self, error: &io::Error) -> LogError {
        errors::io("cannot read", &segment_path(self.dir, self.number), error)
    }
}
