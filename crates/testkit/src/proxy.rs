//! A TCP proxy on 127.0.0.1 that breaks connections on command.
//!
//! A test puts it between a connector and its server and scripts what goes wrong: slow, throttled, cut after N bytes,
//! half-closed, refused, or, the case that matters most, a request that arrives while its answer is lost. What has
//! happened can be awaited (`fired`), so no test sleeps. It is not a packet mangler: bytes are forwarded unchanged.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// Which way bytes flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// What to do to a connection when its bytes run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Cut,
    HalfClose,
}

#[derive(Debug, Clone, Default)]
struct Script {
    delay: Option<Duration>,
    bytes_per_second: Option<u64>,
    to_server: Option<(u64, Ending)>,
    to_client: Option<(u64, Ending)>,
    lost_answer: Option<LostAnswer>,
}

#[derive(Debug, Clone)]
struct LostAnswer {
    request: Vec<u8>,
    answer: Vec<u8>,
}

struct Shared {
    target: SocketAddr,
    script: Mutex<Script>,
    to_server: AtomicU64,
    to_client: AtomicU64,
    accepted: watch::Sender<u64>,
    fired: watch::Sender<u64>,
    cut: watch::Sender<u64>,
}

impl Shared {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::ToServer => &self.to_server,
            Direction::ToClient => &self.to_client,
        }
    }

    /// How many of `wanted` bytes may pass, and what happens after them.
    fn allowance(&self, direction: Direction, wanted: usize) -> (usize, Option<Ending>) {
        let mut script = self.script();
        let slot = match direction {
            Direction::ToServer => &mut script.to_server,
            Direction::ToClient => &mut script.to_client,
        };
        let Some((left, ending)) = slot.as_mut() else {
            return (wanted, None);
        };
        let ending = *ending;
        if (wanted as u64) < *left {
            *left -= wanted as u64;
            return (wanted, None);
        }
        let pass = *left as usize;
        *slot = None;
        (pass, Some(ending))
    }

    fn fire(&self) {
        self.fired.send_modify(|n| *n += 1);
    }
}

enum Order {
    Refuse(oneshot::Sender<()>),
    Accept(oneshot::Sender<std::io::Result<()>>),
}

/// A running proxy; stops when dropped.
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    orders: mpsc::UnboundedSender<Order>,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FaultProxy({} to {})", self.address, self.shared.target)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.cut_now();
        self.task.abort();
    }
}

impl FaultProxy {
    /// Starts a faithful proxy to `target` (`host:port`).
    pub async fn start(target: &str) -> std::io::Result<Self> {
        let target = tokio::net::lookup_host(target)
            .await?
            .next()
            .ok_or(std::io::ErrorKind::NotFound)?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target,
            script: Mutex::default(),
            to_server: AtomicU64::new(0),
            to_client: AtomicU64::new(0),
            accepted: watch::Sender::new(0),
            fired: watch::Sender::new(0),
            cut: watch::Sender::new(0),
        });
        let (orders, received) = mpsc::unbounded_channel();
        let task = tokio::spawn(serve(address, listener, Arc::clone(&shared), received));
        Ok(FaultProxy {
            address,
            shared,
            orders,
            task,
        })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same URL with host and port replaced by the proxy's.
    pub fn url(&self, url: &str) -> String {
        let start = url.find("://").map_or(0, |at| at + 3);
        let end = url[start..].find(['/', '?']).map_or(url.len(), |at| start + at);
        let host = url[start..end].rfind('@').map_or(start, |at| start + at + 1);
        format!("{}{}{}", &url[..host], self.address, &url[end..])
    }

    /// Waits this long before every chunk that is forwarded.
    pub fn delay(&self, delay: Duration) {
        self.shared.script().delay = Some(delay);
    }

    /// Forwards at most this many bytes per second, per direction and connection.
    pub fn throttle(&self, bytes_per_second: u64) {
        self.shared.script().bytes_per_second = Some(bytes_per_second.max(1));
    }

    /// Forwards `bytes` more bytes in a direction (over all connections), then closes the connection both ways.
    pub fn cut_after(&self, direction: Direction, bytes: u64) {
        self.end_after(direction, bytes, Ending::Cut);
    }

    /// Forwards `bytes` more bytes in a direction, then closes that direction only.
    pub fn half_close_after(&self, direction: Direction, bytes: u64) {
        self.end_after(direction, bytes, Ending::HalfClose);
    }

    fn end_after(&self, direction: Direction, bytes: u64, ending: Ending) {
        let mut script = self.shared.script();
        match direction {
            Direction::ToServer => script.to_server = Some((bytes, ending)),
            Direction::ToClient => script.to_client = Some((bytes, ending)),
        }
    }

    /// Loses one answer: once the client has sent `request` (anywhere in its bytes), nothing the server says on that
    /// connection reaches the client; when the server has said `answer` (empty: anything), the client is cut off.
    /// The server did the work and the client cannot know.
    pub fn lose_answer(&self, request: &[u8], answer: &[u8]) {
        self.shared.script().lost_answer = Some(LostAnswer {
            request: request.to_vec(),
            answer: answer.to_vec(),
        });
    }

    /// Refuses connections: the port is closed when this returns. Open connections live on.
    pub async fn refuse(&self) {
        let (done, seen) = oneshot::channel();
        if self.orders.send(Order::Refuse(done)).is_ok() {
            let _ = seen.await;
        }
    }

    /// Accepts connections again, on the same port.
    pub async fn accept(&self) -> std::io::Result<()> {
        let (done, seen) = oneshot::channel();
        let gone = || std::io::Error::other("the proxy has stopped");
        self.orders.send(Order::Accept(done)).map_err(|_| gone())?;
        seen.await.map_err(|_| gone())?
    }

    /// Closes every open connection, both ways.
    pub fn cut_now(&self) {
        self.shared.cut.send_modify(|n| *n += 1);
    }

    /// Forgets the script; connections are faithful again.
    pub fn heal(&self) {
        *self.shared.script() = Script::default();
    }

    /// Bytes forwarded so far in a direction.
    pub fn forwarded(&self, direction: Direction) -> u64 {
        self.shared.count(direction).load(Ordering::Acquire)
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> u64 {
        *self.shared.accepted.borrow()
    }

    /// Waits until a cut, half-close or lost answer has happened `times` times in all.
    pub async fn fired(&self, times: u64) {
        let _ = self.shared.fired.subscribe().wait_for(|n| *n >= times).await;
    }
}

async fn serve(
    address: SocketAddr,
    listener: TcpListener,
    shared: Arc<Shared>,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    let mut listener = Some(listener);
    loop {
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            connection = accepted => {
                if let Ok((client, _)) = connection {
                    shared.accepted.send_modify(|n| *n += 1);
                    tokio::spawn(relay(client, Arc::clone(&shared)));
                }
            }
            order = orders.recv() => match order {
                Some(Order::Refuse(done)) => {
                    listener = None;
                    let _ = done.send(());
                }
                Some(Order::Accept(done)) => {
                    let bound = match listener.is_some() {
                        true => Ok(()),
                        false => TcpListener::bind(address).await.map(|bound| listener = Some(bound)),
                    };
                    let _ = done.send(bound);
                }
                None => return,
            },
        }
    }
}

async fn relay(client: TcpStream, shared: Arc<Shared>) {
    let mut cut = shared.cut.subscribe();
    let Ok(server) = TcpStream::connect(shared.target).await else {
        return;
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = server.into_split();
    let lost = Arc::new(Mutex::new(None));
    let pump = |direction, from, to| Pump {
        shared: Arc::clone(&shared),
        lost: Arc::clone(&lost),
        direction,
        from,
        to,
    };
    let up = pump(Direction::ToServer, client_in, server_out).run();
    let down = pump(Direction::ToClient, server_in, client_out).run();
    let both = async {
        tokio::pin!(up, down);
        // A direction that ended normally leaves the other alone; one that was cut ends both.
        tokio::select! {
            cut = &mut up => if !cut { down.await; },
            cut = &mut down => if !cut { up.await; },
        }
    };
    tokio::select! {
        () = both => {}
        _ = cut.changed() => {}
    }
}

/// One direction of one connection.
struct Pump {
    shared: Arc<Shared>,
    /// Set once the request whose answer is to be lost has been seen on this connection.
    lost: Arc<Mutex<Option<LostAnswer>>>,
    direction: Direction,
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
}

impl Pump {
    /// Returns whether the whole connection is to be closed.
    async fn run(mut self) -> bool {
        let mut buffer = vec![0; 16 << 10];
        let mut seen = Window::default();
        loop {
            let read = match self.from.read(&mut buffer).await {
                Ok(0) => {
                    let _ = self.to.shutdown().await;
                    return false;
                }
                Ok(read) => read,
                Err(_) => return true,
            };
            if self.swallows(&buffer[..read], &mut seen) {
                if self
                    .lost()
                    .as_ref()
                    .is_none_or(|lost| !seen.contains(&lost.answer))
                {
                    continue;
                }
                self.shared.fire();
                return true;
            }
            let (pass, ending) = self.shared.allowance(self.direction, read);
            self.pace(pass).await;
            if self.to.write_all(&buffer[..pass]).await.is_err() {
                return true;
            }
            self.shared
                .count(self.direction)
                .fetch_add(pass as u64, Ordering::AcqRel);
            if let Some(ending) = ending {
                self.shared.fire();
                match ending {
                    Ending::Cut => return true,
                    Ending::HalfClose => {
                        let _ = self.to.shutdown().await;
                        return false;
                    }
                }
            }
        }
    }

    fn lost(&self) -> MutexGuard<'_, Option<LostAnswer>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at a chunk before it is forwarded; whether it must not be.
    fn swallows(&self, chunk: &[u8], seen: &mut Window) -> bool {
        match self.direction {
            Direction::ToClient => {
                let lost = self.lost();
                if let Some(lost) = lost.as_ref() {
                    seen.push(chunk, lost.answer.len());
                }
                lost.is_some()
            }
            Direction::ToServer => {
                let mut script = self.shared.script();
                if let Some(wanted) = &script.lost_answer {
                    seen.push(chunk, wanted.request.len());
                    if seen.contains(&wanted.request) {
                        *self.lost() = script.lost_answer.take();
                    }
                }
                false
            }
        }
    }

    async fn pace(&self, bytes: usize) {
        let (delay, rate) = {
            let script = self.shared.script();
            (script.delay, script.bytes_per_second)
        };
        let throttle = rate.map(|rate| Duration::from_secs_f64(bytes as f64 / rate as f64));
        let wait = delay.unwrap_or_default() + throttle.unwrap_or_default();
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

/// The newest bytes of a stream, enough to find a message that spans chunks.
#[derive(Default)]
struct Window(Vec<u8>);

impl Window {
    fn push(&mut self, chunk: &[u8], wanted: usize) {
        let keep = self.0.len().min(wanted.saturating_sub(1));
        self.0.drain(..self.0.len() - keep);
        self.0.extend_from_slice(chunk);
    }

    fn contains(&self, wanted: &[u8]) -> bool {
        wanted.is_empty() || self.0.windows(wanted.len()).any(|part| part == wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers every byte with itself; tells what it received, when a connection ends.
    async fn echo() -> (String, mpsc::UnboundedReceiver<Vec<u8>>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("binds");
        let address = listener.local_addr().expect("has an address").to_string();
        let (told, heard) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let told = told.clone();
                tokio::spawn(async move {
                    let (mut received, mut buffer) = (Vec::new(), [0; 4096]);
                    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                        received.extend_from_slice(&buffer[..read]);
                        if stream.write_all(&buffer[..read]).await.is_err() {
                            break;
                        }
                    }
                    let _ = told.send(received);
                });
            }
        });
        (address, heard)
    }

    async fn pair() -> (FaultProxy, TcpStream, mpsc::UnboundedReceiver<Vec<u8>>) {
        let (address, heard) = echo().await;
        let proxy = FaultProxy::start(&address).await.expect("starts");
        let client = TcpStream::connect(proxy.address()).await.expect("connects");
        (proxy, client, heard)
    }

    async fn until_end(client: &mut TcpStream) -> Vec<u8> {
        let mut all = Vec::new();
        // A reset is an end too; what came before it is in `all`.
        let _ = client.read_to_end(&mut all).await;
        all
    }

    #[tokio::test]
    async fn forwards_faithfully_when_nothing_is_scripted() {
        let (proxy, mut client, mut heard) = pair().await;
        let sent: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
        let (mut reading, mut writing) = client.split();
        let mut back = Vec::new();
        let send = async {
            writing.write_all(&sent).await.expect("sends");
            writing.shutdown().await.expect("ends");
        };
        let receive = reading.read_to_end(&mut back);
        let ((), received) = tokio::join!(send, receive);
        received.expect("reads");
        assert!(back == sent && heard.recv().await.as_ref() == Some(&sent));
        assert_eq!(
            (proxy.forwarded(Direction::ToServer), proxy.accepted()),
            (200_000, 1)
        );
    }

    #[tokio::test]
    async fn cuts_after_exactly_so_many_bytes_in_either_direction() {
        let (proxy, mut client, mut heard) = pair().await;
        proxy.cut_after(Direction::ToServer, 10);
        client.write_all(&[7; 25]).await.expect("sends");
        proxy.fired(1).await;
        until_end(&mut client).await;
        assert_eq!(heard.recv().await.expect("ended").len(), 10);

        let mut client = TcpStream::connect(proxy.address()).await.expect("connects");
        proxy.cut_after(Direction::ToClient, 4);
        client.write_all(b"abcdefgh").await.expect("sends");
        assert_eq!(until_end(&mut client).await, b"abcd");
    }

    #[tokio::test]
    async fn half_close_leaves_the_other_direction_open() {
        let (proxy, mut client, mut heard) = pair().await;
        proxy.half_close_after(Direction::ToServer, 5);
        client.write_all(b"hello world").await.expect("sends");
        assert_eq!(until_end(&mut client).await, b"hello");
        assert_eq!(heard.recv().await.as_deref(), Some(&b"hello"[..]));
    }

    #[tokio::test]
    async fn loses_the_answer_although_the_server_did_the_work() {
        let (proxy, mut client, mut heard) = pair().await;
        client.write_all(b"BEGIN;").await.expect("sends");
        let mut first = [0; 6];
        client
            .read_exact(&mut first)
            .await
            .expect("answers before are delivered");
        proxy.lose_answer(b"COMMIT", b"MIT;");
        client.write_all(b"..COM").await.expect("sends");
        let mut before = [0; 5];
        client.read_exact(&mut before).await.expect("not yet armed");
        client.write_all(b"MIT;").await.expect("sends");
        assert_eq!(until_end(&mut client).await, b"");
        proxy.fired(1).await;
        assert_eq!(heard.recv().await.as_deref(), Some(&b"BEGIN;..COMMIT;"[..]));
        assert_eq!(&first, b"BEGIN;");
    }

    #[tokio::test]
    async fn refuses_and_accepts_again_on_the_same_port() {
        let (proxy, mut client, _heard) = pair().await;
        // A round trip first: a connection that is still in the listener's queue would be refused with it.
        client.write_all(b"x").await.expect("sends");
        client.read_exact(&mut [0]).await.expect("is accepted");
        proxy.refuse().await;
        let refused = TcpStream::connect(proxy.address()).await.expect_err("is refused");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        client.write_all(b"x").await.expect("open connections live on");
        client.read_exact(&mut [0]).await.expect("and answer");
        proxy.accept().await.expect("accepts");
        TcpStream::connect(proxy.address()).await.expect("connects again");
    }

    #[tokio::test]
    async fn cut_now_ends_open_connections_and_heal_forgets_the_script() {
        let (proxy, mut client, _heard) = pair().await;
        proxy.cut_after(Direction::ToClient, 0);
        proxy.heal();
        client.write_all(b"x").await.expect("sends");
        client.read_exact(&mut [0]).await.expect("is faithful again");
        proxy.cut_now();
        assert_eq!(until_end(&mut client).await, b"");
    }

    #[tokio::test]
    async fn throttle_and_delay_take_the_time_they_say() {
        let (proxy, mut client, _heard) = pair().await;
        proxy.delay(Duration::from_millis(20));
        proxy.throttle(400);
        let begun = std::time::Instant::now();
        client.write_all(&[1; 20]).await.expect("sends");
        client.read_exact(&mut [0; 20]).await.expect("arrives");
        let least = Duration::from_millis(2 * (20 + 50));
        assert!(
            begun.elapsed() >= least,
            "two ways, each 20 ms and twenty bytes at 400 per second"
        );
    }

    #[test]
    fn replaces_host_and_port_of_a_url_only() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let proxy = FaultProxy::start("127.0.0.1:1").await.expect("starts");
            let address = proxy.address();
            assert_eq!(
                proxy.url("postgres://u:p@h:5/d?x=1"),
                format!("postgres://u:p@{address}/d?x=1")
            );
            assert_eq!(proxy.url("postgres://h"), format!("postgres://{address}"));
        });
    }
}
