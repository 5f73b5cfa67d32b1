//! Every fused operation against the same formula in plain candle operations: values and all gradients. The plain ones
//! are also reached through the very call that the networks make, as on a graphics card.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use candle_core::{Device, Result, Tensor, Var};
use forerun_models::common::{Mask, attention};
use forerun_models::kernels::warp::{Sampling, Warp};
use forerun_models::kernels::{Precision, precision, threads};
use forerun_models::nn::path::{self, Path};
use forerun_models::nn::{RopeTable, TimeCache, ops, rope_axial_2d, rope_table, stock};
use forerun_models::random::Random;

fn random(dims: &[usize], stream: u64) -> Tensor {
    let mut values = vec![0.0; dims.iter().product()];
    Random::new(42, stream, 0).fill_normal(0, &mut values);
    Tensor::from_vec(values, dims, &Device::Cpu).unwrap()
}

fn numbers(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// Largest difference over the largest size.
fn difference(got: &Tensor, want: &Tensor) -> f32 {
    assert_eq!(got.dims(), want.dims());
    let (got, want) = (numbers(got), numbers(want));
    let largest = want.iter().fold(1e-6_f32, |m, v| m.max(v.abs()));
    got.iter().zip(&want).fold(0.0_f32, |m, (g, w)| {
        // NaN must not hide behind a maximum.
        if g.is_nan() || w.is_nan() { f32::INFINITY } else { m.max((g - w).abs() / largest) }
    })
}

/// Value and gradients of `f` for a random weighting of its result.
fn run(inputs: &[Tensor], f: &dyn Fn(&[Tensor]) -> Result<Tensor>) -> (Tensor, Vec<Tensor>) {
    let vars: Vec<Var> = inputs.iter().map(|t| Var::from_tensor(t).unwrap()).collect();
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let out = f(&tensors).unwrap();
    let weighted = (&out * random(out.dims(), 99)).unwrap().sum_all().unwrap();
    let grads = weighted.backward().unwrap();
    let grads = vars
        .iter()
        .enumerate()
        .map(|(i, v)| grads.get(v).unwrap_or_else(|| panic!("input {i} got no gradient")).clone())
        .collect();
    (out, grads)
}

/// Compares fused and stock, and one thread with two.
fn compare(
    name: &str,
    inputs: &[Tensor],
    fused: &dyn Fn(&[Tensor]) -> Result<Tensor>,
    stock: &dyn Fn(&[Tensor]) -> Result<Tensor>,
) {
    let (want, want_grads) = run(inputs, stock);
    let (got, grads) = threads::with(1, || run(inputs, fused));
    let d = difference(&got, &want);
    assert!(d < 4e-6, "{name}: values differ by {d}");
    for (i, (g, w)) in grads.iter().zip(&want_grads).enumerate() {
        let d = difference(g, w);
        assert!(d < 5e-6, "{name}: gradient {i} differs by {d}");
    }
    // What a graphics card would run: no kernel is reached (one would be an error), nothing is lost on the way.
    let (forced, forced_grads) = path::with(Path::Stock, || run(inputs, fused));
    assert_eq!(numbers(&forced), numbers(&want), "{name}: the forced path is not the stock one");
    for (i, (g, w)) in forced_grads.iter().zip(&want_grads).enumerate() {
        assert_eq!(numbers(g), numbers(w), "{name}: gradient {i} of the forced path");
    }
    let (again, grads_again) = threads::with(2, || run(inputs, fused));
    assert_eq!(numbers(&got), numbers(&again), "{name}: threads change the value");
    for (a, b) in grads.iter().zip(&grads_again) {
        assert_eq!(numbers(a), numbers(b), "{name}: threads change a gradient");
    }
}

#[test]
fn linear_agrees_with_stock() {
    for (lead, k, n) in [(vec![1], 1, 1), (vec![5], 7, 3), (vec![2, 3, 11], 33, 65), (vec![600], 48, 200)] {
        let mut dims = lead.clone();
        dims.push(k);
        let inputs = [random(&dims, 1), random(&[n, k], 2), random(&[n], 3)];
        compare("linear with bias", &inputs, &|t| ops::linear(&t[0], &t[1], Some(&t[2])), &|t| {
            stock::linear(&t[0], &t[1], Some(&t[2]))
        });
        compare("linear", &inputs[..2], &|t| ops::linear(&t[0], &t[1], None), &|t| {
            stock::linear(&t[0], &t[1], None)
        });
    }
}

#[test]
fn norms_and_gates_agree_with_stock() {
    for (g, s, d, c) in [(1, 1, 2, 2), (3, 5, 7, 3), (2, 68, 64, 6), (9, 130, 96, 6)] {
        let x = random(&[g, s, d], 1);
        let m = (random(&[g, c * d], 2) * 0.5).unwrap();
        compare(
            "norm_modulate",
            &[x.clone(), m.clone()],
            &|t| ops::norm_modulate(&t[0], &t[1], c - 1, 0, 1e-5),
            &|t| stock::norm_modulate(&t[0], &t[1], c - 1, 0, 1e-5),
        );
        let y = random(&[g, s, d], 3);
        compare(
            "gate_residual",
            &[x.clone(), y, m],
            &|t| ops::gate_residual(&t[0], &t[1], &t[2], c - 1),
            &|t| stock::gate_residual(&t[0], &t[1], &t[2], c - 1),
        );
        compare("rms_norm", &[x, random(&[d], 4)], &|t| ops::rms_norm(&t[0], &t[1], 1e-6), &|t| {
            stock::rms_norm(&t[0], &t[1], 1e-6)
        });
    }
}

#[test]
fn activations_agree_with_stock() {
    for dims in [vec![2], vec![3, 14], vec![2, 70, 700]] {
        let x = (random(&dims, 1) * 3.0).unwrap();
        compare("swiglu", std::slice::from_ref(&x), &|t| ops::swiglu(&t[0]), &|t| stock::swiglu(&t[0]));
        compare("silu", &[x], &|t| ops::silu(&t[0]), &|t| t[0].silu());
    }
}

#[test]
fn blends_and_weighted_squares_agree_with_stock() {
    for (g, p, pixels) in [(1, 1, 1), (2, 5, 7), (3, 64, 256)] {
        let context = random(&[g, p, 3 * pixels], 1);
        let inputs =
            [random(&[g, p, 3 * pixels], 2), random(&[g, p, 4 * pixels], 3), random(&[g, p, pixels], 4)];
        compare("blend", &inputs, &|t| ops::blend(&context, &t[0], &t[1], &t[2]), &|t| {
            stock::blend(&context, &t[0], &t[1], &t[2])
        });
        let weight = random(&[g, p, 3 * pixels], 5).abs().unwrap();
        compare(
            "weighted_squares",
            &inputs[..1],
            &|t| ops::weighted_squares(&t[0], &context, &weight),
            &|t| ((&t[0] - &context)?.sqr()? * &weight)?.mean_all(),
        );
    }
    let x = random(&[1, 2, 6], 1);
    assert!(ops::blend(&x, &x, &random(&[1, 2, 8], 2), &random(&[1, 2, 3], 3)).is_err());
    let tracked = Var::from_tensor(&x).unwrap();
    let refused = ops::blend(tracked.as_tensor(), &x, &random(&[1, 2, 8], 2), &random(&[1, 2, 2], 3));
    assert!(refused.unwrap_err().to_string().contains("detach"));
    assert!(ops::weighted_squares(&x, &x, &random(&[1, 2, 5], 1)).is_err());
}

fn space_case(g: usize, s: usize, heads: usize, hd: usize, rope: &RopeTable) {
    let gains = (random(&[2, hd], 2) * 0.3).unwrap();
    let inputs = [random(&[g, s, 3 * heads * hd], 1), (gains + 1.0).unwrap()];
    compare("attention_space", &inputs, &|t| ops::attention_space(&t[0], heads, &t[1], rope), &|t| {
        stock::attention_space(&t[0], heads, &t[1], rope)
    });
}

#[test]
fn attention_in_space_agrees_with_stock() {
    space_case(1, 1, 1, 2, &rope_table(&[3.0], 1, 100.0));
    space_case(3, 6, 2, 6, &rope_axial_2d(2, 2, 2, 3, 100.0));
    space_case(5, 68, 4, 32, &rope_axial_2d(8, 8, 4, 16, 100.0));
    space_case(2, 68, 3, 64, &rope_axial_2d(8, 8, 4, 32, 10_000.0));
    space_case(2, 20, 2, 48, &rope_axial_2d(4, 5, 0, 24, 100.0));
}

#[test]
fn attention_in_time_agrees_with_stock() {
    for (b, t, p, heads, hd, window) in [
        (1, 1, 1, 1, 2, 1),
        (2, 5, 3, 2, 6, 2),
        (1, 16, 9, 4, 32, 16),
        (2, 16, 5, 3, 64, 8),
        (1, 7, 6, 2, 40, 100),
    ] {
        let rope = rope_table(&(0..t).map(|t| t as f32).collect::<Vec<_>>(), hd / 2, 100.0);
        let gains = ((random(&[2, hd], 2) * 0.3).unwrap() + 1.0).unwrap();
        compare(
            "attention_time",
            &[random(&[b, t, p, 3 * heads * hd], 1), gains],
            &|x| ops::attention_time(&x[0], heads, &x[1], &rope, window),
            &|x| stock::attention_time(&x[0], heads, &x[1], &rope, window),
        );
    }
}

#[test]
fn tensors_with_gaps_take_the_stock_path() {
    let wide = random(&[6, 10], 1);
    let x = wide.t().unwrap();
    let w = random(&[4, 6], 2);
    let got = ops::linear(&x, &w, None).unwrap();
    let want = ops::linear(&x.contiguous().unwrap(), &w, None).unwrap();
    assert!(difference(&got, &want) < 1e-6);
    let y = ops::silu(&x).unwrap();
    assert!(difference(&y, &ops::silu(&x.contiguous().unwrap()).unwrap()) < 1e-6);
    // A view that starts inside a storage is contiguous, with an offset.
    let part = wide.narrow(0, 2, 3).unwrap();
    let got = ops::silu(&part).unwrap();
    assert!(difference(&got, &part.silu().unwrap()) < 1e-6);
}

/// A small block with all operations: every variable must get a gradient, through fused and stock alike.
#[test]
fn every_variable_of_a_block_gets_a_gradient() {
    let (b, t, p, d, heads) = (2, 3, 10, 24, 2);
    let g = b * t;
    let space = rope_axial_2d(3, 3, 1, d / heads / 2, 100.0);
    let time = rope_table(&[0.0, 1.0, 2.0], d / heads / 2, 100.0);
    let inputs = [
        random(&[g, p, d], 1),
        random(&[g, 3 * d], 2),
        random(&[3 * d, d], 3),
        random(&[3 * d], 4),
        random(&[2, d / heads], 5),
        random(&[2, d / heads], 6),
        random(&[3 * d, d], 7),
        random(&[8 * d, d], 8),
        random(&[d, 4 * d], 9),
        random(&[d], 10),
    ];
    let block = |x: &[Tensor]| {
        let h = ops::norm_modulate(&x[0], &x[1], 0, 1, 1e-6)?;
        let h = ops::attention_space(&ops::linear(&h, &x[2], Some(&x[3]))?, heads, &x[4], &space)?;
        let h = ops::gate_residual(&x[0], &h, &x[1], 2)?;
        let qkv = ops::linear(&h, &x[6], None)?.reshape((b, t, p, 3 * d))?;
        let h = ops::attention_time(&qkv, heads, &x[5], &time, 2)?;
        let h = ops::rms_norm(&h, &x[9], 1e-6)?;
        ops::silu(&ops::linear(&ops::swiglu(&ops::linear(&h, &x[7], None)?)?, &x[8], None)?)
    };
    let (out, grads) = run(&inputs, &block);
    assert_eq!(out.dims(), [b, t, p, d]);
    for (i, g) in grads.iter().enumerate() {
        assert!(numbers(g).iter().any(|&v| v != 0.0), "input {i} has a gradient of zeros");
        assert!(numbers(g).iter().all(|v| v.is_finite()));
    }
}

#[test]
fn nan_is_never_swallowed() {
    let poison = |dims: &[usize]| {
        let t = random(dims, 1);
        let mut v = numbers(&t);
        v[3] = f32::NAN;
        Tensor::from_vec(v, dims, &Device::Cpu).unwrap()
    };
    let has_nan = |t: Result<Tensor>| numbers(&t.unwrap()).iter().any(|v| v.is_nan());
    let rope = rope_table(&[0.0, 1.0, 2.0], 4, 100.0);
    let gains = random(&[2, 8], 2);
    assert!(has_nan(ops::silu(&poison(&[40]))));
    assert!(has_nan(ops::swiglu(&poison(&[2, 40]))));
    assert!(has_nan(ops::rms_norm(&poison(&[2, 8]), &random(&[8], 2), 1e-6)));
    assert!(has_nan(ops::norm_modulate(&poison(&[1, 2, 8]), &random(&[1, 16], 2), 0, 1, 1e-6)));
    assert!(has_nan(ops::linear(&poison(&[3, 8]), &random(&[5, 8], 2), None)));
    assert!(has_nan(ops::attention_space(&poison(&[1, 3, 24]), 1, &gains, &rope)));
    assert!(has_nan(ops::attention_time(&poison(&[1, 3, 2, 24]), 1, &gains, &rope, 3)));
}

#[test]
fn the_time_cache_equals_the_whole_sequence() {
    let (b, p, heads, hd, base) = (2, 5, 2, 32, 100.0);
    for (steps, window, offset) in [(12, 4, 0), (6, 16, 0), (9, 3, 5000)] {
        let qkv = random(&[b, steps, p, 3 * heads * hd], 1);
        let gains = ((random(&[2, hd], 2) * 0.3).unwrap() + 1.0).unwrap();
        let positions: Vec<f32> = (0..steps).map(|t| t as f32).collect();
        let rope = rope_table(&positions, hd / 2, base);
        let whole = stock::attention_time(&qkv, heads, &gains, &rope, window).unwrap();
        let mut cache = TimeCache::new(heads, window, base);
        let mut plain_past = TimeCache::new(heads, window, base);
        for t in 0..steps {
            let now = qkv.narrow(1, t, 1).unwrap();
            // A refinement pass with other numbers must leave no trace.
            let other = random(&[b, 1, p, 3 * heads * hd], 50 + t as u64);
            let before = cache.len();
            cache.attend(&other, &gains, offset + t, false).unwrap();
            assert_eq!(cache.len(), before);
            let mut fork = cache.fork();
            let got = cache.attend(&now, &gains, offset + t, true).unwrap();
            let d = difference(&got, &whole.narrow(1, t, 1).unwrap());
            assert!(d < 1e-5, "step {t} of {steps}, window {window}: {d}");
            // A branch continues from the same past.
            let again = fork.attend(&now, &gains, offset + t, true).unwrap();
            assert_eq!(numbers(&got), numbers(&again));
            // A graphics card's steps, from the same past.
            let mut plain = plain_past.fork();
            let other = path::with(Path::Stock, || plain.attend(&now, &gains, offset + t, true)).unwrap();
            assert!(difference(&other, &got) < 2e-6);
            plain_past = plain;
        }
        assert!(cache.len() <= window);
        // Going back overwrites what came later.
        let got = cache.attend(&qkv.narrow(1, 1, 1).unwrap(), &gains, offset, true).unwrap();
        assert_eq!(cache.len(), 1);
        assert_eq!(got.dims(), [b, 1, p, heads * hd]);
    }
}

#[test]
fn wrong_shapes_are_errors_not_panics() {
    let x = random(&[2, 3, 8], 1);
    assert!(ops::linear(&x, &random(&[4, 7], 2), None).is_err());
    assert!(ops::linear(&x, &random(&[4, 8], 2), Some(&random(&[5], 3))).is_err());
    assert!(ops::norm_modulate(&x, &random(&[2, 16], 2), 1, 2, 1e-6).is_err());
    assert!(ops::norm_modulate(&x, &random(&[3, 16], 2), 0, 1, 1e-6).is_err());
    assert!(ops::gate_residual(&x, &random(&[2, 3, 7], 2), &random(&[2, 16], 2), 0).is_err());
    assert!(ops::swiglu(&random(&[2, 7], 1)).is_err());
    assert!(ops::rms_norm(&x, &random(&[7], 2), 1e-6).is_err());
    let rope = rope_table(&[0.0, 1.0, 2.0], 4, 100.0);
    let gains = random(&[2, 8], 2);
    assert!(ops::attention_space(&x, 1, &gains, &rope).is_err());
    assert!(ops::attention_space(&random(&[2, 4, 24], 1), 1, &gains, &rope).is_err());
    assert!(ops::attention_time(&random(&[1, 3, 2, 24], 1), 1, &gains, &rope, 0).is_err());
    let mut cache = TimeCache::new(1, 4, 100.0);
    cache.attend(&random(&[1, 1, 2, 24], 1), &gains, 0, true).unwrap();
    assert!(cache.attend(&random(&[1, 1, 3, 24], 1), &gains, 1, true).is_err());
}

/// With bf16 products the whole of a linear layer stays within the format's error.
#[test]
fn bf16_linear_stays_within_its_format() {
    let inputs = [random(&[300, 256], 1), random(&[384, 256], 2), random(&[384], 3)];
    let f = |t: &[Tensor]| ops::linear(&t[0], &t[1], Some(&t[2]));
    let (want, want_grads) = run(&inputs, &f);
    let (got, grads) = precision::with(Precision::Bf16, || run(&inputs, &f));
    let error = |a: &Tensor, b: &Tensor| {
        let (a, b) = (numbers(a), numbers(b));
        let e: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
        (e / b.iter().map(|b| f64::from(*b).powi(2)).sum::<f64>()).sqrt()
    };
    assert!(error(&got, &want) < 4e-3, "{}", error(&got, &want));
    for (g, w) in grads.iter().zip(&want_grads) {
        assert!(error(g, w) < 4e-3, "{}", error(g, w));
    }
}

#[test]
fn warp_agrees_with_plain_operations() {
    let shape = |sampling| Warp { sampling, rows: 2, cols: 3, patch: 8, cells: 2 };
    let pictures = random(&[2, 6, 192], 1);
    for sampling in [Sampling::Bilinear, Sampling::Cubic] {
        let field = (random(&[2, 6, 8], 2) * 3.0).unwrap();
        let fused = |t: &[Tensor]| ops::warp(&pictures, &t[0], shape(sampling));
        let stock = |t: &[Tensor]| stock::warp(&pictures, &t[0], shape(sampling));
        compare("warp", &[field], &fused, &stock);
    }
    let shape = shape(Sampling::Cubic);
    let var = Var::from_tensor(&pictures).unwrap();
    let field = random(&[2, 6, 8], 2);
    let refused = ops::warp(var.as_tensor(), &field, shape).unwrap_err().to_string();
    assert!(refused.contains("no gradient"), "{refused}");
}

/// Operations that only infer: the kernel against candle's own operations through the same call.
fn infers(name: &str, most: f32, f: &dyn Fn() -> Result<Tensor>) {
    let fused = f().unwrap();
    let plain = path::with(Path::Stock, f).unwrap();
    let d = difference(&fused, &plain);
    assert!(d < most, "{name}: {d}");
}

#[test]
fn attention_convolution_and_channel_norm_agree_with_stock() {
    let (q, k, v) = (random(&[2, 3, 17, 8], 1), random(&[2, 3, 29, 8], 2), random(&[2, 3, 29, 8], 3));
    for bias in [[1, 1, 1, 29], [2, 3, 17, 29], [1, 3, 17, 29]] {
        let bias = random(&bias, 4);
        infers("attention with a bias", 5e-6, &|| attention(&q, &k, &v, 0.3, Mask::Bias(&bias)));
    }
    infers("attention", 5e-6, &|| attention(&q, &k, &v, 0.3, Mask::None));
    infers("causal attention", 5e-6, &|| attention(&q, &k, &v, 0.3, Mask::Causal));
    for (inputs, outputs, side, padding, stride) in [(3, 5, 3, 1, 1), (4, 2, 1, 0, 1), (6, 7, 3, 0, 2)] {
        let (x, w) = (random(&[2, inputs, 13, 9], 5), random(&[outputs, inputs, side, side], 6));
        infers("conv2d", 5e-6, &|| ops::conv2d(&x, &w, padding, stride));
    }
    let (x, gamma) = (random(&[3, 12, 35], 7), random(&[12], 8));
    for then_silu in [false, true] {
        infers("channel_norm", 5e-6, &|| ops::channel_norm(&x, &gamma, then_silu));
    }
}
