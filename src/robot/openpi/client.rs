//! A policy on another machine. Everything that it says is checked; everything that it does has a deadline.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Error, Message, WebSocket};

use super::array::Array;
use super::deadline::Deadline;
use super::msgpack::Value;
use super::{LONGEST, OpenpiError};

/// How patient we are with a policy server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time to connect and to hear its metadata.
    pub connect: Duration,
    /// Time to answer an observation.
    pub answer: Duration,
    /// Longest message, bytes.
    pub longest: usize,
    /// Most actions in an answer.
    pub actions: usize,
    /// Most numbers in an action.
    pub channels: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(2),
            longest: LONGEST,
            actions: crate::robot::safety::plan::MOST_ACTIONS,
            channels: 64,
        }
    }
}

/// What a policy server answered: rows of finite or other numbers. The safety layer faults on those that are not finite,
/// naming the action and the joint.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// One row an action; all of one length.
    pub actions: Vec<Vec<f64>>,
    /// How long the server says that it took, milliseconds.
    pub infer_ms: Option<f64>,
    /// From the question to the answer.
    pub took: Duration,
}

/// A connection to a policy server.
pub struct RemotePolicy {
    socket: WebSocket<Deadline>,
    /// What it says of itself.
    pub metadata: Value,
    limits: Limits,
    /// After a late answer the next one would answer the wrong question.
    broken: bool,
}

fn broken(e: impl std::fmt::Display) -> OpenpiError {
    OpenpiError::Broken(e.to_string())
}

/// What went wrong on the wire, in terms of the person.
fn wire(e: Error, patience: Duration) -> OpenpiError {
    match e {
        Error::Io(e) if e.kind() == std::io::ErrorKind::TimedOut => late(patience),
        Error::Capacity(e) => OpenpiError::Unsound(e.to_string()),
        Error::Protocol(e) => OpenpiError::Unsound(e.to_string()),
        e => broken(e),
    }
}

fn late(patience: Duration) -> OpenpiError {
    OpenpiError::Late(u64::try_from(patience.as_millis()).unwrap_or(u64::MAX))
}

impl RemotePolicy {
    /// Connects to `ws://HOST:PORT` (the scheme may be left out) and hears the server's metadata.
    ///
    /// # Errors
    /// When it cannot be reached, is silent, or says what makes no sense.
    pub fn connect(address: &str, api_key: Option<&str>, limits: Limits) -> Result<Self, OpenpiError> {
        let bad = || OpenpiError::Address(address.to_string());
        let place = address.strip_prefix("ws://").unwrap_or(address).trim_end_matches('/');
        if place.contains("://") || place.is_empty() {
            return Err(bad());
        }
        let mut sockets = place.to_socket_addrs().map_err(|_| bad())?;
        let socket = sockets.next().ok_or_else(bad)?;
        let stream = TcpStream::connect_timeout(&socket, limits.connect).map_err(broken)?;
        let mut request = format!("ws://{place}/").into_client_request().map_err(|_| bad())?;
        if let Some(key) = api_key {
            let value = format!("Api-Key {key}").parse().map_err(|_| bad())?;
            request.headers_mut().insert("Authorization", value);
        }
        let config = WebSocketConfig::default()
            .max_message_size(Some(limits.longest))
            .max_frame_size(Some(limits.longest));
        let stream = Deadline::new(stream, limits.connect);
        let (socket, _) =
            tungstenite::client::client_with_config(request, stream, Some(config)).map_err(|e| match e {
                tungstenite::HandshakeError::Failure(e) => wire(e, limits.connect),
                tungstenite::HandshakeError::Interrupted(_) => late(limits.connect),
            })?;
        let mut this = Self { socket, metadata: Value::Nil, limits, broken: false };
        this.metadata = this.hear(limits.connect)?;
        Ok(this)
    }

    /// Asks for actions.
    ///
    /// # Errors
    /// As above; after an error other than the server's own words, connect again.
    pub fn infer(&mut self, observation: &Value) -> Result<Answer, OpenpiError> {
        if self.broken {
            return Err(broken("an earlier answer did not come; connect again"));
        }
        let began = Instant::now();
        let patience = self.limits.answer;
        self.broken = true;
        self.socket.get_mut().within(patience);
        self.socket.send(Message::binary(observation.encode())).map_err(|e| wire(e, patience))?;
        let answer = self.hear(patience)?;
        self.broken = false;
        let unsound = |why: String| OpenpiError::Unsound(why);
        let actions = answer.get("actions").ok_or_else(|| unsound("it has no actions".into()))?;
        let array = Array::decode(actions).map_err(unsound)?;
        let (most, widest) = (self.limits.actions, self.limits.channels);
        if let [steps, width] = array.shape[..]
            && (steps > most || width > widest)
        {
            return Err(unsound(format!(
                "{steps} actions of {width} numbers; {most} of {widest} are the most"
            )));
        }
        let rows =
            array.as_rows().ok_or_else(|| unsound(format!("actions of the shape {:?}", array.shape)))?;
        let timing = answer.get("server_timing").and_then(|t| t.get("infer_ms")).and_then(Value::as_number);
        Ok(Answer { actions: rows, infer_ms: timing, took: began.elapsed() })
    }

    /// The next message with a value in it.
    fn hear(&mut self, patience: Duration) -> Result<Value, OpenpiError> {
        self.socket.get_mut().within(patience);
        loop {
            match self.socket.read().map_err(|e| wire(e, patience))? {
                Message::Binary(bytes) => {
                    return Value::decode(&bytes).map_err(|e| OpenpiError::Unsound(e.to_string()));
                }
                Message::Text(text) => {
                    // A traceback's last line says what happened.
                    let line = text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or_default();
                    return Err(OpenpiError::Said(line.chars().take(300).collect()));
                }
                Message::Close(frame) => {
                    let why = frame.map(|f| f.reason.to_string()).filter(|r| !r.is_empty());
                    return Err(broken(why.unwrap_or_else(|| "it closed the connection".into())));
                }
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }
}
