//! Serving a policy: one thread a connection, every message with a size limit, errors in words.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Message, WebSocket};

use super::LONGEST;
use super::deadline::Deadline;
use super::msgpack::Value;

/// What is served.
pub trait Service: Send + Sync {
    /// What it says of itself: the first message of every connection.
    fn metadata(&self) -> Value;
    /// A conversation with one client.
    fn session(self: Arc<Self>) -> Box<dyn Session>;
}

/// A conversation with one client.
pub trait Session {
    /// Actions for an observation, or why not, in words.
    fn answer(&mut self, observation: &Value) -> Result<Value, String>;
}

/// Most clients at once.
const CLIENTS: usize = 16;
/// A client has this long to introduce itself ...
const GREETING: Duration = Duration::from_secs(5);
/// ... and a connection on which nothing comes for this long is closed.
const IDLE: Duration = Duration::from_secs(600);

/// Why a policy cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another machine could connect without a secret.
    #[error(
        "{0} can be reached from other machines: give a token file (--token-file) with a secret of at least 32 characters"
    )]
    TokenNeeded(SocketAddr),
    /// The secret is too short.
    #[error("the token must have at least 32 characters")]
    TokenShort,
    /// The address cannot be used.
    #[error("cannot listen on {address}: {source}. Is another server running there?")]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Listens; beyond this machine a token is needed, which clients send as their API key.
///
/// # Errors
/// No token where one is needed, an address that cannot be used.
pub fn listen(address: SocketAddr, token: Option<&str>) -> Result<TcpListener, ServeError> {
    if token.is_none() && !address.ip().is_loopback() {
        return Err(ServeError::TokenNeeded(address));
    }
    if token.is_some_and(|t| t.len() < 32) {
        return Err(ServeError::TokenShort);
    }
    TcpListener::bind(address).map_err(|source| ServeError::Bind { address, source })
}

/// Serves until `stop` is raised.
pub fn serve<S: Service + 'static>(
    listener: &TcpListener,
    service: &Arc<S>,
    token: Option<String>,
    stop: &AtomicBool,
) {
    let _ = listener.set_nonblocking(true);
    let clients = Arc::new(AtomicUsize::new(0));
    let token = Arc::new(token);
    while !stop.load(Ordering::Relaxed) {
        let Ok((socket, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        let _ = socket.set_nonblocking(false);
        if clients.load(Ordering::Relaxed) >= CLIENTS {
            continue;
        }
        clients.fetch_add(1, Ordering::Relaxed);
        let (service, clients, token) = (Arc::clone(service), Arc::clone(&clients), Arc::clone(&token));
        std::thread::spawn(move || {
            converse(socket, &service, token.as_deref());
            clients.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// Whether a client only asks for the server's health; answers it.
fn healthy(socket: &TcpStream) -> bool {
    use std::io::{Read, Write};
    let path = b"GET /healthz ";
    let mut head = [0u8; 13];
    let end = Instant::now() + GREETING;
    let _ = socket.set_read_timeout(Some(Duration::from_millis(200)));
    while Instant::now() < end {
        match socket.peek(&mut head) {
            Ok(0) => return true,
            Ok(n) if !path.starts_with(head.get(..n).unwrap_or_default()) => return false,
            Ok(n) if n == path.len() => break,
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    let _ = (&*socket).write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\nConnection: close\r\n\r\nOK\n",
    );
    let _ = socket.shutdown(std::net::Shutdown::Write);
    // What the client still says is heard: closed with something unread, the system would take the answer back.
    let mut rest = [0u8; 1024];
    while Instant::now() < end && matches!((&*socket).read(&mut rest), Ok(n) if n > 0) {}
    true
}

fn converse<S: Service + 'static>(socket: TcpStream, service: &Arc<S>, token: Option<&str>) {
    if healthy(&socket) {
        return;
    }
    let config = WebSocketConfig::default().max_message_size(Some(LONGEST)).max_frame_size(Some(LONGEST));
    let check = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        let Some(token) = token else { return Ok(response) };
        let given = request.headers().get("Authorization").and_then(|v| v.to_str().ok()).unwrap_or_default();
        let key = given.strip_prefix("Api-Key ").unwrap_or_default();
        if crate::robot::agent::same_secret(token, key) {
            return Ok(response);
        }
        let mut refused =
            ErrorResponse::new(Some("the API key is wrong; copy the server's token file".into()));
        *refused.status_mut() = tungstenite::http::StatusCode::UNAUTHORIZED;
        Err(refused)
    };
    let stream = Deadline::new(socket, GREETING);
    let Ok(mut socket) = tungstenite::accept_hdr_with_config(stream, check, Some(config)) else { return };
    let send = |socket: &mut WebSocket<Deadline>, message: Message| {
        socket.get_mut().within(GREETING);
        socket.send(message).is_ok()
    };
    if !send(&mut socket, Message::binary(service.metadata().encode())) {
        return;
    }
    let mut session = Arc::clone(service).session();
    let mut before: Option<f64> = None;
    loop {
        socket.get_mut().within(IDLE);
        let message = match socket.read() {
            Ok(Message::Binary(bytes)) => bytes,
            Ok(Message::Text(_)) => {
                refuse(&mut socket, "observations are msgpack, not text");
                return;
            }
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
            Ok(Message::Close(_)) | Err(_) => return,
        };
        let began = Instant::now();
        let answer = Value::decode(&message).map_err(|e| e.to_string()).and_then(|o| session.answer(&o));
        match answer {
            Ok(Value::Map(mut pairs)) => {
                let infer = began.elapsed().as_secs_f64() * 1e3;
                let mut timing = vec![("infer_ms", Value::Float(infer))];
                timing.extend(before.map(|ms| ("prev_total_ms", Value::Float(ms))));
                pairs.push((Value::text("server_timing"), Value::map(timing)));
                if !send(&mut socket, Message::binary(Value::Map(pairs).encode())) {
                    return;
                }
                before = Some(began.elapsed().as_secs_f64() * 1e3);
            }
            Ok(_) => return refuse(&mut socket, "this policy has no answer"),
            Err(why) => return refuse(&mut socket, &why),
        }
    }
}

/// Says why, as the protocol wants it: a text message, then the end with code 1011.
fn refuse(socket: &mut WebSocket<Deadline>, why: &str) {
    socket.get_mut().within(GREETING);
    let _ = socket.send(Message::text(why));
    let _ = socket
        .close(Some(CloseFrame { code: CloseCode::Error, reason: "the observation was refused".into() }));
    // Hear the client's own goodbye, so that the words above are not lost with the connection.
    socket.get_mut().within(Duration::from_secs(1));
    while socket.read().is_ok() {}
}
