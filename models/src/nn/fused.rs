//! The fused CPU kernels as candle operations with hand-written gradients.
//!
//! Every function here takes contiguous f32 tensors on the CPU (see [`usable`]) of shapes that [`super::ops`] checked.

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, D, DType, Device, Layout, Result, Shape, Storage,
    StorageRef, Tensor,
};

use super::ops::QK_EPS;
use super::{RopeTable, path};
use crate::common::Mask;
use crate::kernels::attend::{self, Attend, Seen};
use crate::kernels::attention::{self, Heads, Time, Turn, Turns};
use crate::kernels::blend::{self, Blend, Sources};
use crate::kernels::matrix::View;
use crate::kernels::norm::{self, Groups};
use crate::kernels::precision::Precision;
use crate::kernels::prepacked::Prepacked;
use crate::kernels::warp::Warp;
use crate::kernels::{channel_norm, conv, elementwise, gemm, squares};

/// Whether the kernels can take all these tensors.
pub(super) fn usable(tensors: &[&Tensor]) -> bool {
    tensors.iter().all(|t| path::has_kernels(t.device()) && t.dtype() == DType::F32 && t.is_contiguous())
}

/// The numbers of a storage that candle hands to an operation.
///
/// Every kernel gets its input through here, so this is where one that may not run is stopped.
pub(super) fn numbers<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    path::check_kernel("a fused kernel")?;
    let all = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&all[from..to]),
        None => candle_core::bail!("a fused kernel was given a tensor with gaps"),
    }
}

/// Keeps a tensor's storage readable.
pub(super) struct Read<'a>(StorageRef<'a>, &'a Layout);

impl<'a> Read<'a> {
    pub(super) fn of(t: &'a Tensor) -> Self {
        let (storage, layout) = t.storage_and_layout();
        Self(storage, layout)
    }

    pub(super) fn get(&self) -> Result<&[f32]> {
        match &*self.0 {
            Storage::Cpu(s) => numbers(s, self.1),
            _ => candle_core::bail!("a CPU kernel was given a tensor of another device"),
        }
    }
}

/// Runs `f` on the numbers of contiguous CPU tensors.
pub(super) fn read<const N: usize, R>(tensors: [&Tensor; N], f: impl FnOnce([&[f32]; N]) -> R) -> Result<R> {
    let guards = tensors.map(Read::of);
    let mut slices: [&[f32]; N] = [&[]; N];
    for (s, g) in slices.iter_mut().zip(&guards) {
        *s = g.get()?;
    }
    Ok(f(slices))
}

/// See [`super::ops::attend`]; gives no gradient. The bias is contiguous and broadcasts to [B, H, N, M].
pub(super) fn attend(q: &Tensor, k: &Tensor, v: &Tensor, scale: f32, mask: &Mask<'_>) -> Result<Tensor> {
    let (batch, heads, queries, width) = q.dims4()?;
    let (keys, values) = (k.dim(2)?, v.dim(3)?);
    let shape = Attend { groups: batch * heads, queries, keys, width, values };
    let (q, k, v) = (Read::of(q), Read::of(k), Read::of(v));
    let run = |seen: Seen<'_>| -> Result<Vec<f32>> {
        Ok(attend::attend(q.get()?, k.get()?, v.get()?, shape, scale, seen))
    };
    let made = match mask {
        Mask::None => run(Seen::All),
        Mask::Causal => run(Seen::Causal),
        Mask::Bias(bias) => {
            let (b, h, n, m) = bias.dims4()?;
            if m != keys || (b != 1 && b != batch) || (h != 1 && h != heads) || (n != 1 && n != queries) {
                candle_core::bail!("attend: the bias {:?} does not fit", bias.dims());
            }
            let (by_clip, by_head) = (if b == 1 { 0 } else { h * n * m }, if h == 1 { 0 } else { n * m });
            let starts: Vec<usize> =
                (0..batch * heads).map(|g| g / heads * by_clip + g % heads * by_head).collect();
            let data = Read::of(bias);
            run(Seen::Bias { data: data.get()?, starts: &starts, row: if n == 1 { 0 } else { keys } })
        }
    }?;
    Tensor::from_vec(made, (batch, heads, queries, values), &Device::Cpu)
}

/// See [`super::ops::conv_clip`] and [`conv::conv_frames`]; gives no gradient.
pub(super) fn conv_frames(
    x: &Tensor,
    taps: &[Tensor],
    bias: &Tensor,
    plan: &[Vec<(usize, usize)>],
    shape: conv::Conv,
) -> Result<Tensor> {
    let (x, bias) = (Read::of(x), Read::of(bias));
    let guards: Vec<Read<'_>> = taps.iter().map(Read::of).collect();
    let taps = guards.iter().map(Read::get).collect::<Result<Vec<_>>>()?;
    let values = conv::conv_frames(x.get()?, &taps, Some(bias.get()?), plan, shape);
    let (rows, columns) = shape.result();
    Tensor::from_vec(values, (plan.len(), shape.outputs, rows, columns), &Device::Cpu)
}

/// See [`super::ops::channel_norm`]; gives no gradient.
pub(super) fn channel_norm(x: &Tensor, gamma: &Tensor, then_silu: bool) -> Result<Tensor> {
    let (n, channels, pixels) = x.dims3()?;
    let values = read([x, gamma], |[x, gamma]| {
        let mut y = vec![0.0; x.len()];
        channel_norm::channel_norm(x, gamma, (n, channels, pixels), then_silu, &mut y);
        y
    })?;
    tensor(values, x)
}

/// See [`super::ops::conv2d`]; gives no gradient.
pub(super) fn conv2d(x: &Tensor, w: &Tensor, shape: conv::Conv) -> Result<Tensor> {
    let values = read([x, w], |[x, w]| conv::conv2d(x, w, shape))?;
    let (rows, columns) = shape.result();
    Tensor::from_vec(values, (x.dim(0)?, shape.outputs, rows, columns), &Device::Cpu)
}

pub(super) fn tensor(values: Vec<f32>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, like.shape(), &Device::Cpu)
}

pub(super) fn done(values: Vec<f32>, shape: impl Into<Shape>) -> Result<(CpuStorage, Shape)> {
    Ok((CpuStorage::F32(values), shape.into()))
}

/// Shape of a linear layer's work: `m` rows of `k` numbers become rows of `n`.
#[derive(Clone, Copy)]
struct Linear {
    m: usize,
    k: usize,
    n: usize,
}

impl Linear {
    fn forward(&self, x: &[f32], w: &[f32], b: Option<&[f32]>) -> Vec<f32> {
        gemm::linear(x, w, b, self.m, self.k, self.n)
    }

    fn backward(&self, x: &Tensor, w: &Tensor, dy: &Tensor, bias: bool) -> Result<[Option<Tensor>; 3]> {
        let Self { m, k, n } = *self;
        let dy = dy.contiguous()?;
        let dx = if x.track_op() {
            let dx = read([&dy, w], |[dy, w]| gemm::linear_dx(dy, w, m, k, n))?;
            Some(tensor(dx, x)?)
        } else {
            None
        };
        let dw = if w.track_op() {
            let dw = read([&dy, x], |[dy, x]| gemm::linear_dw(dy, x, m, k, n))?;
            Some(tensor(dw, w)?)
        } else {
            None
        };
        let db = if bias {
            let mut db = vec![0.0; n];
            read([&dy], |[dy]| gemm::column_sum(dy, &mut db))?;
            Some(Tensor::from_vec(db, n, &Device::Cpu)?)
        } else {
            None
        };
        Ok([dx, dw, db])
    }
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "fused-linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        done(self.forward(numbers(x, lx)?, numbers(w, lw)?, None), (self.m, self.n))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [dx, dw, _] = self.backward(x, w, dy, false)?;
        Ok((dx, dw))
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "fused-linear-bias"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let y = self.forward(numbers(x, lx)?, numbers(w, lw)?, Some(numbers(b, lb)?));
        done(y, (self.m, self.n))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [dx, dw, db] = self.backward(x, w, dy, b.track_op())?;
        Ok((dx, dw, db))
    }
}

/// `x [m, k]`, `w [n, k]`, `b [n]` -> `[m, n]`.
pub(super) fn linear(x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    let ((m, k), n) = (x.dims2()?, w.dim(0)?);
    let op = Linear { m, k, n };
    match b {
        Some(b) => x.apply_op3(w, b, op),
        None => x.apply_op2(w, op),
    }
}

/// A weight `[n, k]` packed for products of this precision; `None` where it does not lie in this processor's memory or the
/// processor has no kernel for them.
pub(super) fn pack(w: &Tensor, precision: Precision) -> Result<Option<Prepacked>> {
    let (n, k) = w.dims2()?;
    if !usable(&[w]) {
        return Ok(None);
    }
    read([w], |[w]| Prepacked::of(View::dense(w, n, k).t(), precision))
}

/// `x [.., k]` times a packed weight `[n, k]` transposed, plus `b [n]`; gives no gradient.
pub(super) fn packed_linear(x: &Tensor, w: &Prepacked, b: Option<&Tensor>) -> Result<Tensor> {
    let (k, n) = w.shape();
    let mut dims = x.dims().to_vec();
    if dims.last() != Some(&k) || b.is_some_and(|b| b.dims() != [n]) {
        candle_core::bail!("linear: input {dims:?}, weight [{n}, {k}], bias {:?}", b.map(|b| b.dims()));
    }
    let rows = x.elem_count() / k;
    let values = match b {
        Some(b) => read([x, b], |[x, b]| w.product(View::dense(x, rows, k), Some(b)))?,
        None => read([x], |[x]| w.product(View::dense(x, rows, k), None))?,
    };
    if let Some(last) = dims.last_mut() {
        *last = n;
    }
    Tensor::from_vec(values, dims, &Device::Cpu)
}

struct NormModulate {
    g: Groups,
    shift_at: usize,
    scale_at: usize,
    eps: f32,
}

impl CustomOp2 for NormModulate {
    fn name(&self) -> &'static str {
        "fused-norm-modulate"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        m: &CpuStorage,
        lm: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, m) = (numbers(x, lx)?, numbers(m, lm)?);
        let mut y = vec![0.0; x.len()];
        norm::norm_modulate(self.g, x, m, self.shift_at, self.scale_at, self.eps, &mut y);
        done(y, lx.shape())
    }

    fn bwd(
        &self,
        x: &Tensor,
        m: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (mut dx, mut dm) = (vec![0.0; x.elem_count()], vec![0.0; m.elem_count()]);
        read([x, m, &dy.contiguous()?], |[xs, ms, dy]| {
            let (shift, scale) = (self.shift_at, self.scale_at);
            norm::norm_modulate_backward(self.g, xs, ms, shift, scale, self.eps, dy, &mut dx, &mut dm);
        })?;
        Ok((Some(tensor(dx, x)?), Some(tensor(dm, m)?)))
    }
}

fn groups(x: &Tensor, m: &Tensor) -> Result<Groups> {
    let (groups, rows, d) = x.dims3()?;
    let per_group = m.dim(D::Minus1)? / d.max(1);
    Ok(Groups { groups, rows, d, per_group })
}

pub(super) fn norm_modulate(
    x: &Tensor,
    m: &Tensor,
    shift_at: usize,
    scale_at: usize,
    eps: f64,
) -> Result<Tensor> {
    x.apply_op2(m, NormModulate { g: groups(x, m)?, shift_at, scale_at, eps: eps as f32 })
}

struct GateResidual {
    g: Groups,
    gate_at: usize,
}

impl CustomOp3 for GateResidual {
    fn name(&self) -> &'static str {
        "fused-gate-residual"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        y: &CpuStorage,
        ly: &Layout,
        m: &CpuStorage,
        lm: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, y, m) = (numbers(x, lx)?, numbers(y, ly)?, numbers(m, lm)?);
        let mut out = vec![0.0; x.len()];
        norm::gate_residual(self.g, x, y, m, self.gate_at, &mut out);
        done(out, lx.shape())
    }

    fn bwd(
        &self,
        _: &Tensor,
        y: &Tensor,
        m: &Tensor,
        _: &Tensor,
        dout: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (mut dy, mut dm) = (vec![0.0; y.elem_count()], vec![0.0; m.elem_count()]);
        let dout = dout.contiguous()?;
        read([y, m, &dout], |[ys, ms, dout]| {
            norm::gate_residual_backward(self.g, ys, ms, self.gate_at, dout, &mut dy, &mut dm);
        })?;
        Ok((Some(dout), Some(tensor(dy, y)?), Some(tensor(dm, m)?)))
    }
}

pub(super) fn gate_residual(x: &Tensor, y: &Tensor, m: &Tensor, gate_at: usize) -> Result<Tensor> {
    x.apply_op3(y, m, GateResidual { g: groups(x, m)?, gate_at })
}

impl CustomOp2 for Warp {
    fn name(&self) -> &'static str {
        "fused-warp"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        f: &CpuStorage,
        lf: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = numbers(x, lx)?;
        let mut y = vec![0.0; x.len()];
        self.forward(x, numbers(f, lf)?, &mut y);
        done(y, lx.shape())
    }

    fn bwd(
        &self,
        x: &Tensor,
        f: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut df = vec![0.0; f.elem_count()];
        read([x, f, &dy.contiguous()?], |[x, f, dy]| self.backward(x, f, dy, &mut df))?;
        Ok((None, Some(tensor(df, f)?)))
    }
}

pub(super) fn warp(x: &Tensor, field: &Tensor, shape: Warp) -> Result<Tensor> {
    x.apply_op2(field, shape)
}

/// See [`super::ops::blend`]: the tensors are what was fetched, what is drawn with its gate, the gate to what was fetched.
struct Blended {
    context: Tensor,
    shape: Blend,
}

impl CustomOp3 for Blended {
    fn name(&self) -> &'static str {
        "fused-blend"
    }

    fn cpu_fwd(
        &self,
        fetched: &CpuStorage,
        layout: &Layout,
        fresh: &CpuStorage,
        fresh_layout: &Layout,
        moved: &CpuStorage,
        moved_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (fetched, fresh) = (numbers(fetched, layout)?, numbers(fresh, fresh_layout)?);
        let moved = numbers(moved, moved_layout)?;
        let mut frames = vec![0.0; fetched.len()];
        read([&self.context], |[context]| {
            self.shape.forward(Sources { context, fetched, fresh, moved }, &mut frames);
        })?;
        done(frames, layout.shape())
    }

    fn bwd(
        &self,
        fetched: &Tensor,
        fresh: &Tensor,
        moved: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [mut df, mut dn, mut dm] = [fetched, fresh, moved].map(|t| vec![0.0_f32; t.elem_count()]);
        read([&self.context, fetched, fresh, moved, &dy.contiguous()?], |[context, x, y, z, dy]| {
            let sources = Sources { context, fetched: x, fresh: y, moved: z };
            let gradients = blend::Gradients { fetched: &mut df, fresh: &mut dn, moved: &mut dm };
            self.shape.backward(sources, dy, gradients);
        })?;
        Ok((Some(tensor(df, fetched)?), Some(tensor(dn, fresh)?), Some(tensor(dm, moved)?)))
    }
}

/// See [`super::ops::blend`].
pub(super) fn blend(context: &Tensor, fetched: &Tensor, fresh: &Tensor, moved: &Tensor) -> Result<Tensor> {
    let (g, p, pixels) = moved.dims3()?;
    let shape = Blend { patches: g * p, pixels };
    fetched.apply_op3(fresh, moved, Blended { context: context.detach(), shape })
}

/// See [`super::ops::weighted_squares`].
struct WeightedSquares {
    target: Tensor,
    weight: Tensor,
}

impl CustomOp1 for WeightedSquares {
    fn name(&self) -> &'static str {
        "fused-weighted-squares"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = numbers(x, layout)?;
        let mean = read([&self.target, &self.weight], |[t, w]| squares::weighted_mean(x, t, w))?;
        done(vec![mean], ())
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let dy: f32 = dy.to_scalar()?;
        let mut dx = vec![0.0; x.elem_count()];
        read([x, &self.target, &self.weight], |[x, t, w]| {
            squares::weighted_mean_backward(x, t, w, dy, &mut dx);
        })?;
        Ok(Some(tensor(dx, x)?))
    }
}

/// See [`super::ops::weighted_squares`].
pub(super) fn weighted_squares(x: &Tensor, target: &Tensor, weight: &Tensor) -> Result<Tensor> {
    x.apply_op1(WeightedSquares { target: target.detach(), weight: weight.detach() })
}

struct SwiGlu {
    f: usize,
}

impl CustomOp1 for SwiGlu {
    fn name(&self) -> &'static str {
        "fused-swiglu"
    }

    fn cpu_fwd(&self, ab: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let ab = numbers(ab, layout)?;
        let mut y = vec![0.0; ab.len() / 2];
        elementwise::swiglu(ab, self.f, &mut y);
        let mut dims = layout.dims().to_vec();
        if let Some(last) = dims.last_mut() {
            *last = self.f;
        }
        done(y, dims)
    }

    fn bwd(&self, ab: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let mut dab = vec![0.0; ab.elem_count()];
        read([ab, &dy.contiguous()?], |[ab, dy]| elementwise::swiglu_backward(ab, self.f, dy, &mut dab))?;
        Ok(Some(tensor(dab, ab)?))
    }
}

pub(super) fn swiglu(ab: &Tensor) -> Result<Tensor> {
    ab.apply_op1(SwiGlu { f: ab.dim(D::Minus1)? / 2 })
}

struct Silu;

impl CustomOp1 for Silu {
    fn name(&self) -> &'static str {
        "fused-silu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = numbers(x, layout)?;
        let mut y = vec![0.0; x.len()];
        elementwise::silu(x, &mut y);
        done(y, layout.shape())
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let mut dx = vec![0.0; x.elem_count()];
        read([x, &dy.contiguous()?], |[x, dy]| elementwise::silu_backward(x, dy, &mut dx))?;
        Ok(Some(tensor(dx, x)?))
    }
}

pub(super) fn silu(x: &Tensor) -> Result<Tensor> {
    x.apply_op1(Silu)
}

struct RmsNorm {
    eps: f32,
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "fused-rms-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        g: &CpuStorage,
        lg: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = numbers(x, lx)?;
        let mut y = vec![0.0; x.len()];
        norm::rms_norm(x, numbers(g, lg)?, self.eps, &mut y);
        done(y, lx.shape())
    }

    fn bwd(
        &self,
        x: &Tensor,
        g: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (mut dx, mut dg) = (vec![0.0; x.elem_count()], vec![0.0; g.elem_count()]);
        read([x, g, &dy.contiguous()?], |[xs, gs, dy]| {
            norm::rms_norm_backward(xs, gs, self.eps, dy, &mut dx, &mut dg);
        })?;
        Ok((Some(tensor(dx, x)?), Some(tensor(dg, g)?)))
    }
}

pub(super) fn rms_norm(x: &Tensor, gain: &Tensor, eps: f64) -> Result<Tensor> {
    x.apply_op2(gain, RmsNorm { eps: eps as f32 })
}

fn heads(three_d: usize, heads: usize) -> Heads {
    Heads { heads, hd: three_d / 3 / heads.max(1), eps: QK_EPS as f32 }
}

fn turns(rope: &RopeTable) -> Turns<'_> {
    Turns { cos: rope.cos(), sin: rope.sin(), half: rope.half_dim() }
}

struct Space {
    h: Heads,
    g: usize,
    s: usize,
    rope: RopeTable,
}

impl CustomOp2 for Space {
    fn name(&self) -> &'static str {
        "fused-attention-space"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        n: &CpuStorage,
        ln: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (qkv, gains) = (numbers(x, lx)?, numbers(n, ln)?);
        let mut out = vec![0.0; qkv.len() / 3];
        attention::space(self.h, self.g, self.s, qkv, gains, turns(&self.rope), &mut out);
        done(out, (self.g, self.s, self.h.d()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        n: &Tensor,
        _: &Tensor,
        dout: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (mut dx, mut dn) = (vec![0.0; x.elem_count()], vec![0.0; n.elem_count()]);
        read([x, n, &dout.contiguous()?], |[xs, ns, dout]| {
            let t = turns(&self.rope);
            attention::space_backward(self.h, self.g, self.s, xs, ns, t, dout, &mut dx, &mut dn);
        })?;
        Ok((Some(tensor(dx, x)?), Some(tensor(dn, n)?)))
    }
}

pub(super) fn attention_space(
    qkv: &Tensor,
    n_heads: usize,
    gains: &Tensor,
    rope: &RopeTable,
) -> Result<Tensor> {
    let (g, s, three_d) = qkv.dims3()?;
    qkv.apply_op2(gains, Space { h: heads(three_d, n_heads), g, s, rope: rope.clone() })
}

struct Along {
    h: Heads,
    shape: Time,
    rope: RopeTable,
}

impl CustomOp2 for Along {
    fn name(&self) -> &'static str {
        "fused-attention-time"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        n: &CpuStorage,
        ln: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (qkv, gains) = (numbers(x, lx)?, numbers(n, ln)?);
        let mut out = vec![0.0; qkv.len() / 3];
        attention::time(self.h, self.shape, qkv, gains, turns(&self.rope), &mut out);
        done(out, (self.shape.b, self.shape.t, self.shape.p, self.h.d()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        n: &Tensor,
        _: &Tensor,
        dout: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (mut dx, mut dn) = (vec![0.0; x.elem_count()], vec![0.0; n.elem_count()]);
        read([x, n, &dout.contiguous()?], |[xs, ns, dout]| {
            let t = turns(&self.rope);
            attention::time_backward(self.h, self.shape, xs, ns, t, dout, &mut dx, &mut dn);
        })?;
        Ok((Some(tensor(dx, x)?), Some(tensor(dn, n)?)))
    }
}

pub(super) fn attention_time(
    qkv: &Tensor,
    n_heads: usize,
    gains: &Tensor,
    rope: &RopeTable,
    window: usize,
) -> Result<Tensor> {
    let (b, t, p, three_d) = qkv.dims4()?;
    let op = Along { h: heads(three_d, n_heads), shape: Time { b, t, p, window }, rope: rope.clone() };
    qkv.apply_op2(gains, op)
}

/// One step of generation: `qkv [B, 1, P, 3D]` and past steps `(k, v)` of `[B * P, D]` each, oldest first. Gives the
/// result `[B, 1, P, D]` and this step's `(k, v)`.
pub(super) fn attention_step(
    qkv: &Tensor,
    n_heads: usize,
    gains: &Tensor,
    rope: &RopeTable,
    past: &[(&Tensor, &Tensor)],
) -> Result<(Tensor, Tensor, Tensor)> {
    let (b, _, p, three_d) = qkv.dims4()?;
    let (rows, d) = (b * p, three_d / 3);
    let guards: Vec<_> = past.iter().map(|(k, v)| (Read::of(k), Read::of(v))).collect();
    let mut slices = Vec::with_capacity(past.len());
    for (k, v) in &guards {
        slices.push((k.get()?, v.get()?));
    }
    let [mut out, mut k, mut v] = [(); 3].map(|()| vec![0.0; rows * d]);
    read([qkv, gains], |[qkv, gains]| {
        let turn = Turn { cos: rope.cos(), sin: rope.sin() };
        let h = heads(three_d, n_heads);
        attention::step(h, rows, qkv, gains, turn, &slices, &mut out, &mut k, &mut v);
    })?;
    let cpu = &Device::Cpu;
    Ok((
        Tensor::from_vec(out, (b, 1, p, d), cpu)?,
        Tensor::from_vec(k, (rows, d), cpu)?,
        Tensor::from_vec(v, (rows, d), cpu)?,
    ))
}
