//! One file as a ZIP archive, sent while it is read: nobody holds it in memory as a whole.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};

/// Bytes that are read at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes of the largest file that the format takes in the form that is used here.
const BYTES_MAX: u64 = u32::MAX as u64 - 1024 * 1024;

/// A file with what stands before and after it in the archive.
struct Archive {
    head: Option<Vec<u8>>,
    file: File,
    left: u64,
    tail: Option<Vec<u8>>,
}

/// An archive that holds a file, as it is now, under this name. Reads it once, for its check sum.
///
/// # Errors
/// It cannot be read, or is too large.
pub(super) fn of(path: &Path, name: &str) -> io::Result<Body> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let size = u32::try_from(bytes.min(BYTES_MAX)).unwrap_or(u32::MAX);
    if bytes > BYTES_MAX {
        return Err(io::Error::other("the file is too large for an archive"));
    }
    let crc = check_sum(&mut file, bytes)?;
    let head = local_head(name, size, crc);
    let tail = directory(name, size, crc, head.len());
    let archive = Archive {
        head: Some(head),
        file: File::open(path)?,
        left: bytes,
        tail: Some(tail),
    };
    Ok(Body::new(archive))
}

fn check_sum(file: &mut File, bytes: u64) -> io::Result<u32> {
    let mut hasher = crc32fast::Hasher::new();
    let mut reader = file.take(bytes);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = reader.read(&mut chunk)?;
        if read == 0 {
            return Ok(hasher.finalize());
        }
        hasher.update(chunk.get(..read).unwrap_or_default());
    }
}

/// What both heads of a file have: version, flags (names are UTF-8), stored as it is, no time, check sum,
/// sizes, length of the name, nothing extra.
fn common(name: &str, size: u32, crc: u32) -> Vec<u8> {
    let name_len = u16::try_from(name.len()).unwrap_or(u16::MAX);
    let mut bytes = Vec::new();
    for field in [20_u16, 1 << 11, 0, 0, 0x21] {
        bytes.extend(field.to_le_bytes());
    }
    for field in [crc, size, size] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend(name_len.to_le_bytes());
    bytes.extend(0_u16.to_le_bytes());
    bytes
}

fn local_head(name: &str, size: u32, crc: u32) -> Vec<u8> {
    let mut bytes = b"PK\x03\x04".to_vec();
    bytes.extend(common(name, size, crc));
    bytes.extend(name.as_bytes());
    bytes
}

/// The central directory with its one entry, and the end of the archive.
fn directory(name: &str, size: u32, crc: u32, head_len: usize) -> Vec<u8> {
    let mut bytes = b"PK\x01\x02".to_vec();
    bytes.extend(20_u16.to_le_bytes());
    bytes.extend(common(name, size, crc));
    // No comment, the first disk, no attributes, at the beginning.
    bytes.extend([0; 2 + 2 + 2 + 4 + 4]);
    bytes.extend(name.as_bytes());
    let directory_len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let head_len = u32::try_from(head_len).unwrap_or(u32::MAX);
    bytes.extend(b"PK\x05\x06");
    for field in [0_u16, 0, 1, 1] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend(directory_len.to_le_bytes());
    bytes.extend(size.saturating_add(head_len).to_le_bytes());
    bytes.extend(0_u16.to_le_bytes());
    bytes
}

impl HttpBody for Archive {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let archive = &mut *self;
        let next = if let Some(head) = archive.head.take() {
            head
        } else if archive.left > 0 {
            let wanted = archive.left.min(CHUNK_BYTES as u64);
            let mut chunk = Vec::new();
            // A file that was just read as a whole: the kernel has it in memory.
            let mut reader = (&archive.file).take(wanted);
            if let Err(error) = reader.read_to_end(&mut chunk) {
                return Poll::Ready(Some(Err(error)));
            }
            if chunk.is_empty() {
                let gone = io::Error::from(io::ErrorKind::UnexpectedEof);
                return Poll::Ready(Some(Err(gone)));
            }
            archive.left -= chunk.len() as u64;
            chunk
        } else if let Some(tail) = archive.tail.take() {
            tail
        } else {
            return Poll::Ready(None);
        };
        Poll::Ready(Some(Ok(Frame::data(next.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.tail.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let parts = [&self.head, &self.tail];
        let ends = parts.map(|part| part.as_ref().map_or(0, Vec::len) as u64);
        SizeHint::with_exact(self.left + ends.iter().sum::<u64>())
    }
}
