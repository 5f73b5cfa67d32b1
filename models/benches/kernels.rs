//! Kernels against stock candle, on one thread: `cargo bench -p forerun-models --bench kernels [-- PART-OF-NAME]`.
//!
//! Prints the median of the process's CPU time over rounds (which other programs on the machine do not inflate, apart
//! from shared caches), and GF/s or GB/s from the operations and bytes that the formula needs.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::hint::black_box;

use candle_core::{Device, Tensor, Var};
use forerun_models::kernels::matrix::{View, ViewMut};
use forerun_models::kernels::{self, Precision, gemm, muon, optim, precision, threads};
use forerun_models::nn::{TimeCache, ops, rope_axial_2d, rope_table, stock};
use forerun_models::random::Random;

/// CPU time of this process in seconds.
#[cfg(unix)]
fn now() -> f64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid place to write to.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t) };
    t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9
}

#[cfg(not(unix))]
fn now() -> f64 {
    use std::time::Instant;
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64()
}

/// Median seconds of one call, over rounds of about 20 ms.
fn time(mut f: impl FnMut()) -> f64 {
    f();
    let start = now();
    f();
    let repeats = (0.02 / (now() - start).max(1e-7)).ceil() as usize;
    let mut rounds: Vec<f64> = (0..9)
        .map(|_| {
            let start = now();
            (0..repeats).for_each(|_| f());
            (now() - start) / repeats as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

struct Bench {
    only: Option<String>,
}

impl Bench {
    /// Times `f`; `amount` is in 1e9 of `unit` per call.
    fn run(&self, name: &str, amount: f64, unit: &str, f: impl FnMut()) {
        if self.only.as_ref().is_some_and(|o| !name.contains(o.as_str())) {
            return;
        }
        let t = time(f);
        println!("{name:58} {:9.3} ms  {:7.1} {unit}", t * 1e3, amount / t);
    }
}

fn random(dims: &[usize], stream: u64) -> Tensor {
    let mut values = vec![0.0; dims.iter().product()];
    Random::new(42, stream, 0).fill_normal(0, &mut values);
    Tensor::from_vec(values, dims, &Device::Cpu).unwrap()
}

fn var(dims: &[usize], stream: u64) -> Tensor {
    Var::from_tensor(&random(dims, stream)).unwrap().into_inner()
}

/// Forward and backward of an operation.
fn both(f: impl Fn() -> candle_core::Result<Tensor>) -> impl FnMut() {
    move || {
        black_box(f().unwrap().sum_all().unwrap().backward().unwrap());
    }
}

fn products(b: &Bench) {
    for (m, k, n) in [
        (68, 256, 768),
        (544, 256, 768),
        (1088, 256, 256),
        (2176, 256, 768),
        (2176, 256, 1408),
        (2176, 704, 256),
        (8704, 256, 1408),
    ] {
        let x = random(&[m, k], 1).flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let w = random(&[n, k], 2).flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let dy = random(&[m, n], 3).flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let gflop = 2e-9 * (m * k * n) as f64;
        for p in [Precision::F32, Precision::Bf16] {
            precision::set(p);
            let label = |what: &str| format!("{what} {} {m}x{k}x{n}", precision::current().name());
            b.run(&label("gemm y = x wT"), gflop, "GF/s", || {
                black_box(gemm::linear(&x, &w, None, m, k, n));
            });
            b.run(&label("gemm dx = dy w"), gflop, "GF/s", || {
                black_box(gemm::linear_dx(&dy, &w, m, k, n));
            });
            b.run(&label("gemm dw = dyT x"), gflop, "GF/s", || {
                black_box(gemm::linear_dw(&dy, &x, m, k, n));
            });
        }
        precision::set(Precision::F32);
        let mut sum = vec![0.0; n];
        b.run(&format!("column_sum {m}x{n}"), 4e-9 * (m * n) as f64, "GB/s", || {
            gemm::column_sum(&dy, &mut sum);
        });
    }
    let q = random(&[68, 64], 1).flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for p in [Precision::F32, Precision::Bf16] {
        precision::set(p);
        let mut s = vec![0.0; 68 * 68];
        b.run(
            &format!("gemm q kT {} 68x64x68", precision::current().name()),
            2e-9 * 68.0 * 68.0 * 64.0,
            "GF/s",
            || {
                let q = View::dense(&q, 68, 64);
                gemm::matmul(q, q.t(), ViewMut::dense(&mut s, 68, 68), false);
            },
        );
    }
    precision::set(Precision::F32);
}

/// Fused against stock, forward and backward.
fn operations(b: &Bench) {
    // 2 sequences of 16 steps of 68 tokens, width 256, 4 heads.
    let (bs, t, p, d, heads) = (2, 16, 68, 256, 4);
    let (g, hd) = (bs * t, d / heads);
    let rows = (g * p) as f64;
    let x = var(&[g, p, d], 1);
    let y = var(&[g, p, d], 2);
    let m = var(&[g, 6 * d], 3);
    let gb = |per_row: usize| 4e-9 * rows * per_row as f64;
    b.run("norm_modulate fused", gb(5 * d), "GB/s", both(|| ops::norm_modulate(&x, &m, 0, 1, 1e-6)));
    b.run("norm_modulate stock", gb(5 * d), "GB/s", both(|| stock::norm_modulate(&x, &m, 0, 1, 1e-6)));
    b.run("gate_residual fused", gb(6 * d), "GB/s", both(|| ops::gate_residual(&x, &y, &m, 2)));
    b.run("gate_residual stock", gb(6 * d), "GB/s", both(|| stock::gate_residual(&x, &y, &m, 2)));
    let ab = var(&[g, p, 1408], 4);
    b.run("swiglu fused", gb(8 * 704), "GB/s", both(|| ops::swiglu(&ab)));
    b.run("swiglu stock", gb(8 * 704), "GB/s", both(|| stock::swiglu(&ab)));
    let gain = var(&[d], 5);
    b.run("rms_norm fused", gb(5 * d), "GB/s", both(|| ops::rms_norm(&x, &gain, 1e-6)));
    b.run("rms_norm stock", gb(5 * d), "GB/s", both(|| stock::rms_norm(&x, &gain, 1e-6)));
    let (w, bias) = (var(&[3 * d, d], 6), var(&[3 * d], 7));
    let gflop = 6e-9 * rows * (3 * d * d) as f64;
    b.run("linear stock", gflop, "GF/s", both(|| stock::linear(&x, &w, Some(&bias))));
    let qkv = var(&[g, p, 3 * d], 8);
    let gains = var(&[2, hd], 9);
    let space = rope_axial_2d(8, 8, 4, hd / 2, 100.0);
    let time = rope_table(&(0..t).map(|t| t as f32).collect::<Vec<_>>(), hd / 2, 100.0);
    let along = qkv.reshape((bs, t, p, 3 * d)).unwrap();
    let (space_gf, time_gf) = (18e-9 * rows * (p * d) as f64, 9e-9 * rows * (t * d) as f64);
    b.run(
        "attention_space stock",
        space_gf,
        "GF/s",
        both(|| stock::attention_space(&qkv, heads, &gains, &space)),
    );
    b.run(
        "attention_time stock",
        time_gf,
        "GF/s",
        both(|| stock::attention_time(&along, heads, &gains, &time, t)),
    );
    for pr in [Precision::F32, Precision::Bf16] {
        precision::set(pr);
        let n = precision::current().name();
        b.run(&format!("linear fused {n}"), gflop, "GF/s", both(|| ops::linear(&x, &w, Some(&bias))));
        b.run(
            &format!("attention_space fused {n}"),
            space_gf,
            "GF/s",
            both(|| ops::attention_space(&qkv, heads, &gains, &space)),
        );
    }
    precision::set(Precision::F32);
    b.run(
        "attention_time fused",
        time_gf,
        "GF/s",
        both(|| ops::attention_time(&along, heads, &gains, &time, t)),
    );
    let step = random(&[1, 1, p, 3 * d], 10);
    let mut cache = TimeCache::new(heads, 8, 100.0);
    let fixed = gains.detach();
    for t in 0..8 {
        cache.attend(&step, &fixed, t, true).unwrap();
    }
    b.run("TimeCache::attend, window 8", 4e-9 * (p * 8 * d) as f64, "GF/s", || {
        black_box(cache.attend(&step, &fixed, 8, false).unwrap());
    });
}

/// One block of the shipped size, forward and backward, as a trainer's worker runs it: 16 steps of 68 tokens.
fn block(b: &Bench) {
    let (t, p, d, f, heads) = (16, 68, 256, 704, 4);
    let (x, c) = (var(&[t, p, d], 1), var(&[t, d], 2));
    let (wm, bm) = (var(&[9 * d, d], 3), var(&[9 * d], 4));
    let (wq, wo, tq, to) = (var(&[3 * d, d], 5), var(&[d, d], 6), var(&[3 * d, d], 7), var(&[d, d], 8));
    let (w1, w2) = (var(&[2 * f, d], 9), var(&[d, f], 10));
    let (gs, gt) = (var(&[2, d / heads], 11), var(&[2, d / heads], 12));
    let space = rope_axial_2d(8, 8, 4, d / heads / 2, 100.0);
    let time = rope_table(&(0..t).map(|t| t as f32).collect::<Vec<_>>(), d / heads / 2, 100.0);
    let forward = || -> candle_core::Result<Tensor> {
        let m = ops::linear(&c, &wm, Some(&bm))?;
        let h = ops::linear(&ops::norm_modulate(&x, &m, 0, 1, 1e-6)?, &wq, None)?;
        let h = ops::linear(&ops::attention_space(&h, heads, &gs, &space)?, &wo, None)?;
        let x = ops::gate_residual(&x, &h, &m, 2)?;
        let h = ops::linear(&ops::norm_modulate(&x, &m, 6, 7, 1e-6)?, &tq, None)?;
        let h = ops::attention_time(&h.reshape((1, t, p, 3 * d))?, heads, &gt, &time, t)?;
        let x = ops::gate_residual(&x, &ops::linear(&h.reshape((t, p, d))?, &to, None)?, &m, 8)?;
        let h = ops::linear(&ops::norm_modulate(&x, &m, 3, 4, 1e-6)?, &w1, None)?;
        ops::gate_residual(&x, &ops::linear(&ops::swiglu(&h)?, &w2, None)?, &m, 5)
    };
    let weights = (8 * d * d + 3 * d * f) as f64;
    let gflop = 6e-9 * (t * p) as f64 * weights;
    for pr in [Precision::F32, Precision::Bf16] {
        precision::set(pr);
        let n = precision::current().name();
        b.run(&format!("block forward {n}"), gflop / 3.0, "GF/s", || {
            black_box(forward().unwrap());
        });
        b.run(&format!("block training {n}"), gflop, "GF/s", both(forward));
    }
    precision::set(Precision::F32);
}

fn optimisers(b: &Bench) {
    let n = 4_000_000;
    let mut a = [vec![0.1_f32; n], vec![0.2; n], vec![0.3; n], vec![0.4; n]];
    let [p, g, m, v] = &mut a;
    let s = optim::AdamW { lr: 1e-4, beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.1 };
    b.run("adamw_step 4M", 28e-9 * n as f64, "GB/s", || optim::adamw_step(p, g, m, v, s, 10));
    b.run("ema_step 4M", 12e-9 * n as f64, "GB/s", || optim::ema_step(m, p, 0.999));
    b.run("sum_squares 4M", 4e-9 * n as f64, "GB/s", || {
        black_box(optim::sum_squares(g));
    });
    let (r, c) = (1408, 256);
    let mut x = vec![0.0; r * c];
    Random::new(1, 1, 1).fill_normal(0, &mut x);
    let gflop = 5.0 * 2e-9 * (2 * c * c * r + c * c * c) as f64;
    for pr in [Precision::F32, Precision::Bf16] {
        precision::set(pr);
        b.run(&format!("muon {} {r}x{c}", precision::current().name()), gflop, "GF/s", || {
            muon::orthogonalise(&mut x, r, c)
        });
    }
    precision::set(Precision::F32);
    let random = Random::new(1, 2, 3);
    b.run("Random::fill_normal 1M", 4e-3, "GB/s", || random.fill_normal(0, &mut p[..1_000_000]));
}

fn main() {
    let only = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    kernels::prepare_process();
    threads::set(1);
    println!("kernels: {}", kernels::name());
    let b = Bench { only };
    products(&b);
    operations(&b);
    block(&b);
    optimisers(&b);
}
