//! The safety layer against an emulated SO-101, under a simulated clock. What is judged is the trace of commands that
//! arrived at the motors, not what the safety layer says of itself.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use forerun::robot::clock::{Clock, SimulatedClock, Time};
use forerun::robot::driver::{Driver, DriverError, Feedback, Identity, Reading, Standing};
use forerun::robot::emulator::{EmulatedArm, MemoryLine, Written};
use forerun::robot::feetech::FeetechBus;
use forerun::robot::file::RobotFile;
use forerun::robot::numbers::Mode;
use forerun::robot::safety::order::{CalibrationOrder, GoalOrder, PrepareOrder, TorqueOrder};
use forerun::robot::safety::states::RunRules;
use forerun::robot::safety::{AnyRobot, Chunk, Refusal, Robot, Trip};

const MS: fn(u64) -> Duration = Duration::from_millis;
const DEGREES: f64 = 360.0 / 4095.0;

/// A robot on an emulated bus, ticked at 100 Hz by a clock that only moves when it is told to.
struct Bench {
    arm: Arc<Mutex<EmulatedArm>>,
    clock: SimulatedClock,
    file: RobotFile,
    robot: Option<AnyRobot>,
    next: Time,
    alive: bool,
    dead_man: bool,
    numbers: u64,
    emulated: bool,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut RobotFile)) -> Self {
        let arm = EmulatedArm::new(7);
        let mut file = arm.robot_file("test arm");
        change(&mut file);
        let (arm, clock) = (Arc::new(Mutex::new(arm)), SimulatedClock::default());
        clock.advance(MS(1000));
        let bus = FeetechBus::new(&file, MemoryLine::opener(&arm, &clock), Arc::new(clock.clone()));
        let robot = Some(Robot::new(file.clone(), Box::new(bus)).into());
        let next = clock.now();
        Self { arm, clock, file, robot, next, alive: true, dead_man: true, numbers: 0, emulated: true }
    }

    fn arm(&self) -> MutexGuard<'_, EmulatedArm> {
        self.arm.lock().unwrap()
    }

    fn robot(&self) -> &AnyRobot {
        self.robot.as_ref().unwrap()
    }

    fn state(&self) -> &'static str {
        self.robot().name()
    }

    /// Why it stopped, in words.
    fn why(&self) -> String {
        self.robot().why().map(ToString::to_string).unwrap_or_default()
    }

    fn now(&self) -> Time {
        self.clock.now()
    }

    fn change(&mut self, f: impl FnOnce(AnyRobot, Time) -> AnyRobot) {
        let now = self.now();
        self.robot = Some(f(self.robot.take().unwrap(), now));
    }

    fn tick(&mut self) {
        self.clock.sleep_until(self.next);
        let (alive, dead_man) = (self.alive, self.dead_man);
        self.change(|mut r, now| {
            if alive {
                r.heartbeat(now, dead_man);
            }
            r.tick(now)
        });
        // As the agent does it: absolute deadlines, and no catching up.
        self.next += MS(10);
        if self.now() > self.next {
            self.next = self.now() + MS(10);
        }
        if self.emulated {
            let now = self.now();
            self.arm().advance_to(now);
        }
    }

    fn run_for(&mut self, ms: u64) {
        let end = self.now() + MS(ms);
        while self.now() < end {
            self.tick();
        }
    }

    /// Ticks until a state is reached; the time that it took.
    fn until(&mut self, state: &str, most_ms: u64) -> Duration {
        let start = self.now();
        while self.state() != state {
            assert!(
                self.now() - start <= MS(most_ms),
                "still {} after {most_ms} ms: {}",
                self.state(),
                self.why()
            );
            self.tick();
        }
        self.now() - start
    }

    fn connect(&mut self) {
        self.change(|r, now| match r {
            AnyRobot::Disconnected(r) => match r.connect(now) {
                Ok(limp) => limp.into(),
                Err((_, e)) => panic!("{e}"),
            },
            other => other,
        });
        self.run_for(100);
    }

    fn arm_it(&mut self) {
        self.change(|r, now| match r {
            AnyRobot::Limp(r) => match r.arm(now) {
                Ok(armed) => armed.into(),
                Err((_, e)) => panic!("{e}"),
            },
            other => panic!("{}", other.name()),
        });
    }

    fn ready() -> Self {
        Self::ready_with(|_| {})
    }

    /// Armed, ready, and lifted to the middle of its range.
    fn ready_with(change: impl FnOnce(&mut RobotFile)) -> Self {
        let mut b = Self::with(change);
        b.connect();
        b.arm_it();
        b.until("ready", 700);
        let pose: Vec<(String, f64)> = b
            .file
            .joints
            .iter()
            .map(|j| (j.name.clone(), if j.name == "gripper" { 50.0 } else { 0.0 }))
            .collect();
        b.change(|r, now| match r {
            AnyRobot::Ready(mut r) => {
                r.go_to(now, &pose).unwrap();
                r.into()
            }
            other => other,
        });
        b.run_for(6000);
        assert!(b.robot().view(b.now()).stands, "{:?}", b.robot().view(b.now()));
        b
    }

    fn start(&mut self, mode: Mode) {
        let rules = RunRules::of(mode, &self.file);
        self.change(|r, now| match r {
            AnyRobot::Ready(r) => match r.run(now, rules) {
                Ok(running) => running.into(),
                Err((_, e)) => panic!("{e}"),
            },
            other => panic!("{}", other.name()),
        });
    }

    fn running(mode: Mode) -> Self {
        let mut b = Self::ready();
        b.start(mode);
        b
    }

    fn chunk(&mut self, actions: Vec<Vec<f64>>) -> Chunk {
        self.numbers += 1;
        let now = self.now();
        Chunk { number: self.numbers, observed: now, sent: now, period: MS(100), actions }
    }

    fn propose(&mut self, chunk: &Chunk) -> Result<(), Refusal> {
        let mut out = Ok(());
        self.change(|mut r, now| {
            match &mut r {
                AnyRobot::Running(r) => out = r.propose(now, chunk),
                AnyRobot::Hold(r) => r.heard_from_policy(now),
                _ => {}
            }
            r
        });
        out
    }

    /// Follows a function of time (radian phase 0.. at `hz`) with chunks of ten actions, asked for every 300 ms.
    fn follow(&mut self, ms: u64, at: impl Fn(f64) -> Vec<f64>) {
        let (start, end) = (self.now(), self.now() + MS(ms));
        let mut ask = self.now();
        while self.now() < end && self.state() == "running" {
            if self.now() >= ask {
                let t = (self.now() - start).as_secs_f64();
                let chunk = self.chunk((0..10).map(|k| at(t + f64::from(k) * 0.1)).collect());
                self.propose(&chunk).unwrap();
                ask += MS(300);
            }
            self.tick();
        }
    }

    fn goals(&self, id: u8) -> Vec<Written> {
        self.arm().trace.iter().filter(|w| w.register == 42 && w.id == id).copied().collect()
    }

    /// Every goal that ever arrived: inside the bounds, and never faster than the mode allows over any 100 ms.
    fn judge(&self, mode: Mode) {
        for j in &self.file.joints {
            let goals = self.goals(j.id);
            let c = j.calibration.unwrap();
            let (low, high) = self.file.bounds(j);
            let (low, high) = (c.to_steps(j.unit, low).unwrap(), c.to_steps(j.unit, high).unwrap());
            let most = j.limits(mode).speed * j.degrees_per_unit() / DEGREES * 0.1 * 1.05 + 2.0;
            for (i, g) in goals.iter().enumerate() {
                // Where the arm lay when it was armed may be outside; from there goals go inwards only.
                let before = goals.get(i.wrapping_sub(1)).map_or(g.value, |b| b.value);
                let inside =
                    (g.value >= low - 1 || g.value >= before) && (g.value <= high + 1 || g.value <= before);
                assert!(inside, "{}: goal {} (before {before}) outside {low}..{high}", j.name, g.value);
                for later in goals[i..].iter().take_while(|l| l.time - g.time <= MS(100)) {
                    let moved = f64::from((later.value - g.value).abs());
                    assert!(moved <= most, "{}: {moved} steps within 100 ms (most {most})", j.name);
                }
            }
        }
    }

    /// Nothing moves any more: the goals of the last 300 ms are all the same.
    fn stands(&self) -> bool {
        let from = self.now().saturating_sub(MS(300));
        (1..=6).all(|id| {
            let recent: Vec<i32> =
                self.goals(id).iter().filter(|g| g.time >= from).map(|g| g.value).collect();
            recent.iter().all(|v| Some(v) == recent.first())
        })
    }
}

fn sway(degrees: f64, hz: f64) -> impl Fn(f64) -> Vec<f64> {
    move |t| {
        let s = (t * hz * std::f64::consts::TAU).sin();
        vec![degrees * s, degrees * s, -degrees * s, degrees * s, degrees * s, 50.0 + 20.0 * s]
    }
}

#[test]
fn connecting_writes_nothing_and_arming_does_not_move() {
    let mut b = Bench::new();
    b.connect();
    b.run_for(500);
    assert_eq!(b.state(), "limp");
    assert!(b.arm().trace.is_empty(), "{:?}", b.arm().trace);
    let before: Vec<f64> = b.arm().servos.iter().map(|s| s.angle).collect();
    b.arm_it();
    let took = b.until("ready", 700);
    assert!(took >= MS(450), "the torque rises over half a second: {took:?}");
    b.run_for(500);
    let arm = b.arm();
    for (s, before) in arm.servos.iter().zip(before) {
        assert!((s.angle - before).abs() * DEGREES <= 2.0, "servo {} moved", s.id());
        assert!(s.holds());
        let limit = s.word(48);
        assert_eq!(limit, if s.id() == 6 { 500 } else { 700 }, "torque limit of servo {}", s.id());
    }
    assert_eq!((arm.servos[5].word(16), arm.servos[5].word(28)), (500, 250), "the gripper's own limits");
    // The goal arrives before the torque, and the torque limit starts low.
    for id in 1..=6 {
        let position =
            |register: u8| arm.trace.iter().position(|w| w.id == id && w.register == register).unwrap();
        assert!(position(42) < position(40));
        assert!(arm.trace[position(48)].value <= 200);
    }
    // The servos' own position limits are narrowed in memory; what is stored stays.
    for (s, j) in arm.servos.iter().zip(&b.file.joints) {
        let c = j.calibration.unwrap();
        assert!(i32::from(s.word(11)) <= c.range_max - 30, "servo {} keeps {}", s.id(), s.word(11));
    }
    drop(arm);
    b.arm().power_cycle();
    let c = b.file.joints[2].calibration.unwrap();
    assert_eq!(i32::from(b.arm().servos[2].word(11)), c.range_max);
}

#[test]
fn a_joint_that_was_armed_at_its_end_only_comes_inwards() {
    let mut b = Bench::new();
    b.arm().servos[0].angle = 702.0;
    b.connect();
    b.arm_it();
    b.until("ready", 700);
    let low = b.robot().view(b.now()).joints[0].low;
    let go = |b: &mut Bench, to: f64| {
        b.change(|r, now| match r {
            AnyRobot::Ready(mut r) => {
                r.go_to(now, &[("shoulder_pan.pos".into(), to)]).unwrap();
                r.into()
            }
            other => panic!("{}", other.name()),
        });
        b.run_for(6000);
        b.robot().view(b.now()).joints[0].goal
    };
    assert!(b.robot().view(b.now()).joints[0].goal < low - 1.0);
    assert!(go(&mut b, -500.0) < low - 1.0, "it stays where it is");
    assert!((go(&mut b, 0.0)).abs() < 1e-6);
    assert!((go(&mut b, -500.0) - low).abs() < 1e-6, "now its bounds hold");
    b.judge(Mode::Cautious);
}

#[test]
fn a_policy_is_followed_within_the_limits_of_every_mode() {
    for (mode, degrees, hz) in
        [(Mode::Cautious, 20.0, 0.2), (Mode::Normal, 25.0, 0.4), (Mode::Full, 25.0, 0.8)]
    {
        let mut b = Bench::running(mode);
        b.arm().trace.clear();
        b.follow(10_000, sway(degrees, hz));
        assert_eq!(b.state(), "running", "{mode}: {}", b.why());
        b.judge(mode);
        // It does follow: the true motion has most of the amplitude.
        let pan: Vec<i32> = b.goals(1).iter().map(|g| g.present).collect();
        let span = f64::from(pan.iter().max().unwrap() - pan.iter().min().unwrap()) * DEGREES;
        // At full speed the motors of the emulated arm are short of torque, and the goals wait for them.
        let share = if mode == Mode::Full { 1.2 } else { 1.6 };
        assert!(span > share * degrees, "{mode}: {span}");
        // One goal per joint and tick: a hundred a second.
        let n = b.goals(1).len();
        assert!((990..=1010).contains(&n), "{mode}: {n} goals in 10 s");
    }
}

#[test]
fn wild_chunks_never_make_a_goal_outside_the_limits() {
    let mut b = Bench::running(Mode::Normal);
    let mut random = 1u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 11) as f64 / (1u64 << 53) as f64
    };
    for _ in 0..150 {
        // Starts near, then anything.
        let near: Vec<f64> = b.robot().view(b.now()).joints.iter().map(|j| j.position.unwrap()).collect();
        let mut actions = vec![near; 2];
        for _ in 0..8 {
            actions.push((0..6).map(|_| (next() - 0.5) * 1000.0).collect());
        }
        let chunk = b.chunk(actions);
        let _ = b.propose(&chunk);
        b.run_for(20 + (next() * 900.0) as u64);
        if b.state() == "hold" {
            b.run_for(600);
            b.change(|r, now| match r {
                AnyRobot::Hold(r) => r.resume(now).map_or_else(|(r, _)| r.into(), Into::into),
                other => other,
            });
            if b.state() == "ready" {
                b.start(Mode::Normal);
            }
        }
        if b.state() == "fault" {
            panic!("{}", b.why());
        }
    }
    b.judge(Mode::Normal);
}

#[test]
fn not_a_number_faults_within_a_tick_and_names_the_joint() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut b = Bench::running(Mode::Normal);
        b.follow(2000, sway(20.0, 0.4));
        let mut chunk = b.chunk(vec![vec![0.0; 6]; 10]);
        chunk.actions[3][2] = bad;
        assert!(matches!(b.propose(&chunk), Err(Refusal::NotFinite { index: 3, .. })));
        b.tick();
        assert_eq!(b.state(), "fault");
        assert!(b.why().contains("action 3") && b.why().contains("elbow_flex"), "{}", b.why());
        b.run_for(1500);
        assert!(b.stands());
        b.judge(Mode::Normal);
        assert!(
            b.arm().servos.iter().all(forerun::robot::emulator::servo::Servo::holds),
            "a fault does not drop the arm"
        );
    }
}

#[test]
fn refused_chunks_hold_and_late_ones_are_dropped() {
    type Change = fn(&mut Chunk);
    let cases: [(&str, Change); 4] = [
        ("no actions", |c| c.actions.clear()),
        ("7 numbers", |c| c.actions[0].push(0.0)),
        ("go to start pose", |c| c.actions.iter_mut().for_each(|a| a[1] += 80.0)),
        ("ms apart", |c| c.period = Duration::ZERO),
    ];
    for (words, change) in cases {
        let mut b = Bench::running(Mode::Normal);
        b.follow(1000, sway(10.0, 0.3));
        let here: Vec<f64> = b.robot().view(b.now()).joints.iter().map(|j| j.position.unwrap()).collect();
        let mut chunk = b.chunk(vec![here; 10]);
        change(&mut chunk);
        assert!(b.propose(&chunk).is_err());
        b.tick();
        assert_eq!(b.state(), "hold", "{words}");
        assert!(b.why().contains(words), "{}", b.why());
        b.run_for(1000);
        assert!(b.stands());
        b.judge(Mode::Normal);
    }
    // A command that was sent 201 ms ago is dropped; the run goes on with what it has.
    let mut b = Bench::running(Mode::Normal);
    b.follow(1000, sway(10.0, 0.3));
    let mut chunk = b.chunk(vec![vec![5.0; 6]; 10]);
    chunk.sent = b.now() - MS(201);
    assert!(matches!(b.propose(&chunk), Err(Refusal::Old { .. })));
    b.tick();
    assert_eq!(b.state(), "running");
    // A policy whose every command is late: what it has runs out, and then it is held.
    let end = b.now() + MS(1500);
    while b.now() < end && b.state() == "running" {
        let mut chunk = b.chunk(vec![vec![60.0; 6]; 10]);
        chunk.sent = b.now() - MS(250);
        assert!(b.propose(&chunk).is_err());
        b.run_for(50);
    }
    assert_eq!(b.robot().why(), Some(&Trip::Starved));
    b.run_for(1000);
    assert!(b.stands());
    b.judge(Mode::Normal);
}

#[test]
fn without_fresh_actions_it_holds_at_once_and_faults_after_two_seconds() {
    let mut b = Bench::running(Mode::Normal);
    b.follow(1000, sway(20.0, 0.4));
    // The last chunk ends 1 s after it was sent.
    let held = b.until("hold", 1100);
    assert!(held >= MS(600), "{held:?}");
    assert_eq!(b.robot().why(), Some(&Trip::Starved));
    let fault = b.until("fault", 2100);
    assert!((MS(1900)..=MS(2050)).contains(&fault), "{fault:?}");
    b.judge(Mode::Normal);
}

#[test]
fn a_silent_program_holds_after_300_ms_and_parks_after_2_s() {
    let mut b = Bench::running(Mode::Normal);
    b.follow(2000, sway(20.0, 0.4));
    b.alive = false;
    let last = b.now();
    let mut holds = None;
    // The policy goes on sending: only the heartbeat is missing.
    let mut ask = b.now();
    while b.now() - last < MS(1500) {
        if b.now() >= ask {
            let chunk = b.chunk((0..10).map(|k| sway(20.0, 0.4)(2.0 + f64::from(k) * 0.1)).collect());
            let _ = b.propose(&chunk);
            ask += MS(300);
        }
        b.tick();
        if holds.is_none() && b.state() == "hold" {
            holds = Some(b.now() - last);
        }
    }
    let holds = holds.unwrap();
    assert!((MS(280)..=MS(330)).contains(&holds), "{holds:?}");
    assert!(b.stands());
    b.arm().trace.clear();
    b.run_for(8000);
    assert_eq!(b.robot().view(b.now()).park.as_deref(), Some("parked"));
    assert_eq!(b.state(), "hold");
    // It parked slowly, where it had been armed, and stays stiff.
    for j in &b.file.joints[..5] {
        let goals = b.goals(j.id);
        for w in goals.windows(11) {
            let speed = f64::from((w[10].value - w[0].value).abs()) * DEGREES / 0.1;
            assert!(speed <= 31.0, "{}: {speed} deg/s while parking", j.name);
        }
    }
    assert!(b.arm().servos.iter().all(forerun::robot::emulator::servo::Servo::holds));
    let shoulder = b.arm().servos[1].angle;
    assert!((shoulder - 1024.0).abs() < 20.0, "{shoulder} {:?}", b.robot().view(b.now()).joints[1]);
}

#[test]
fn stop_acts_at_the_next_tick_is_latched_and_resume_is_another_gesture() {
    let mut b = Bench::running(Mode::Normal);
    b.follow(1350, sway(30.0, 0.4));
    let speed = |b: &Bench, i: usize| {
        let g = b.goals(1);
        f64::from(g[g.len() - 1 - i].value - g[g.len() - 2 - i].value)
    };
    let before = speed(&b, 0);
    assert!(before.abs() > 4.0, "it should be moving: {before}");
    let pressed = b.now();
    b.change(|r, now| r.stop(now, "Esc"));
    assert_eq!(b.state(), "hold");
    b.tick();
    let first = b.goals(1).last().copied().unwrap();
    assert!(first.time - pressed <= MS(50) && first.time >= pressed);
    b.run_for(50);
    assert!(speed(&b, 0).abs() < before.abs() * 0.8, "{} {before}", speed(&b, 0));
    b.run_for(900);
    let goals: Vec<i32> = b.goals(1).iter().rev().take(60).map(|g| g.value).collect();
    assert!(b.stands(), "{goals:?}");
    // Proposals change nothing now.
    let chunk = b.chunk(vec![vec![0.0; 6]; 10]);
    let _ = b.propose(&chunk);
    b.run_for(3000);
    assert_eq!(b.state(), "hold");
    assert!(b.stands());
    b.judge(Mode::Normal);
    b.change(|r, now| match r {
        AnyRobot::Hold(r) => r.resume(now).map_err(|(_, e)| e).unwrap().into(),
        other => other,
    });
    b.run_for(500);
    assert_eq!(b.state(), "ready");
    assert!(b.stands(), "ready does not move either");
}

#[test]
fn releasing_torque_takes_a_held_button() {
    let mut b = Bench::ready();
    b.change(|r, now| r.stop(now, "test"));
    let try_release = |b: &mut Bench, hold_ms: u64| {
        b.change(|mut r, now| {
            if let AnyRobot::Hold(h) = &mut r {
                h.begin_release(now);
            }
            r
        });
        b.run_for(hold_ms);
        b.change(|r, now| match r {
            AnyRobot::Hold(r) => r.release(now).map_or_else(|(r, _)| r.into(), Into::into),
            other => other,
        });
        b.state()
    };
    assert_eq!(try_release(&mut b, 600), "hold");
    assert!(b.arm().servos.iter().all(forerun::robot::emulator::servo::Servo::holds));
    assert_eq!(try_release(&mut b, 1050), "limp");
    assert!(!b.arm().servos.iter().any(forerun::robot::emulator::servo::Servo::holds));
    // What was narrowed is wide again.
    let c = b.file.joints[2].calibration.unwrap();
    assert_eq!(i32::from(b.arm().servos[2].word(11)), c.range_max);
}

#[test]
fn a_joint_shows_which_one_it_is_with_little_torque_and_goes_home() {
    let mut b = Bench::ready();
    for joint in ["shoulder_pan", "shoulder_lift", "gripper"] {
        let i = b.file.joints.iter().position(|j| j.name == joint).unwrap();
        let id = b.file.joints[i].id;
        let home = b.arm().servos[i].goal();
        let load = b.arm().servos[i].load.abs();
        b.arm().trace.clear();
        b.change(|mut r, now| {
            if let AnyRobot::Ready(r) = &mut r {
                r.wiggle(now, joint).unwrap();
                assert!(r.wiggle(now, joint).is_err(), "one at a time");
            }
            r
        });
        b.run_for(6000);
        assert_eq!(b.state(), "ready", "{joint}: {}", b.why());
        let degrees = |w: &Written| f64::from((w.value - home).abs()) * DEGREES;
        let most = b.goals(id).iter().map(degrees).fold(0.0, f64::max);
        assert!((3.0..=4.6).contains(&most), "{joint} moved by {most}");
        for other in (1..=6).filter(|o| *o != id) {
            let goals = b.goals(other);
            assert!(goals.iter().all(|g| (g.value - goals[0].value).abs() <= 1), "servo {other} moved too");
        }
        let limits: Vec<i32> =
            b.arm().trace.iter().filter(|w| w.register == 48 && w.id == id).map(|w| w.value).collect();
        let least = f64::from(*limits.iter().min().unwrap()) / 1000.0;
        assert!(least <= load + 0.16, "{joint}: torque limit {least} with a load of {load}");
        assert!((b.arm().servos[i].goal() - home).abs() <= 1, "{joint} is home again");
        assert_eq!(b.arm().servos[i].word(48), if joint == "gripper" { 500 } else { 700 }, "{joint}: torque");
    }
    // Something in its way, then a Stop: it holds like any other motion.
    let wiggle = |b: &mut Bench| {
        b.change(|mut r, now| {
            if let AnyRobot::Ready(r) = &mut r {
                r.wiggle(now, "wrist_roll").unwrap();
            }
            r
        });
        b.run_for(200);
    };
    wiggle(&mut b);
    b.change(|r, now| match r {
        AnyRobot::Ready(r) => match r.run(now, RunRules::of(Mode::Normal, &RobotFile::so101("x"))) {
            Ok(_) => panic!("no run while a joint is shown"),
            Err((r, _)) => r.into(),
        },
        other => other,
    });
    b.change(|r, now| r.stop(now, "Esc"));
    b.run_for(800);
    assert!(b.state() == "hold" && b.stands());
    b.change(|r, now| match r {
        AnyRobot::Hold(r) => r.resume(now).map_err(|(_, e)| e).unwrap().into(),
        other => other,
    });
    assert!(b.robot().view(b.now()).joints[4].torque > 0.1);
    b.run_for(1500);
    assert!(b.state() == "ready" && b.stands(), "resuming does not go on with it");
    b.judge(Mode::Normal);
}

#[test]
fn cautious_runs_need_the_dead_man_key_and_end_by_themselves() {
    let mut b = Bench::running(Mode::Cautious);
    b.follow(1000, sway(10.0, 0.2));
    b.dead_man = false;
    b.tick();
    assert_eq!(b.robot().why(), Some(&Trip::DeadMan));
    let mut b = Bench::running(Mode::Cautious);
    b.follow(31_000, sway(10.0, 0.2));
    assert_eq!(b.robot().why(), Some(&Trip::TimeUp { seconds: 30 }));
    b.judge(Mode::Cautious);
    for s in &b.arm().servos {
        assert!(s.word(48) <= 400, "torque in a cautious run: {}", s.word(48));
    }
}

#[test]
fn a_noisy_bus_is_survived_without_a_wrong_goal() {
    for (what, break_it) in [
        ("drop", (|a| a.faults.drop = 0.002) as fn(&mut EmulatedArm)),
        ("badsum", |a| a.faults.bad_sum = 0.05),
        ("noise", |a| a.faults.noise = 0.05),
        ("mute", |a| a.faults.mute = 0.03),
        ("swapped ids", |a| a.faults.swap_id = 0.02),
        ("echo", |a| a.faults.echo = true),
        ("jitter", |a| a.faults.jitter = Duration::from_micros(600)),
    ] {
        let mut b = Bench::running(Mode::Normal);
        b.arm().trace.clear();
        break_it(&mut b.arm());
        b.follow(8000, sway(20.0, 0.3));
        let view = b.robot().view(b.now());
        assert_eq!(b.state(), "running", "{what}: {}; {} failures", b.why(), view.bus_failures);
        assert!(matches!(what, "echo" | "jitter") || view.bus_retries > 10, "{what}: {}", view.bus_retries);
        b.judge(Mode::Normal);
    }
}

#[test]
fn a_broken_bus_holds_then_faults_and_heals_without_a_restart() {
    for (what, break_it) in [
        ("drop 2 %", (|a| a.faults.drop = 0.02) as fn(&mut EmulatedArm)),
        ("badsum", |a| a.faults.bad_sum = 0.7),
        ("mute", |a| a.faults.mute = 1.0),
        ("dead", |a| {
            a.faults.dead.insert(3);
        }),
        ("delay", |a| a.faults.delay = MS(30)),
        ("jitter", |a| a.faults.jitter = MS(120)),
    ] {
        let mut b = Bench::running(Mode::Normal);
        b.follow(2000, sway(20.0, 0.4));
        break_it(&mut b.arm());
        b.alive = true;
        let start = b.now();
        let mut hold = None;
        while b.now() - start < MS(3000) && b.state() != "fault" {
            let chunk = b.chunk(vec![b.robot().view(b.now()).joints.iter().map(|j| j.goal).collect(); 10]);
            let _ = b.propose(&chunk);
            b.tick();
            if hold.is_none() && b.state() != "running" {
                hold = Some(b.now() - start);
            }
        }
        // A few lost bytes in a hundred, or answers that are late now and then, leave some whole cycles: it may or may not
        // get as far as a fault.
        if !matches!(what, "drop 2 %" | "jitter") {
            assert!(hold.unwrap() <= MS(250), "{what}: {hold:?}");
            assert_eq!(b.state(), "fault", "{what}");
            assert!(b.now() - start <= MS(700), "{what}: {:?}", b.now() - start);
        }
        let heal = |a: &mut EmulatedArm| a.faults = Default::default();
        heal(&mut b.arm());
        b.run_for(1000);
        if b.state() == "fault" {
            b.change(|r, now| match r {
                AnyRobot::Fault(r) => r.acknowledge(now).map_err(|(_, e)| e).unwrap(),
                other => other,
            });
        }
        if b.state() == "hold" {
            b.change(|r, now| match r {
                AnyRobot::Hold(r) => r.resume(now).map_err(|(_, e)| e).unwrap().into(),
                other => other,
            });
            b.run_for(100);
            b.start(Mode::Normal);
        }
        b.run_for(100);
        assert_eq!(b.state(), "running", "{what}: {}", b.why());
        b.judge(Mode::Normal);
    }
}

#[test]
fn pulling_the_cable_faults_and_plugging_it_in_comes_back_limp() {
    let mut b = Bench::running(Mode::Normal);
    b.follow(1000, sway(20.0, 0.4));
    b.arm().plugged = false;
    b.tick();
    assert_eq!(b.state(), "fault");
    assert!(b.why().contains("USB"), "{}", b.why());
    b.run_for(300);
    let reconnect = |b: &mut Bench| {
        b.change(|r, now| match r {
            AnyRobot::Fault(r) => r.reconnect(now).map_or_else(|(r, _)| r.into(), Into::into),
            other => other,
        });
    };
    reconnect(&mut b);
    assert_eq!(b.state(), "fault");
    b.arm().plugged = true;
    b.arm().trace.clear();
    reconnect(&mut b);
    assert_eq!(b.state(), "limp");
    b.run_for(1000);
    assert!(b.arm().trace.is_empty(), "nothing is commanded after a replug");
    assert_eq!(b.robot().view(b.now()).left_stiff.len(), 6, "and the person is told that the arm holds");
    b.arm_it();
    b.until("ready", 1000);
}

#[test]
fn every_hardware_fault_ends_in_its_state_in_time() {
    type Break = fn(&mut EmulatedArm);
    // (what, fault, state, words, most ms)
    let cases: [(&str, Break, &str, &str, u64); 12] = [
        (
            "stuck",
            |a| {
                let _ = a.faults.stuck.insert(3);
            },
            "hold",
            "elbow_flex is blocked",
            1500,
        ),
        (
            "stale",
            |a| {
                let _ = a.faults.stale.insert(1);
            },
            "fault",
            "same position",
            1500,
        ),
        (
            "jump",
            |a| {
                let _ = a.faults.jump.insert(2, 400);
            },
            "fault",
            "jumped",
            60,
        ),
        (
            "overload",
            |a| {
                let _ = a.faults.alarms.insert(6, 0x20);
            },
            "hold",
            "overloaded",
            60,
        ),
        (
            "heat bit",
            |a| {
                let _ = a.faults.alarms.insert(4, 0x04);
            },
            "hold",
            "overheated",
            60,
        ),
        (
            "voltage bit",
            |a| {
                let _ = a.faults.alarms.insert(2, 0x01);
            },
            "hold",
            "supply voltage",
            60,
        ),
        (
            "current bit",
            |a| {
                let _ = a.faults.alarms.insert(4, 0x08);
            },
            "hold",
            "too much current",
            60,
        ),
        (
            "sensor bit",
            |a| {
                let _ = a.faults.alarms.insert(4, 0x02);
            },
            "fault",
            "sensor",
            60,
        ),
        (
            "hot",
            |a| {
                let _ = a.faults.heat.insert(5, 33.0);
            },
            "hold",
            "wrist_roll is hot",
            60,
        ),
        (
            "scorching",
            |a| {
                let _ = a.faults.heat.insert(5, 38.5);
            },
            "fault",
            "wrist_roll is",
            60,
        ),
        ("volts", |a| a.faults.volts = 9.0, "hold", "power supply", 450),
        ("power cycle", |a| a.power_cycle(), "fault", "let go", 150),
    ];
    for (what, break_it, state, words, most) in cases {
        let mut b = Bench::running(Mode::Normal);
        b.follow(1000, sway(25.0, 0.4));
        break_it(&mut b.arm());
        let start = b.now();
        let mut ask = b.now();
        while b.state() == "running" && b.now() - start < MS(5000) {
            if b.now() >= ask {
                let t = (b.now() - start).as_secs_f64() + 1.0;
                let chunk = b.chunk((0..10).map(|k| sway(25.0, 0.4)(t + f64::from(k) * 0.1)).collect());
                let _ = b.propose(&chunk);
                ask += MS(300);
            }
            b.tick();
        }
        let took = b.now() - start;
        assert_eq!(b.state(), state, "{what}: {}", b.why());
        assert!(b.why().contains(words), "{what}: {}", b.why());
        assert!(took <= MS(most), "{what}: {took:?}");
        let relieved = matches!(what, "overload" | "heat bit" | "voltage bit" | "current bit");
        let goal_then = b.arm().servos[1].goal();
        b.run_for(1200);
        if what == "jump" {
            let moved = f64::from((b.arm().servos[1].goal() - goal_then).abs()) * DEGREES;
            assert!(moved < 14.0, "a false position is not followed: the goal moved by {moved} degrees");
        }
        assert!(b.stands(), "{what}");
        if relieved {
            assert!(b.arm().servos.iter().all(|s| s.word(48) <= 300), "{what}: torque is lowered");
        }
        if what == "stuck" {
            let s = &b.arm().servos[2];
            let off = f64::from((s.goal() - s.position()).abs()) * DEGREES;
            assert!(off < 6.0 && !s.tripped, "it backs off before the servo trips: {off}");
        }
        b.judge(Mode::Normal);
        assert!(b.robot().black_box().len() > 100);
    }
}

#[test]
fn too_heavy_a_load_holds() {
    let mut b = Bench::running(Mode::Cautious);
    b.follow(1000, sway(5.0, 0.2));
    b.arm().faults.payload = 1.0;
    let start = b.now();
    while b.state() == "running" && b.now() - start < MS(4000) {
        let chunk = b.chunk(vec![vec![0.0, 0.0, 0.0, 0.0, 0.0, 50.0]; 10]);
        let _ = b.propose(&chunk);
        b.tick();
    }
    assert_eq!(b.state(), "hold", "{:?}", b.robot().view(b.now()));
    assert!(b.why().contains("blocked or overloaded"), "{}", b.why());
    b.run_for(1500);
    assert!(b.stands());
    b.judge(Mode::Cautious);
}

#[test]
fn a_gripper_that_holds_something_eases_its_grip_and_goes_on() {
    let mut b = Bench::running(Mode::Normal);
    b.follow(500, |_| vec![0.0, 0.0, 0.0, 0.0, 0.0, 50.0]);
    b.arm().faults.stuck.insert(6);
    b.follow(3000, |_| vec![0.0, 0.0, 0.0, 0.0, 0.0, 5.0]);
    assert_eq!(b.state(), "running", "{}", b.why());
    let gripper = b.arm().servos[5].clone();
    let (goal, position) = (gripper.goal(), gripper.position());
    let squeeze = f64::from((goal - position).abs()) * DEGREES;
    assert!((2.0..7.0).contains(&squeeze), "{squeeze}");
    b.arm().faults.stuck.clear();
    b.follow(2000, |_| vec![0.0, 0.0, 0.0, 0.0, 0.0, 80.0]);
    let view = b.robot().view(b.now());
    assert!((view.joints[5].position.unwrap() - 80.0).abs() < 3.0, "it opens again: {:?}", view.joints[5]);
}

#[test]
fn shadowing_sends_nothing_and_counts_what_would_fail() {
    let mut b = Bench::new();
    b.connect();
    let rules = RunRules::of(Mode::Normal, &b.file);
    let shadow = |b: &mut Bench, bad: bool| {
        b.change(|mut r, now| {
            if let AnyRobot::Limp(r) = &mut r {
                r.start_shadow(now);
            }
            r
        });
        let start = b.now();
        let mut ask = start;
        while b.now() - start < MS(33_500) {
            if b.now() >= ask {
                let mut here: Vec<f64> =
                    b.robot().view(b.now()).joints.iter().map(|j| j.position.unwrap()).collect();
                if bad && b.now() - start > MS(9000) && b.now() - start < MS(9400) {
                    here[1] += 80.0;
                }
                let chunk = b.chunk(vec![here; 10]);
                b.change(|mut r, now| {
                    if let AnyRobot::Limp(r) = &mut r {
                        let _ = r.propose_shadow(now, &chunk, &rules);
                    }
                    r
                });
                ask += MS(300);
            }
            b.tick();
        }
        b.robot().view(b.now()).shadow.unwrap()
    };
    let good = shadow(&mut b, false);
    assert!(good.passed && good.actions >= 300, "{good:?}");
    let failed = shadow(&mut b, true);
    assert!(!failed.passed && failed.failed >= 1, "{failed:?}");
    assert!(b.arm().trace.is_empty(), "a shadowed arm gets no command");
}

#[test]
fn arming_is_refused_with_a_reason() {
    let refuse = |b: &mut Bench| {
        let mut words = String::new();
        b.change(|r, now| match r {
            AnyRobot::Limp(r) => match r.arm(now) {
                Ok(_) => panic!("armed"),
                Err((r, e)) => {
                    words = e.to_string();
                    r.into()
                }
            },
            other => panic!("{}", other.name()),
        });
        assert!(b.arm().trace.iter().all(|w| w.register != 40), "torque stays off");
        words
    };
    let mut b = Bench::with(|f| f.joints[3].calibration = None);
    b.connect();
    assert!(refuse(&mut b).contains("wrist_flex has no calibration"));
    let mut b = Bench::with(|f| f.joints[0].calibration.as_mut().unwrap().homing_offset += 200);
    b.connect();
    assert!(refuse(&mut b).contains("calibrated differently"));
    let mut b = Bench::new();
    b.connect();
    b.arm().servos[1].angle = 2048.0;
    b.run_for(100);
    assert!(refuse(&mut b).contains("shoulder_lift is moving"));
    let mut b = Bench::new();
    b.connect();
    b.arm().faults.volts = 7.4;
    b.run_for(50);
    assert!(refuse(&mut b).contains("power supply"));
}

#[test]
fn a_calibration_is_compared_and_stored_only_in_a_limp_arm() {
    let mut b = Bench::with(|f| f.joints[0].calibration.as_mut().unwrap().homing_offset += 100);
    b.connect();
    let mut wanted = Vec::new();
    b.change(|mut r, now| {
        let AnyRobot::Limp(limp) = &mut r else { panic!() };
        let d = limp.calibration_differences();
        assert_eq!(d.len(), 1);
        assert!(d[0].joint == "shoulder_pan" && (d[0].degrees_apart - 8.79).abs() < 0.02, "{d:?}");
        wanted = limp.file().joints.iter().map(|j| j.calibration.unwrap()).collect();
        limp.store_calibration(now, wanted.clone()).unwrap();
        assert!(limp.calibration_differences().is_empty());
        r
    });
    b.arm().power_cycle();
    assert_eq!(
        b.arm().servos[0].word(31),
        forerun::robot::feetech::codec::sign_and_magnitude(wanted[0].homing_offset, 11)
    );
}

/// Motors that do at once what they are told: for long simulated times, where the bus would cost most of the time.
struct Obedient {
    goals: Arc<Mutex<(u64, Vec<f64>)>>,
    torque: bool,
}

impl Driver for Obedient {
    fn open(&mut self) -> Result<Identity, DriverError> {
        Ok(Identity { description: "obedient".into(), calibration: None, stiff: vec![false; 6] })
    }
    fn close(&mut self) {}
    fn read(&mut self) -> Result<Feedback, DriverError> {
        let goals = self.goals.lock().unwrap();
        let joints = goals.1.iter().map(|g| Reading {
            position: *g,
            steps: (*g * 11.375) as i32,
            volts: 12.0,
            celsius: 30.0,
            ..Reading::default()
        });
        Ok(Feedback { joints: joints.collect(), retries: 0 })
    }
    fn standing(&mut self) -> Result<Vec<Standing>, DriverError> {
        let goals = self.goals.lock().unwrap();
        Ok(goals.1.iter().map(|g| Standing { torque: self.torque, goal: *g, torque_limit: 0.7 }).collect())
    }
    fn prepare(&mut self, _: &PrepareOrder) -> Result<(), DriverError> {
        Ok(())
    }
    fn command(&mut self, order: &GoalOrder) -> Result<(), DriverError> {
        let mut goals = self.goals.lock().unwrap();
        goals.0 += 1;
        goals.1 = order.joints().iter().map(|g| g.position()).collect();
        Ok(())
    }
    fn torque(&mut self, order: &TorqueOrder) -> Result<(), DriverError> {
        self.torque = order.on();
        Ok(())
    }
    fn store_calibration(&mut self, _: &CalibrationOrder) -> Result<(), DriverError> {
        Ok(())
    }
}

/// A day of ticks: no drift, no leak, and the watchdogs are as awake at its end as at its start. A whole day takes a minute;
/// without `FORERUN_TEST_LONG` the day has four hours.
#[test]
fn a_day_of_control_ticks() {
    let hours = if std::env::var_os("FORERUN_TEST_LONG").is_some() { 24 } else { 4 };
    let mut b = Bench::new();
    let goals = Arc::new(Mutex::new((0, vec![0.0, 0.0, 0.0, 0.0, 0.0, 50.0])));
    let driver = Obedient { goals: Arc::clone(&goals), torque: false };
    b.robot = Some(Robot::new(b.file.clone(), Box::new(driver)).into());
    b.emulated = false;
    b.connect();
    b.arm_it();
    b.until("ready", 700);
    let start = b.now();
    let first = goals.lock().unwrap().0;
    let mut home = Vec::new();
    for hour in 1..=hours {
        b.start(Mode::Normal);
        b.follow(2000, |t| {
            let s = 10.0 * (1.0 - (t * std::f64::consts::PI).cos());
            vec![s, s, s, s, s, 50.0 + s]
        });
        b.until("hold", 2000);
        b.run_for(1000);
        b.change(|r, now| match r {
            AnyRobot::Hold(r) => r.resume(now).map_err(|(_, e)| e).unwrap().into(),
            other => panic!("{hour}: {}", other.name()),
        });
        while b.now() < start + Duration::from_secs(3600 * hour) {
            b.tick();
        }
        assert_eq!(b.state(), "ready", "hour {hour}: {}", b.why());
        assert!(b.robot().black_box().len() <= 60 * 100 + 200, "hour {hour}");
        if hour == 1 {
            home = goals.lock().unwrap().1.clone();
        }
    }
    let (last, now) = goals.lock().unwrap().clone();
    let ticks = hours * 360_000;
    assert!((ticks - 10..=ticks + 10).contains(&(last - first)), "{} ticks", last - first);
    for (a, b) in home.iter().zip(&now) {
        assert!((a - b).abs() < 0.5, "{home:?} {now:?}");
    }
    b.alive = false;
    let held = b.until("hold", 400);
    assert!((MS(280)..=MS(330)).contains(&held), "{held:?}");
}
