//! The dreamer family end to end on a toy world: a square that an action moves left or right.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use candle_core::{Device, Tensor};
use forerun_models::dreamer::intent::VARIETY;
use forerun_models::dreamer::{
    CHANNEL_SLOTS, Clip, Config, Dreamer, HistoryFrame, Network, Recipe, Stream, WeightFormat, loss, patches,
    save_folder,
};
use forerun_models::nn::Params;
use forerun_models::optim::{Gradients, Settings, Stepper};
use forerun_models::policy::{
    self, Config as PolicyConfig, Draw, Kind, Look, Network as PolicyNetwork, Policy, Scaling, Seen,
};
use forerun_models::random::Random;
use forerun_models::{Channel, ChannelMode, Contract, Frame, FrameSpec};

fn contract(config: &Config) -> Contract {
    let channel = Channel {
        name: "slide.pos".into(),
        unit: "px".into(),
        min: -4.0,
        max: 4.0,
        mode: ChannelMode::Relative,
        mean: 0.0,
        std: 2.0,
    };
    Contract {
        format: 1,
        name: "toy".into(),
        family: "dreamer".into(),
        frame: FrameSpec {
            width: config.image_width,
            height: config.image_height,
            rate_hz: 10.0,
            history: 4,
            fit: Default::default(),
        },
        actions: vec![channel],
        state: vec![],
        text: true,
        knows: "a square".into(),
        embodiment: "slide".into(),
        licence: "MIT".into(),
        familiar_residual: None,
        vocabulary: vec![],
    }
}

/// The toy world: a 10-pixel square at column `x` on a dark ground.
fn draw(x: i32) -> Frame {
    let mut frame = Frame::filled(32, 32, [30, 30, 40]);
    for row in 11..21 {
        for col in x.max(0)..(x + 10).min(32) {
            let at = (row * 32 + col as usize) * 3;
            frame.data[at..at + 3].copy_from_slice(&[220, 60, 40]);
        }
    }
    frame
}

fn moves(random: &Random, steps: usize) -> (i32, Vec<i32>) {
    let mut x = random.below(0, 22) as i32;
    let start = x;
    let track = (0..steps)
        .map(|t| {
            let dx = if random.uniform(10 + t as u64) < 0.5 { -4 } else { 4 };
            let dx = if (0..=22).contains(&(x + dx)) { dx } else { -dx };
            x += dx;
            dx
        })
        .collect();
    (start, track)
}

fn clip(seed: u64, steps: usize, config: &Config) -> Clip {
    let (mut x, track) = moves(&Random::new(seed, 1, 0), steps);
    let mut frames = patches::patchify(&draw(x), config.patch);
    let mut action = vec![0.0; steps * CHANNEL_SLOTS];
    for (t, dx) in track.iter().enumerate() {
        action[t * CHANNEL_SLOTS] = *dx as f32 / 4.0;
        x += dx;
        frames.extend(patches::patchify(&draw(x), config.patch));
    }
    let mut action_mask = vec![0.0; CHANNEL_SLOTS];
    action_mask[0] = 1.0;
    let readings = config.readings.len();
    Clip {
        frames,
        action,
        state: vec![0.3; (steps + 1) * CHANNEL_SLOTS],
        state_mask: action_mask.clone(),
        action_mask,
        readings: vec![0.5; steps * readings],
        readings_mask: vec![1.0; steps * readings],
        prompt: Some("slide the square".into()),
        told: true,
        embodiment: 0,
    }
}

fn gradients(stepper: &Stepper, total: &candle_core::Tensor) -> Gradients {
    let grads = total.backward().unwrap();
    for (name, var) in stepper.variables() {
        assert!(grads.get(var).is_some(), "{name} gets no gradient");
    }
    Gradients::of(&grads, stepper.variables().map(|(_, var)| var)).unwrap()
}

fn numbers_of(gradients: &Gradients) -> Vec<Vec<f32>> {
    match gradients {
        Gradients::Host(all) => all.clone(),
        Gradients::Device(all) => all.iter().map(|g| g.flatten_all().unwrap().to_vec1().unwrap()).collect(),
    }
}

/// Trains the micro size for some iterations; the same bits every time.
fn train(iterations: u64) -> (Config, Params, Stepper, Vec<f64>) {
    let config = Config::micro();
    let mut params = Params::new(7, &Device::Cpu);
    let network = Network::new(&config, &mut params, &Device::Cpu).unwrap();
    let settings = Settings { learning_rate: 3e-3, ema: 0.9, ..Settings::default() };
    let mut stepper = Stepper::new(&params, settings).unwrap();
    let mut errors = Vec::new();
    for iteration in 0..iterations {
        let clips: Vec<Clip> = (0..8).map(|i| clip(iteration * 8 + i, 4, &config)).collect();
        let own_past = if iteration * 2 > iterations { 0.5 } else { 0.0 };
        let recipe = Recipe { own_past, ..Recipe::default() };
        let found = loss(&network, &clips, &recipe, 3, iteration, 0).unwrap();
        errors.push(found.sharp.0 / found.sharp.1.max(1) as f64);
        let gradients = gradients(&stepper, &found.total);
        stepper.step(&gradients, 1.0).unwrap();
    }
    (config, params, stepper, errors)
}

fn saved(stepper: &Stepper, config: &Config) -> (tempfile::TempDir, Dreamer) {
    let dir = tempfile::tempdir().unwrap();
    save_folder(dir.path(), &contract(config), config, &stepper.averages().unwrap()).unwrap();
    let model = Dreamer::load(dir.path(), &Device::Cpu).unwrap();
    (dir, model)
}

#[test]
fn rounded_weights_take_half_the_file_and_load_as_the_nearest_bf16() {
    let (config, _, stepper, _) = train(1);
    let dir = tempfile::tempdir().unwrap();
    let size = |format: WeightFormat| {
        let weights = format.round(stepper.averages().unwrap()).unwrap();
        save_folder(dir.path(), &contract(&config), &config, &weights).unwrap();
        std::fs::metadata(dir.path().join("model.safetensors")).unwrap().len() as f64
    };
    let exact = size(WeightFormat::F32);
    let half = size(WeightFormat::Bf16);
    assert!((0.48..0.56).contains(&(half / exact)), "{half} of {exact} bytes");
    Dreamer::load(dir.path(), &Device::Cpu).unwrap();
    let stored = candle_core::safetensors::load(dir.path().join("model.safetensors"), &Device::Cpu).unwrap();
    for (name, tensor) in stepper.averages().unwrap() {
        let numbers = |t: &Tensor| -> Vec<f32> {
            t.to_dtype(candle_core::DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        for (exact, kept) in numbers(&tensor).iter().zip(numbers(&stored[&name])) {
            // Eight bits: half a unit of the last place at most.
            let room = if tensor.dims().len() > 1 { exact.abs() / 256.0 } else { 0.0 };
            assert!((exact - kept).abs() <= room, "{name}: {exact} became {kept}");
        }
    }
}

fn stream(seed: u64, x: i32) -> Stream {
    Stream {
        seed,
        prompt: None,
        history: vec![HistoryFrame { frame: draw(x), state: Some(vec![]), action: None }],
    }
}

fn mean_square(a: &Frame, b: &Frame) -> f64 {
    let sum: f64 = a.data.iter().zip(&b.data).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    sum / a.data.len() as f64 / (255.0 * 255.0)
}

#[test]
fn every_variable_gets_a_gradient() {
    let config = Config::micro();
    let mut params = Params::new(1, &Device::Cpu);
    let network = Network::new(&config, &mut params, &Device::Cpu).unwrap();
    let mut stepper = Stepper::new(&params, Settings::default()).unwrap();
    let recipe = Recipe {
        from_nothing: 0.5,
        flow_share: 0.5,
        own_past: 0.5,
        words_only: 0.4,
        context_blur_share: 0.5,
        ..Recipe::default()
    };
    let mut silent = Vec::new();
    // Layers that start silent let gradients through after a few steps; from then on none may be missing or zero.
    for iteration in 0..4 {
        let clips: Vec<Clip> = (0..8).map(|i| clip(i, 3, &config)).collect();
        let found = loss(&network, &clips, &recipe, 1, iteration, 0).unwrap();
        let gradients = gradients(&stepper, &found.total);
        silent = stepper
            .variables()
            .zip(&numbers_of(&gradients))
            .filter(|(_, g)| g.iter().all(|v| *v == 0.0))
            .map(|((name, _), _)| name.to_owned())
            .collect();
        stepper.step(&gradients, 1.0).unwrap();
    }
    assert_eq!(silent, Vec::<String>::new());
}

#[test]
fn a_trained_network_follows_its_actions_and_knows_its_world() {
    let (config, _, stepper, errors) = train(200);
    let tail = errors[180..].iter().sum::<f64>() / 20.0;
    assert!(tail < errors[0] * 0.4, "{} -> {tail}", errors[0]);
    let (_dir, model) = saved(&stepper, &config);
    let known = model.residual(&[], &draw(9)).unwrap();
    let mut noise = Frame::filled(32, 32, [0, 0, 0]);
    for (i, byte) in noise.data.iter_mut().enumerate() {
        *byte = (i * 7919 % 251) as u8;
    }
    let strange = model.residual(&[], &noise).unwrap();
    assert!(strange > known * 3.0, "{known} {strange}");
    for (dx, other) in [(4, -4), (-4, 4)] {
        let mut rollout = model.start(vec![stream(1, 11)], 1).unwrap();
        let mut frame = None;
        for _ in 0..2 {
            frame = rollout.step(&[Some(vec![dx as f32])]).unwrap().pop();
        }
        let frame = frame.unwrap().frame;
        let (right, wrong) =
            (mean_square(&frame, &draw(11 + 2 * dx)), mean_square(&frame, &draw(11 + 2 * other)));
        assert!(right * 4.0 < wrong, "{dx}: {right} against {wrong}");
    }
}

#[test]
fn training_again_gives_the_same_weights() {
    let bits = || -> Vec<f32> {
        let (_, _, stepper, _) = train(4);
        stepper.state().unwrap().iter().flat_map(|(_, t)| t.to_vec1::<f32>().unwrap()).collect()
    };
    assert_eq!(bits(), bits());
}

#[test]
fn a_future_does_not_depend_on_its_neighbours_and_seeds_differ() {
    let (config, _, stepper, _) = train(6);
    let (_dir, model) = saved(&stepper, &config);
    let run = |streams: Vec<Stream>| {
        let count = streams.len();
        let mut rollout = model.start(streams, 2).unwrap();
        let mut out = Vec::new();
        for _ in 0..3 {
            out.push(rollout.step(&vec![Some(vec![4.0]); count]).unwrap());
        }
        out
    };
    let alone = run(vec![stream(5, 8)]);
    let all = || vec![stream(4, 3), stream(5, 8), stream(6, 8), stream(7, 15), stream(8, 1)];
    // However many threads share them out.
    for threads in [1, 2, 3, 8] {
        let together = forerun_models::kernels::threads::with(threads, || run(all()));
        for (a, b) in alone.iter().zip(&together) {
            assert_eq!(a[0].frame, b[1].frame, "{threads} threads");
            assert_eq!((a[0].state.len(), b.len()), (b[1].state.len(), 5));
            assert_ne!(b[1].frame, b[2].frame);
        }
    }
}

#[test]
fn packed_weights_imagine_nearly_the_same_whoever_is_beside() {
    let (config, _, stepper, _) = train(60);
    let (dir, exact) = saved(&stepper, &config);
    let packed = Dreamer::load(dir.path(), &Device::Cpu).unwrap().packed().unwrap();
    let run = |model: &Dreamer, streams: Vec<Stream>| {
        let count = streams.len();
        let mut rollout = model.start(streams, 2).unwrap();
        (0..4)
            .map(|_| rollout.step(&vec![Some(vec![2.0]); count]).unwrap().remove(0).frame)
            .collect::<Vec<_>>()
    };
    let (plain, rounded) = (run(&exact, vec![stream(5, 8)]), run(&packed, vec![stream(5, 8)]));
    for (a, b) in plain.iter().zip(&rounded) {
        // 35 dB: a bf16 factor has three digits.
        assert!(mean_square(a, b) < 3.2e-4, "{}", mean_square(a, b));
    }
    assert_eq!(rounded, run(&packed, vec![stream(5, 8), stream(6, 3), stream(7, 15)]));
    // Without the instructions nothing is packed, and nothing changes.
    let wish = forerun_models::kernels::precision::with(forerun_models::kernels::Precision::Bf16, || {
        forerun_models::kernels::precision::current()
    });
    assert_eq!(plain == rounded, wish == forerun_models::kernels::Precision::F32);
}

#[test]
fn where_nothing_drives_a_future_the_network_says_what_does() {
    let (config, _, stepper, _) = train(6);
    let (_dir, model) = saved(&stepper, &config);
    for prompt in [None, Some("slide the square".to_owned())] {
        let start = || Stream { prompt: prompt.clone(), ..stream(5, 8) };
        // A driven future beside it keeps its own action.
        let mut free = model.start(vec![start(), start()], 2).unwrap();
        let made = free.step(&[None, Some(vec![4.0])]).unwrap();
        let mut driven = model.start(vec![start(), start()], 2).unwrap();
        let again = driven.step(&[Some(made[0].action.clone()), Some(vec![4.0])]).unwrap();
        assert_eq!(made[0].frame, again[0].frame);
        assert_eq!(made[1].frame, again[1].frame);
        assert!(made[0].action[0].abs() <= 4.0);
    }
}

#[test]
fn a_known_state_goes_on_from_where_it_stands() {
    // A fresh network adds nothing to what it is told, and nothing to what it is not told either.
    let config = Config::micro();
    let mut params = Params::new(7, &Device::Cpu);
    let network = Network::new(&config, &mut params, &Device::Cpu).unwrap();
    let model = Dreamer::from_parts(with_state(&config), network, String::new(), 0);
    let start = |state: f32| Stream {
        history: vec![HistoryFrame { frame: draw(8), state: Some(vec![state]), action: None }],
        ..stream(1, 8)
    };
    let mut rollout = model.start(vec![start(2.5), start(f32::NAN)], 1).unwrap();
    for _ in 0..3 {
        let made = rollout.step(&[Some(vec![4.0]), Some(vec![4.0])]).unwrap();
        assert!((made[0].state[0] - 2.5).abs() < 1e-5, "{}", made[0].state[0]);
        assert!((made[1].state[0] - 2.5).abs() > 1e-3);
    }
}

/// A policy of fresh weights in the model's folder: what it does is nothing learnt, but it is what it does.
fn put_intent(model: &std::path::Path, change: impl Fn(&mut Contract)) -> Policy {
    let base = PolicyConfig::by_name("micro", Kind::Direct).unwrap();
    let config = PolicyConfig {
        looks: vec![Look::Now, Look::Start],
        scaling: Scaling::unit(1, 1, base.chunk),
        ..base
    };
    let mut params = Params::new(11, &Device::Cpu);
    PolicyNetwork::new(&config, &mut params, &Device::Cpu).unwrap();
    let weights: Vec<_> = params.iter().map(|(name, t)| (name.to_owned(), t.clone())).collect();
    let mut contract = with_state(&Config::micro());
    contract.family = policy::FAMILY.into();
    change(&mut contract);
    let folder = model.join("intent");
    policy::save_folder(&folder, &contract, &config, &weights).unwrap();
    Policy::load(&folder, &Device::Cpu).unwrap()
}

fn with_state(config: &Config) -> Contract {
    Contract { state: contract(config).actions, ..contract(config) }
}

#[test]
fn words_are_led_by_the_policy_in_the_folder() {
    let (config, _, stepper, _) = train(2);
    let dir = tempfile::tempdir().unwrap();
    save_folder(dir.path(), &with_state(&config), &config, &stepper.averages().unwrap()).unwrap();
    let load = || Dreamer::load(dir.path(), &Device::Cpu);
    let start = |words: Option<&str>, state: Option<f32>| Stream {
        seed: 3,
        prompt: words.map(Into::into),
        history: vec![HistoryFrame { frame: draw(8), state: state.map(|s| vec![s]), action: None }],
    };
    let go = |model: &Dreamer, streams: Vec<Stream>, steps: usize| {
        let free = vec![None; streams.len()];
        let mut rollout = model.start(streams, 1).unwrap();
        (0..steps).map(|_| rollout.step(&free).unwrap()).collect::<Vec<_>>()
    };
    let words = Some("slide the square");
    let cases = || vec![start(words, Some(0.5)), start(None, Some(0.5)), start(words, None)];
    let without = go(&load().unwrap(), cases(), 2);

    let policy = put_intent(dir.path(), |_| ());
    let model = load().unwrap();
    let led = go(&model, cases(), 2);
    let frame = draw(8);
    let seen =
        Seen { now: &frame, before: None, start: Some(&frame), goal: None, state: &[0.5], prompt: words };
    let drawn = |seed: u64| Draw { seed, number: 0, temperature: VARIETY };
    let mut plans = policy.plan(&[seen], &[vec![drawn(3), drawn(4)]]).unwrap().remove(0);
    let (other, plan) = (plans.remove(1), plans.remove(0));
    assert_ne!(other, plan);
    for (made, meant) in led.iter().zip(&plan) {
        assert_eq!(made[0].action, [meant[0].clamp(-4.0, 4.0)]);
    }
    assert_ne!(led[0][0].action, without[0][0].action);
    // Nobody leads without words, and nobody can where it is not known how the robot stands, before a frame has said so.
    assert_eq!(led[0][1].action, without[0][1].action);
    assert_eq!(led[0][2].action, without[0][2].action);
    assert_ne!(led[1][2].action, without[1][2].action);
    // The picture is that of the action.
    let mut driven = model.start(vec![start(words, Some(0.5))], 1).unwrap();
    let driven = driven.step(&[Some(led[0][0].action.clone())]).unwrap();
    let alone = go(&model, vec![start(words, Some(0.5))], 1);
    assert_eq!(driven[0].frame, alone[0][0].frame);

    // Another robot's policy, and one that is broken, are no policies of this model.
    let refused = |change: &dyn Fn(&mut Contract)| {
        put_intent(dir.path(), change);
        load().err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert!(refused(&|c| c.actions[0].unit = "deg".into()).contains("other names"));
    assert!(refused(&|c| c.text = false).contains("words"));
    assert!(refused(&|c| c.frame.rate_hz = 30.0).contains("30"));
    std::fs::write(dir.path().join("intent/model.safetensors"), "no").unwrap();
    assert!(load().is_err());
}

#[test]
fn a_start_from_nothing_makes_a_picture() {
    let (config, _, stepper, _) = train(6);
    let (_dir, model) = saved(&stepper, &config);
    let stream = Stream { seed: 1, prompt: Some("slide the square".into()), history: vec![] };
    let mut rollout = model.start(vec![stream], 4).unwrap();
    let made = rollout.step(&[None]).unwrap();
    assert_eq!((made[0].frame.width, made[0].frame.height), (32, 32));
    assert_eq!(made[0].reading.len(), config.readings.len());
}

#[test]
fn wrong_folders_are_refused_with_advice() {
    let (config, _, stepper, _) = train(1);
    let (dir, _) = saved(&stepper, &config);
    let path = dir.path();
    let load = || Dreamer::load(path, &Device::Cpu).err().map(|e| e.to_string()).unwrap_or_default();
    assert_eq!(load(), "");

    let whole = std::fs::read(path.join("model.safetensors")).unwrap();
    std::fs::write(path.join("model.safetensors"), &whole[..whole.len() / 2]).unwrap();
    assert!(load().contains("model.safetensors"), "{}", load());
    std::fs::write(path.join("model.safetensors"), &whole).unwrap();

    let text = std::fs::read_to_string(path.join("config.json")).unwrap();
    std::fs::write(path.join("config.json"), text.replace("\"width\": 64", "\"width\": 128")).unwrap();
    assert!(load().contains("shape"), "{}", load());
    std::fs::write(path.join("config.json"), &text).unwrap();

    let text = std::fs::read_to_string(path.join("contract.json")).unwrap();
    std::fs::write(path.join("contract.json"), text.replace("\"format\": 1", "\"format\": 9")).unwrap();
    assert!(load().contains("Update Forerun"), "{}", load());
    std::fs::remove_file(path.join("contract.json")).unwrap();
    assert!(load().contains("contract.json"), "{}", load());
}
