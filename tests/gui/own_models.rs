//! A model and a policy of one's own, by mouse in the real program: a folder is taken in, examined, learnt from; before and
//! after are compared and the model is used; a policy is learnt and tried. With the smallest sizes and a few iterations.
//!
//! Needs a display (CI starts Xvfb). Without one it is skipped with a line on stderr, but where `CI` is set it fails.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod driven;

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use driven::{Driven, dialogs_choose, display};
use eframe::egui::accesskit::Role;
use forerun::world::{Behaviour, EpisodeSettings, Look, RecordSettings, SceneDistribution, record};

/// Longest wait for anything that the window should show; learning on a busy machine is slow.
const PATIENCE: Duration = Duration::from_secs(900);

/// What is set up: the smallest sizes and a few iterations.
const SETUP: &str = r#"{ "format": 1, "view": { "size": [1380.0, 860.0] }, "setup": { "model": "micro", "futures": 1, "steps": 4, "refine": 1 },
            "train": { "base": "micro", "iterations": 6, "replay": 0 },
            "policy": { "size": "micro", "iterations": 4, "snapshots": 2, "episodes": 2, "steps": 4, "model": "micro" } }"#;

/// The program in its window, on a project with the smallest world model; dialogs choose the dataset.
struct Window {
    driven: Driven,
    _folder: tempfile::TempDir,
}

impl Deref for Window {
    type Target = Driven;

    fn deref(&self) -> &Driven {
        &self.driven
    }
}

impl DerefMut for Window {
    fn deref_mut(&mut self) -> &mut Driven {
        &mut self.driven
    }
}

/// Records a few episodes of the expert.
fn dataset(folder: &Path, episodes: usize, size: usize, look: Look) {
    let scenes = SceneDistribution { look, ..SceneDistribution::default() };
    let settings = RecordSettings {
        episode: EpisodeSettings { behaviour: Behaviour::Expert, size, scenes, ..EpisodeSettings::default() },
        episodes,
        seed: 3,
        threads: 0,
    };
    record(&settings, folder, |_| {}, &AtomicBool::new(false)).unwrap();
}

impl Window {
    fn open() -> Self {
        let project = tempfile::tempdir().unwrap();
        let root = project.path();
        dataset(&root.join("elsewhere/pushes"), 5, 64, Look::Plain);
        forerun::models::testing::random_model(&root.join("models/micro"), 7).unwrap();
        Self::on(project, SETUP)
    }

    /// A window on this project, whose dataset lies in `elsewhere/pushes`.
    fn on(project: tempfile::TempDir, setup: &str) -> Self {
        let root = project.path();
        std::fs::create_dir(root.join(".forerun")).unwrap();
        std::fs::write(root.join(".forerun/window.json"), setup).unwrap();
        let paths = dialogs_choose(&root.join("elsewhere/pushes"), root.join("tools"));
        let mut driven = Driven::open(root, root, PATIENCE, |command| {
            command.env("PATH", paths);
        });
        driven.wait("the engine", |w| w.has("Engine ready"));
        Self { driven, _folder: project }
    }

    /// Takes the dataset into the project.
    fn import(&mut self) {
        self.click_role(Some(Role::Button), "Data");
        self.click("Open dataset");
        self.wait("the episodes", |w| w.has("Picture of front"));
    }
}

/// Number of whole futures that the engine has written into the project's scratch folder.
fn written(project: &Path) -> usize {
    let runs = std::fs::read_dir(project.join(".forerun/scratch")).into_iter().flatten().flatten();
    let seeds = runs.filter_map(|run| std::fs::read_dir(run.path()).ok()).flatten().flatten();
    seeds.filter(|seed| seed.path().join("future.json").is_file()).count()
}

#[test]
fn a_folder_becomes_a_model_that_is_used() {
    if !display() {
        return;
    }
    let mut w = Window::open();
    w.import();
    w.click("Episode 2");
    w.wait("another episode", |w| w.has("What episode 2 is for"));
    w.click("Examine");
    w.wait("the doctor's findings", |w| w.has("pictures looked at"));
    w.picture("data");
    let link = std::fs::read_to_string(w.project.join("datasets/pushes.toml")).unwrap();
    assert!(link.contains("elsewhere/pushes"), "{link}");

    w.click_role(Some(Role::Button), "Train");
    w.click("Start training");
    w.wait("the pictures of the first judgement", |w| w.find(Some(Role::Image), "What came").is_some());
    w.wait("the table of before and after", |w| w.has("Scorecard"));
    assert!(w.find(Some(Role::Image), "Before").is_some() && w.find(Some(Role::Image), "After").is_some());
    w.picture("train");
    let model = w.project.join("models/pushes-model");
    for file in ["contract.json", "model.safetensors", "lineage.json", "scorecard.json"] {
        assert!(model.join(file).is_file(), "{file}");
    }
    w.click("Compare before and after");
    w.wait("base, model and truth side by side", |w| w.has("Pane 3: "));
    w.picture("before-and-after");
    w.click_role(Some(Role::Button), "Train");
    w.click("Use this model");
    w.wait("the World screen with the new model", |w| {
        w.find(None, "Imagine").is_some() && w.has("pushes-model")
    });
    let before = written(&w.project);
    w.click("New frame");
    w.click("Imagine");
    w.wait("a whole future of the new model", |w| written(&w.project) > before);
}

#[test]
fn a_policy_is_learnt_tried_and_watched_in_both_places() {
    if !display() {
        return;
    }
    let mut w = Window::open();
    w.import();
    w.click_role(Some(Role::Button), "Policy");
    w.click("Learn policy");
    let policy = w.project.join("policies/pushes-policy");
    w.wait("the policy", |w| w.has("Done") && policy.join("model.safetensors").is_file());
    w.picture("policy-learnt");
    w.click_role(Some(Role::RadioButton), "Evaluate");
    w.click("Evaluate policy");
    w.wait("the rates", |w| w.has("Scripted expert"));
    assert!(w.has("Success: ") && w.has("Do nothing") && w.has("At random"));
    w.picture("policy-evaluated");
    assert!(policy.join("scorecard.json").is_file());
    w.wait("a failure", |w| w.has("Watch episode with seed"));
    let failure = w.all("Watch episode with seed").into_iter().next().unwrap();
    w.click(failure.label().unwrap());
    w.wait("physics and imagination side by side", |w| {
        w.find(Some(Role::Image), "Physics").is_some() && w.find(Some(Role::Image), "Imagination").is_some()
    });
    w.wait("the end of the episode", |w| w.has("Branch from here"));
    w.picture("policy-watched");
    w.click_role(Some(Role::RadioButton), "Rank");
    w.click("Rank policies");
    w.wait("the ranking", |w| w.has("Success in imagination against success in physics"));
    w.picture("policy-ranked");
    assert!(w.has("Pearson") && w.has("MMRV"));
}

#[test]
fn a_goal_policy_is_learnt_led_by_imagined_pictures_and_watched() {
    if !display() {
        return;
    }
    let mut w = Window::open();
    w.import();
    w.click_role(Some(Role::Button), "Policy");
    w.click_role(Some(Role::RadioButton), "Goal pictures");
    w.wait("what goal policies are", |w| w.has("Goes where a picture shows"));
    w.picture("goal-learn");
    w.click("Learn policy");
    let policy = w.project.join("policies/pushes-goal-policy");
    w.wait("the policy", |w| w.has("Done") && policy.join("model.safetensors").is_file());
    w.click_role(Some(Role::RadioButton), "Evaluate");
    // It can do nothing alone, so subgoals were chosen for it.
    w.wait("subgoals", |w| w.has("Frames ahead") && w.has("Imagined futures"));
    w.click("How long will it take?");
    w.wait("the measured time", |w| w.has("At most ") && w.has("a plan takes"));
    w.picture("goal-measured");
    w.click("Evaluate policy");
    w.wait("the rates", |w| w.has("Scripted expert"));
    assert!(w.has("goals imagined: ") && w.has("subgoals 8 frames ahead"));
    w.picture("goal-evaluated");
    w.wait("a failure", |w| w.has("Watch episode with seed"));
    let failure = w.all("Watch episode with seed").into_iter().next().unwrap();
    w.click_node(&failure);
    w.wait("the picture that it goes for", |w| w.find(Some(Role::Image), "Goal picture").is_some());
    w.wait("the end of the episode", |w| w.has("Branch from here"));
    assert!(w.has("subgoals 8 frames ahead"), "it is watched as it was evaluated");
    w.picture("goal-watched");

    w.click_role(Some(Role::RadioButton), "Evaluate");
    w.click_role(Some(Role::RadioButton), "Alone");
    w.wait("what to choose instead", |w| w.has("Choose Subgoals"));
    assert!(w.find(Some(Role::Button), "Evaluate policy").is_some_and(|n| n.is_disabled()));
    w.picture("goal-alone");
    w.click_role(Some(Role::RadioButton), "Planner");
    w.click("Start from the policy's plans");
    w.click("Evaluate policy");
    w.wait("the planner's rates", |w| w.has("tracks tried: ") && w.has("planner CEM"));
    w.picture("planner-evaluated");
    w.click_role(Some(Role::RadioButton), "Watch");
    w.click("Watch episode");
    w.wait("the planner at work", |w| w.has("Branch from here") && w.has("planner CEM"));
    assert!(w.find(Some(Role::Image), "Goal picture").is_none());
}

#[test]
fn what_the_shipped_model_imagines_by_itself_is_learnt_from() {
    if !display() {
        return;
    }
    let project = tempfile::tempdir().unwrap();
    dataset(&project.path().join("elsewhere/pushes"), 5, 128, Look::Plain);
    // Pictures are the shipped model's, so that what it knows of pushing counts; the policy knows nothing.
    let setup = r#"{ "format": 1, "view": { "size": [1380.0, 860.0] },
        "policy": { "size": "micro", "iterations": 4, "snapshots": 0, "steps": 40, "model": "tabletop", "imagined": 4, "witnesses": 0,
                    "acted_futures": 1 } }"#;
    let mut w = Window::on(project, setup);
    w.import();
    w.click_role(Some(Role::Button), "Policy");
    w.click("Learn policy");
    let policy = w.project.join("policies/pushes-policy");
    w.wait("the policy", |w| w.has("Done") && policy.join("model.safetensors").is_file());
    w.click_role(Some(Role::RadioButton), "Improve");
    w.wait("who acts", |w| w.has("The policy tries, with noise"));
    w.click_role(Some(Role::RadioButton), "Model");
    w.wait("what that means", |w| {
        w.has("the world model does what it imagines") && w.has("Imagined futures")
    });
    w.picture("policy-improve");
    w.click("Imagine and learn");
    w.wait("what was imagined", |w| w.has("Surely succeed "));
    let improved = w.project.join("policies/pushes-policy-improved");
    w.wait("the improved policy", |w| w.has("Done") && improved.join("model.safetensors").is_file());
    w.picture("policy-improved");
    assert!(w.project.join("policies/pushes-policy-improved-imagined/meta/info.json").is_file());
}

/// Pictures of the three screens for `docs/images/`, with the shipped model: set `FORERUN_TEST_KEEP` to a folder and run it
/// by name with `--ignored`.
#[test]
#[ignore = "takes minutes and is for eyes"]
fn pictures_of_the_screens() {
    if !display() {
        return;
    }
    let project = tempfile::Builder::new().prefix("push-study-").tempdir().unwrap();
    dataset(&project.path().join("elsewhere/pushes"), 12, 128, Look::Rich);
    let setup = r#"{ "format": 1, "view": { "size": [1380.0, 860.0] }, "setup": { "model": "tabletop", "futures": 1 },
        "train": { "iterations": 8, "replay": 0 },
        "policy": { "size": "small", "iterations": 24, "snapshots": 3, "episodes": 8, "steps": 40, "look": "rich" } }"#;
    let mut w = Window::on(project, setup);
    let both = |w: &mut Window, name: &str| {
        w.picture(&format!("{name}-dark"));
        w.click("Dark or light");
        std::thread::sleep(Duration::from_secs(2));
        w.picture(&format!("{name}-light"));
        w.click("Dark or light");
    };
    w.import();
    w.click("Episode 3");
    w.click("Examine");
    w.wait("the doctor's findings", |w| w.has("pictures looked at"));
    both(&mut w, "data");
    w.click_role(Some(Role::Button), "Train");
    w.click("Start training");
    w.wait("the table of before and after", |w| w.has("Scorecard"));
    both(&mut w, "train");
    w.click_role(Some(Role::Button), "Policy");
    w.click("Learn policy");
    w.wait("the policy", |w| w.has("Done") && w.has("Learn policy"));
    both(&mut w, "policy-learn");
    w.click_role(Some(Role::RadioButton), "Evaluate");
    w.click("Evaluate policy");
    w.wait("the rates", |w| w.has("Scripted expert"));
    both(&mut w, "policy-evaluate");
    w.wait("a failure", |w| w.has("Watch episode with seed"));
    let failure = w.all("Watch episode with seed").into_iter().next().unwrap();
    w.click(failure.label().unwrap());
    w.wait("the end of the episode", |w| w.has("Branch from here"));
    both(&mut w, "policy-watch");
}

/// The same for policies that are led by goal pictures.
#[test]
#[ignore = "takes minutes and is for eyes"]
fn pictures_of_a_goal_policy() {
    if !display() {
        return;
    }
    let project = tempfile::Builder::new().prefix("push-study-").tempdir().unwrap();
    dataset(&project.path().join("elsewhere/pushes"), 12, 128, Look::Plain);
    let setup = r#"{ "format": 1, "view": { "size": [1380.0, 860.0] }, "setup": { "model": "tabletop", "futures": 1 },
        "policy": { "size": "small", "iterations": 24, "snapshots": 0, "episodes": 4, "steps": 20 } }"#;
    let mut w = Window::on(project, setup);
    w.import();
    w.click_role(Some(Role::Button), "Policy");
    w.click_role(Some(Role::RadioButton), "Goal pictures");
    w.click("Learn policy");
    let policy = w.project.join("policies/pushes-goal-policy");
    w.wait("the goal policy", |w| policy.join("model.safetensors").is_file() && w.has("Learn policy"));
    w.click_role(Some(Role::RadioButton), "Evaluate");
    w.wait("subgoals", |w| w.has("Frames ahead"));
    w.click("How long will it take?");
    w.wait("the measured time", |w| w.has("At most "));
    w.click("Evaluate policy");
    w.wait("the rates", |w| w.has("goals imagined: "));
    w.picture("policy-subgoals");
    w.wait("a failure", |w| w.has("Watch episode with seed"));
    let failure = w.all("Watch episode with seed").into_iter().next().unwrap();
    w.click_node(&failure);
    w.wait("the end of the episode", |w| {
        w.has("Branch from here") && w.find(Some(Role::Image), "Goal picture").is_some()
    });
    w.picture("policy-goals");
    w.click("中文");
    std::thread::sleep(Duration::from_secs(1));
    w.picture("policy-goals-chinese");
}
