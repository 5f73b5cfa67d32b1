//! Policies through the engine: learnt, evaluated, ranked, and one episode in two places, with the smallest sizes.

use std::time::{Duration, Instant};

use forerun::dataset::Dataset;
use forerun::engine::protocol::{
    Event, Packet, PolicyEvaluateSpec, PolicyRankSpec, PolicyTrainSpec, PolicyTwinSpec, RecordSpec, Request,
};
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
    let spec = PolicyTrainSpec {
        datasets: vec![bench.path("set")],
        out: bench.path("policies/push"),
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
        policy: trained.out.clone(),
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
        policy: trained.out.clone(),
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
            && end["rules"][1].as_str().unwrap().contains("head")
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

#[test]
fn an_evaluation_stops_within_a_second_in_the_middle_of_an_episode() {
    let bench = Bench::new();
    let trained = learnt(&bench);
    let spec = PolicyEvaluateSpec {
        policy: trained.out,
        place: format!("model:{}", bench.model()),
        look: "plain".into(),
        episodes: 500,
        seed: 7,
        steps: 10_000,
        ..PolicyEvaluateSpec::default()
    };
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
