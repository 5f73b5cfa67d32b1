//! Policies from end to end with tiny networks: learning, acting, looking ahead in a world model.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::sync::atomic::AtomicBool;

use candle_core::Device;
use forerun::Frame;
use forerun::models::nn::path::{self, Path as Way};
use forerun::models::policy::{Chunk, Draw, Kind, Look, Policy, Seen};
use forerun::policy::{PolicyJob, PolicySettings, run};
use forerun::train::{Budget, Episode, Library, TrainError, channel_of};

fn load(folder: &Path) -> Policy {
    forerun::policy::load_policy(folder).unwrap()
}

/// A dot at `x` (0..1) of a 32-pixel picture.
fn picture(x: f32) -> Frame {
    let mut frame = Frame::filled(32, 32, [20, 20, 20]);
    let left = (x * 28.0) as usize;
    for row in 14..18 {
        for col in left..left + 4 {
            frame.data[(row * 32 + col) * 3] = 255;
        }
    }
    frame
}

/// The joint stands at 0; "left" and "right" ask to go to the dot, or as far to the other side.
fn episode(i: usize) -> Episode {
    let x = (i % 13) as f32 / 12.0;
    let right = i % 2 == 0;
    let target = if right { 10.0 * x } else { -10.0 * x };
    Episode {
        frames: (0..4).map(|_| picture(x)).collect(),
        state: vec![vec![0.0]; 4],
        action: vec![vec![target]; 4],
        prompt: Some(if right { "right" } else { "left" }.into()),
        told: true,
        weight: 1.0,
        ..Episode::default()
    }
}

fn library() -> Library {
    let channel = || channel_of("a.pos", "deg", [-10.0, 10.0].into_iter());
    let mut library =
        Library::new(&forerun::models::dreamer::Config::micro(), vec![channel()], vec![channel()]);
    (0..26).for_each(|i| library.add(episode(i)));
    library
}

fn job<'a>(library: &'a Library, held_out: &'a [Episode], out: &Path, iterations: u64) -> PolicyJob<'a> {
    let mut settings = PolicySettings {
        size: "micro".into(),
        batch: 16,
        micro: 8,
        colour_jitter: 0.0,
        looks: vec![Look::Now],
        chunk: 4,
        ..PolicySettings::default()
    };
    settings.optimiser.learning_rate = 1e-3;
    settings.optimiser.ema = 0.9;
    settings.schedule.warmup = 5;
    PolicyJob {
        settings,
        library,
        held_out,
        rate_hz: 10.0,
        embodiment: "dot".into(),
        data_sha256: Vec::new(),
        out: out.to_path_buf(),
        budget: Budget::Iterations(iterations),
        resume: false,
        base: None,
        device: Device::Cpu,
    }
}

/// One worker, all examples at once, stock operations, the optimiser in tensors: the same run to rounding.
#[test]
fn learning_as_a_graphics_card_does_gives_the_same_policy() {
    let library = library();
    let held = [episode(3), episode(8)];
    let learn = |wish: Way| {
        let dir = tempfile::tempdir().unwrap();
        let mut job = job(&library, &held, dir.path(), 5);
        job.settings.bf16 = false;
        let mut course = Vec::new();
        let cancel = AtomicBool::new(false);
        path::with(wish, || run(&job, &mut |report| course.push(report.clone()), &cancel)).unwrap();
        (course, load(dir.path()))
    };
    let ((kernels, policy), (stock, other)) = (learn(Way::Auto), learn(Way::Stock));
    assert_eq!((kernels.len(), stock.len()), (5, 5));
    for (a, b) in kernels.iter().zip(&stock) {
        assert!((a.loss - b.loss).abs() < 1e-3 * a.loss, "{a:?} {b:?}");
        assert!((a.gradient_norm - b.gradient_norm).abs() < 5e-3 * a.gradient_norm, "{a:?} {b:?}");
    }
    let frame = picture(0.8);
    let seen =
        Seen { now: &frame, before: None, start: None, goal: None, state: &[0.0], prompt: Some("right") };
    let plan =
        |policy: &Policy| policy.plan(&[seen], &[vec![Draw::MEAN]]).unwrap().concat().concat().concat();
    for (a, b) in plan(&policy).iter().zip(plan(&other)) {
        assert!((a - b).abs() < 0.05, "{a} and {b} of a range of 20");
    }
}

#[test]
fn a_policy_learns_to_look_and_to_listen() {
    let dir = tempfile::tempdir().unwrap();
    let library = library();
    // At the ends of the picture: who hears but does not look is off by half the range there.
    let held: Vec<Episode> = vec![episode(0), episode(12), episode(13), episode(25)];
    let job = job(&library, &held, dir.path(), 120);
    let mut last = None;
    let cancel = AtomicBool::new(false);
    run(&job, &mut |report| last = Some(report.clone()), &cancel).unwrap();
    let report = last.unwrap();
    let held_out = report.held_out.clone().unwrap();
    assert!(held_out.loss < 0.15 && report.loss.is_finite(), "{report:?}");
    let policy = load(dir.path());
    assert_eq!(policy.contract().vocabulary, ["left", "right"]);
    let looked = forerun::inspect::inspect(dir.path()).unwrap();
    assert!(looked.lines[0].starts_with("policy ") && looked.problems.is_empty(), "{:?}", looked.lines);
    let frame = picture(0.75);
    let ask = |prompt, draw| {
        let seen =
            Seen { now: &frame, before: None, start: None, goal: None, state: &[0.0], prompt: Some(prompt) };
        policy.plan(&[seen], &[vec![draw]]).unwrap()[0][0].clone()
    };
    let (right, left) = (ask("right", Draw::MEAN), ask("left", Draw::MEAN));
    assert_eq!((right.len(), right[0].len()), (4, 1));
    assert!((right[0][0] - 7.5).abs() < 3.0 && (left[0][0] + 7.5).abs() < 3.0, "{right:?} {left:?}");
    let draw = |number| Draw { seed: 1, number, temperature: 1.0 };
    let far = |x: f32| {
        let frame = picture(x);
        let seen =
            Seen { now: &frame, before: None, start: None, goal: None, state: &[0.0], prompt: Some("right") };
        policy.plan(&[seen], &[vec![Draw::MEAN]]).unwrap()[0][0][0][0]
    };
    assert!(far(1.0) - far(0.0) > 5.0, "{} {}", far(0.0), far(1.0));
    assert_eq!(ask("left", draw(4)), ask("left", draw(4)));
    assert_ne!(ask("left", draw(4)), ask("left", draw(5)));
}

#[test]
fn a_resumed_run_ends_with_the_same_bits() {
    let library = library();
    let cancel = AtomicBool::new(false);
    let weights = |folder: &Path| std::fs::read(folder.join("model.safetensors")).unwrap();
    let straight = tempfile::tempdir().unwrap();
    // The learning rate depends on the share of the run that is over: both runs have one length.
    let mut flat = job(&library, &[], straight.path(), 6);
    flat.settings.schedule.decay = 0.0;
    run(&flat, &mut |_| {}, &cancel).unwrap();
    let stopped = tempfile::tempdir().unwrap();
    let mut part = job(&library, &[], stopped.path(), 3);
    part.settings.schedule.decay = 0.0;
    run(&part, &mut |_| {}, &cancel).unwrap();
    assert_ne!(weights(straight.path()), weights(stopped.path()));
    part.budget = Budget::Iterations(6);
    part.resume = true;
    run(&part, &mut |_| {}, &cancel).unwrap();
    assert_eq!(weights(straight.path()), weights(stopped.path()));
}

#[test]
fn snapshots_are_policies_and_a_cancelled_run_leaves_a_whole_one() {
    let library = library();
    let dir = tempfile::tempdir().unwrap();
    let mut with = job(&library, &[], dir.path(), 4);
    with.settings.snapshots = 2;
    run(&with, &mut |_| {}, &AtomicBool::new(false)).unwrap();
    let names: Vec<_> = std::fs::read_dir(dir.path().join("checkpoints")).unwrap().flatten().collect();
    assert_eq!(names.len(), 2);
    for name in names {
        assert!(forerun::policy::load_policy(&name.path()).is_ok());
    }
    let other = tempfile::tempdir().unwrap();
    let stopped = run(&job(&library, &[], other.path(), 4), &mut |_| {}, &AtomicBool::new(true));
    assert!(matches!(stopped, Err(TrainError::Cancelled)));
    assert!(forerun::policy::load_policy(other.path()).is_ok());
}

#[test]
fn data_that_cannot_be_imitated_is_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let cancel = AtomicBool::new(false);
    let config = forerun::models::dreamer::Config::micro();
    let mut failed = Library::new(&config, library().actions().to_vec(), Vec::new());
    failed.add(Episode { told: false, ..episode(0) });
    let told = run(&job(&failed, &[], dir.path(), 1), &mut |_| {}, &cancel).unwrap_err().to_string();
    assert!(told.contains("only_successes"), "{told}");
    let silent = Library::new(&config, Vec::new(), Vec::new());
    let told = run(&job(&silent, &[], dir.path(), 1), &mut |_| {}, &cancel).unwrap_err().to_string();
    assert!(told.contains("no actions"), "{told}");
}

#[test]
fn a_goal_policy_goes_where_its_picture_shows() {
    let dir = tempfile::tempdir().unwrap();
    let channel = || channel_of("a.pos", "deg", [0.0, 10.0].into_iter());
    let mut library =
        Library::new(&forerun::models::dreamer::Config::micro(), vec![channel()], vec![channel()]);
    for i in 0..14 {
        // The dot jumps from the middle to y at once; the action is where it will be.
        let y = i as f32 / 13.0;
        library.add(Episode {
            frames: vec![picture(0.5), picture(y)],
            state: vec![vec![5.0], vec![10.0 * y]],
            action: vec![vec![10.0 * y]; 2],
            told: false,
            weight: 1.0,
            ..Episode::default()
        });
    }
    let mut job = job(&library, &[], dir.path(), 200);
    job.settings.kind = Kind::Goal;
    job.settings.looks = vec![Look::Now, Look::Goal];
    job.settings.goal_steps = [1, 1];
    job.settings.only_successes = false;
    run(&job, &mut |_| {}, &AtomicBool::new(false)).unwrap();
    let policy = load(dir.path());
    let (now, near, far) = (picture(0.5), picture(0.1), picture(0.9));
    let go = |goal| {
        let seen = Seen { now: &now, before: None, start: None, goal, state: &[5.0], prompt: None };
        policy.plan(&[seen], &[vec![Draw::MEAN]]).map(|c| c[0][0][0][0])
    };
    let (low, high) = (go(Some(&near)).unwrap(), go(Some(&far)).unwrap());
    assert!(low < 3.5 && high > 6.5, "{low} {high}");
    assert!(go(None).unwrap_err().to_string().contains("goal frame"));
}

mod ahead {
    //! Minds, places and experience on a world model with random weights.

    use std::path::PathBuf;

    use forerun::engine::backend::{self, HistoryFrame, WorldModel};
    use forerun::engine::device::Place;
    use forerun::models::nn::Params;
    use forerun::policy::{
        AgentSettings, BestOf, Deciding, EvaluateSettings, ExperienceSettings, Mind, Moment, Parts, Planner,
        PlannerSettings, PolicyMind, PolicyStage, SubgoalSettings, Subgoals, Venue, Yardstick, evaluate,
        imagine_experience, load_policy, rank, start,
    };
    use forerun::world::{Behaviour, EpisodeSettings, RecordSettings, SceneDistribution, TaskName, record};

    use super::*;

    struct Bench {
        dir: tempfile::TempDir,
    }

    impl Bench {
        /// Two recorded expert episodes, and a random model whose success head is sure of itself.
        fn new(success: f32) -> Self {
            let bench = Self { dir: tempfile::tempdir().unwrap() };
            let episode = EpisodeSettings {
                behaviour: Behaviour::Expert,
                // Whether this is done, only the success head can say: pushes are judged by places.
                scenes: SceneDistribution { task: Some(TaskName::PushOnto), ..SceneDistribution::default() },
                size: 64,
                frames: Some(8),
            };
            let settings = RecordSettings { episode, episodes: 2, seed: 5, threads: 1 };
            record(&settings, &bench.path("data"), |_| {}, &AtomicBool::new(false)).unwrap();
            forerun::models::testing::random_model(&bench.path("model"), 7).unwrap();
            let weights = bench.path("model").join("model.safetensors");
            let device = candle_core::Device::Cpu;
            let (mut params, text) = Params::load(&weights, &device, false).unwrap();
            let names = forerun::models::dreamer::heads::tabletop_readings();
            let at = names.iter().position(|n| n == "success").unwrap();
            let old = params.get("head.bias").unwrap().clone();
            let mut bias: Vec<f32> = old.to_vec1().unwrap();
            bias[at] = success;
            let changed = candle_core::Tensor::from_vec(bias, old.shape(), &device).unwrap();
            params.insert("head.bias", changed).unwrap();
            params.save(&weights, Some(text)).unwrap();
            bench
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn model(&self) -> Box<dyn WorldModel> {
            backend::load(&self.path("model"), &Place::Candle(candle_core::Device::Cpu)).unwrap()
        }

        fn policy(&self, kind: Kind, base: Option<&Path>, data: &[PathBuf], out: &str) -> Policy {
            let settings = PolicySettings {
                kind,
                size: "micro".into(),
                batch: 4,
                micro: 4,
                held_out: 0,
                // Eight frames do not see the end of a push.
                only_successes: false,
                ..PolicySettings::default()
            };
            let mut read = 0;
            let mut watch = |stage: PolicyStage| {
                if let PolicyStage::Loading { done, .. } = stage {
                    read = done;
                }
            };
            let cancel = AtomicBool::new(false);
            let budget = Budget::Iterations(2);
            start(settings, data, &self.path(out), base, budget, false, &Device::Cpu, &mut watch, &cancel)
                .unwrap();
            assert!(read >= 2);
            load_policy(&self.path(out)).unwrap()
        }
    }

    fn few() -> EvaluateSettings {
        EvaluateSettings {
            episodes: 2,
            steps: 5,
            seed: 11,
            task: Some(TaskName::PushOnto),
            agent: AgentSettings { every: 2, ..AgentSettings::default() },
            ..EvaluateSettings::default()
        }
    }

    #[test]
    fn evaluations_repeat_in_physics_and_in_imagination() {
        let bench = Bench::new(30.0);
        let policy = bench.policy(Kind::Direct, None, &[bench.path("data")], "policy");
        let model = bench.model();
        let cancel = AtomicBool::new(false);
        let minds = |seed| -> Result<Box<dyn Mind + '_>, forerun::Failure> {
            Ok(Box::new(PolicyMind { policy: &policy, seed, temperature: 1.0 }))
        };
        for venue in [Venue::World, Venue::Model(model.as_ref())] {
            let run = |settings: &EvaluateSettings| {
                let found =
                    evaluate(venue, "policy", Some(&minds), &Yardstick::ALL, settings, &|_, _| {}, &cancel);
                found.unwrap()
            };
            let found = run(&few());
            let names: Vec<_> = found.actors.iter().map(|(name, _, _)| name.as_str()).collect();
            assert_eq!(names, ["policy", "nothing", "random", "expert"]);
            let one_thread = EvaluateSettings { threads: 1, ..few() };
            assert_eq!(found.value()["results"], run(&one_thread).value()["results"]);
            let other = run(&EvaluateSettings { seed: 12, ..few() });
            assert_ne!(found.actors[0].2[0].seed, other.actors[0].2[0].seed);
            if matches!(venue, Venue::Model(_)) {
                // The head always says yes: two frames are enough for its rule.
                assert_eq!(found.tally("nothing").unwrap().successes, 2);
                assert_eq!(found.actors[0].2[0].steps, 2);
                assert!(found.rule.contains("success head"));
            }
            // Plans at steps 0, 2 and 4, or 0 alone where the episode ends after two.
            assert_eq!(found.plans, if matches!(venue, Venue::World) { 6 } else { 2 });
        }
    }

    #[test]
    fn a_head_that_always_says_yes_makes_no_push_a_success() {
        let bench = Bench::new(30.0);
        let model = bench.model();
        let settings = EvaluateSettings { task: Some(TaskName::PushLeft), ..few() };
        let cancel = AtomicBool::new(false);
        let venue = Venue::Model(model.as_ref());
        let found = evaluate(venue, "policy", None, &Yardstick::ALL, &settings, &|_, _| {}, &cancel).unwrap();
        assert_eq!(found.tally("nothing").unwrap().successes, 0);
        assert!(found.rule.contains("the model sees the object moved"), "{}", found.rule);
    }

    #[test]
    fn a_model_acts_by_itself_from_the_words() {
        let bench = Bench::new(30.0);
        let model = bench.model();
        let cancel = AtomicBool::new(false);
        let parts = Parts { policy: None, model: Some(model.as_ref()), temperature: None, refine: 1 };
        let minds = |seed| Deciding::OwnActions { futures: 2 }.mind(&parts, seed);
        let run =
            || evaluate(Venue::World, "itself", Some(&minds), &[], &few(), &|_, _| {}, &cancel).unwrap();
        let found = run();
        assert_eq!((found.actors[0].0.as_str(), found.plans), ("itself", 6));
        assert_eq!(found.value()["results"], run().value()["results"]);
        // Imagined experience by the model's own actions, from the same starts.
        let policy = bench.policy(Kind::Direct, None, &[bench.path("data")], "policy");
        let settings =
            ExperienceSettings { episodes: 2, steps: 4, own_actions: 2, ..ExperienceSettings::default() };
        let (data, out) = (bench.path("data"), bench.path("own"));
        let made =
            imagine_experience(&policy, model.as_ref(), &data, &settings, &out, &|_, _| {}, &cancel).unwrap();
        assert_eq!((made.tried, made.accepted), (2, 2));
    }

    /// A moment at the start of the recorded data.
    fn with_moment<R>(size: usize, f: impl FnOnce(&Moment<'_>) -> R) -> R {
        let frame = Frame::filled(size, size, [90, 120, 60]);
        let state = vec![5.0, -8.0, 30.0, 60.0, 0.0, 4.0];
        let history = [HistoryFrame { frame: frame.clone(), state: Some(state.clone()), action: None }];
        f(&Moment {
            now: &frame,
            before: &frame,
            start: &frame,
            state: &state,
            prompt: Some("push the red cube to the left"),
            step: 0,
            history: &history,
        })
    }

    /// Two plans of a mind at one moment, twice over, and what it counted.
    fn chunks<'m>(make: &dyn Fn() -> Box<dyn Mind + 'm>) -> (Vec<Chunk>, Vec<(&'static str, u64)>) {
        let once = || {
            let mut mind = make();
            let plans = |moment: &Moment<'_>| (0..2).map(|n| mind.chunk(moment, n).unwrap()).collect();
            let out: Vec<Chunk> = with_moment(32, plans);
            (out, mind.counts())
        };
        let (first, counts) = once();
        assert_eq!(once().0, first);
        assert!(first.iter().flatten().flatten().all(|v| v.is_finite()));
        (first, counts)
    }

    #[test]
    fn minds_that_look_ahead_choose_and_repeat() {
        let bench = Bench::new(0.0);
        let policy = bench.policy(Kind::Direct, None, &[bench.path("data")], "direct");
        let goal = bench.policy(Kind::Goal, None, &[bench.path("data")], "goal");
        let model = bench.model();
        let m = model.as_ref();
        let (best, counts) = chunks(&|| Box::new(BestOf::new(&policy, m, 3, 2, 1, 1.0, 4).unwrap()));
        assert_eq!((best[0].len(), best[0][0].len()), (8, 6));
        assert!(counts.iter().any(|(name, _)| name.contains("doubtful")));
        let settings = PlannerSettings { candidates: 4, elites: 2, horizon: 4, ..PlannerSettings::default() };
        for prior in [None, Some(&policy)] {
            let (plans, counts) = chunks(&|| Box::new(Planner::new(m, prior, None, settings, 4).unwrap()));
            assert_eq!(plans[0].len(), 4);
            // Two plans of two rounds of four tracks.
            assert_eq!(counts[0].1, 16);
            if prior.is_none() {
                // From where the arm stands, within the spread of the search.
                assert!((plans[0][0][0] - 5.0).abs() < 60.0, "{:?}", plans[0][0]);
            }
        }
        let dream = SubgoalSettings { ahead: 2, futures: 2, plans: 2, refine: 1 };
        let (_, counts) = chunks(&|| Box::new(Subgoals::new(&goal, m, dream, 4).unwrap()));
        assert_eq!(counts[0].1, 1, "two plans go for one goal");
        let told = Subgoals::new(&policy, m, dream, 4).err().unwrap().text();
        assert!(told.contains("--kind goal"), "{told}");
    }

    #[test]
    fn sure_successes_become_data_to_learn_from() {
        let bench = Bench::new(30.0);
        let policy = bench.policy(Kind::Direct, None, &[bench.path("data")], "policy");
        let cancel = AtomicBool::new(false);
        let settings = ExperienceSettings { episodes: 3, steps: 4, seed: 2, ..ExperienceSettings::default() };
        let round = |bench: &Bench, out: &str| {
            let model = bench.model();
            let (data, out) = (bench.path("data"), bench.path(out));
            imagine_experience(&policy, model.as_ref(), &data, &settings, &out, &|_, _| {}, &cancel).unwrap()
        };
        let found = round(&bench, "imagined");
        assert_eq!((found.tried, found.accepted, found.doubtful), (3, 3, 0));
        assert_eq!(found.frames, 9, "each is over after two steps");
        // A round that is stopped leaves nothing that would be in the way of the next one, also after a success.
        let (stop, model) = (AtomicBool::new(false), bench.model());
        let many = ExperienceSettings { episodes: 200, ..settings };
        let told = |_: usize, _: usize| stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let (data, out) = (bench.path("data"), bench.path("stopped"));
        assert!(imagine_experience(&policy, model.as_ref(), &data, &many, &out, &told, &stop).is_err());
        assert!(!out.exists());
        let set = forerun::dataset::Dataset::open(&bench.path("imagined")).unwrap();
        assert_eq!((set.len(), set.total_frames(), set.fps()), (3, 9, 10.0));
        assert!(set.episode(0).unwrap().task.len() > 3);
        let data = [bench.path("data"), bench.path("imagined")];
        let better = bench.policy(Kind::Direct, Some(&bench.path("policy")), &data, "better");
        assert_ne!(better.sha256(), policy.sha256());
        assert_eq!(better.network().config(), policy.network().config());
        // A head that never says yes leaves nothing behind.
        let never = Bench::new(-30.0);
        let none = round(&never, "imagined");
        assert_eq!((none.accepted, none.doubtful, none.tried), (0, 0, 3));
        assert!(!never.path("imagined").exists());
    }

    #[test]
    fn policies_are_ranked_in_both_places() {
        let bench = Bench::new(30.0);
        let data = [bench.path("data")];
        let policies: Vec<(String, Policy)> = ["a", "b", "c"]
            .into_iter()
            .map(|name| (name.to_owned(), bench.policy(Kind::Direct, None, &data, name)))
            .collect();
        let model = bench.model();
        let cancel = AtomicBool::new(false);
        let settings = EvaluateSettings { steps: 2, ..few() };
        let found = rank(&policies, model.as_ref(), &settings, &|_, _| {}, &cancel).unwrap();
        assert_eq!(found.policies.len(), 3);
        assert_eq!(found.policies[0].model.rate, 1.0);
        assert_eq!(found.policies[0].world.rate, 0.0);
        // Rates that never vary have no correlation, and say so.
        assert!(found.pearson.is_none() && found.lines().iter().any(|l| l.contains("do not vary")));
        let few_of_them = rank(&policies[..2], model.as_ref(), &settings, &|_, _| {}, &cancel);
        assert!(few_of_them.err().unwrap().text().contains("at least three"));
    }
}
