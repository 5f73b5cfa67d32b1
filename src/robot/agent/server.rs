//! Connections: one thread reads a client, one writes to it; neither can delay the control loop.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::protocol::{AGENT_PROTOCOL, Ask, Numbered, Tell, receive, send};
use super::tls::{self, Identity};

/// So many messages may wait for the loop; a client that sends more is slowed down by its own connection.
const WAITING: usize = 256;
/// So many messages may wait for a client; one that does not read loses telemetry, then its connection.
const UNREAD: usize = 64;
/// Most clients at once.
const CLIENTS: usize = 16;

/// A client as the loop knows it.
#[derive(Clone)]
pub(super) struct Peer {
    pub number: u64,
    pub name: String,
    out: SyncSender<Numbered<Tell>>,
    socket: Arc<TcpStream>,
}

impl Peer {
    /// Answers a question. A client that has 64 answers unread is gone for all purposes.
    pub fn tell(&self, id: u64, message: Tell) {
        if let Err(TrySendError::Full(_)) = self.out.try_send(Numbered { id, message }) {
            let _ = self.socket.shutdown(Shutdown::Both);
        }
    }

    /// Sends telemetry; drops it when the client does not keep up.
    pub fn show(&self, message: Tell) {
        let _ = self.out.try_send(Numbered { id: 0, message });
    }
}

/// What reaches the loop.
pub(super) enum Incoming {
    Joined(Peer),
    Asked(Peer, u64, Ask),
    Left(u64),
}

/// Stop goes past the queue: the loop looks here first at every tick.
#[derive(Default)]
pub(super) struct StopButton(Mutex<Option<String>>);

impl StopButton {
    pub fn press(&self, by: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(by.to_string());
    }
    pub fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Why the agent cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another machine could connect without a secret.
    #[error(
        "{0} can be reached from other machines: give a token file (--token-file) with a secret of at least 32 characters"
    )]
    TokenNeeded(SocketAddr),
    /// The secret is too short.
    #[error("the token must have at least 32 characters")]
    TokenShort,
    /// The certificate, beyond this machine.
    #[error(transparent)]
    Tls(#[from] super::tls::TlsError),
    /// The address cannot be used.
    #[error("cannot listen on {address}: {source}. Is another agent running?")]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

pub(super) struct Server {
    pub address: SocketAddr,
    pub incoming: Receiver<Incoming>,
    pub stop: Arc<StopButton>,
    /// By which clients beyond this machine know it.
    pub fingerprint: Option<String>,
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.is_loopback()
}

/// Compares secrets in a time that does not tell where they differ.
pub(crate) fn same(a: &str, b: &str) -> bool {
    let longest = a.len().max(b.len());
    let byte = |s: &str, i: usize| s.as_bytes().get(i).copied().unwrap_or(0);
    let different = (0..longest).fold(a.len() ^ b.len(), |d, i| d | usize::from(byte(a, i) ^ byte(b, i)));
    different == 0
}

impl Server {
    /// Listens, and serves clients on threads of their own. `robot` is the robot file that clients are told.
    /// Beyond this machine they need the token and speak TLS with the certificate beside `identity`.
    pub fn start(
        address: SocketAddr,
        token: Option<String>,
        robot: String,
        identity: &std::path::Path,
    ) -> Result<Self, ListenError> {
        if token.is_none() && !is_loopback(address.ip()) {
            return Err(ListenError::TokenNeeded(address));
        }
        if token.as_ref().is_some_and(|t| t.len() < 32) {
            return Err(ListenError::TokenShort);
        }
        let tls = if is_loopback(address.ip()) { None } else { Some(Identity::open_or_create(identity)?) };
        let fingerprint = tls.as_ref().map(|t| t.fingerprint.clone());
        let listener = TcpListener::bind(address).map_err(|source| ListenError::Bind { address, source })?;
        let address = listener.local_addr().map_err(|source| ListenError::Bind { address, source })?;
        let (to_loop, incoming) = sync_channel(WAITING);
        let stop = Arc::new(StopButton::default());
        let shared = Arc::new(Shared {
            token,
            robot,
            to_loop,
            stop: Arc::clone(&stop),
            next: AtomicU64::new(1),
            clients: AtomicUsize::new(0),
            tls,
        });
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                if shared.clients.load(Ordering::Relaxed) < CLIENTS {
                    std::thread::spawn(move || shared.serve(socket));
                }
            }
        });
        Ok(Self { address, incoming, stop, fingerprint })
    }
}

struct Shared {
    token: Option<String>,
    robot: String,
    to_loop: SyncSender<Incoming>,
    stop: Arc<StopButton>,
    next: AtomicU64,
    clients: AtomicUsize,
    tls: Option<Identity>,
}

impl Shared {
    fn serve(&self, socket: TcpStream) {
        self.clients.fetch_add(1, Ordering::Relaxed);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let plain = match &self.tls {
            Some(identity) => tls::accept(identity, socket),
            None => Ok(socket),
        };
        let _ = plain.and_then(|socket| self.converse(socket, number));
        let _ = self.to_loop.send(Incoming::Left(number));
        self.clients.fetch_sub(1, Ordering::Relaxed);
    }

    fn converse(&self, socket: TcpStream, number: u64) -> std::io::Result<()> {
        let _ = socket.set_nodelay(true);
        // A client that hangs while reading must not hang the writer for ever; who says nothing at first goes.
        socket.set_write_timeout(Some(Duration::from_secs(2)))?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut from = &socket;
        let mut to = &socket;
        let Some((id, name)) = self.greet(&mut from, &mut to)? else {
            return Ok(());
        };
        let _ = id;
        socket.set_read_timeout(None)?;
        let (out, outgoing) = sync_channel::<Numbered<Tell>>(UNREAD);
        let writer = socket.try_clone()?;
        std::thread::spawn(move || {
            let mut to = &writer;
            for message in outgoing {
                if send(&mut to, &message).is_err() {
                    let _ = writer.shutdown(Shutdown::Both);
                    break;
                }
            }
        });
        let peer = Peer { number, name, out, socket: Arc::new(socket.try_clone()?) };
        let _ = self.to_loop.send(Incoming::Joined(peer.clone()));
        loop {
            let asked: Numbered<Ask> = receive(&mut from)?;
            if let Ask::Stop { by } = &asked.message {
                self.stop.press(&format!("{by} ({})", peer.name));
            }
            if self.to_loop.send(Incoming::Asked(peer.clone(), asked.id, asked.message)).is_err() {
                return Ok(());
            }
        }
    }

    fn greet(&self, from: &mut impl Read, to: &mut impl Write) -> std::io::Result<Option<(u64, String)>> {
        let first: Numbered<Ask> = receive(from)?;
        let deny = |to: &mut _, why: &str| {
            send(to, &Numbered { id: first.id, message: Tell::Denied { why: why.into() } })
        };
        let Ask::Hello { version, token, name } = first.message else {
            deny(to, "the first message must be hello")?;
            return Ok(None);
        };
        if version != AGENT_PROTOCOL {
            deny(to, "this agent speaks another version; update the older of the two programs")?;
            return Ok(None);
        }
        if let Some(secret) = &self.token
            && !same(secret, token.as_deref().unwrap_or_default())
        {
            deny(to, "the token is wrong; copy the token file of the agent")?;
            return Ok(None);
        }
        let software = env!("CARGO_PKG_VERSION").to_string();
        let robot = self.robot.clone();
        send(
            to,
            &Numbered { id: first.id, message: Tell::Welcome { version: AGENT_PROTOCOL, software, robot } },
        )?;
        let name: String = name.chars().filter(|c| !c.is_control()).take(60).collect();
        Ok(Some((first.id, name)))
    }
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn secrets_are_compared_whole() {
        assert!(same("abc", "abc"));
        for other in ["", "ab", "abd", "abcd", "Abc"] {
            assert!(!same("abc", other) && !same(other, "abc"), "{other}");
        }
    }
}
