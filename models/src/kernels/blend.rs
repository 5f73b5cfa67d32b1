//! A frame from three sources: what was there, what was fetched from beside it, and what is drawn anew.
//!
//! Per pixel, with two gates (one logit each, shared by the three colours):
//! `base = context + s(moved) (fetched - context)`, `frame = base + s(fresh) (drawn - base)`, `s` being the logistic function.

use super::math::sigmoid;
use super::threads::{Shared, for_each};

/// Patches of pictures: how many, pixels each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blend {
    /// Patches.
    pub patches: usize,
    /// Pixels a patch; a pixel has three numbers.
    pub pixels: usize,
}

/// Sources of a frame.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// What was there, `patches * pixels * 3`.
    pub context: &'a [f32],
    /// What was fetched from beside it, as many.
    pub fetched: &'a [f32],
    /// For each patch what is drawn anew (`pixels * 3`), then the logits of its gate (`pixels`).
    pub fresh: &'a [f32],
    /// Logits of the gate to what was fetched, `patches * pixels`.
    pub moved: &'a [f32],
}

/// Gradients of a frame's sources, of the same lengths.
pub struct Gradients<'a> {
    /// Of what was fetched.
    pub fetched: &'a mut [f32],
    /// Of what is drawn anew and its gate.
    pub fresh: &'a mut [f32],
    /// Of the gate to what was fetched.
    pub moved: &'a mut [f32],
}

#[inline(always)]
fn blend_body<const FMA: bool>(s: Sources<'_>, out: &mut [f32]) {
    let (drawn, gate) = s.fresh.split_at(out.len());
    let pixels = out.chunks_exact_mut(3).zip(s.context.chunks_exact(3)).zip(s.fetched.chunks_exact(3));
    let pixels = pixels.zip(drawn.chunks_exact(3)).zip(gate).zip(s.moved);
    for (((((out, context), fetched), drawn), gate), moved) in pixels {
        let (g, m) = (sigmoid::<FMA>(*gate), sigmoid::<FMA>(*moved));
        for (((out, context), fetched), drawn) in out.iter_mut().zip(context).zip(fetched).zip(drawn) {
            let base = context + (fetched - context) * m;
            *out = base + (drawn - base) * g;
        }
    }
}

#[inline(always)]
fn blend_backward_body<const FMA: bool>(s: Sources<'_>, dout: &[f32], d: Gradients<'_>) {
    let (drawn, gate) = s.fresh.split_at(dout.len());
    let (ddrawn, dgate) = d.fresh.split_at_mut(dout.len());
    let inputs = s.context.chunks_exact(3).zip(s.fetched.chunks_exact(3)).zip(drawn.chunks_exact(3));
    let inputs = inputs.zip(gate).zip(s.moved).zip(dout.chunks_exact(3));
    let outputs = d.fetched.chunks_exact_mut(3).zip(ddrawn.chunks_exact_mut(3)).zip(dgate).zip(d.moved);
    for ((((((context, fetched), drawn), gate), moved), dout), (((dfetched, ddrawn), dgate), dmoved)) in
        inputs.zip(outputs)
    {
        let (g, m) = (sigmoid::<FMA>(*gate), sigmoid::<FMA>(*moved));
        let (mut pull_gate, mut pull_moved) = (0.0_f32, 0.0_f32);
        for i in 0..3 {
            let step = fetched[i] - context[i];
            let base = context[i] + step * m;
            let dbase = dout[i] * (1.0 - g);
            ddrawn[i] = dout[i] * g;
            dfetched[i] = dbase * m;
            pull_gate += dout[i] * (drawn[i] - base);
            pull_moved += dbase * step;
        }
        *dgate = pull_gate * g * (1.0 - g);
        *dmoved = pull_moved * m * (1.0 - m);
    }
}

multiversion! {
    fn blend(s: Sources<'_>, out: &mut [f32]) = blend_body;
    fn blend_backward(s: Sources<'_>, dout: &[f32], d: Gradients<'_>) = blend_backward_body;
}

impl Blend {
    fn part<'a>(&self, s: Sources<'a>, at: usize) -> Sources<'a> {
        let n = self.pixels;
        Sources {
            context: &s.context[at * n * 3..(at + 1) * n * 3],
            fetched: &s.fetched[at * n * 3..(at + 1) * n * 3],
            fresh: &s.fresh[at * n * 4..(at + 1) * n * 4],
            moved: &s.moved[at * n..(at + 1) * n],
        }
    }

    fn check(&self, s: Sources<'_>, frames: &[f32]) {
        let all = self.patches * self.pixels;
        let lengths = [s.context.len(), s.fetched.len(), s.fresh.len(), s.moved.len(), frames.len()];
        assert_eq!(lengths, [3 * all, 3 * all, 4 * all, all, 3 * all], "blend: lengths do not fit");
    }

    /// The frames, `patches * pixels * 3`.
    ///
    /// # Panics
    /// When lengths do not fit.
    pub fn forward(&self, s: Sources<'_>, out: &mut [f32]) {
        self.check(s, out);
        let (n, out) = (self.pixels * 3, Shared::new(out));
        for_each(self.patches, self.patches * n * 8, |i| {
            // SAFETY: patches are disjoint.
            blend(self.part(s, i), unsafe { out.part(i * n, n) });
        });
    }

    /// The gradients of all sources but the context from the gradient `dout` of the frames.
    ///
    /// # Panics
    /// When lengths do not fit.
    pub fn backward(&self, s: Sources<'_>, dout: &[f32], d: Gradients<'_>) {
        self.check(s, dout);
        self.check(Sources { fetched: &*d.fetched, fresh: &*d.fresh, moved: &*d.moved, ..s }, dout);
        let n = self.pixels;
        let (fetched, fresh, moved) = (Shared::new(d.fetched), Shared::new(d.fresh), Shared::new(d.moved));
        for_each(self.patches, self.patches * n * 24, |i| {
            // SAFETY: patches are disjoint.
            let d = unsafe {
                Gradients {
                    fetched: fetched.part(i * n * 3, n * 3),
                    fresh: fresh.part(i * n * 4, n * 4),
                    moved: moved.part(i * n, n),
                }
            };
            blend_backward(self.part(s, i), &dout[i * n * 3..(i + 1) * n * 3], d);
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::threads;
    use super::*;
    use crate::random::Random;

    const SHAPE: Blend = Blend { patches: 5, pixels: 9 };
    const ALL: usize = SHAPE.patches * SHAPE.pixels;

    fn numbers(n: usize, stream: u64) -> Vec<f32> {
        let mut values = vec![0.0; n];
        Random::new(2, stream, 0).fill_normal(0, &mut values);
        values
    }

    #[test]
    fn open_and_shut_gates_show_one_source_each() {
        let (context, fetched, drawn) = (numbers(3 * ALL, 1), numbers(3 * ALL, 2), numbers(3 * ALL, 3));
        for (gate, moved, wanted) in [(-90.0, -90.0, &context), (-90.0, 90.0, &fetched), (90.0, 90.0, &drawn)]
        {
            let fresh: Vec<f32> = drawn
                .chunks_exact(3 * SHAPE.pixels)
                .flat_map(|patch| patch.iter().copied().chain(vec![gate; SHAPE.pixels]))
                .collect();
            let moved = vec![moved; ALL];
            let sources = Sources { context: &context, fetched: &fetched, fresh: &fresh, moved: &moved };
            for count in [1, 3] {
                let mut out = vec![f32::NAN; 3 * ALL];
                threads::with(count, || SHAPE.forward(sources, &mut out));
                assert!(out.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6));
            }
        }
    }

    #[test]
    fn gradients_are_the_slopes() {
        let given = [numbers(3 * ALL, 1), numbers(3 * ALL, 2), numbers(4 * ALL, 3), numbers(ALL, 4)];
        let weight = numbers(3 * ALL, 5);
        let value = |given: &[Vec<f32>; 4]| -> f64 {
            let [context, fetched, fresh, moved] = given;
            let mut out = vec![0.0; 3 * ALL];
            SHAPE.forward(Sources { context, fetched, fresh, moved }, &mut out);
            out.iter().zip(&weight).map(|(o, w)| f64::from(*o) * f64::from(*w)).sum()
        };
        let [context, fetched, fresh, moved] = &given;
        let mut found = [vec![0.0; 3 * ALL], vec![0.0; 4 * ALL], vec![0.0; ALL]];
        let [f, d, m] = &mut found;
        SHAPE.backward(
            Sources { context, fetched, fresh, moved },
            &weight,
            Gradients { fetched: f, fresh: d, moved: m },
        );
        for (which, gradient) in found.iter().enumerate() {
            for (i, slope) in gradient.iter().enumerate() {
                let shifted = |by: f32| {
                    let mut other = given.clone();
                    other[which + 1][i] += by;
                    value(&other)
                };
                let wanted = (shifted(1e-2) - shifted(-1e-2)) / 2e-2;
                assert!((wanted - f64::from(*slope)).abs() < 2e-3, "{which} {i}: {wanted} {slope}");
            }
        }
    }
}
