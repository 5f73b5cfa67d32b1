//! The shaders against the processor's kernels: one model, two places, the same futures. Needs a driver for Vulkan, Metal
//! or Direct3D 12; one that computes in software will do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use candle_core::{Device, Tensor};
use forerun_gpu::Card;
use forerun_models::dreamer::{Config, Dreamer, HistoryFrame, Imagined, Network, Stream, Weights};
use forerun_models::kernels::warp::Sampling;
use forerun_models::nn::Params;
use forerun_models::random::{Random, stream_of};
use forerun_models::{Contract, Frame, testing};

/// Whether there is a driver. Where there is none the tests say that they were left out; in continuous integration that is
/// a failure.
fn driver() -> bool {
    let there = !forerun_gpu::cards().is_empty();
    if !there {
        assert!(
            std::env::var_os("CI").is_none(),
            "no driver; a software one does (Debian: mesa-vulkan-drivers)"
        );
        eprintln!("left out: no driver for Vulkan, Metal or Direct3D 12 (Debian: mesa-vulkan-drivers)");
    }
    there
}

/// The best card, opened once.
fn card() -> Arc<Card> {
    static CARD: LazyLock<Arc<Card>> = LazyLock::new(|| Arc::new(forerun_gpu::open(0).unwrap()));
    CARD.clone()
}

fn numbers(key: u64, count: usize) -> Vec<f32> {
    let mut numbers = vec![0.0; count];
    Random::new(7, stream_of("agreement"), key).fill_normal(0, &mut numbers);
    numbers
}

/// Weights that hide nothing: fresh gates and outputs are zero.
fn weights(config: &Config) -> Weights {
    let mut params = Params::new(3, &Device::Cpu);
    Network::new(config, &mut params, &Device::Cpu).unwrap();
    let stirred = params.iter().enumerate().map(|(i, (name, tensor))| {
        let noise = Tensor::from_vec(numbers(i as u64, tensor.elem_count()), tensor.shape(), &Device::Cpu);
        (name.to_owned(), (tensor.detach() + (noise.unwrap() * 0.1).unwrap()).unwrap())
    });
    stirred.collect()
}

fn contract(config: &Config) -> Contract {
    let mut contract = testing::random_contract();
    (contract.frame.width, contract.frame.height) = (config.image_width, config.image_height);
    contract
}

/// The model on the processor and on the card.
fn pair(config: &Config) -> (Dreamer, Dreamer) {
    let weights = weights(config);
    let made = || Dreamer::from_weights(contract(config), config, &weights, &Device::Cpu).unwrap();
    (made(), made().on_card(card(), &weights).unwrap())
}

fn picture(contract: &Contract, key: u64) -> Frame {
    let (width, height) = (contract.frame.width, contract.frame.height);
    let data = numbers(key, width * height * 3).iter().map(|v| (128.0 + 60.0 * v) as u8).collect();
    Frame::new(width, height, data).unwrap()
}

fn streams(contract: &Contract, futures: u64, known: u64) -> Vec<Stream> {
    let state = |key| numbers(key, contract.state.len()).iter().map(|v| v * 40.0).collect::<Vec<f32>>();
    let stream = |seed: u64| Stream {
        seed,
        prompt: (seed % 2 == 1 && contract.text).then(|| "push the red cube to the left".to_owned()),
        history: (0..known)
            .map(|at| HistoryFrame {
                frame: picture(contract, 100 * seed + at),
                state: (seed != 2).then(|| state(seed + at)),
                action: Some(state(50 + seed + at)),
            })
            .collect(),
    };
    (0..futures).map(stream).collect()
}

fn imagine(model: &Dreamer, streams: Vec<Stream>, steps: u64, refine: usize) -> Vec<Vec<Imagined>> {
    let (futures, channels) = (streams.len() as u64, model.contract().actions.len());
    let mut rollout = model.start(streams, refine).unwrap();
    let action = |step: u64, future: u64| {
        // Every third future is free.
        let free = future % 3 == 2;
        (!free).then(|| numbers(1000 + step * 10 + future, channels).iter().map(|v| v * 40.0).collect())
    };
    (0..steps)
        .map(|step| rollout.step(&(0..futures).map(|i| action(step, i)).collect::<Vec<_>>()).unwrap())
        .collect()
}

/// Most difference of pixels (of 255) and of readings, states and actions (relative to 1).
fn differences(a: &[Vec<Imagined>], b: &[Vec<Imagined>]) -> (u8, f32) {
    let (mut pixels, mut values) = (0, 0.0_f32);
    for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
        let all = a.frame.data.iter().zip(&b.frame.data);
        pixels = all.map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0).max(pixels);
        let said = a.reading.iter().zip(&b.reading).map(|((_, a), (_, b))| (*a, *b));
        let numbers = a.state.iter().zip(&b.state).chain(a.action.iter().zip(&b.action));
        for (a, b) in said.chain(numbers.map(|(a, b)| (*a, *b))) {
            let far = (a - b).abs() / a.abs().max(1.0);
            // What is not a number is as far as can be.
            values = values.max(if far.is_nan() { f32::INFINITY } else { far });
        }
    }
    (pixels, values)
}

fn agree(what: &str, config: &Config, futures: u64, known: u64, steps: u64, refine: usize) {
    // Each frame is made from the last, by random weights: what differs grows.
    let most = 1e-3 * steps as f32;
    let (here, there) = pair(config);
    let start = || streams(here.contract(), futures, known);
    let a = imagine(&here, start(), steps, refine);
    let b = imagine(&there, start(), steps, refine);
    let (pixels, values) = differences(&a, &b);
    assert!(pixels <= 1 && values < most, "{what}: pixels differ by {pixels}, values by {values}");
    let shown = a.iter().flatten().flat_map(|f| &f.frame.data).filter(|v| ![0, 255].contains(v)).count();
    assert!(shown > 0, "{what}: nothing but black and white to compare");
}

#[test]
fn futures_agree_with_the_processors() {
    if !driver() {
        return;
    }
    let micro = Config::micro();
    // Beyond the window of 8 steps, several futures, given and own actions.
    agree("micro", &micro, 3, 2, 11, 1);
    agree("refined", &micro, 2, 1, 3, 4);
    agree("from nothing", &micro, 1, 0, 3, 2);
}

#[test]
fn other_shapes_agree_too() {
    if !driver() {
        return;
    }
    let micro = Config::micro();
    let fine = Config { refiner: 8, ..micro.clone() };
    agree("with a refiner", &fine, 2, 1, 3, 1);
    let still = Config { motion_cells: 0, ..micro.clone() };
    agree("no motion", &still, 1, 1, 2, 1);
    let linear = Config { motion_sampling: Sampling::Bilinear, motion_cells: 2, ..micro.clone() };
    agree("bilinear", &linear, 1, 1, 2, 1);
    // Not a square, three heads of 20, sizes that fill no tile, time attention in every block over two steps.
    let odd = Config {
        image_width: 48,
        image_height: 24,
        width: 60,
        heads: 3,
        layers: 3,
        registers: 1,
        time_every: 1,
        window: 2,
        feed_forward: 100,
        relative_scale: 0.0,
        text_width: 0,
        ..micro
    };
    agree("odd", &odd, 2, 2, 4, 2);
    // More tokens than a workgroup has queries.
    let many = Config { image_width: 96, image_height: 64, ..Config::micro() };
    agree("many tokens", &many, 1, 1, 2, 1);
}

#[test]
fn a_second_run_makes_the_same_bits() {
    if !driver() {
        return;
    }
    let (_, there) = pair(&Config::micro());
    let start = || streams(there.contract(), 2, 2);
    let (a, b) = (imagine(&there, start(), 4, 2), imagine(&there, start(), 4, 2));
    for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
        assert_eq!(a.frame, b.frame);
        assert_eq!(a.reading, b.reading);
    }
    let other = imagine(&there, streams(there.contract(), 3, 2).split_off(1), 1, 1);
    assert_ne!(other[0][0].frame, a[0][0].frame);
}

#[test]
fn the_shipped_model_agrees() {
    if !driver() {
        return;
    }
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../assets/models/tabletop");
    let here = Dreamer::load(&folder, &Device::Cpu).unwrap();
    let there = Dreamer::load_on(&folder, card()).unwrap();
    assert_eq!((here.sha256(), here.parameters()), (there.sha256(), there.parameters()));
    let start = || streams(here.contract(), 2, 2);
    let (a, b) = (imagine(&here, start(), 3, 2), imagine(&there, start(), 3, 2));
    let (pixels, values) = differences(&a, &b);
    assert!(pixels <= 1 && values < 2e-3, "pixels differ by {pixels}, values by {values}");
    // How unlike the training data a picture is, too: it goes through a pass of its own.
    let frame = picture(here.contract(), 1);
    let [x, y] = [&here, &there].map(|model| model.residual(&[], &frame).unwrap());
    assert!((x - y).abs() < 1e-3 * x.abs().max(1e-3), "{x} and {y}");
}

#[test]
fn what_does_not_fit_is_refused_in_words() {
    if !driver() {
        return;
    }
    let long = Config { window: 4096, ..Config::micro() };
    let weights = weights(&long);
    let made = Dreamer::from_weights(contract(&long), &long, &weights, &Device::Cpu).unwrap();
    let there = made.on_card(card(), &weights).unwrap();
    let refused = there.start(streams(there.contract(), 256, 1), 1).err().unwrap().to_string();
    assert!(refused.contains("256 futures") && refused.contains("MB"), "{refused}");

    let short: Weights =
        weights.iter().filter(|(name, _)| *name != "place").map(|(n, t)| (n.clone(), t.clone())).collect();
    let made = Dreamer::from_weights(contract(&long), &long, &weights, &Device::Cpu).unwrap();
    let there = made.on_card(card(), &short).unwrap();
    let refused = there.start(streams(there.contract(), 1, 1), 1).err().unwrap().to_string();
    assert!(refused.contains("`place`"), "{refused}");

    let refused = forerun_gpu::open(99).err().unwrap().to_string();
    assert!(refused.contains("counted from 0"), "{refused}");
}
