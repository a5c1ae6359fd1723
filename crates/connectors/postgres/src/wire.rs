//! Watches the protocol's frames as they arrive, so that a row too large for the budget is seen by its header.
//!
//! The driver reserves memory for a whole message once it has its header. The guard sits under the driver, in plain
//! and encrypted connections alike, and stops the connection before that happens, remembering which column it was.
//! Plain connections go through the driver's "TLS without negotiation" path with a guard that encrypts nothing.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres_rustls::MakeRustlsConnect;

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

/// Makes guarded connections.
#[derive(Clone)]
pub(crate) struct Guarded {
    tls: Option<MakeRustlsConnect>,
    limit: Arc<RowLimit>,
}

impl Guarded {
    /// Encrypted when there is a TLS configuration.
    pub(crate) fn new(tls: Option<rustls::ClientConfig>, limit: Arc<RowLimit>) -> Self {
        Guarded {
            tls: tls.map(MakeRustlsConnect::new),
            limit,
        }
    }
}

type Encrypted = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;
type EncryptedConnect = <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect;

impl MakeTlsConnect<Socket> for Guarded {
    type Stream = Guard;
    type TlsConnect = GuardConnect;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> Result<GuardConnect, io::Error> {
        let tls = match &mut self.tls {
            Some(tls) => {
                Some(MakeTlsConnect::<Socket>::make_tls_connect(tls, host).map_err(io::Error::other)?)
            }
            None => None,
        };
        Ok(GuardConnect {
            tls,
            limit: Arc::clone(&self.limit),
        })
    }
}

/// One connection being made.
pub(crate) struct GuardConnect {
    tls: Option<EncryptedConnect>,
    limit: Arc<RowLimit>,
}

impl TlsConnect<Socket> for GuardConnect {
    type Stream = Guard;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Guard>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let line = match self.tls {
                Some(tls) => Line::Encrypted(Box::new(tls.connect(socket).await?)),
                None => Line::Plain(socket),
            };
            Ok(Guard {
                line,
                frames: Frames::new(self.limit),
            })
        })
    }
}

enum Line {
    Plain(Socket),
    Encrypted(Box<Encrypted>),
}

/// A watched connection.
pub(crate) struct Guard {
    line: Line,
    frames: Frames,
}

impl Line {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Line::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Line::Encrypted(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncRead for Guard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.frames.too_large() {
            let before = buf.filled().len();
            ready!(this.line.poll_read(cx, buf))?;
            this.frames.see(&buf.filled()[before..]);
            if !this.frames.too_large() {
                return Poll::Ready(Ok(()));
            }
            buf.set_filled(before);
        }
        let mut room = [0u8; 8192];
        while !this.frames.found() {
            let mut scratch = ReadBuf::new(&mut room);
            ready!(this.line.poll_read(cx, &mut scratch))?;
            if scratch.filled().is_empty() {
                break;
            }
            this.frames.see(scratch.filled());
        }
        this.frames.report();
        Poll::Ready(Err(io::Error::other(
            "a row is larger than the memory budget allows",
        )))
    }
}

impl AsyncWrite for Guard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.line {
            Line::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Line::Encrypted(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.line {
            Line::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Line::Encrypted(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.line {
            Line::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Line::Encrypted(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

impl TlsStream for Guard {
    fn channel_binding(&self) -> ChannelBinding {
        match &self.line {
            Line::Plain(_) => ChannelBinding::none(),
            Line::Encrypted(stream) => stream.channel_binding(),
        }
    }
}

/// Follows messages: one byte of kind, four of length, the body.
struct Frames {
    limit: Arc<RowLimit>,
    head: [u8; 5],
    have: usize,
    skip: u64,
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
    fn new(limit: Arc<RowLimit>) -> Self {
        Frames {
            limit,
            head: [0; 5],
            have: 0,
            skip: 0,
            row: None,
        }
    }

    fn too_large(&self) -> bool {
        self.row.is_some()
    }

    fn found(&self) -> bool {
        self.row.as_ref().is_none_or(|row| row.done)
    }

    fn report(&self) {
        if let Some(row) = &self.row {
            self.limit.column.store(row.largest.0, Ordering::Release);
            self.limit
                .bytes
                .store(row.largest.1.max(self.limit.limit + 1), Ordering::Release);
        }
    }

    fn see(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if let Some(row) = &mut self.row {
                row.see(bytes);
                return;
            }
            if self.skip > 0 {
                let step = (bytes.len() as u64).min(self.skip);
                self.skip -= step;
                bytes = &bytes[step as usize..];
                continue;
            }
            let step = bytes.len().min(5 - self.have);
            self.head[self.have..self.have + step].copy_from_slice(&bytes[..step]);
            self.have += step;
            bytes = &bytes[step..];
            if self.have == 5 {
                self.have = 0;
                let [kind, a, b, c, d] = self.head;
                let body = u64::from(u32::from_be_bytes([a, b, c, d])).saturating_sub(4);
                if kind == b'd' && body > self.limit.limit {
                    self.row = Some(Row::new(body));
                } else {
                    self.skip = body;
                }
            }
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
            bytes.chunks(chunk).for_each(|part| frames.see(part));
            assert!(frames.too_large() && frames.found());
            frames.report();
            assert_eq!(limit.refused(), Some((1, 5000)));
        }
        let mut frames = Frames::new(RowLimit::new(10_000));
        frames.see(&bytes);
        assert!(!frames.too_large());
    }
}
