//! The Policy screen, driven the way a person drives it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{SIDE, Window, picture};
use eframe::egui::{Key, Modifiers, Theme, accesskit::Role};
use egui_kittest::kittest::Queryable;
use forerun::engine::protocol::{Event, Reading, Request};
use forerun::policy::{Deciding, Method};
use forerun_ui::doc::StartDoc;
use forerun_ui::i18n::Language;
use forerun_ui::message::Message;
use forerun_ui::policy::{PolicyDoc, PolicyPart, PolicyWish, Way};
use forerun_ui::screens::Screen;
use serde_json::{Value, json};
use strum::IntoEnumIterator;

const WIDE: [f32; 2] = [1400.0, 1000.0];

/// A window on the Policy screen of a project with a dataset and a policy with two snapshots.
fn ready(size: [f32; 2]) -> Window {
    let mut w = Window::open(size);
    let put = |path: &str| {
        let path = w.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "{}").unwrap();
    };
    put("datasets/pushes/meta/info.json");
    put("policies/push/contract.json");
    put("policies/push/checkpoints/0000010/contract.json");
    put("policies/push/checkpoints/0000020/contract.json");
    w.press(Modifiers::COMMAND, Key::Num5);
    w.until("datasets and policies", |w| {
        w.app().policies.entries.is_some() && w.app().data.entries.is_some()
    });
    w.steps(2);
    w.wire.sent();
    w
}

fn part(w: &mut Window, part: PolicyPart) {
    w.app().policy.part = part;
    w.steps(2);
}

fn sent<T>(w: &Window, pick: impl Fn(Request) -> Option<T>) -> T {
    w.wire.sent().into_iter().find_map(|(r, _)| pick(r)).expect("one press, one job")
}

fn report(w: &Window, job: u64, value: Value) {
    w.wire.tell(Event::Report { job, value }, Vec::new());
}

fn tally(successes: usize) -> Value {
    let (low, high) = forerun::policy::stats::wilson(successes, 4);
    let each: Vec<Value> = (0..4)
        .map(|i| json!({ "seed": 100 + i, "prompt": format!("push {i}"), "success": i < successes, "steps": 20, "progress": 0.4 }))
        .collect();
    json!({ "successes": successes, "episodes": 4, "rate": successes as f64 / 4.0, "low": low, "high": high,
        "progress": 0.5, "each": each })
}

fn evaluated() -> Value {
    json!({ "stage": "evaluated", "place": "world:tabletop", "rule": "the object has moved at least 5 cm, at any moment within 80 steps",
        "settings": { "seed": 7, "task": null, "look": "plain", "steps": 80 },
        "results": { "policy": tally(3), "nothing": tally(0), "random": tally(1), "expert": tally(4) },
        "order": ["policy", "nothing", "random", "expert"] })
}

#[test]
fn a_policy_is_learnt_and_its_loss_shown() {
    let mut w = ready(WIDE);
    w.harness.get_by_label("Learn policy").click();
    w.steps(3);
    let (job, spec) = sent(&w, |r| match r {
        Request::PolicyTrain { job, spec } => Some((job, spec)),
        _ => None,
    });
    assert_eq!(spec.out, w.folder.path().join("policies/pushes-policy"));
    assert!(spec.datasets[0].ends_with("datasets/pushes") && spec.size == "small" && spec.snapshots == 8);
    for i in 1..4 {
        let held = json!({ "moments": 9, "loss": 0.5, "error": [["shoulder_pan.pos", 3.25]] });
        report(
            &w,
            job,
            json!({ "stage": "training", "iteration": i, "progress": i as f64 / 4.0, "seconds": 10.0,
            "seconds_left": 30.0, "loss": 1.0 / i as f64, "frames_per_second": 100.0, "held_out": held }),
        );
    }
    w.wire.tell(
        Event::Progress { job, done: 750, total: 1000, seconds_left: Some(30.0), what: "training".into() },
        vec![],
    );
    w.steps(3);
    w.harness.get_by_label("Course of the policy's loss");
    w.harness.get_by_label("3.25");
    w.harness.get_by_label("Stop").click();
    w.steps(3);
    assert!(w.wire.sent().iter().any(|(r, _)| *r == Request::Cancel { job }));
    w.wire.tell(Event::Cancelled { job }, Vec::new());
    w.until("the end", |w| w.app().policies.run.as_ref().is_some_and(|r| r.job.is_none()));
    w.steps(3);
    w.harness.get_by_label("Resume").click();
    w.steps(3);
    let again = sent(&w, |r| match r {
        Request::PolicyTrain { spec, .. } => Some(spec),
        _ => None,
    });
    assert!(again.resume && again.out == spec.out);
}

#[test]
fn rates_come_with_their_rule_their_interval_and_the_yardsticks() {
    let mut w = ready(WIDE);
    part(&mut w, PolicyPart::Evaluate);
    w.harness.get_by_label("Evaluate policy").click();
    w.steps(3);
    let (job, spec) = sent(&w, |r| match r {
        Request::PolicyEvaluate { job, spec } => Some((job, spec)),
        _ => None,
    });
    assert_eq!((spec.place.as_str(), spec.episodes, spec.seed), ("world:tabletop", 50, 7));
    report(&w, job, evaluated());
    w.done(job);
    w.steps(4);
    w.harness.get_by_label("Success: the object has moved at least 5 cm, at any moment within 80 steps");
    w.harness.get_by_label("Policy 75.0 %, 95 % interval 30.1 to 95.4 3 of 4");
    w.harness.get_by_label("Do nothing 0.0 %, 95 % interval 0.0 to 49.0 0 of 4");
    w.harness.get_by_label("Scripted expert 100.0 %, 95 % interval 51.0 to 100.0 4 of 4");
    w.harness.get_by_label("Failures: 1");
    // In the model: the place names it.
    w.harness.get_by_role_and_label(Role::RadioButton, "Imagination").click();
    w.steps(3);
    w.harness.get_by_label("Evaluate policy").click();
    w.steps(3);
    let place = sent(&w, |r| match r {
        Request::PolicyEvaluate { spec, .. } => Some(spec.place),
        _ => None,
    });
    assert!(place.starts_with("model:") && place.ends_with("tabletop"), "{place}");
}

#[test]
fn a_failure_is_watched_beside_its_imagined_twin_and_branched_from() {
    let mut w = ready(WIDE);
    part(&mut w, PolicyPart::Evaluate);
    w.app().policies.evaluation = forerun_ui::policy::Evaluation::read(&evaluated());
    w.steps(2);
    w.harness.get_by_label("Watch episode with seed 103").click();
    w.steps(3);
    let (job, spec) = sent(&w, |r| match r {
        Request::PolicyTwin { job, spec } => Some((job, spec)),
        _ => None,
    });
    assert_eq!((spec.seed, spec.in_model, spec.steps), (103, false, 80));
    for index in 0..4 {
        for side in 0..2 {
            let reading = Reading { values: vec![("progress".into(), index as f32 / 4.0)] };
            let event = Event::FutureFrame { job, seed: side, index, width: SIDE, height: SIDE, reading };
            w.wire.tell(event, vec![picture((index * 10 + side as usize) as u8)]);
        }
    }
    let side = json!({ "success": false, "steps": 3, "progress": 0.75 });
    report(
        &w,
        job,
        json!({ "stage": "twin", "prompt": "push it left", "rules": ["5 cm", "head"], "world": side,
        "model": { "success": true, "steps": 2, "progress": 1.0 }, "dataset": spec.out }),
    );
    w.done(job);
    w.steps(3);
    if w.app().transport.playing() {
        w.press(Modifiers::NONE, Key::Space);
    }
    w.press(Modifiers::NONE, Key::End);
    let shown = |w: &mut Window, i: usize| {
        w.app().textures.shown(&forerun_ui::widgets::pane::Slot::Twin(i)).unwrap().data[0]
    };
    w.steps(2);
    assert_eq!((shown(&mut w, 0), shown(&mut w, 1)), (30, 31), "both panes show the same moment");
    w.harness.get_by_role_and_label(Role::Image, "Physics");
    w.harness.get_by_role_and_label(Role::Image, "Imagination");
    w.harness.get_by_label("Success: 5 cm");
    w.harness.get_by_label("Branch from here").click();
    w.steps(3);
    assert_eq!(w.app().view.screen, Screen::World);
    let StartDoc::Episode { dataset, episode: 0, at: 3 } = w.app().setup.get().start.clone() else {
        panic!("{:?}", w.app().setup.get().start)
    };
    assert_eq!(Some(dataset), spec.out);
    assert_eq!(w.app().setup.get().prompt, "push it left");
}

/// Changes what is set up as a widget would.
fn set_up(w: &mut Window, change: impl FnOnce(&mut PolicyDoc)) {
    let mut doc = w.app().policy.clone();
    change(&mut doc);
    w.app().outbox.send(Message::Policy(PolicyWish::Edit(Box::new(doc))));
    w.steps(3);
}

/// What the button of the Evaluate part asks for.
fn asked(w: &mut Window) -> Deciding {
    w.harness.get_by_label("Evaluate policy").click();
    w.steps(3);
    let (job, how) = sent(w, |r| match r {
        Request::PolicyEvaluate { job, spec } => Some((job, spec.how)),
        _ => None,
    });
    w.done(job);
    w.steps(3);
    how
}

#[test]
fn each_way_of_deciding_shows_and_sends_its_own_numbers_only() {
    let mut w = ready(WIDE);
    part(&mut w, PolicyPart::Evaluate);
    assert_eq!(asked(&mut w), Deciding::Alone);
    let there = |w: &Window, label: &str| w.harness.query_all_by_label(label).next().is_some();
    for (way, own) in [("Best of N", "Plans to try"), ("Planner", "Start from the policy's plans")] {
        w.harness.get_by_role_and_label(Role::RadioButton, way).click();
        w.steps(3);
        assert!(there(&w, own) && there(&w, "Futures a plan") && !there(&w, "Frames ahead"), "{way}");
        let how = asked(&mut w);
        match way {
            "Planner" => assert_eq!(how, Deciding::Planner { method: Method::Cem, seeds: 1 }),
            _ => assert_eq!(how, Deciding::BestOf { candidates: 8, seeds: 1 }),
        }
    }
    // Without the policy's plans a planner acts by itself.
    w.harness.get_by_label("Start from the policy's plans").click();
    w.steps(3);
    w.harness.get_by_label("Evaluate policy").click();
    w.steps(3);
    let policy = sent(&w, |r| match r {
        Request::PolicyEvaluate { spec, .. } => Some(spec.policy),
        _ => None,
    });
    assert_eq!(policy, None);
}

#[test]
fn a_policy_and_a_way_that_do_not_go_together_say_what_to_choose() {
    let mut w = ready(WIDE);
    let goal = w.folder.path().join("policies/reach");
    std::fs::create_dir_all(&goal).unwrap();
    std::fs::write(goal.join("contract.json"), "{}").unwrap();
    std::fs::write(goal.join("config.json"), r#"{ "kind": "goal" }"#).unwrap();
    w.app().policies.entries = None;
    w.until("the goal policy", |w| {
        w.app().policies.entries.as_ref().is_some_and(|all| all.iter().any(|e| e.name == "reach"))
    });
    part(&mut w, PolicyPart::Evaluate);
    set_up(&mut w, |doc| doc.chosen = "reach".into());
    assert_eq!(w.app().policy.way, Way::Subgoals, "the only way that it can go");
    assert_eq!(asked(&mut w), Deciding::Subgoals { ahead: 8, futures: 4 });
    for (way, words) in [("Alone", "Choose Subgoals."), ("Planner", "Plan without it")] {
        w.harness.get_by_role_and_label(Role::RadioButton, way).click();
        w.steps(3);
        let told = w.harness.query_all_by_label_contains(words).next().is_some();
        assert!(told, "{way}");
        w.harness.get_by_label("Evaluate policy").click();
        w.steps(3);
        assert!(!w.wire.sent().iter().any(|(r, _)| matches!(r, Request::PolicyEvaluate { .. })), "{way}");
    }
    // Learning one: said by a press.
    part(&mut w, PolicyPart::Train);
    set_up(&mut w, |doc| {
        doc.datasets.insert("pushes".into());
    });
    w.harness.get_by_role_and_label(Role::RadioButton, "Goal pictures").click();
    w.steps(3);
    w.harness.get_by_label("Learn policy").click();
    w.steps(3);
    let spec = sent(&w, |r| match r {
        Request::PolicyTrain { spec, .. } => Some(spec),
        _ => None,
    });
    assert!(spec.goal && spec.out.ends_with("policies/pushes-goal-policy"), "{spec:?}");
}

#[test]
fn how_long_an_evaluation_takes_is_measured_before_it_is_made() {
    let mut w = ready(WIDE);
    part(&mut w, PolicyPart::Evaluate);
    w.harness.get_by_label("How long will it take?").click();
    w.steps(3);
    let (job, spec) = sent(&w, |r| match r {
        Request::PolicyEvaluate { job, spec } => Some((job, spec)),
        _ => None,
    });
    assert!(spec.measure);
    w.harness.get_by_label("Trying the first steps");
    let pace =
        json!({ "plan_ms": 850.0, "step_ms": 3.0, "agent_ms": 1.0, "yardstick_ms": 1.0, "seconds": 1200.0 });
    report(&w, job, json!({ "stage": "pace", "pace": pace }));
    w.done(job);
    w.steps(4);
    w.harness.get_by_label("At most 20 min; a plan takes 850 ms.");
    // Another evaluation takes another time.
    set_up(&mut w, |doc| doc.episodes = 200);
    w.harness.get_by_label("How long will it take?");
    // The evaluation itself begins with the measurement, too.
    w.harness.get_by_label("Evaluate policy").click();
    w.steps(3);
    let (job, spec) = sent(&w, |r| match r {
        Request::PolicyEvaluate { job, spec } => Some((job, spec)),
        _ => None,
    });
    assert!(!spec.measure && spec.episodes == 200);
    report(&w, job, json!({ "stage": "pace", "pace": pace }));
    w.steps(3);
    w.harness.get_by_label("At most 20 min; a plan takes 850 ms.");
    assert!(w.app().policies.evaluation.is_none(), "a measured time is no result");
}

#[test]
fn a_failure_is_watched_as_it_was_tried_with_the_picture_that_it_goes_for() {
    let mut w = ready(WIDE);
    part(&mut w, PolicyPart::Evaluate);
    let mut value = evaluated();
    value["how"] = json!({ "way": "subgoals", "ahead": 6, "futures": 3 });
    value["order"] = json!(["subgoals", "nothing"]);
    value["results"] = json!({ "subgoals": tally(3), "nothing": tally(0) });
    value["policy"] = json!({ "name": "reach", "folder": "/somewhere/reach", "sha256": "" });
    value["counts"] = json!({ "goals imagined": 12 });
    value["plans"] = json!(24);
    value["timings"] = json!({ "plan_ms_mean": 40.0 });
    w.app().policies.evaluation = forerun_ui::policy::Evaluation::read(&value);
    w.steps(3);
    w.harness.get_by_label("24 plans, 40 ms each · goals imagined: 12");
    w.harness.get_by_label("Subgoals 75.0 %, 95 % interval 30.1 to 95.4 3 of 4");
    // What is set up now is of no account.
    w.app().policy.steps = 5;
    w.harness.get_by_label("Watch episode with seed 103").click();
    w.steps(3);
    let (job, spec) = sent(&w, |r| match r {
        Request::PolicyTwin { job, spec } => Some((job, spec)),
        _ => None,
    });
    assert_eq!(spec.how, Deciding::Subgoals { ahead: 6, futures: 3 });
    assert_eq!((spec.steps, spec.policy), (80, Some("/somewhere/reach".into())));
    for (side, index, grey) in [(0, 0, 1), (1, 0, 2), (2, 0, 77), (0, 1, 3), (1, 1, 4), (2, 1, 99)] {
        let reading = Reading { values: vec![("progress".into(), 0.0)] };
        let event = Event::FutureFrame { job, seed: side, index, width: SIDE, height: SIDE, reading };
        w.wire.tell(event, vec![picture(grey)]);
    }
    w.steps(3);
    if w.app().transport.playing() {
        w.press(Modifiers::NONE, Key::Space);
    }
    for (key, grey) in [(Key::Home, 77), (Key::End, 99)] {
        w.press(Modifiers::NONE, key);
        w.steps(2);
        w.harness.get_by_role_and_label(Role::Image, "Goal picture");
        let shown = w.app().textures.shown(&forerun_ui::widgets::pane::Slot::Twin(2)).unwrap().data[0];
        assert_eq!(shown, grey, "the picture that it goes for at this moment");
    }
}

#[test]
fn imagined_experience_says_what_was_sure_and_what_was_doubtful() {
    let mut w = ready(WIDE);
    part(&mut w, PolicyPart::Improve);
    w.harness.get_by_label("Imagine and learn").click();
    w.steps(3);
    let (job, spec) = sent(&w, |r| match r {
        Request::PolicyImprove { job, spec } => Some((job, spec)),
        _ => None,
    });
    assert!(spec.out.ends_with("policies/push-improved") && spec.witnesses == 3);
    assert_eq!((spec.own_actions, spec.starts), (0, None));
    let found = json!({ "tried": 100, "accepted": 31, "doubtful": 12, "frames": 900 });
    report(&w, job, json!({ "stage": "imagined", "experience": found }));
    w.steps(3);
    w.harness.get_by_label("Surely succeed 31 under every witness");
    w.harness.get_by_label("Doubtful 12 under one seed only; left out");
}

#[test]
fn the_model_may_act_in_imagined_episodes_and_they_may_start_elsewhere() {
    let mut w = ready(WIDE);
    part(&mut w, PolicyPart::Improve);
    assert!(w.harness.query_by_label("Imagined futures").is_none());
    w.harness.get_by_label("Model").click();
    w.steps(3);
    w.harness.get_by_label("Imagined futures");
    w.app().policy.starts = "pushes".into();
    w.steps(2);
    w.harness.get_by_label("Imagine and learn").click();
    w.steps(3);
    let spec = sent(&w, |r| match r {
        Request::PolicyImprove { spec, .. } => Some(spec),
        _ => None,
    });
    assert_eq!(spec.own_actions, 2);
    assert!(spec.starts.unwrap().ends_with("datasets/pushes"));
}

#[test]
fn a_ranking_shows_points_and_agreement_with_intervals() {
    let mut w = ready(WIDE);
    part(&mut w, PolicyPart::Rank);
    w.harness.get_by_label("3 policies; at least three, better eight.");
    w.harness.get_by_label("Rank policies").click();
    w.steps(3);
    let (job, spec) = sent(&w, |r| match r {
        Request::PolicyRank { job, spec } => Some((job, spec)),
        _ => None,
    });
    assert!(spec.checkpoints_of.unwrap().ends_with("policies/push"));
    let one = |name: &str, a: usize, b: usize| json!({ "name": name, "sha256": "", "model": tally(a), "world": tally(b) });
    let estimate = json!({ "value": 0.91, "low": 0.4, "high": 0.99 });
    report(
        &w,
        job,
        json!({ "stage": "ranked", "rules": ["head", "5 cm"], "pearson": estimate, "spearman": estimate,
        "mmrv": null, "policies": [one("0000010", 0, 1), one("0000020", 2, 2), one("push", 3, 4)] }),
    );
    w.done(job);
    w.steps(3);
    w.harness.get_by_label("Pearson 0.91 95 % interval 0.40 to 0.99");
    w.harness.get_by_label("MMRV – none: the rates do not vary");
    w.harness.get_by_label("Success in imagination against success in physics");
    w.harness.get_by_label("Imagination: Success: head");
}

#[test]
fn every_part_has_named_widgets_and_known_letters() {
    for size in [[720.0, 480.0], [1280.0, 800.0]] {
        for language in Language::ALL {
            let mut w = ready(size);
            w.app().view.language = language;
            w.app().view.theme = Theme::Light;
            for one in PolicyPart::iter() {
                part(&mut w, one);
                w.harness.run();
                w.app().policies.evaluation = forerun_ui::policy::Evaluation::read(&evaluated());
                w.harness.run();
            }
        }
    }
}
