//! Between machines the agent speaks TLS 1.3. Its certificate is its own, and clients know it by its fingerprint (the
//! sha256 of the certificate), which the agent prints when it starts: no authority has to be trusted.
//!
//! A TLS connection cannot be read and written from two threads, so a thread of its own carries bytes between it and a
//! local socket; the rest of the program sees that socket and nothing of TLS.

use std::io;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, ServerConfig, ServerConnection,
    SignatureScheme,
};
use sha2::{Digest, Sha256};

use super::super::bundle::hex;

/// Name in the certificate; what counts is the fingerprint.
const NAME: &str = "forerun-agent";
/// Time for a handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Why the agent's identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("{path}: {source}. Check the path and its permissions")]
    Io {
        /// Which file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The certificate or its key cannot be made or used.
    #[error(
        "the agent's certificate cannot be used ({0}). Delete its files beside the robot file; new ones are made"
    )]
    Certificate(String),
}

/// The agent's certificate and key.
#[derive(Clone)]
pub struct Identity {
    config: Arc<ServerConfig>,
    /// By which clients know it: 64 hexadecimal digits.
    pub fingerprint: String,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

impl Identity {
    /// Reads certificate and key from `NAME.certificate` and `NAME.key`, or makes them (the key is readable by its owner
    /// only).
    ///
    /// # Errors
    /// Files that cannot be read, written or used.
    pub fn open_or_create(base: &Path) -> Result<Self, TlsError> {
        let (certificate, key) = (base.with_extension("certificate"), base.with_extension("key"));
        let io = |path: &Path| {
            let path = path.display().to_string();
            move |source| TlsError::Io { path, source }
        };
        if !certificate.exists() || !key.exists() {
            let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()])
                .map_err(|e| TlsError::Certificate(e.to_string()))?;
            // A temporary file is made with mode 0600 and keeps it through the rename; the key comes first, so that a
            // certificate is never there without its key.
            super::super::write_whole(&key, &made.signing_key.serialize_der()).map_err(io(&key))?;
            super::super::write_whole(&certificate, made.cert.der()).map_err(io(&certificate))?;
        }
        let cert = CertificateDer::from(std::fs::read(&certificate).map_err(io(&certificate))?);
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(std::fs::read(&key).map_err(io(&key))?));
        let fingerprint = hex(&Sha256::digest(&cert));
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .and_then(|b| b.with_no_client_auth().with_single_cert(vec![cert], key))
            .map_err(|e| TlsError::Certificate(e.to_string()))?;
        Ok(Self { config: Arc::new(config), fingerprint })
    }
}

/// Believes one certificate and no other, whoever signed it.
#[derive(Debug)]
struct Pinned {
    fingerprint: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = hex(&Sha256::digest(certificate));
        if found == self.fingerprint {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::General(format!("the certificate has the fingerprint {found}")))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("only TLS 1.3 is spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn other(e: impl std::fmt::Display) -> io::Error {
    io::Error::other(e.to_string())
}

/// Answers a TLS handshake; what comes back is a local socket with the conversation in the clear.
pub(super) fn accept(identity: &Identity, socket: TcpStream) -> io::Result<TcpStream> {
    let connection = ServerConnection::new(Arc::clone(&identity.config)).map_err(other)?;
    shake_hands(rustls::Connection::Server(connection), socket)
}

/// Starts a TLS handshake with the one server that has this fingerprint.
pub(super) fn connect(fingerprint: &str, socket: TcpStream) -> io::Result<TcpStream> {
    shake_hands(rustls::Connection::Client(client(fingerprint)?), socket)
}

fn client(fingerprint: &str) -> io::Result<ClientConnection> {
    let provider = provider();
    let verifier = Pinned { fingerprint: fingerprint.trim().to_lowercase(), provider: Arc::clone(&provider) };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    let name = ServerName::try_from(NAME).map_err(other)?;
    ClientConnection::new(Arc::new(config), name).map_err(other)
}

fn shake_hands(mut tls: rustls::Connection, socket: TcpStream) -> io::Result<TcpStream> {
    let _ = socket.set_nodelay(true);
    socket.set_read_timeout(Some(HANDSHAKE))?;
    socket.set_write_timeout(Some(HANDSHAKE))?;
    let end = std::time::Instant::now() + HANDSHAKE;
    while tls.is_handshaking() {
        if std::time::Instant::now() > end {
            return Err(io::ErrorKind::TimedOut.into());
        }
        tls.complete_io(&mut &socket)?;
    }
    let (ours, theirs) = pair()?;
    std::thread::spawn(move || {
        let _ = carry(tls, &socket, &theirs);
        let _ = socket.shutdown(std::net::Shutdown::Both);
        let _ = theirs.shutdown(std::net::Shutdown::Both);
    });
    Ok(ours)
}

/// Two ends of a local connection.
fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let ours = TcpStream::connect(listener.local_addr()?)?;
    loop {
        // Another program of this machine could have been quicker: only our own end is taken.
        let (theirs, from) = listener.accept()?;
        if from == ours.local_addr()? {
            let _ = ours.set_nodelay(true);
            let _ = theirs.set_nodelay(true);
            return Ok((ours, theirs));
        }
    }
}

/// So much may wait to be written to a side before no more is read for it.
const WAITING: usize = 1 << 18;

/// Moves what has come in and is in the clear behind `plain`; says whether the other side has closed.
#[cfg(unix)]
fn take_plain(tls: &mut rustls::Connection, plain: &mut Vec<u8>) -> io::Result<bool> {
    let state = tls.process_new_packets().map_err(other)?;
    let before = plain.len();
    plain.resize(before + state.plaintext_bytes_to_read(), 0);
    io::Read::read_exact(&mut tls.reader(), plain.get_mut(before..).unwrap_or_default())?;
    Ok(state.peer_has_closed())
}

/// Carries bytes both ways until one side ends.
#[cfg(unix)]
fn carry(mut tls: rustls::Connection, outer: &TcpStream, inner: &TcpStream) -> io::Result<()> {
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;
    outer.set_nonblocking(true)?;
    inner.set_nonblocking(true)?;
    let mut to_inner: Vec<u8> = Vec::new();
    let mut buffer = vec![0u8; 16 << 10];
    // What came in one packet with the end of the handshake is in the clear already; no poll will tell of it.
    let mut closed = take_plain(&mut tls, &mut to_inner)?;
    let would_block =
        |e: &io::Error| matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted);
    while !(closed && to_inner.is_empty()) {
        let mut fds = [(outer, tls.wants_write()), (inner, !to_inner.is_empty())].map(|(s, write)| {
            libc::pollfd { fd: s.as_raw_fd(), events: if write { libc::POLLOUT } else { 0 }, revents: 0 }
        });
        let [of_outer, of_inner] = &mut fds;
        if closed {
            // Only what it has said is left to be told; poll passes over a descriptor below zero.
            of_outer.fd = -1;
        } else {
            if to_inner.len() < WAITING {
                of_outer.events |= libc::POLLIN;
            }
            if !tls.wants_write() {
                of_inner.events |= libc::POLLIN;
            }
        }
        // SAFETY: two pollfds that live through the call.
        if unsafe { libc::poll(fds.as_mut_ptr(), 2, -1) } < 0 {
            let e = io::Error::last_os_error();
            if e.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(e);
        }
        let [ready_outer, ready_inner] = fds.map(|f| f.revents);
        let readable = libc::POLLIN | libc::POLLHUP | libc::POLLERR;
        if ready_outer & readable != 0 && to_inner.len() < WAITING {
            match tls.read_tls(&mut &*outer) {
                Ok(0) => closed = true,
                Ok(_) => closed = take_plain(&mut tls, &mut to_inner)?,
                Err(e) if would_block(&e) => {}
                Err(e) => return Err(e),
            }
        }
        if ready_inner & readable != 0 && !tls.wants_write() && !closed {
            match (&*inner).read(&mut buffer) {
                Ok(0) => {
                    tls.send_close_notify();
                    let _ = tls.write_tls(&mut &*outer);
                    return Ok(());
                }
                Ok(n) => tls.writer().write_all(buffer.get(..n).unwrap_or_default())?,
                Err(e) if would_block(&e) => {}
                Err(e) => return Err(e),
            }
        }
        while !to_inner.is_empty() {
            match (&*inner).write(&to_inner) {
                Ok(0) => return Ok(()),
                Ok(n) => drop(to_inner.drain(..n)),
                Err(e) if would_block(&e) => break,
                Err(e) => return Err(e),
            }
        }
        while tls.wants_write() {
            match tls.write_tls(&mut &*outer) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(e) if would_block(&e) => break,
                Err(e) => return Err(e),
            }
        }
    }
    Ok(())
}

#[cfg(not(unix))]
fn carry(_: rustls::Connection, _: &TcpStream, _: &TcpStream) -> io::Result<()> {
    Err(io::Error::other("robots over the network need Linux or macOS so far"))
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn what_comes_with_the_end_of_the_handshake_is_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::open_or_create(&dir.path().join("robot.toml")).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, served) = (identity.clone(), listener.accept().unwrap().0);
        let server = std::thread::spawn(move || accept(&server, served).unwrap());
        let mut tls = client(&identity.fingerprint).unwrap();
        while tls.is_handshaking() {
            while tls.wants_write() {
                tls.write_tls(&mut socket).unwrap();
            }
            tls.read_tls(&mut socket).unwrap();
            tls.process_new_packets().unwrap();
        }
        // The client's last word of the handshake waits still; its first words go into the same packet.
        tls.writer().write_all(b"hello").unwrap();
        let mut packet = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut packet).unwrap();
        }
        socket.write_all(&packet).unwrap();
        let mut plain = server.join().unwrap();
        plain.set_read_timeout(Some(HANDSHAKE)).unwrap();
        let mut heard = [0u8; 5];
        plain.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"hello");
    }

    #[test]
    fn bytes_go_both_ways_and_a_foreign_certificate_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::open_or_create(&dir.path().join("robot.toml")).unwrap();
        let again = Identity::open_or_create(&dir.path().join("robot.toml")).unwrap();
        assert_eq!(identity.fingerprint, again.fingerprint);
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(dir.path().join("robot.key")).unwrap().permissions(),
        );
        assert_eq!(mode & 0o077, 0);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = identity.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let Ok(mut plain) = accept(&server, socket) else { continue };
                std::thread::spawn(move || {
                    let mut length = [0u8; 4];
                    while plain.read_exact(&mut length).is_ok() {
                        let mut bytes = vec![0u8; u32::from_le_bytes(length) as usize];
                        plain.read_exact(&mut bytes).unwrap();
                        bytes.reverse();
                        plain.write_all(&bytes).unwrap();
                    }
                });
            }
        });
        let mut plain =
            connect(&identity.fingerprint.to_uppercase(), TcpStream::connect(address).unwrap()).unwrap();
        for n in [1usize, 100, 70_000, 900_000] {
            let bytes: Vec<u8> = (0..n).map(|i| (i * 7) as u8).collect();
            let mut writer = plain.try_clone().unwrap();
            let sent = bytes.clone();
            let thread = std::thread::spawn(move || {
                writer.write_all(&(sent.len() as u32).to_le_bytes()).unwrap();
                writer.write_all(&sent).unwrap();
            });
            let mut back = vec![0u8; n];
            plain.read_exact(&mut back).unwrap();
            thread.join().unwrap();
            back.reverse();
            assert_eq!(back, bytes);
        }
        let error = connect(&"0".repeat(64), TcpStream::connect(address).unwrap()).unwrap_err();
        assert!(error.to_string().contains(&identity.fingerprint), "{error}");
    }
}
