//! Keeps connections to a server for the next who asks: the suites open thousands, and a new one costs a process of
//! the server, a log-in and cold catalogs.
//!
//! Everything is relayed as it is, the log-in too. When a client says good-bye its connection is rolled back, reset
//! and kept; when it just disappears, the server's end is closed with it. Clients get cancel keys of their own, so that
//! a late cancel cannot reach the next client. A kept connection asks for no password: log-ins that must fail go to the
//! server itself. See the PostgreSQL manual, chapter "Frontend/Backend Protocol".

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The code in the place of a version that makes a first packet a cancel request.
const CANCEL: [u8; 4] = 80_877_102u32.to_be_bytes();
const LOGGED_IN: [u8; 9] = [b'R', 0, 0, 0, 8, 0, 0, 0, 0];

/// A connection to the server that is logged in, what the server said after that, and the key that cancels.
struct Kept {
    server: TcpStream,
    greeting: Vec<u8>,
    key: [u8; 8],
}

/// A listener that relays to one server.
pub(crate) struct Pool {
    pub(crate) address: SocketAddr,
    listening: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct State {
    server: String,
    /// By first packet: user, database, settings.
    idle: Mutex<HashMap<Vec<u8>, Vec<Kept>>>,
    /// The server's keys by ours, for connections that have a client.
    keys: Mutex<HashMap<[u8; 8], [u8; 8]>>,
    next: AtomicU64,
}

impl Pool {
    pub(crate) async fn to(server: &str) -> Pool {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            server: server.into(),
            ..State::default()
        });
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let state = Arc::clone(&state);
                // A relay that breaks off closes both ends, which is all there is to tell.
                tokio::spawn(async move { serve(client, &state).await.ok() });
            }
        });
        Pool { address, listening }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn serve(mut client: TcpStream, state: &State) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut first = vec![0; 4];
    client.read_exact(&mut first).await?;
    let length = u32::from_be_bytes([first[0], first[1], first[2], first[3]]) as usize;
    first.resize(length, 0);
    client.read_exact(&mut first[4..]).await?;
    if first[4..8] == CANCEL {
        let ours: [u8; 8] = first[8..16].try_into().expect("eight bytes");
        let key = state.keys.lock().expect("a lock").remove(&ours);
        if let Some(key) = key {
            first[8..16].copy_from_slice(&key);
            let mut server = TcpStream::connect(&state.server).await?;
            server.write_all(&first).await?;
            // The server closes it when it has passed the signal on.
            server.read_to_end(&mut Vec::new()).await?;
        }
        return Ok(());
    }
    let kept = state
        .idle
        .lock()
        .expect("a lock")
        .get_mut(&first)
        .and_then(Vec::pop);
    let mut kept = match kept {
        Some(kept) => kept,
        None => log_in(&mut client, &state.server, &first).await?,
    };
    let ours = state.next.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    state.keys.lock().expect("a lock").insert(ours, kept.key);
    client.write_all(&LOGGED_IN).await?;
    client
        .write_all(&[&[b'K', 0, 0, 0, 12][..], &ours].concat())
        .await?;
    client.write_all(&kept.greeting).await?;
    let outcome = relay(client, &mut kept.server).await;
    let cancelled = state.keys.lock().expect("a lock").remove(&ours).is_none();
    outcome?;
    if !cancelled {
        reset(&mut kept.server).await?;
        state
            .idle
            .lock()
            .expect("a lock")
            .entry(first)
            .or_default()
            .push(kept);
    }
    Ok(())
}

/// One message with its type and length.
async fn message(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 5];
    from.read_exact(&mut bytes).await?;
    let length = u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]) as usize;
    bytes.resize(1 + length, 0);
    from.read_exact(&mut bytes[5..]).await?;
    Ok(bytes)
}

/// Relays a log-in, but for the server's last words, which are kept.
async fn log_in(client: &mut TcpStream, server: &str, first: &[u8]) -> io::Result<Kept> {
    let mut server = TcpStream::connect(server).await?;
    server.set_nodelay(true)?;
    server.write_all(first).await?;
    loop {
        let said = message(&mut server).await?;
        if said == LOGGED_IN {
            break;
        }
        client.write_all(&said).await?;
        match (said[0], said.get(5..9)) {
            // The last word of the server in a SCRAM exchange wants no answer.
            (b'R', Some([0, 0, 0, 12])) => {}
            (b'R', _) => server.write_all(&message(client).await?).await?,
            (b'E', _) => return Err(io::ErrorKind::PermissionDenied.into()),
            _ => {}
        }
    }
    let (mut greeting, mut key) = (Vec::new(), [0; 8]);
    loop {
        let said = message(&mut server).await?;
        match said[0] {
            b'K' => key.copy_from_slice(&said[5..13]),
            _ => greeting.extend(&said),
        }
        match said[0] {
            b'E' => {
                return client
                    .write_all(&greeting)
                    .await
                    .and(Err(io::ErrorKind::Other.into()));
            }
            b'Z' => {
                return Ok(Kept {
                    server,
                    greeting,
                    key,
                });
            }
            _ => {}
        }
    }
}

/// Relays both ways until the client says good-bye. It does when it has heard every answer.
async fn relay(client: TcpStream, server: &mut TcpStream) -> io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.split();
    let asked = async {
        loop {
            let said = message(&mut from_client).await?;
            if said[0] == b'X' {
                return Ok(());
            }
            to_server.write_all(&said).await?;
        }
    };
    tokio::select! {
        outcome = asked => outcome,
        outcome = tokio::io::copy(&mut from_server, &mut to_client) => {
            outcome.and(Err(io::ErrorKind::ConnectionReset.into()))
        }
    }
}

/// Makes a connection as good as new. Answers nobody heard, to a copy that was refused, come before those to these.
async fn reset(server: &mut TcpStream) -> io::Result<()> {
    let sync = [b'S', 0, 0, 0, 4];
    let mut asked = sync.to_vec();
    for statement in ["ROLLBACK", "DISCARD ALL"] {
        asked.push(b'Q');
        asked.extend((statement.len() as u32 + 5).to_be_bytes());
        asked.extend(statement.as_bytes());
        asked.push(0);
    }
    server.write_all(&asked).await?;
    let mut discarded = false;
    loop {
        let said = message(server).await?;
        match said[0] {
            b'C' => discarded = said[5..].starts_with(b"DISCARD ALL"),
            b'Z' if discarded => return Ok(()),
            b'E' => return Err(io::ErrorKind::InvalidData.into()),
            _ => {}
        }
    }
}
