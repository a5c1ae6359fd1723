//! Follows the messages of a connection: joins those of a copy, and stops at a row that is too large.
//!
//! The server sends one message per row; the driver hands each over by itself, which costs more than decoding it. So
//! the messages of a copy that arrived together become one before the driver sees them: a copy is a stream of bytes,
//! and whoever reads it may not depend on where its messages end. The driver also reserves memory for a whole message
//! once it has the header: a row above the limit is seen by that header and followed to its largest column instead.
//! Replication, which is a copy in both directions, is left as it is.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What is read from the connection at once.
const ROOM: usize = 64 << 10;
/// A joined message is not made longer than this: the driver copies a message until its buffer can hold it.
const JOINED: usize = 16 << 10;
/// Kind and length of a message; the length counts itself.
const HEAD: usize = 5;

/// The longest row a connection takes, and the one that was longer.
#[derive(Debug)]
pub(crate) struct RowLimit {
    limit: u64,
    bytes: AtomicU64,
    column: AtomicUsize,
}

impl RowLimit {
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(RowLimit {
            limit,
            bytes: AtomicU64::new(0),
            column: AtomicUsize::new(0),
        })
    }

    /// Index of the column and bytes of a row that was refused.
    pub(crate) fn refused(&self) -> Option<(usize, u64)> {
        let bytes = self.bytes.load(Ordering::Acquire);
        (bytes > 0).then(|| (self.column.load(Ordering::Acquire), bytes))
    }
}

/// The messages of one connection, as they arrive.
pub(crate) struct Frames {
    limit: Arc<RowLimit>,
    room: Vec<u8>,
    /// What may be handed on.
    ready: Range<usize>,
    /// What has arrived behind it: the beginning of a message.
    rest: Range<usize>,
    /// What is still to come of a message longer than the room; it is handed on as it comes.
    passing: usize,
    /// In a copy to us.
    copying: bool,
    /// The row that is too large.
    row: Option<Row>,
}

/// Follows the fields of a row that is too large: two bytes of count, then length and value of each.
struct Row {
    total: u64,
    left: u64,
    head: [u8; 4],
    have: usize,
    skip: u64,
    field: usize,
    largest: (usize, u64),
    counted: bool,
    done: bool,
}

impl Frames {
    pub(crate) fn new(limit: Arc<RowLimit>) -> Self {
        Frames {
            limit,
            room: vec![0; ROOM],
            ready: 0..0,
            rest: 0..0,
            passing: 0,
            copying: false,
            row: None,
        }
    }

    /// Up to so many bytes to hand on; none when more must arrive first.
    pub(crate) fn take(&mut self, most: usize) -> &[u8] {
        let from = self.ready.start;
        self.ready.start = self.ready.end.min(from + most);
        &self.room[from..self.ready.start]
    }

    /// Where what arrives next goes. Everything ready has been taken.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        let length = self.rest.len();
        self.room.copy_within(self.rest.clone(), 0);
        (self.ready, self.rest) = (0..0, 0..length);
        &mut self.room[length..]
    }

    /// So many bytes are in the room.
    pub(crate) fn arrived(&mut self, bytes: usize) {
        let end = self.rest.end + bytes;
        let passed = self.passing.min(end);
        self.passing -= passed;
        let (mut at, mut to) = (passed, passed);
        let mut joined = None;
        while let Some(&[kind, a, b, c, d]) = self.room[at..end].first_chunk::<HEAD>() {
            let body = (u32::from_be_bytes([a, b, c, d]) as usize).saturating_sub(4);
            if kind == b'd' && body as u64 > self.limit.limit {
                let mut row = Row::new(body as u64);
                row.see(&self.room[at + HEAD..end]);
                self.row = Some(row);
                return;
            }
            let message = at..at + HEAD + body;
            if message.end > end {
                if message.len() > ROOM {
                    self.passing = message.end - end;
                    self.room.copy_within(at..end, to);
                    to += end - at;
                    at = end;
                }
                break;
            }
            at = message.end;
            match joined {
                Some(head) if kind == b'd' && to + body - head <= JOINED => {
                    self.room.copy_within(message.start + HEAD..message.end, to);
                    to += body;
                    let length = ((to - head - 1) as u32).to_be_bytes();
                    self.room[head + 1..head + HEAD].copy_from_slice(&length);
                }
                _ => {
                    self.copying = match kind {
                        b'H' => true,
                        b'c' | b'E' | b'Z' => false,
                        _ => self.copying,
                    };
                    joined = (self.copying && kind == b'd').then_some(to);
                    self.room.copy_within(message.clone(), to);
                    to += message.len();
                }
            }
        }
        (self.ready, self.rest) = (0..to, at..end);
    }

    /// The connection has ended: whether part of a message is there to be handed on.
    pub(crate) fn end(&mut self) -> bool {
        self.ready = std::mem::replace(&mut self.rest, 0..0);
        !self.ready.is_empty()
    }

    pub(crate) fn too_large(&self) -> bool {
        self.row.is_some()
    }

    pub(crate) fn found(&self) -> bool {
        self.row.as_ref().is_none_or(|row| row.done)
    }

    pub(crate) fn report(&self) {
        if let Some(row) = &self.row {
            self.limit.column.store(row.largest.0, Ordering::Release);
            self.limit
                .bytes
                .store(row.largest.1.max(self.limit.limit + 1), Ordering::Release);
        }
    }

    /// More of the row that is too large.
    pub(crate) fn see(&mut self, bytes: &[u8]) {
        if let Some(row) = &mut self.row {
            row.see(bytes);
        }
    }
}

impl Row {
    fn new(total: u64) -> Self {
        Row {
            total,
            left: total,
            head: [0; 4],
            have: 0,
            skip: 0,
            field: 0,
            largest: (0, 0),
            counted: false,
            done: false,
        }
    }

    fn see(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.done {
            if self.left == 0 {
                self.done = true;
                return;
            }
            let step = if self.skip > 0 {
                (bytes.len() as u64).min(self.skip)
            } else {
                1
            };
            if self.skip > 0 {
                self.skip -= step;
            } else {
                self.head[self.have] = bytes[0];
                self.have += 1;
                self.header();
            }
            self.left -= step.min(self.left);
            bytes = &bytes[step as usize..];
        }
    }

    fn header(&mut self) {
        if !self.counted {
            // The first message of a copy begins with the 19-byte file header.
            if self.have == 2 && &self.head[..2] == b"PG" {
                self.skip = 17;
                self.have = 0;
            } else if self.have == 2 {
                self.counted = true;
                self.have = 0;
            }
            return;
        }
        if self.have < 4 {
            return;
        }
        self.have = 0;
        let bytes = i32::from_be_bytes(self.head).max(0) as u64;
        if bytes > self.largest.1 {
            self.largest = (self.field, bytes);
        }
        self.field += 1;
        self.skip = bytes;
        self.done = bytes > self.total / 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend(((body.len() + 4) as u32).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    /// What the driver sees when so many bytes arrive at a time.
    fn through(frames: &mut Frames, bytes: &[u8], at_once: usize) -> Vec<u8> {
        let mut seen = Vec::new();
        let mut bytes = bytes;
        while !bytes.is_empty() && !frames.too_large() {
            let room = frames.room();
            let step = at_once.min(bytes.len()).min(room.len());
            assert!(step > 0, "there is always room");
            room[..step].copy_from_slice(&bytes[..step]);
            bytes = &bytes[step..];
            frames.arrived(step);
            loop {
                let ready = frames.take(1000);
                if ready.is_empty() {
                    break;
                }
                seen.extend_from_slice(ready);
            }
        }
        frames.see(bytes);
        seen
    }

    /// The messages in these bytes.
    fn messages(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut all = Vec::new();
        while let Some(&[kind, a, b, c, d]) = bytes.first_chunk::<HEAD>() {
            let end = 1 + u32::from_be_bytes([a, b, c, d]) as usize;
            all.push((kind, bytes[HEAD..end].to_vec()));
            bytes = &bytes[end..];
        }
        assert!(bytes.is_empty(), "messages are whole");
        all
    }

    #[test]
    fn finds_the_column_of_a_row_that_is_too_large_however_the_bytes_arrive() {
        let mut row = vec![0, 2];
        row.extend(4i32.to_be_bytes());
        row.extend([1, 2, 3, 4]);
        row.extend(5000i32.to_be_bytes());
        row.extend(vec![7u8; 5000]);
        let mut bytes = message(b'T', b"xx");
        bytes.extend(message(b'd', &[0, 1, 0, 0, 0, 0]));
        bytes.extend(message(b'd', &row));
        for chunk in [1, 3, 7, 4096, 1 << 20] {
            let limit = RowLimit::new(1000);
            let mut frames = Frames::new(Arc::clone(&limit));
            through(&mut frames, &bytes, chunk);
            assert!(frames.too_large() && frames.found());
            frames.report();
            assert_eq!(limit.refused(), Some((1, 5000)));
        }
        let mut frames = Frames::new(RowLimit::new(10_000));
        assert_eq!(through(&mut frames, &bytes, 4096), bytes);
        assert!(!frames.too_large());
    }

    #[test]
    fn messages_of_a_copy_are_joined_and_no_others() {
        let long = vec![9u8; 3 * ROOM];
        let mut bytes = message(b'd', b"a");
        bytes.extend(message(b'd', b"b"));
        bytes.extend(message(b'W', b"both"));
        bytes.extend(message(b'd', b"c"));
        bytes.extend(message(b'd', b"d"));
        bytes.extend(message(b'H', b"out"));
        (0..10_000u32).for_each(|i| bytes.extend(message(b'd', &i.to_be_bytes())));
        bytes.extend(message(b'N', b"notice"));
        bytes.extend(message(b'd', &long));
        bytes.extend(message(b'd', b"e"));
        bytes.extend(message(b'd', b""));
        bytes.extend(message(b'c', b""));
        bytes.extend(message(b'C', b"COPY"));
        bytes.extend(message(b'Z', b"I"));
        bytes.extend(message(b'd', b"f"));
        bytes.extend(message(b'd', b"g"));
        let flat = |all: &[(u8, Vec<u8>)]| -> (Vec<u8>, Vec<u8>) {
            let kinds = all.iter().map(|(kind, _)| *kind).filter(|kind| *kind != b'd');
            (
                kinds.collect(),
                all.iter().flat_map(|(_, body)| body.clone()).collect(),
            )
        };
        for chunk in [1, 3, 7, 4096, ROOM] {
            let mut frames = Frames::new(RowLimit::new(1 << 30));
            let seen = messages(&through(&mut frames, &bytes, chunk));
            assert_eq!(flat(&seen), flat(&messages(&bytes)));
            assert!(
                seen.iter()
                    .all(|(_, body)| body.len() <= JOINED || body.len() == long.len())
            );
            let alone: Vec<_> = seen.iter().filter(|(_, body)| body.len() == 1).collect();
            let text: Vec<u8> = alone.iter().map(|(_, body)| body[0]).collect();
            assert!(text.starts_with(b"abcd") && text.ends_with(b"Ifg"), "{text:?}");
            if chunk == ROOM {
                assert!(seen.len() < 60, "{} messages are left", seen.len());
            }
        }
    }

    #[test]
    fn what_is_left_at_the_end_is_handed_on() {
        let mut frames = Frames::new(RowLimit::new(1000));
        let bytes = &message(b'T', b"half a message")[..9];
        assert!(through(&mut frames, bytes, 64).is_empty());
        frames.room();
        assert!(frames.end());
        assert_eq!(frames.take(100), bytes);
        assert!(!frames.end());
    }
}
