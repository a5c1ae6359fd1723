//! Keeps connections to a server for the next who asks: the suites open thousands, and a new one costs a process of
//! the server, a log-in and cold catalogs.
//!
//! Everything is relayed as it is, the log-in too. When a client says good-bye its connection is rolled back, reset
//! and kept; when it just disappears, the server's end is closed with it, and cancel requests are handed on. A kept
//! connection asks for no password: log-ins that must fail go to the server itself. See the PostgreSQL manual,
//! chapter "Frontend/Backend Protocol".

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The code in the place of a version that makes a first packet a cancel request.
const CANCEL: [u8; 4] = 80_877_102u32.to_be_bytes();
const LOGGED_IN: [u8; 9] = [b'R', 0, 0, 0, 8, 0, 0, 0, 0];

/// A connection to the server that is logged in, and what the server said after that.
struct Kept {
    server: TcpStream,
    greeting: Vec<u8>,
}

/// A listener that relays to one server.
pub(crate) struct Pool {
    pub(crate) address: SocketAddr,
    listening: tokio::task::JoinHandle<()>,
}

type Idle = Arc<Mutex<HashMap<Vec<u8>, Vec<Kept>>>>;

impl Pool {
    pub(crate) async fn to(server: &str) -> Pool {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (server, idle): (Arc<str>, Idle) = (server.into(), Idle::default());
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, idle) = (Arc::clone(&server), Arc::clone(&idle));
                // A relay that breaks off closes both ends, which is all there is to tell.
                tokio::spawn(async move { serve(client, &server, idle).await.ok() });
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

async fn serve(mut client: TcpStream, server: &str, idle: Idle) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut first = vec![0; 4];
    client.read_exact(&mut first).await?;
    let length = u32::from_be_bytes([first[0], first[1], first[2], first[3]]) as usize;
    first.resize(length, 0);
    client.read_exact(&mut first[4..]).await?;
    if first[4..8] == CANCEL {
        let mut server = TcpStream::connect(server).await?;
        server.write_all(&first).await?;
        return server.read(&mut [0]).await.map(drop);
    }
    let kept = idle.lock().expect("a lock").get_mut(&first).and_then(Vec::pop);
    let mut kept = match kept {
        Some(kept) => {
            client.write_all(&LOGGED_IN).await?;
            client.write_all(&kept.greeting).await?;
            kept
        }
        None => log_in(&mut client, server, &first).await?,
    };
    relay(client, &mut kept.server).await?;
    reset(&mut kept.server).await?;
    idle.lock().expect("a lock").entry(first).or_default().push(kept);
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

/// Relays a log-in.
async fn log_in(client: &mut TcpStream, server: &str, first: &[u8]) -> io::Result<Kept> {
    let mut server = TcpStream::connect(server).await?;
    server.set_nodelay(true)?;
    server.write_all(first).await?;
    let (mut greeting, mut logged_in) = (Vec::new(), false);
    loop {
        let said = message(&mut server).await?;
        client.write_all(&said).await?;
        match (said[0], said.get(5..9)) {
            (b'R', Some([0, 0, 0, 0])) => logged_in = true,
            // The last word of the server in a SCRAM exchange wants no answer.
            (b'R', Some([0, 0, 0, 12])) => {}
            (b'R', _) => server.write_all(&message(client).await?).await?,
            (b'E', _) => return Err(io::ErrorKind::PermissionDenied.into()),
            _ if logged_in => greeting.extend(&said),
            _ => {}
        }
        if said[0] == b'Z' {
            return Ok(Kept { server, greeting });
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

/// Makes a connection as good as new.
async fn reset(server: &mut TcpStream) -> io::Result<()> {
    for statement in ["ROLLBACK", "DISCARD ALL"] {
        let mut query = vec![b'Q'];
        query.extend((statement.len() as u32 + 5).to_be_bytes());
        query.extend(statement.as_bytes());
        query.push(0);
        server.write_all(&query).await?;
        while message(server).await?[0] != b'Z' {}
    }
    Ok(())
}
