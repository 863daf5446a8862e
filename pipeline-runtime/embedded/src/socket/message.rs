//! Messages on a connection.

use std::io::{self, Read, Write};

use bytes::Bytes;

/// The first bytes from both sides; the last one is the version.
pub(crate) const MAGIC: [u8; 4] = *b"MSK\x01";
/// No message is longer; what would be is sent in several.
const MOST: u32 = 1 << 30;

/// What is asked, or how the answer is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    // Answers.
    Done = 0,
    Failed = 1,
    Refused = 2,
    // To the log.
    Describe = 10,
    Topics = 11,
    Create = 12,
    Delete = 13,
    Ends = 14,
    Committed = 15,
    DeleteBefore = 16,
    DeleteGroups = 17,
    AddPartitions = 18,
    // What the connection becomes.
    Join = 20,
    Reader = 21,
    Writer = 22,
    // To a member, reader or writer.
    Wake = 30,
    Poll = 31,
    Start = 32,
    Release = 33,
    Send = 34,
    Commit = 35,
    Abort = 36,
    Leave = 37,
    Assign = 38,
    Flush = 39,
    Pause = 40,
}

const KINDS: [Kind; 26] = [
    Kind::Done,
    Kind::Failed,
    Kind::Refused,
    Kind::Describe,
    Kind::Topics,
    Kind::Create,
    Kind::Delete,
    Kind::Ends,
    Kind::Committed,
    Kind::DeleteBefore,
    Kind::DeleteGroups,
    Kind::AddPartitions,
    Kind::Join,
    Kind::Reader,
    Kind::Writer,
    Kind::Wake,
    Kind::Poll,
    Kind::Start,
    Kind::Release,
    Kind::Send,
    Kind::Commit,
    Kind::Abort,
    Kind::Leave,
    Kind::Assign,
    Kind::Flush,
    Kind::Pause,
];

/// Writes one message.
pub(crate) fn write(to: &mut impl Write, kind: Kind, body: &[u8]) -> io::Result<()> {
    let len = u32::try_from(body.len()).ok().filter(|len| *len <= MOST);
    let len = len.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a message longer than 1 GiB"))?;
    let mut head = [0; 5];
    head[..4].copy_from_slice(&len.to_le_bytes());
    head[4] = kind as u8;
    if body.len() <= 4096 {
        // One call for a short message.
        let mut whole = Vec::with_capacity(5 + body.len());
        whole.extend_from_slice(&head);
        whole.extend_from_slice(body);
        return to.write_all(&whole);
    }
    to.write_all(&head)?;
    to.write_all(body)
}

/// Reads one message.
pub(crate) fn read(from: &mut impl Read) -> io::Result<(Kind, Bytes)> {
    let mut head = [0; 5];
    from.read_exact(&mut head)?;
    let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    let kind = KINDS.iter().copied().find(|k| *k as u8 == head[4]);
    let Some(kind) = kind.filter(|_| len <= MOST) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a message of a millstream log"));
    };
    // Grows with what arrives, so that a wrong length costs nothing.
    let mut body = Vec::with_capacity(len.min(1 << 20) as usize);
    from.take(u64::from(len)).read_to_end(&mut body)?;
    if body.len() < len as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((kind, body.into()))
}
