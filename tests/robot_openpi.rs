//! Policies over the network: our server against well-meaning and hostile clients, our client against hostile servers.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod robot_support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use forerun::Frame;
use forerun::models::policy::Policy;
use forerun::policy::load_policy;
use forerun::robot::openpi::array::Array;
use forerun::robot::openpi::server::listen;
use forerun::robot::openpi::{Limits, OpenpiError, PolicyService, RemotePolicy, Value, serve};
use robot_support::tiny_policy;
use tungstenite::{Message, WebSocket};

const CHANNELS: [(&str, &str); 2] = [("a.pos", "deg"), ("grip.pos", "%")];

/// A policy that has seen a little of a robot of two joints.
fn policy(folder: &Path) -> Policy {
    tiny_policy(folder, "two joints", &CHANNELS, 10.0, 4, |i| {
        (vec![f32::from(i), 1.0], vec![f32::from(i) + 0.5, 1.0])
    });
    load_policy(folder).unwrap()
}

struct Served {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

fn served(token: Option<&str>) -> Served {
    let dir = tempfile::tempdir().unwrap();
    let service = Arc::new(PolicyService::new(policy(dir.path())));
    let listener = listen("127.0.0.1:0".parse().unwrap(), token).unwrap();
    let address = listener.local_addr().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (theirs, token) = (Arc::clone(&stop), token.map(str::to_owned));
    std::thread::spawn(move || serve(&listener, &service, token, &theirs));
    Served { address, stop }
}

fn observation() -> Vec<(&'static str, Value)> {
    vec![
        ("observation/image", Array::picture(&Frame::filled(40, 30, [9, 60, 70])).encode()),
        ("observation/state", Array::row(&[1.0, 2.0]).encode()),
        ("prompt", Value::text("go")),
    ]
}

fn patient() -> Limits {
    Limits { answer: Duration::from_secs(60), ..Limits::default() }
}

fn connect(address: SocketAddr) -> RemotePolicy {
    RemotePolicy::connect(&format!("ws://{address}"), None, patient()).unwrap()
}

#[test]
fn our_own_client_gets_actions_from_a_served_policy_and_bad_observations_are_refused_in_words() {
    let served = served(None);
    let mut client = connect(served.address);
    assert_eq!(client.metadata.get("rate_hz").unwrap().as_number(), Some(10.0));
    let Some(Value::List(channels)) = client.metadata.get("action_channels") else { panic!() };
    assert_eq!(channels[1].get("unit").unwrap().as_text(), Some("%"));
    let answer = client.infer(&Value::map(observation())).unwrap();
    assert_eq!((answer.actions.len(), answer.actions[0].len()), (4, 2));
    assert!(answer.infer_ms.is_some() && answer.actions.iter().flatten().all(|v| v.is_finite()));
    // The same is answered to the same, however it is laid out.
    let again = client.infer(&Value::map(observation())).unwrap();
    assert_eq!(again.actions, answer.actions);
    let nested = Value::map([
        (
            "observation",
            Value::map(
                [observation()[0].clone(), observation()[1].clone()]
                    .map(|(k, v)| (k.trim_start_matches("observation/"), v)),
            ),
        ),
        ("prompt", Value::text("go")),
    ]);
    assert_eq!(connect(served.address).infer(&nested).unwrap().actions, answer.actions);
    // What cannot be answered is refused in words, each on a connection of its own.
    let lie = Value::map([
        ("__ndarray__", Value::Bool(true)),
        ("data", Value::Bytes(vec![0; 10])),
        ("dtype", Value::text("|u1")),
        ("shape", Value::List(vec![Value::Int(4000), Value::Int(4000), Value::Int(3)])),
    ]);
    let object = Value::map([
        ("__ndarray__", Value::Bool(true)),
        ("data", Value::Bytes(vec![0; 8])),
        ("dtype", Value::text("O")),
        ("shape", Value::List(vec![Value::Int(1)])),
    ]);
    let with = |place: usize, value: Value| {
        let mut o = observation();
        o[place].1 = value;
        Value::map(o)
    };
    for (bad, words) in [
        (with(0, lie), "has 10 bytes"),
        (with(0, object), "no numbers"),
        (with(1, Array::row(&[1.0]).encode()), "takes 2: a.pos in deg, grip.pos in %"),
        (with(1, Array::row(&[f64::NAN, 1.0]).encode()), "not finite"),
        (Value::map(observation().drain(1..)), "no picture"),
        (Value::map(observation().drain(..1)), "no state"),
        (Value::Int(3), "no picture"),
    ] {
        let error = connect(served.address).infer(&bad).unwrap_err();
        assert!(matches!(&error, OpenpiError::Said(why) if why.contains(words)), "{words}: {error}");
    }
    // And the others go on being served.
    assert_eq!(client.infer(&Value::map(observation())).unwrap().actions, answer.actions);
}

#[test]
fn the_server_survives_garbage_and_says_that_it_is_well() {
    let served = served(None);
    let mut health = TcpStream::connect(served.address).unwrap();
    health.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut text = String::new();
    health.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("OK\n"), "{text}");
    for garbage in [&[0xffu8; 4096][..], b"GET / HTTP/1.1\r\n\r\n", b"", b"POST /healthz HTTP/1.1\r\n\r\n"] {
        let mut raw = TcpStream::connect(served.address).unwrap();
        let _ = raw.write_all(garbage);
    }
    // Whole websocket connections with nonsense in them.
    for message in [Message::text("hello"), Message::binary(vec![0xc1]), Message::binary(vec![0x91; 500])] {
        let (mut socket, _) = tungstenite::client(
            format!("ws://{}/", served.address),
            TcpStream::connect(served.address).unwrap(),
        )
        .unwrap();
        assert!(socket.read().unwrap().is_binary(), "metadata first");
        socket.send(message).unwrap();
        assert!(matches!(socket.read().unwrap(), Message::Text(_)), "words");
        assert!(matches!(socket.read().unwrap(), Message::Close(Some(f)) if u16::from(f.code) == 1011));
    }
    assert_eq!(connect(served.address).infer(&Value::map(observation())).unwrap().actions.len(), 4);
}

#[test]
fn beyond_this_machine_a_key_is_needed() {
    let everywhere: SocketAddr = "0.0.0.0:0".parse().unwrap();
    assert!(listen(everywhere, None).unwrap_err().to_string().contains("--token-file"));
    assert!(listen(everywhere, Some("short")).unwrap_err().to_string().contains("32"));
    let secret = "0123456789abcdef0123456789abcdef";
    let served = served(Some(secret));
    let place = format!("ws://{}", served.address);
    for wrong in [None, Some("0123456789abcdef0123456789abcdeg")] {
        assert!(RemotePolicy::connect(&place, wrong, patient()).is_err());
    }
    let mut client = RemotePolicy::connect(&place, Some(secret), patient()).unwrap();
    assert!(client.infer(&Value::map(observation())).is_ok());
}

/// A server that accepts and then does as the test wants.
fn hostile(act: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            act(socket);
        }
    });
    format!("ws://{address}")
}

/// A server that greets as it should and then answers the first observation with what the test wants.
fn answers(act: impl Fn(&mut WebSocket<TcpStream>) + Send + 'static) -> String {
    hostile(move |socket| {
        let Ok(mut socket) = tungstenite::accept(socket) else { return };
        let _ = socket.send(Message::binary(Value::map([("policy", Value::text("x"))]).encode()));
        if socket.read().is_ok() {
            act(&mut socket);
        }
    })
}

fn limits() -> Limits {
    let second = Duration::from_secs(1);
    Limits { connect: second, answer: second, longest: 1 << 20, ..Limits::default() }
}

fn actions(value: Value) -> Message {
    Message::binary(Value::map([("actions", value)]).encode())
}

#[test]
fn our_client_survives_servers_that_hang_lie_flood_and_close() {
    let began = Instant::now();
    // Before the greeting.
    let silent = hostile(|socket| {
        // It stays open and says nothing.
        Box::leak(Box::new(socket));
    });
    let error = RemotePolicy::connect(&silent, None, limits()).err().unwrap();
    assert!(matches!(error, OpenpiError::Late(_)), "{error}");
    let no_websocket = hostile(|mut s| drop(s.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n")));
    assert!(RemotePolicy::connect(&no_websocket, None, limits()).is_err());
    let closes = hostile(drop);
    assert!(RemotePolicy::connect(&closes, None, limits()).is_err());
    // One byte every 100 ms for ever: the deadline is for the whole greeting.
    let drips = hostile(|mut s| {
        for b in b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX: aaaaaaaaaaaaaaaaaaaaaaaa" {
            if s.write_all(&[*b]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let error = RemotePolicy::connect(&drips, None, limits()).err().unwrap();
    assert!(matches!(error, OpenpiError::Late(_)), "{error}");
    for nonsense in ["http://x:1", "ws://", "nowhere", "wss://127.0.0.1:1"] {
        let error = RemotePolicy::connect(nonsense, None, limits()).err().unwrap();
        assert!(matches!(error, OpenpiError::Address(_) | OpenpiError::Broken(_)), "{nonsense}: {error}");
    }

    // After the greeting.
    let nobody = Value::map(observation());
    let ask = |address: &str| {
        let mut client = RemotePolicy::connect(address, None, limits()).unwrap();
        let first = client.infer(&nobody).unwrap_err();
        // A late answer must never be taken for the answer to a later question.
        if matches!(first, OpenpiError::Late(_)) {
            assert!(client.infer(&nobody).unwrap_err().to_string().contains("connect again"));
        }
        first
    };
    let hangs = answers(|_| std::thread::sleep(Duration::from_secs(5)));
    assert!(matches!(ask(&hangs), OpenpiError::Late(1000)));
    let pings = answers(|s| {
        while s.send(Message::Ping(vec![1].into())).is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    assert!(matches!(ask(&pings), OpenpiError::Late(_)), "pings are no answer");
    let goes = answers(|s| drop(s.close(None)));
    assert!(matches!(ask(&goes), OpenpiError::Broken(_)));
    let falls = answers(|s| drop(s.get_mut().shutdown(std::net::Shutdown::Both)));
    assert!(matches!(ask(&falls), OpenpiError::Broken(_) | OpenpiError::Unsound(_)));
    let says = answers(|s| drop(s.send(Message::text("Traceback:\n  line 1\nValueError: no such joint"))));
    assert!(matches!(ask(&says), OpenpiError::Said(why) if why == "ValueError: no such joint"));
    // 1 GB: the header alone is refused, and nothing is set aside for it.
    let floods = answers(|s| {
        let mut head = vec![0x82u8, 127];
        head.extend((1u64 << 30).to_be_bytes());
        let _ = s.get_mut().write_all(&head);
        let piece = vec![0u8; 1 << 16];
        while s.get_mut().write_all(&piece).is_ok() {}
    });
    assert!(matches!(ask(&floods), OpenpiError::Unsound(_)));
    // The same in small pieces that each look harmless.
    let fragments = answers(|s| {
        let mut piece = vec![0x02u8, 127];
        piece.extend((1u64 << 18).to_be_bytes());
        piece.extend(vec![0u8; 1 << 18]);
        while s.get_mut().write_all(&piece).is_ok() {
            piece[0] = 0x00;
        }
    });
    assert!(matches!(ask(&fragments), OpenpiError::Unsound(_)));
    let shape = |dtype: &'static str, shape: Vec<i64>, bytes: usize| {
        move |s: &mut WebSocket<TcpStream>| {
            let array = Value::map([
                ("__ndarray__", Value::Bool(true)),
                ("data", Value::Bytes(vec![0; bytes])),
                ("dtype", Value::text(dtype)),
                ("shape", Value::List(shape.iter().map(|n| Value::Int(*n)).collect())),
            ]);
            let _ = s.send(actions(array));
        }
    };
    for (dtype, sizes, bytes) in [
        ("<f4", vec![50, 6], 100),
        ("<f4", vec![i64::MAX, 6], 100),
        ("<f4", vec![5000, 2], 40_000),
        ("<f4", vec![2, 500], 4000),
        ("<f4", vec![0, 6], 0),
        ("<f4", vec![6], 24),
        ("O", vec![1, 1], 8),
    ] {
        let shown = format!("{dtype} {sizes:?}");
        assert!(matches!(ask(&answers(shape(dtype, sizes, bytes))), OpenpiError::Unsound(_)), "{shown}");
    }
    for message in [
        Message::binary(vec![0x80]),
        Message::binary(vec![]),
        Message::binary(vec![0xc1]),
        actions(Value::text("rm -rf")),
        actions(Value::Nil),
    ] {
        let shown = format!("{message:?}");
        let address = answers(move |s| drop(s.send(message.clone())));
        assert!(matches!(ask(&address), OpenpiError::Unsound(_)), "{shown}");
    }
    // Numbers that are none come through: the safety layer names the action and the joint.
    let nan = answers(|s| drop(s.send(actions(Array::rows(&[vec![1.0, f32::NAN]]).encode()))));
    let rows = RemotePolicy::connect(&nan, None, limits()).unwrap().infer(&nobody).unwrap().actions;
    assert!(rows[0][1].is_nan());
    assert!(began.elapsed() < Duration::from_secs(120), "{:?}", began.elapsed());
}
