//! Policies through the engine: learnt, evaluated, ranked, and one episode in two places, with the smallest sizes.

use std::time::{Duration, Instant};

use forerun::Frame;
use forerun::dataset::Dataset;
use forerun::engine::EngineClient;
use forerun::engine::protocol::{
    BundleTrySpec, Event, Packet, PlanSpec, PolicyEvaluateSpec, PolicyRankSpec, PolicyTrainSpec,
    PolicyTwinSpec, RecordSpec, Request,
};
use forerun::policy::{Deciding, Method};
use forerun::robot::bundle::Stage;
use forerun::robot::push::Outcome;
use forerun::robot::push::engine_brain::EngineBrain;
use forerun::robot::push::pilot::{Brain, PolicyBrain};
use serde_json::Value;

use crate::support::{Bench, done};

fn learnt(bench: &Bench) -> PolicyTrainSpec {
    let spec = RecordSpec {
        world: "tabletop".into(),
        behaviour: "expert".into(),
        episodes: 3,
        seed: 5,
        look: "plain".into(),
        size: 64,
        fps: 10,
        picture: Default::default(),
        out: bench.path("set"),
    };
    done(&bench.run(|job| Request::Record { job, spec }));
    learn(bench, false, "push")
}

/// A policy of the smallest size from the recorded episodes.
fn learn(bench: &Bench, goal: bool, name: &str) -> PolicyTrainSpec {
    let spec = PolicyTrainSpec {
        datasets: vec![bench.path("set")],
        out: bench.path("policies").join(name),
        goal,
        size: "micro".into(),
        iterations: Some(4),
        snapshots: 2,
        ..PolicyTrainSpec::default()
    };
    let job = bench.client.next_job();
    bench.client.send(Request::PolicyTrain { job, spec: spec.clone() }, vec![]);
    let events = bench.collect_within(job, 600);
    done(&events);
    let stages: Vec<String> =
        reports(&events).iter().filter_map(|v| v["stage"].as_str().map(str::to_owned)).collect();
    assert!(stages.iter().any(|s| s == "training") && stages.iter().any(|s| s == "done"), "{stages:?}");
    spec
}

fn reports(events: &[Packet<Event>]) -> Vec<Value> {
    let value = |e: &Event| match e {
        Event::Report { value, .. } => Some(value.clone()),
        _ => None,
    };
    events.iter().filter_map(|p| value(&p.message)).collect()
}

#[test]
fn a_policy_is_learnt_evaluated_ranked_and_watched() {
    let bench = Bench::new();
    let trained = learnt(&bench);
    let evaluate = |place: &str| PolicyEvaluateSpec {
        policy: Some(trained.out.clone()),
        place: place.into(),
        look: "plain".into(),
        episodes: 2,
        seed: 7,
        steps: 4,
        ..PolicyEvaluateSpec::default()
    };
    let job = bench.client.next_job();
    bench.client.send(Request::PolicyEvaluate { job, spec: evaluate("world:tabletop") }, vec![]);
    let events = bench.collect_within(job, 600);
    done(&events);
    let pace = reports(&events).remove(0);
    assert_eq!(pace["stage"], "pace", "how long it takes comes first");
    assert!(pace["pace"]["seconds"].as_f64().unwrap() > 0.0, "{pace}");
    let found = reports(&events).pop().unwrap();
    assert!(found["rule"].as_str().unwrap().contains("within 4 steps"), "{found}");
    assert_eq!(found["order"], serde_json::json!(["policy", "nothing", "random", "expert"]));
    for who in ["policy", "nothing", "random", "expert"] {
        assert_eq!(found["results"][who]["episodes"], 2, "{who}");
        assert!(
            found["results"][who]["high"].as_f64().unwrap() > found["results"][who]["low"].as_f64().unwrap()
        );
    }
    let card = std::fs::read_to_string(trained.out.join("scorecard.json")).unwrap();
    assert!(card.contains("world:tabletop"), "the numbers stay with the policy");

    let seed = found["results"]["policy"]["each"][0]["seed"].as_u64().unwrap();
    let spec = PolicyTwinSpec {
        policy: Some(trained.out.clone()),
        model: bench.model(),
        look: "plain".into(),
        seed,
        steps: 3,
        out: Some(bench.path("twin")),
        ..PolicyTwinSpec::default()
    };
    let job = bench.client.next_job();
    bench.client.send(Request::PolicyTwin { job, spec: spec.clone() }, vec![]);
    let events = bench.collect_within(job, 600);
    done(&events);
    let frames = |side: u64| -> Vec<Vec<u8>> {
        let of = |p: &Packet<Event>| match &p.message {
            Event::FutureFrame { seed, .. } if *seed == side => p.blobs.first().cloned(),
            _ => None,
        };
        events.iter().filter_map(of).collect()
    };
    let (physics, imagined) = (frames(0), frames(1));
    assert_eq!((physics.len(), imagined.len()), (4, 4), "the start and three steps, in both places");
    assert_eq!((physics[0].len(), imagined[0].len()), (128 * 128 * 3, 32 * 32 * 3));
    let end = reports(&events).pop().unwrap();
    assert!(
        end["rules"][0].as_str().unwrap().contains("5 cm")
            && end["rules"][1].as_str().unwrap().contains("the model sees")
    );
    // What happened in physics is an episode to branch from, and the same seed gives the same one.
    let set = Dataset::open(&bench.path("twin")).unwrap();
    assert_eq!(set.episode(0).unwrap().length, 4);
    let again = PolicyTwinSpec { out: None, ..spec };
    let job = bench.client.next_job();
    bench.client.send(Request::PolicyTwin { job, spec: again }, vec![]);
    let second = bench.collect_within(job, 600);
    let blobs =
        |events: &[Packet<Event>]| -> Vec<Vec<u8>> { events.iter().flat_map(|p| p.blobs.clone()).collect() };
    assert_eq!(blobs(&second), blobs(&events));

    let spec = PolicyRankSpec {
        checkpoints_of: Some(trained.out.clone()),
        model: bench.model(),
        episodes: 1,
        seed: 7,
        steps: 2,
        ..PolicyRankSpec::default()
    };
    let job = bench.client.next_job();
    bench.client.send(Request::PolicyRank { job, spec }, vec![]);
    let events = bench.collect_within(job, 600);
    done(&events);
    let found = reports(&events).pop().unwrap();
    assert!(found["policies"].as_array().unwrap().len() >= 3 && found["rules"][1].is_string(), "{found}");
    assert!(bench.fails(|job| Request::PolicyEvaluate { job, spec: evaluate("moon") }).contains("no place"));
}

/// An evaluation of one short episode in physics.
fn one_episode(bench: &Bench, policy: Option<&PolicyTrainSpec>, how: Deciding) -> PolicyEvaluateSpec {
    PolicyEvaluateSpec {
        policy: policy.map(|spec| spec.out.clone()),
        place: "world:tabletop".into(),
        look: "plain".into(),
        episodes: 1,
        seed: 7,
        steps: 4,
        how,
        with: bench.model(),
        ..PolicyEvaluateSpec::default()
    }
}

fn evaluated(bench: &Bench, spec: &PolicyEvaluateSpec) -> Value {
    let job = bench.client.next_job();
    bench.client.send(Request::PolicyEvaluate { job, spec: spec.clone() }, vec![]);
    let events = bench.collect_within(job, 600);
    done(&events);
    reports(&events).pop().unwrap()
}

#[test]
fn each_way_of_deciding_is_evaluated_and_the_same_episode_watched() {
    let bench = Bench::new();
    let direct = learnt(&bench);
    let goal = learn(&bench, true, "goal");
    let ways = [
        (Some(&direct), Deciding::BestOf { candidates: 2, seeds: 2 }, "best of 2", "doubtful plans"),
        (None, Deciding::Planner { method: Method::Cem, seeds: 1 }, "planner", "tracks tried"),
        (Some(&direct), Deciding::Planner { method: Method::Mppi, seeds: 1 }, "planner", "tracks tried"),
        (Some(&goal), Deciding::Subgoals { ahead: 2, futures: 2 }, "subgoals", "goals imagined"),
    ];
    for (policy, how, name, counted) in ways {
        let spec = one_episode(&bench, policy, how);
        let found = evaluated(&bench, &spec);
        assert_eq!(found["order"][0], name, "the policy stands first, by how it decides");
        assert_eq!(serde_json::from_value::<Deciding>(found["how"].clone()).unwrap(), how);
        assert!(found["counts"][counted].is_number(), "{name}: {}", found["counts"]);
        assert_eq!(found["plans"], 2, "every three steps");
        let episode = &found["results"][name]["each"][0];
        let watched = PolicyTwinSpec {
            policy: spec.policy.clone(),
            model: bench.model(),
            look: "plain".into(),
            seed: episode["seed"].as_u64().unwrap(),
            steps: 4,
            how,
            ..PolicyTwinSpec::default()
        };
        let job = bench.client.next_job();
        bench.client.send(Request::PolicyTwin { job, spec: watched }, vec![]);
        let events = bench.collect_within(job, 600);
        done(&events);
        let end = reports(&events).pop().unwrap();
        assert_eq!(end["world"]["progress"], episode["progress"], "{name}: the very episode that was judged");
        let goals: Vec<(usize, usize)> = events
            .iter()
            .filter_map(|p| match &p.message {
                Event::FutureFrame { seed: 2, index, width, .. } => Some((*index, *width)),
                _ => None,
            })
            .collect();
        if name == "subgoals" {
            assert_eq!(
                goals,
                [(0, 32)],
                "one picture for two plans, from the start on, in the policy's size"
            );
        } else {
            assert!(goals.is_empty());
        }
    }
    // A goal policy beside the others keeps its numbers under its way.
    let card = std::fs::read_to_string(goal.out.join("scorecard.json")).unwrap();
    assert!(card.contains("\"subgoals\"") && card.contains("\"ahead\": 2"), "{card}");
    let card: Value =
        serde_json::from_slice(&std::fs::read(direct.out.join("scorecard.json")).unwrap()).unwrap();
    assert_eq!(card["evaluations"].as_array().unwrap().len(), 2, "best of N and the planner side by side");
}

#[test]
fn what_does_not_go_together_is_told_with_what_to_choose() {
    let bench = Bench::new();
    let direct = learnt(&bench);
    let goal = learn(&bench, true, "goal");
    let told = |policy: Option<&PolicyTrainSpec>, how: Deciding| {
        let spec = one_episode(&bench, policy, how);
        bench.fails(|job| Request::PolicyEvaluate { job, spec })
    };
    let subgoals = Deciding::Subgoals { ahead: 2, futures: 2 };
    assert!(told(Some(&goal), Deciding::Alone).contains("subgoals"));
    assert!(told(Some(&goal), Deciding::BestOf { candidates: 2, seeds: 1 }).contains("subgoals"));
    assert!(
        told(Some(&goal), Deciding::Planner { method: Method::Cem, seeds: 1 }).contains("without a policy")
    );
    assert!(told(Some(&direct), subgoals).contains("kind goal"));
    assert!(told(None, Deciding::Alone).contains("no policy"));
    assert!(told(Some(&direct), Deciding::BestOf { candidates: 0, seeds: 1 }).contains("1 to 1024"));
    let watched = PolicyTwinSpec {
        policy: Some(goal.out.clone()),
        model: bench.model(),
        look: "plain".into(),
        steps: 2,
        ..PolicyTwinSpec::default()
    };
    assert!(bench.fails(|job| Request::PolicyTwin { job, spec: watched }).contains("subgoals"));
    // A world model of another robot.
    let other = bench.path("other");
    forerun::models::testing::random_model(&other, 8).unwrap();
    let contract = std::fs::read_to_string(other.join("contract.json")).unwrap();
    std::fs::write(other.join("contract.json"), contract.replace("shoulder_pan", "base")).unwrap();
    let spec = PolicyEvaluateSpec {
        with: other.to_string_lossy().into_owned(),
        ..one_episode(&bench, Some(&goal), subgoals)
    };
    let text = bench.fails(|job| Request::PolicyEvaluate { job, spec });
    assert!(text.contains("base.pos is missing") && text.contains("same robot"), "{text}");
}

#[test]
fn how_long_an_evaluation_takes_is_measured_without_making_it() {
    let bench = Bench::new();
    let trained = learnt(&bench);
    let long = PolicyEvaluateSpec {
        episodes: 1000,
        steps: 80,
        measure: true,
        ..one_episode(&bench, Some(&trained), Deciding::BestOf { candidates: 4, seeds: 1 })
    };
    let job = bench.client.next_job();
    bench.client.send(Request::PolicyEvaluate { job, spec: long }, vec![]);
    let events = bench.collect_within(job, 300);
    done(&events);
    let found = reports(&events);
    assert_eq!(found.len(), 1);
    let of = |key: &str| found[0]["pace"][key].as_f64().unwrap();
    assert!(of("plan_ms") > 0.0 && of("step_ms") > 0.0);
    // A plan every three of eighty steps.
    assert!((of("agent_ms") - 80.0 * of("step_ms") - 27.0 * of("plan_ms")).abs() < 1e-6 * of("agent_ms"));
    assert!(!trained.out.join("scorecard.json").exists(), "nothing was judged");
}

#[test]
fn stages_of_a_bundle_that_need_no_arm_run_in_the_engine() {
    let bench = Bench::new();
    let trained = learnt(&bench);
    let spec = |stage: Stage| BundleTrySpec {
        policy: trained.out.clone(),
        stage,
        dataset: Some(bench.path("set")),
        model: bench.model(),
        episodes: 2,
        steps: 2,
    };
    let run = |stage: Stage| -> Outcome {
        let job = bench.client.next_job();
        bench.client.send(Request::BundleTry { job, spec: spec(stage) }, vec![]);
        let events = bench.collect_within(job, 300);
        done(&events);
        serde_json::from_value(reports(&events).pop().unwrap()["outcome"].clone()).unwrap()
    };
    let replayed = run(Stage::Replay);
    assert!(replayed.report["actions"].as_u64().unwrap() > 0 && !replayed.fault, "{}", replayed.words);
    let rehearsed = run(Stage::Rehearse);
    assert!(rehearsed.words.contains("of 2 imagined episodes"), "{}", rehearsed.words);
    let missing = BundleTrySpec { dataset: None, ..spec(Stage::Replay) };
    assert!(bench.fails(|job| Request::BundleTry { job, spec: missing }).contains("recorded episodes"));
    let live = spec(Stage::Cautious);
    assert!(bench.fails(|job| Request::BundleTry { job, spec: live }).contains("needs an arm"));
}

#[test]
fn a_policy_in_an_engine_says_what_it_says_here() {
    let bench = Bench::new();
    let trained = learnt(&bench);
    let policy = forerun::policy::load_policy(&trained.out).unwrap();
    let mut near = PolicyBrain::new(&policy, Some("push it".into()));
    let engine = EngineClient::in_process().unwrap();
    let mut far = EngineBrain::new(engine, &trained.out, Some("push it".into())).unwrap();
    assert_eq!((near.channels(), near.state(), near.period()), (far.channels(), far.state(), far.period()));
    let state = vec![1.0; near.state().len()];
    let seen = |level: u8| Frame::filled(48, 32, [level, 90, 40]);
    for level in [40, 90, 140] {
        assert_eq!(far.chunk(&seen(level), &state).unwrap(), near.chunk(&seen(level), &state).unwrap());
    }
    // Another engine does not know how the task began, and does not pretend to.
    let spec =
        PlanSpec { policy: trained.out.clone(), begin: false, prompt: None, state, width: 48, height: 32 };
    let job = bench.client.next_job();
    bench.client.send(Request::Plan { job, spec: spec.clone() }, vec![seen(1).data]);
    let told = crate::support::failure(&bench.collect(job));
    assert!(told.contains("lost what it saw"), "{told}");
    let job = bench.client.next_job();
    bench.client.send(Request::Plan { job, spec }, vec![vec![0; 5]]);
    assert!(crate::support::failure(&bench.collect(job)).contains("damaged"));
}

#[test]
fn an_evaluation_stops_within_a_second_in_the_middle_of_an_episode() {
    let bench = Bench::new();
    let trained = learnt(&bench);
    let long = |place: String, how: Deciding| PolicyEvaluateSpec {
        place,
        episodes: 500,
        steps: 10_000,
        ..one_episode(&bench, Some(&trained), how)
    };
    let inside = format!("model:{}", bench.model());
    stops(&bench, long(inside, Deciding::Alone));
    // A plan that lasts is stopped in its middle, not at its end.
    stops(&bench, long("world:tabletop".into(), Deciding::BestOf { candidates: 512, seeds: 16 }));
}

fn stops(bench: &Bench, spec: PolicyEvaluateSpec) {
    let job = bench.client.next_job();
    bench.client.send(Request::PolicyEvaluate { job, spec }, vec![]);
    // It is under way once it has told so.
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        assert!(Instant::now() < deadline, "it never began");
        let Some(packet) = bench.client.recv_timeout(Duration::from_millis(100)) else { continue };
        if matches!(packet.message, Event::Progress { .. }) {
            break;
        }
    }
    std::thread::sleep(Duration::from_millis(500));
    let asked = Instant::now();
    bench.client.send(Request::Cancel { job }, vec![]);
    let events = bench.collect_within(job, 60);
    assert!(matches!(events.last().unwrap().message, Event::Cancelled { .. }), "{:?}", events.last());
    // A second on a machine with time; this one may have none.
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
}
