//! A robot behind ROS 2: joint states come in, short joint trajectories go out, over the web socket of `rosbridge`
//! (`ros2 launch rosbridge_server rosbridge_websocket_launch.xml`). No ROS is needed on this side.
//!
//! What goes out is what the safety layer allows, tick by tick, as a trajectory of two points: the goal one tick ahead, and
//! the same one tick later, where the controller holds. Torque, heat and supply are the ROS controller's business: it
//! does not tell of them, and it holds the arm whether we are here or not.
//!
//! Protocol: <https://github.com/RobotWebTools/rosbridge_suite/blob/ros2/ROSBRIDGE_PROTOCOL.md>. ROS counts in radians;
//! grippers, which we count in per cents, have their two ends in the robot file.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Error, Message, WebSocket};

use super::clock::{Clock, Time};
use super::driver::{Driver, DriverError, Feedback, Identity, Reading, Standing};
use super::file::{RobotFile, RosFile};
use super::numbers::Unit;
use super::safety::order::{CalibrationOrder, GoalOrder, PrepareOrder, TorqueOrder};

/// Time to connect, and to hear the first joint states.
const PATIENCE: Duration = Duration::from_secs(2);
/// Joint states that are older than this are no answer: publishers send 50 to 1000 a second.
const OLDEST: Duration = Duration::from_millis(150);
/// The thread listens for this long before it looks for something to send.
const TURN: Duration = Duration::from_millis(2);
/// Longest message, bytes: joint states are small.
const LONGEST: usize = 1 << 20;

#[derive(Clone, Debug)]
struct Joint {
    name: String,
    unit: Unit,
    /// Radians of 0 and 100 per cent, for grippers.
    ends: (f64, f64),
}

impl Joint {
    fn in_units(&self, radians: f64) -> f64 {
        match self.unit {
            Unit::Deg => radians.to_degrees(),
            Unit::Percent => 100.0 * (radians - self.ends.0) / (self.ends.1 - self.ends.0),
        }
    }

    fn speed(&self, radians: f64) -> f64 {
        self.in_units(radians) - self.in_units(0.0)
    }

    fn radians_of(&self, value: f64) -> f64 {
        match self.unit {
            Unit::Deg => value.to_radians(),
            Unit::Percent => self.ends.0 + value / 100.0 * (self.ends.1 - self.ends.0),
        }
    }
}

/// What the thread and the driver share.
#[derive(Default)]
struct Shared {
    /// (when, name: (position, speed)), radians.
    heard: Mutex<Option<(Time, BTreeMap<String, (f64, f64)>)>>,
    /// The newest goal; an older one that was not sent yet is forgotten, never queued.
    goal: Mutex<Option<String>>,
    end: AtomicBool,
    /// Why the connection is gone.
    gone: Mutex<Option<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves values that can still be read.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A robot behind ROS 2.
pub struct RosRobot {
    joints: Vec<Joint>,
    place: RosFile,
    supply: f64,
    dt: Duration,
    clock: Arc<dyn Clock>,
    shared: Option<Arc<Shared>>,
    sent: Option<Vec<f64>>,
}

/// A position in thousandths of a degree or per cent: whether it stands to the bit.
fn steps(position: f64) -> i32 {
    (position * 1000.0).clamp(-1e9, 1e9) as i32
}

impl RosRobot {
    /// A robot for a robot file with a section `[ros]`.
    ///
    /// # Errors
    /// A file without one; a gripper without its two ends.
    pub fn new(robot: &RobotFile, clock: Arc<dyn Clock>) -> Result<Self, DriverError> {
        let place = robot.ros.clone().ok_or_else(|| {
            DriverError::Unsupported(
                "a robot behind ROS 2 needs a section [ros] with its url in the robot file".into(),
            )
        })?;
        let joint = |j: &super::file::JointFile| {
            let ends = place.ends.get(&j.name).copied();
            match (j.unit, ends) {
                (Unit::Percent, None) => Err(DriverError::Wrong {
                    joint: j.name.clone(),
                    why: "it is commanded in per cents; write the radians of 0 and 100 % into [ros.ends]"
                        .into(),
                }),
                (_, Some([a, b])) if !(a.is_finite() && b.is_finite() && (a - b).abs() > 1e-6) => {
                    Err(DriverError::Wrong {
                        joint: j.name.clone(),
                        why: format!("[ros.ends] has {a} and {b} for it, which are no two ends"),
                    })
                }
                (unit, ends) => {
                    let [a, b] = ends.unwrap_or([0.0, 1.0]);
                    Ok(Joint { name: j.name.clone(), unit, ends: (a, b) })
                }
            }
        };
        Ok(Self {
            joints: robot.joints.iter().map(joint).collect::<Result<_, _>>()?,
            place,
            supply: robot.supply_volts,
            dt: Duration::from_secs_f64(1.0 / robot.rates.control_hz),
            clock,
            shared: None,
            sent: None,
        })
    }

    fn connect(&self) -> Result<WebSocket<TcpStream>, DriverError> {
        let url = &self.place.url;
        let missing = |why: String| DriverError::NotFound { port: url.clone(), why };
        let place = url.strip_prefix("ws://").unwrap_or(url).trim_end_matches('/');
        let nobody = || missing("this is no address like ws://127.0.0.1:9090".into());
        let address = place.to_socket_addrs().ok().and_then(|mut a| a.next()).ok_or_else(nobody)?;
        let stream = TcpStream::connect_timeout(&address, PATIENCE)
            .map_err(|e| missing(format!("{e}; is rosbridge running there?")))?;
        let _ = stream.set_nodelay(true);
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let _ = stream.set_write_timeout(Some(Duration::from_millis(500)));
        let request = format!("ws://{place}/").into_client_request().map_err(|_| nobody())?;
        let config = WebSocketConfig::default().max_message_size(Some(LONGEST)).max_frame_size(Some(LONGEST));
        let (mut socket, _) = tungstenite::client::client_with_config(request, stream, Some(config))
            .map_err(|e| missing(format!("no web socket answers there ({e})")))?;
        let trajectory = "trajectory_msgs/msg/JointTrajectory";
        for message in [
            json!({"op": "advertise", "topic": self.place.trajectory, "type": trajectory}),
            json!({"op": "subscribe", "topic": self.place.states, "type": "sensor_msgs/msg/JointState",
                   "queue_length": 1}),
        ] {
            socket.send(Message::text(message.to_string())).map_err(|e| missing(e.to_string()))?;
        }
        let _ = socket.get_ref().set_read_timeout(Some(TURN));
        Ok(socket)
    }

    fn shared(&self) -> Result<&Arc<Shared>, DriverError> {
        let shared = self.shared.as_ref().ok_or(DriverError::Closed)?;
        match lock(&shared.gone).clone() {
            Some(why) => Err(DriverError::Gone { why }),
            None => Ok(shared),
        }
    }

    /// Positions and speeds of all joints in their units, or the names of those that are missing.
    fn newest(&self, oldest: Duration) -> Result<Vec<(f64, f64)>, DriverError> {
        let shared = self.shared()?;
        let heard = lock(&shared.heard);
        let all = || self.joints.iter().map(|j| j.name.clone()).collect();
        let Some((at, states)) = heard.as_ref() else {
            let why = format!("nothing has come on {}", self.place.states);
            return Err(DriverError::NoAnswer { joints: all(), why });
        };
        let age = self.clock.now().saturating_sub(*at);
        if age > oldest {
            let why = format!("the last joint states are {} ms old", age.as_millis());
            return Err(DriverError::NoAnswer { joints: all(), why });
        }
        let mut out = Vec::with_capacity(self.joints.len());
        let mut missing = Vec::new();
        for j in &self.joints {
            match states.get(&j.name) {
                Some((position, speed)) => out.push((j.in_units(*position), j.speed(*speed))),
                None => missing.push(j.name.clone()),
            }
        }
        if missing.is_empty() {
            return Ok(out);
        }
        let why = format!("{} does not name them", self.place.states);
        Err(DriverError::NoAnswer { joints: missing, why })
    }
}

/// A `sensor_msgs/JointState` inside of a rosbridge message, if it is one for our topic and sound.
fn joint_states(text: &str, topic: &str) -> Option<BTreeMap<String, (f64, f64)>> {
    let v: Value = serde_json::from_str(text).ok()?;
    if v["op"].as_str() != Some("publish") || v["topic"].as_str() != Some(topic) {
        return None;
    }
    let (names, positions) = (v["msg"]["name"].as_array()?, v["msg"]["position"].as_array()?);
    if names.len() != positions.len() {
        return None;
    }
    let speeds = v["msg"]["velocity"].as_array();
    let mut out = BTreeMap::new();
    for (i, (name, position)) in names.iter().zip(positions).enumerate() {
        // NaN comes as null: such a joint is missing.
        let Some(position) = position.as_f64().filter(|p| p.is_finite()) else { continue };
        let speed = speeds.and_then(|s| s.get(i)).and_then(Value::as_f64).filter(|s| s.is_finite());
        out.insert(name.as_str()?.to_owned(), (position, speed.unwrap_or(0.0)));
    }
    Some(out)
}

fn talk(mut socket: WebSocket<TcpStream>, topic: &str, clock: &dyn Clock, shared: &Shared) {
    let gone = |why: String| *lock(&shared.gone) = Some(why);
    while !shared.end.load(Ordering::Relaxed) {
        let goal = lock(&shared.goal).take();
        if let Some(text) = goal
            && let Err(e) = socket.send(Message::text(text))
        {
            return gone(e.to_string());
        }
        match socket.read() {
            Ok(Message::Text(text)) => {
                if let Some(states) = joint_states(&text, topic) {
                    *lock(&shared.heard) = Some((clock.now(), states));
                }
            }
            Ok(Message::Close(_)) => return gone("rosbridge closed the connection".into()),
            Ok(_) => {}
            // A process that was stopped (or a laptop that slept) finds its read interrupted when it goes on.
            Err(Error::Io(e))
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(e) => return gone(e.to_string()),
        }
    }
    let _ = socket.close(None);
    let _ = socket.flush();
}

impl Driver for RosRobot {
    fn open(&mut self) -> Result<Identity, DriverError> {
        self.close();
        let socket = self.connect()?;
        let shared = Arc::new(Shared::default());
        self.shared = Some(Arc::clone(&shared));
        let (topic, clock) = (self.place.states.clone(), Arc::clone(&self.clock));
        let spawned = std::thread::Builder::new()
            .name("ros".into())
            .spawn(move || talk(socket, &topic, clock.as_ref(), &shared));
        let end = Instant::now() + PATIENCE;
        let first = loop {
            match self.newest(OLDEST) {
                Ok(_) if spawned.is_ok() => break Ok(()),
                Err(e) if Instant::now() > end || e.is_gone() => break Err(e),
                _ => std::thread::sleep(TURN),
            }
        };
        if let Err(e) = first {
            self.close();
            return Err(e);
        }
        Ok(Identity {
            description: format!("{} joints behind ROS 2 at {}", self.joints.len(), self.place.url),
            calibration: None,
            // Its controller holds it, whatever we do.
            stiff: vec![true; self.joints.len()],
        })
    }

    fn close(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.end.store(true, Ordering::Relaxed);
        }
        self.sent = None;
    }

    fn read(&mut self) -> Result<Feedback, DriverError> {
        let joints = self.newest(OLDEST)?.into_iter().map(|(position, speed)| Reading {
            position,
            steps: steps(position),
            speed,
            // ROS tells neither; its controller sees to them.
            volts: self.supply,
            celsius: 30.0,
            ..Reading::default()
        });
        Ok(Feedback { joints: joints.collect(), retries: 0 })
    }

    fn standing(&mut self) -> Result<Vec<Standing>, DriverError> {
        let goals = match &self.sent {
            Some(sent) => sent.clone(),
            None => self.newest(OLDEST)?.into_iter().map(|(p, _)| p).collect(),
        };
        Ok(goals.into_iter().map(|goal| Standing { torque: true, goal, torque_limit: 1.0 }).collect())
    }

    fn prepare(&mut self, _: &PrepareOrder) -> Result<(), DriverError> {
        self.shared().map(|_| ())
    }

    fn command(&mut self, order: &GoalOrder) -> Result<(), DriverError> {
        let goals: Vec<f64> = order.joints().iter().map(|g| g.position()).collect();
        let names: Vec<&str> = self.joints.iter().map(|j| j.name.as_str()).collect();
        let radians: Vec<f64> = self.joints.iter().zip(&goals).map(|(j, g)| j.radians_of(*g)).collect();
        let point = |ticks: u32| {
            let at = self.dt * ticks;
            json!({
                "positions": radians, "velocities": [], "accelerations": [], "effort": [],
                "time_from_start": {"sec": at.as_secs(), "nanosec": at.subsec_nanos()},
            })
        };
        let message = json!({
            "op": "publish", "topic": self.place.trajectory,
            "msg": {
                "header": {"stamp": {"sec": 0, "nanosec": 0}, "frame_id": ""},
                "joint_names": names, "points": [point(1), point(2)],
            },
        });
        *lock(&self.shared()?.goal) = Some(message.to_string());
        self.sent = Some(goals);
        Ok(())
    }

    fn torque(&mut self, order: &TorqueOrder) -> Result<(), DriverError> {
        if order.on() {
            return self.shared().map(|_| ());
        }
        Err(DriverError::Unsupported(
            "a ROS controller holds this arm; stop its controller there to let it go".into(),
        ))
    }

    fn store_calibration(&mut self, _: &CalibrationOrder) -> Result<(), DriverError> {
        Err(DriverError::Unsupported("a robot behind ROS 2 is calibrated there".into()))
    }
}

impl Drop for RosRobot {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn joint_states_are_taken_by_name_and_broken_ones_are_left_out() {
        let good = r#"{"op":"publish","topic":"/joint_states","msg":{"name":["b","a"],"position":[1.0,null],"velocity":[0.5]}}"#;
        let states = joint_states(good, "/joint_states").unwrap();
        assert_eq!(states.get("b"), Some(&(1.0, 0.5)));
        assert!(!states.contains_key("a"), "a joint without a number is missing");
        for bad in [
            "",
            "[]",
            r#"{"op":"publish","topic":"/other","msg":{"name":[],"position":[]}}"#,
            r#"{"op":"publish","topic":"/joint_states","msg":{"name":["a","b"],"position":[1.0]}}"#,
            r#"{"op":"publish","topic":"/joint_states","msg":{"name":[3],"position":[1.0]}}"#,
        ] {
            assert!(joint_states(bad, "/joint_states").is_none(), "{bad}");
        }
    }

    #[test]
    fn radians_go_there_and_back() {
        let pan = Joint { name: "pan".into(), unit: Unit::Deg, ends: (0.0, 1.0) };
        assert!((pan.in_units(std::f64::consts::FRAC_PI_2) - 90.0).abs() < 1e-9);
        let grip = Joint { name: "grip".into(), unit: Unit::Percent, ends: (0.2, -0.6) };
        for (radians, percent) in [(0.2, 0.0), (-0.2, 50.0), (-0.6, 100.0)] {
            assert!((grip.in_units(radians) - percent).abs() < 1e-9);
            assert!((grip.radians_of(percent) - radians).abs() < 1e-9);
        }
        assert!((grip.speed(-0.8) - 100.0).abs() < 1e-9);
    }
}
