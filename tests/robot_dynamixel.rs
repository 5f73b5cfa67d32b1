//! The safety layer over Dynamixel servos, emulated, under a simulated clock.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use forerun::robot::clock::{Clock, SimulatedClock};
use forerun::robot::dynamixel::DynamixelBus;
use forerun::robot::dynamixel::bus::register;
use forerun::robot::emulator::dynamixel::{XArm, XLine};
use forerun::robot::numbers::Mode;
use forerun::robot::safety::states::RunRules;
use forerun::robot::safety::{AnyRobot, Chunk, Robot};

const MS: fn(u64) -> Duration = Duration::from_millis;
const STEP: f64 = 360.0 / 4095.0;

struct Bench {
    arm: Arc<Mutex<XArm>>,
    clock: SimulatedClock,
    robot: Option<AnyRobot>,
}

impl Bench {
    fn new() -> Self {
        let (arm, clock) = (Arc::new(Mutex::new(XArm::new())), SimulatedClock::default());
        clock.advance(MS(1000));
        let file = XArm::robot_file("koch");
        let bus = DynamixelBus::new(&file, XLine::opener(&arm, &clock), Arc::new(clock.clone()));
        let robot = Robot::new(file, Box::new(bus));
        let robot = Some(robot.connect(clock.now()).map_err(|(_, e)| e).unwrap().into());
        Self { arm, clock, robot }
    }

    fn change(&mut self, f: impl FnOnce(AnyRobot, Duration) -> AnyRobot) {
        let now = self.clock.now();
        self.robot = Some(f(self.robot.take().unwrap(), now));
    }

    fn run_for(&mut self, ms: u64) {
        let end = self.clock.now() + MS(ms);
        while self.clock.now() < end {
            let next = self.clock.now() + MS(10);
            self.change(|mut r, now| {
                r.heartbeat(now, true);
                r.tick(now)
            });
            self.clock.sleep_until(next);
            let now = self.clock.now();
            self.arm.lock().unwrap().advance_to(now);
        }
    }

    fn state(&self) -> &'static str {
        self.robot.as_ref().unwrap().name()
    }

    fn why(&self) -> String {
        self.robot.as_ref().unwrap().why().map(ToString::to_string).unwrap_or_default()
    }

    fn running() -> Self {
        let mut b = Self::new();
        b.run_for(200);
        assert!(b.arm.lock().unwrap().trace.is_empty(), "connecting writes nothing");
        b.change(|r, now| match r {
            AnyRobot::Limp(r) => r.arm(now).map_err(|(_, e)| e).unwrap().into(),
            other => panic!("{}", other.name()),
        });
        b.run_for(700);
        assert_eq!(b.state(), "ready", "{}", b.why());
        b.change(|r, now| match r {
            AnyRobot::Ready(r) => {
                let rules = RunRules::of(Mode::Normal, r.file());
                r.run(now, rules).map_err(|(_, e)| e).unwrap().into()
            }
            other => panic!("{}", other.name()),
        });
        b
    }

    fn sway(&mut self, ms: u64) {
        let end = self.clock.now() + MS(ms);
        let start = self.clock.now();
        while self.clock.now() < end && self.state() == "running" {
            self.change(|mut r, now| {
                let t = (now - start).as_secs_f64();
                let row = |k: i32| {
                    let s = 10.0 * ((t + f64::from(k) * 0.1) * 2.0).sin();
                    vec![s, s, s, s, s, 50.0]
                };
                let actions = (0..10).map(row).collect();
                let chunk = Chunk { number: 1, observed: now, sent: now, period: MS(100), actions };
                if let AnyRobot::Running(r) = &mut r {
                    r.propose(now, &chunk).unwrap();
                }
                r
            });
            self.run_for(200);
        }
    }

    fn goals(&self, id: u8) -> Vec<i32> {
        let arm = self.arm.lock().unwrap();
        arm.trace
            .iter()
            .filter(|w| w.id == id && w.register == register::GOAL_POSITION)
            .map(|w| w.value)
            .collect()
    }
}

#[test]
fn an_arm_of_dynamixels_is_armed_run_and_stopped_within_its_limits() {
    let mut b = Bench::running();
    {
        let arm = b.arm.lock().unwrap();
        let place = |r: u16| arm.trace.iter().position(|w| w.id == 1 && w.register == r).unwrap();
        assert!(
            place(register::GOAL_POSITION) < place(register::TORQUE_ENABLE),
            "the goal comes before the torque"
        );
        assert!((arm.servos[0].angle - 2020.0).abs() * STEP < 2.0, "arming does not move it");
    }
    b.sway(4000);
    assert_eq!(b.state(), "running", "{}", b.why());
    for id in 1..=5 {
        let goals = b.goals(id);
        let span = goals.iter().max().unwrap() - goals.iter().min().unwrap();
        assert!(f64::from(span) * STEP > 12.0);
        for w in goals.windows(2) {
            assert!(f64::from((w[1] - w[0]).abs()) * STEP <= 90.0 * 0.01 * 1.05 + 1.01 * STEP);
        }
        assert!(goals.iter().all(|g| (700..=3400).contains(g)));
    }
    b.change(|r, now| r.stop(now, "test"));
    b.run_for(600);
    assert_eq!(b.state(), "hold");
    let goals = b.goals(1);
    assert!(goals[goals.len() - 10..].iter().all(|g| g == goals.last().unwrap()), "it stands");
}

#[test]
fn its_own_watchdog_holds_it_when_the_agent_is_gone() {
    let mut b = Bench::running();
    b.sway(1000);
    // The agent is killed: nothing is sent any more.
    let now = b.clock.now() + MS(3000);
    let mut arm = b.arm.lock().unwrap();
    arm.advance_to(now);
    assert!(arm.servos.iter().all(|s| s.struck && s.holds()));
}

#[test]
fn alerts_hold_it_and_silence_faults_it() {
    let mut b = Bench::running();
    b.sway(600);
    b.arm.lock().unwrap().errors = vec![(2, 0x20)];
    b.sway(400);
    assert_eq!(b.state(), "hold");
    assert!(b.why().contains("overloaded"), "{}", b.why());
    let mut b = Bench::running();
    b.sway(600);
    b.arm.lock().unwrap().dead.insert(3);
    b.sway(1500);
    b.run_for(800);
    assert_eq!(b.state(), "fault");
    assert!(b.why().contains("elbow_flex"), "{}", b.why());
}
