//! The networks of our own by candle's own operations, which is what a graphics card runs, beside our kernels: outputs,
//! losses, gradients, steps of the optimiser, futures and plans. While stock operations are forced, a kernel that is
//! reached is an error: nothing on these ways knows only the processor.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use forerun_models::dreamer::adapt::Weights;
use forerun_models::dreamer::lora::{Lora, LoraTargets};
use forerun_models::dreamer::{
    CHANNEL_SLOTS, Clip, Config, Dreamer, HistoryFrame, Network, Recipe, Stream, loss,
};
use forerun_models::nn::Params;
use forerun_models::nn::path::{self, Path};
use forerun_models::optim::{Gradients, Settings, Stepper};
use forerun_models::random::{Random, stream_of};
use forerun_models::{Frame, policy, testing};

const CPU: Device = Device::Cpu;

fn normal(stream: u64, count: usize) -> Vec<f32> {
    let mut values = vec![0.0; count];
    Random::new(11, stream, 0).fill_normal(0, &mut values);
    values
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Largest difference over the largest size; not a number is infinitely far.
fn apart(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = b.iter().fold(1e-6_f32, |m, v| m.max(v.abs()));
    a.iter().zip(b).fold(0.0, |m, (a, b)| {
        let d = (a - b).abs() / largest;
        if d.is_nan() { f32::INFINITY } else { m.max(d) }
    })
}

/// Root of the mean squared difference: Adam divides by sizes, which makes much of the little that a few weights get.
fn rms(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let sum: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    (sum / a.len() as f64).sqrt()
}

/// Weights away from their silent start, the same for every call.
fn stirred(params: &Params) -> Weights {
    let stir = |name: &str, tensor: &Tensor| {
        let noise = Tensor::from_vec(normal(stream_of(name), tensor.elem_count()), tensor.shape(), &CPU);
        (tensor.detach() + (noise.unwrap() * 0.05).unwrap()).unwrap()
    };
    params.iter().map(|(name, tensor)| (name.to_owned(), stir(name, tensor))).collect()
}

/// The micro size with motion, a refiner, both ways of relative channels and words: everything that a network can have.
fn config() -> Config {
    let mut config = Config::micro();
    config.motion_cells = 2;
    config.refiner = 8;
    config.relative_scale = 16.0;
    assert!(
        config.text_width > 0 && config.refiner > 0 && config.problem().is_none(),
        "{:?}",
        config.problem()
    );
    config
}

fn trainable(config: &Config) -> (Params, Network) {
    let mut fresh = Params::new(7, &CPU);
    Network::new(config, &mut fresh, &CPU).unwrap();
    let mut params = Params::new(7, &CPU);
    for (name, tensor) in stirred(&fresh) {
        params.insert(&name, tensor).unwrap();
    }
    let network = Network::new(config, &mut params, &CPU).unwrap();
    (params, network)
}

fn clips(config: &Config) -> Vec<Clip> {
    let (steps, readings) = (3, config.readings.len());
    let one = |seed: u64| {
        let tame = |count: usize, stream: u64| -> Vec<f32> {
            normal(seed * 10 + stream, count).into_iter().map(|v| (v * 0.4).clamp(-1.0, 1.0)).collect()
        };
        Clip {
            frames: tame((steps + 1) * config.patches() * config.patch_values(), 1),
            action: tame(steps * CHANNEL_SLOTS, 2),
            action_mask: vec![1.0; CHANNEL_SLOTS],
            state: tame((steps + 1) * CHANNEL_SLOTS, 3),
            state_mask: vec![1.0; CHANNEL_SLOTS],
            readings: vec![0.5; steps * readings],
            readings_mask: vec![1.0; steps * readings],
            prompt: Some("push the red cube".into()),
            told: true,
            embodiment: 0,
        }
    };
    (1..7).map(one).collect()
}

/// Every case that training mixes, own rollouts included.
fn recipe() -> Recipe {
    Recipe { from_nothing: 0.3, flow_share: 0.5, own_past: 0.5, words_only: 0.3, ..Recipe::default() }
}

/// Total loss and the gradient of each variable.
fn learn(network: &Network, params: &Params, iteration: u64) -> (f32, Vec<(String, Vec<f32>)>) {
    let clips = clips(network.config());
    let found = loss(network, &clips, &recipe(), 3, iteration, 0).unwrap();
    let grads = found.total.backward().unwrap();
    let gradient = |(name, var): (&str, &candle_core::Var)| {
        let gradient = grads.get(var).unwrap_or_else(|| panic!("{name} gets no gradient"));
        (name.to_owned(), numbers(gradient))
    };
    (found.total.to_scalar().unwrap(), params.trainable().map(gradient).collect())
}

#[test]
fn the_dreamers_loss_and_all_its_gradients_agree() {
    let config = config();
    let (params, network) = trainable(&config);
    for iteration in 0..3 {
        let (kernels, gradients) = learn(&network, &params, iteration);
        let (stock, plain) = path::with(Path::Stock, || learn(&network, &params, iteration));
        assert!((kernels - stock).abs() < 2e-5 * stock.abs(), "{kernels} and {stock}");
        for ((name, a), (_, b)) in gradients.iter().zip(&plain) {
            let d = apart(a, b);
            assert!(d < 2e-3, "iteration {iteration}, {name}: {d}");
        }
    }
}

/// Trains for some steps; weights, averages and checkpoint.
fn trained(steps: u64, muon: bool, from: Option<&HashMap<String, Tensor>>) -> (Vec<f32>, Stepper) {
    let config = config();
    let (params, network) = trainable(&config);
    let settings = Settings { learning_rate: 1e-3, muon, ema: 0.9, ..Settings::default() };
    let mut stepper = Stepper::new(&params, settings).unwrap();
    if let Some(state) = from {
        stepper.restore(2, state).unwrap();
    }
    let clips = clips(&config);
    while stepper.iteration < steps {
        let found = loss(&network, &clips, &recipe(), 3, stepper.iteration, 0).unwrap();
        let grads = found.total.backward().unwrap();
        let variables: Vec<_> = stepper.variables().map(|(_, var)| var.clone()).collect();
        let mut gradients = Gradients::of(&grads, &variables).unwrap();
        // Twice the gradients and half of them is what micro-batches do.
        gradients.add(Gradients::of(&grads, &variables).unwrap(), 0.5).unwrap();
        gradients.divide(1.5).unwrap();
        let norm = stepper.step(&gradients, 1.0).unwrap();
        assert!(norm.is_finite() && norm > 0.0);
    }
    (stepper.averages().unwrap().iter().flat_map(|(_, t)| numbers(t)).collect(), stepper)
}

#[test]
fn training_with_the_optimiser_on_the_device_agrees_and_goes_on_from_either_checkpoint() {
    for muon in [false, true] {
        let start = trained(0, muon, None).0;
        let (kernels, host) = trained(4, muon, None);
        let (stock, card) = path::with(Path::Stock, || trained(4, muon, None));
        // Against how far the steps went.
        let moved = rms(&kernels, &start);
        let d = rms(&kernels, &stock);
        assert!(d < 0.02 * moved, "muon {muon}: {d} apart after moving {moved}");
        // The checkpoints have the same parts and sizes, and each goes on on the other path.
        let parts = |stepper: &Stepper| -> Vec<(String, usize)> {
            stepper.state().unwrap().iter().map(|(name, t)| (name.clone(), t.elem_count())).collect()
        };
        assert_eq!(parts(&host), parts(&card));
        let half: HashMap<_, _> = trained(2, muon, None).1.state().unwrap().into_iter().collect();
        let crossed = path::with(Path::Stock, || trained(4, muon, Some(&half)).0);
        let d = rms(&crossed, &kernels);
        assert!(d < 0.02 * moved, "muon {muon}: resumed {d} apart");
        // On one path a run that goes on is the run that was never stopped.
        let on_card = || {
            let half: HashMap<_, _> = trained(2, muon, None).1.state().unwrap().into_iter().collect();
            trained(4, muon, Some(&half)).0
        };
        assert_eq!(path::with(Path::Stock, on_card), stock);
    }
}

#[test]
fn gradients_that_are_not_numbers_change_nothing_on_the_device_either() {
    path::with(Path::Stock, || {
        let mut params = Params::new(5, &CPU);
        params.tensor("w", 4, forerun_models::nn::Init::Ones).unwrap();
        let mut stepper = Stepper::new(&params, Settings::default()).unwrap();
        let bad = Tensor::new(&[f32::NAN, 0.0, 0.0, 0.0], &CPU).unwrap();
        assert!(!stepper.step(&Gradients::Device(vec![bad]), 1.0).unwrap().is_finite());
        assert_eq!(stepper.iteration, 0);
        assert_eq!(numbers(params.get("w").unwrap()), [1.0; 4]);
        // Plain numbers belong to the processor's optimiser, another shape to nobody.
        assert!(stepper.step(&vec![vec![0.0; 4]].into(), 1.0).is_err());
        let other = Tensor::new(&[0.0_f32; 3], &CPU).unwrap();
        assert!(stepper.step(&Gradients::Device(vec![other]), 1.0).is_err());
    });
}

#[test]
fn an_adapters_gradients_and_its_merged_weights_agree() {
    let config = config();
    let mut params = Params::new(7, &CPU);
    Network::new(&config, &mut params, &CPU).unwrap();
    let weights = stirred(&params);
    let run = || {
        let lora = Lora::new(&config, &weights, 4, LoraTargets::All, 1, &CPU).unwrap();
        let network = lora.network().unwrap();
        let (total, gradients) = learn(&network, lora.params(), 0);
        let averages: Weights = Stepper::new(lora.params(), Settings::default())
            .unwrap()
            .averages()
            .unwrap()
            .into_iter()
            .collect();
        let merged: Vec<f32> = lora.merged(&averages).unwrap().values().flat_map(numbers).collect();
        (total, gradients, merged)
    };
    let (total, gradients, merged) = run();
    let (plain_total, plain, plain_merged) = path::with(Path::Stock, run);
    assert!((total - plain_total).abs() < 2e-5 * total.abs());
    assert!(apart(&merged, &plain_merged) < 1e-6);
    for ((name, a), (_, b)) in gradients.iter().zip(&plain) {
        assert!(apart(a, b) < 2e-3, "{name}: {}", apart(a, b));
    }
}

#[test]
fn futures_agree_frame_by_frame() {
    let dir = tempfile::tempdir().unwrap();
    let contract = testing::random_model(dir.path(), 5).unwrap();
    let (width, height) = (contract.frame.width, contract.frame.height);
    let frame = |t: usize| {
        let data = (0..width * height * 3).map(|i| ((i * 7 + t * 40) % 256) as u8).collect();
        Frame::new(width, height, data).unwrap()
    };
    let values = Some(vec![3.0; contract.actions.len()]);
    let future = || {
        let model = Dreamer::load(dir.path(), &CPU).unwrap();
        let held = |t| HistoryFrame { frame: frame(t), state: values.clone(), action: values.clone() };
        let stream = |seed| Stream {
            seed,
            prompt: Some("push the red cube".into()),
            history: vec![held(0), held(1), held(2)],
        };
        let mut rollout = model.start(vec![stream(1), stream(2)], 3).unwrap();
        // Further than the window of the cache; with numbers, and with words alone.
        let mut all = Vec::new();
        for step in 0..model.network().config().window + 3 {
            let action = if step % 3 == 2 { None } else { values.clone() };
            all.extend(rollout.step(&[action.clone(), action]).unwrap());
        }
        all.push(model.start(vec![stream(3)], 1).unwrap().step(&[None]).unwrap().remove(0));
        (all, model.residual(&[], &frame(4)).unwrap())
    };
    let (kernels, residual) = future();
    let (stock, plain_residual) = path::with(Path::Stock, future);
    for (i, (a, b)) in kernels.iter().zip(&stock).enumerate() {
        let worst = a.frame.data.iter().zip(&b.frame.data).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(worst <= 2, "frame {i}: {worst} levels");
        assert!(apart(&a.state, &b.state) < 1e-2, "frame {i}: state {}", apart(&a.state, &b.state));
    }
    assert!((residual - plain_residual).abs() < 1e-4 * residual);
}

fn policy_config() -> policy::Config {
    let mut config = policy::Config::by_name("micro", policy::Kind::Direct).unwrap();
    config.scaling = policy::Scaling::unit(3, 2, config.chunk);
    assert!(config.problem().is_none(), "{:?}", config.problem());
    config
}

#[test]
fn a_policys_loss_gradients_and_plans_agree() {
    let config = policy_config();
    let mut fresh = Params::new(3, &CPU);
    policy::Network::new(&config, &mut fresh, &CPU).unwrap();
    let mut params = Params::new(3, &CPU);
    for (name, tensor) in stirred(&fresh) {
        params.insert(&name, tensor).unwrap();
    }
    let network = policy::Network::new(&config, &mut params, &CPU).unwrap();
    let readings = config.readings.len().max(1);
    let example = |seed: u64| policy::Example {
        pictures: normal(seed, config.patches() * config.token_values()),
        state: normal(seed + 50, config.state().max(1)),
        chunk: normal(seed + 100, config.chunk * config.actions()),
        chunk_mask: vec![1.0; config.chunk * config.actions()],
        prompt: Some("push the cube to the left".into()),
        readings: vec![0.5; readings],
        readings_mask: vec![1.0; readings],
    };
    let examples: Vec<_> = (1..5).map(example).collect();
    let learn = || {
        let found = policy::loss(&network, &examples, &policy::Recipe::default(), 1, 0, 0).unwrap();
        let grads = found.total.backward().unwrap();
        let gradients: Vec<(String, Vec<f32>)> = params
            .trainable()
            .map(|(name, var)| {
                let gradient = grads.get(var).unwrap_or_else(|| panic!("{name} gets no gradient"));
                (name.to_owned(), numbers(gradient))
            })
            .collect();
        (found.total.to_scalar::<f32>().unwrap(), gradients)
    };
    let (kernels, gradients) = learn();
    let (stock, plain) = path::with(Path::Stock, learn);
    assert!((kernels - stock).abs() < 2e-5 * stock.abs(), "{kernels} and {stock}");
    for ((name, a), (_, b)) in gradients.iter().zip(&plain) {
        assert!(apart(a, b) < 2e-3, "{name}: {}", apart(a, b));
    }

    let mut frozen = Params::frozen(&CPU);
    for (name, tensor) in stirred(&fresh) {
        frozen.insert(&name, tensor).unwrap();
    }
    let network = policy::Network::new(&config, &mut frozen, &CPU).unwrap();
    let policy = policy::Policy::from_parts(testing::random_contract(), network, String::new(), 0);
    let frame = Frame::filled(config.image_width, config.image_height, [90, 40, 200]);
    let seen = policy::Seen {
        now: &frame,
        before: None,
        start: None,
        goal: Some(&frame),
        state: &[0.3, -0.2],
        prompt: Some("push"),
    };
    let drawn = policy::Draw { seed: 2, number: 1, temperature: 1.0 };
    let plan =
        || policy.plan(&[seen], &[vec![policy::Draw::MEAN, drawn]]).unwrap().concat().concat().concat();
    let (kernels, stock) = (plan(), path::with(Path::Stock, plan));
    assert!(apart(&kernels, &stock) < 1e-4, "{}", apart(&kernels, &stock));
}
