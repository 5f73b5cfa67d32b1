//! The other side of the agent's protocol: what the window, a policy or a test uses.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::protocol::{AGENT_PROTOCOL, AgentView, Ask, ChunkMessage, Numbered, Tell, receive, send};

/// A connection to an agent. Dropping it gives control back.
///
/// Heartbeats are not sent by themselves: they shall prove that the program which controls is alive, so its own main
/// loop must send them ([`Client::heartbeat`], ten a second).
pub struct Client {
    socket: TcpStream,
    answers: Receiver<Numbered<Tell>>,
    view: Arc<Mutex<Option<(Instant, AgentView)>>>,
    next: u64,
    /// Why the last message that was sent without waiting was denied.
    pub last_denied: Option<String>,
    /// The robot file that the agent uses, as TOML.
    pub robot: String,
}

/// Why an agent did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It cannot be reached, or went away.
    #[error("the agent cannot be reached ({0}). Is forerun-agent running on the machine that has the robot?")]
    Io(#[from] io::Error),
    /// It is not the agent that was meant, or speaks no TLS.
    #[error(
        "the agent cannot be trusted ({0}). Copy the fingerprint that it prints when it starts, after the # of its address"
    )]
    Certificate(String),
    /// It said no.
    #[error("{0}")]
    Denied(String),
    /// It did not answer in time.
    #[error("the agent did not answer within {0} ms")]
    Silent(u64),
}

/// An agent that works answers within a tick or two; opening a port takes longer.
const PATIENCE: Duration = Duration::from_secs(8);

impl Client {
    /// Connects and introduces itself. Beyond this machine the address ends with `#` and the fingerprint that the agent
    /// prints: `192.168.1.7:4760#5f3a…`.
    ///
    /// # Errors
    /// An agent that cannot be reached, has another certificate, or refuses the token.
    pub fn connect(address: &str, token: Option<&str>, name: &str) -> Result<Self, ClientError> {
        let socket = match address.split_once('#') {
            None => TcpStream::connect(address)?,
            Some((address, fingerprint)) => super::tls::connect(fingerprint, TcpStream::connect(address)?)
                .map_err(|e| ClientError::Certificate(e.to_string()))?,
        };
        let _ = socket.set_nodelay(true);
        socket.set_write_timeout(Some(Duration::from_secs(2)))?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        let hello = Ask::Hello { version: AGENT_PROTOCOL, token: token.map(Into::into), name: name.into() };
        send(&mut &socket, &Numbered { id: 1, message: hello })?;
        let robot = match receive::<Numbered<Tell>>(&mut &socket)?.message {
            Tell::Welcome { robot, .. } => robot,
            Tell::Denied { why } => return Err(ClientError::Denied(why)),
            _ => return Err(ClientError::Denied("this is no Forerun agent".into())),
        };
        socket.set_read_timeout(None)?;
        let (to, answers) = channel();
        let view = Arc::new(Mutex::new(None));
        let (reader, seen) = (socket.try_clone()?, Arc::clone(&view));
        std::thread::spawn(move || {
            while let Ok(message) = receive::<Numbered<Tell>>(&mut &reader) {
                match message {
                    Numbered { id: 0, message: Tell::View(v) } => {
                        *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), *v));
                    }
                    other => {
                        if to.send(other).is_err() {
                            break;
                        }
                    }
                }
            }
        });
        Ok(Self { socket, answers, view, next: 2, last_denied: None, robot })
    }

    /// The newest telemetry.
    pub fn view(&self) -> Option<AgentView> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(_, v)| v.clone())
    }

    /// The agent's clock, as far as it is known here, seconds.
    pub fn agent_seconds(&self) -> Option<f64> {
        let view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        view.as_ref().map(|(at, v)| v.robot.seconds + at.elapsed().as_secs_f64())
    }

    /// Sends without waiting for the answer.
    pub fn post(&mut self, ask: Ask) -> Result<u64, ClientError> {
        while let Ok(n) = self.answers.try_recv() {
            if let Tell::Denied { why } = n.message {
                self.last_denied = Some(why);
            }
        }
        let id = self.next;
        self.next += 1;
        send(&mut &self.socket, &Numbered { id, message: ask })?;
        Ok(id)
    }

    /// Asks and waits for the answer; a denial is an error.
    pub fn ask(&mut self, ask: Ask) -> Result<Tell, ClientError> {
        let id = self.post(ask)?;
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.answers.recv_timeout(left) {
                Ok(n) if n.id == id => {
                    return match n.message {
                        Tell::Denied { why } => Err(ClientError::Denied(why)),
                        tell => Ok(tell),
                    };
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(ClientError::Silent(u64::try_from(PATIENCE.as_millis()).unwrap_or(0)));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(io::Error::from(io::ErrorKind::ConnectionReset).into());
                }
            }
        }
    }

    /// The controlling program is alive.
    pub fn heartbeat(&mut self, dead_man: bool) -> Result<(), ClientError> {
        self.post(Ask::Heartbeat { dead_man }).map(|_| ())
    }

    /// Proposes a chunk that answers the observation of `observed` (seconds on the agent's clock).
    pub fn propose(
        &mut self,
        number: u64,
        channels: &[String],
        observed: f64,
        period: f64,
        rows: &[Vec<f64>],
    ) -> Result<u64, ClientError> {
        let rows = rows.iter().map(|r| r.iter().map(|v| v.is_finite().then_some(*v)).collect()).collect();
        let sent = self.agent_seconds().unwrap_or(observed);
        let channels = channels.to_vec();
        self.post(Ask::Chunk(ChunkMessage { number, channels, observed, sent, period, rows }))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}
