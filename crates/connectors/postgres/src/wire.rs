//! The guard under the driver: it sees the protocol's messages before the driver does.
//!
//! It sits there in plain and encrypted connections alike, stops a connection before a row too large for the budget
//! makes the driver reserve memory, and joins the messages of a copy, of which the server sends one per row (both in
//! `frames`). Plain connections go through the driver's "TLS without negotiation" path with a guard that encrypts
//! nothing.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::frames::{Frames, RowLimit};

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
        while !this.frames.too_large() {
            let ready = this.frames.take(buf.remaining());
            if !ready.is_empty() {
                buf.put_slice(ready);
                return Poll::Ready(Ok(()));
            }
            let mut room = ReadBuf::new(this.frames.room());
            ready!(this.line.poll_read(cx, &mut room))?;
            match room.filled().len() {
                0 if this.frames.end() => {}
                0 => return Poll::Ready(Ok(())),
                bytes => this.frames.arrived(bytes),
            }
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
