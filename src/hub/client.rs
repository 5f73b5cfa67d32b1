//! One request to a hub.

use std::io::Read;
use std::time::Duration;

use ureq::Agent;

use crate::failure::Failure;

/// Longest wait for a connection, and for the first byte of an answer.
const CONNECT: Duration = Duration::from_secs(20);
/// Longest time for the body of one request: a slow download is cut into several.
const BODY: Duration = Duration::from_secs(120);

/// Where requests go and who asks.
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
}

/// An answer whose body has not been read yet.
pub(super) struct Answer {
    pub status: u16,
    /// Bytes of the whole file, where the answer tells.
    pub total: Option<u64>,
    pub body: Box<dyn Read + Send>,
}

impl Client {
    pub fn new(endpoint: &str, token: Option<String>) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(CONNECT))
            .timeout_recv_body(Some(BODY))
            .user_agent(concat!("forerun/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.into(), endpoint: endpoint.to_owned(), token }
    }

    /// Asks for `path` (behind the endpoint), from byte `from` on.
    pub fn get(&self, path: &str, from: u64) -> Result<Answer, Failure> {
        let address = format!("{}/{path}", self.endpoint);
        let mut request = self.agent.get(&address);
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}").as_str());
        }
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-").as_str());
        }
        let response = request.call().map_err(|e| unreachable(&self.endpoint, &e))?;
        let header =
            |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let status = response.status().as_u16();
        let ranged = header("content-range").and_then(|range| range.rsplit_once('/')?.1.parse().ok());
        let length = header("content-length").and_then(|length| length.parse().ok());
        let total = if status == 206 { ranged } else { length };
        Ok(Answer { status, total, body: Box::new(response.into_body().into_reader()) })
    }

    /// What an answer that is no file means.
    pub fn explain(&self, status: u16, repository: &str, what: &str) -> Failure {
        let endpoint = &self.endpoint;
        match status {
            401 | 403 if self.token.is_none() => Failure::new(
                format!("{endpoint} gives {repository} only to people it knows."),
                format!(
                    "Accept the terms at {endpoint}/{repository}, make a token there, and give it with --token-file (or HF_TOKEN)."
                ),
            ),
            401 | 403 => Failure::new(
                format!("{endpoint} does not give {repository} to this token."),
                format!(
                    "Accept the terms at {endpoint}/{repository} with the account of the token, or use another token."
                ),
            ),
            404 => Failure::new(
                format!("{endpoint} has no {what}."),
                "Check the name and the revision; `forerun models list --published` shows those that are known.",
            ),
            429 => Failure::new(format!("{endpoint} asks to wait."), "Try again in some minutes."),
            status => Failure::new(format!("{endpoint} answered {status} for {what}."), "Try again later."),
        }
    }
}

fn unreachable(endpoint: &str, error: &ureq::Error) -> Failure {
    Failure::new(
        format!("{endpoint} cannot be reached: {error}."),
        "Check the connection and the address, then try again: what is here already is kept.",
    )
}
