//! Self-attention, and cross-attention to text and picture.

use candle_core::{D, Result, Tensor};
use candle_nn::{Module, VarBuilder};

use super::block::{BlockShape, Context};
use crate::common::rotary::Rotary;
use crate::common::{Linear, Mask, RmsNorm, attention, linear_no_bias};

/// Queries, keys and values with a norm on queries and keys of each head.
struct Projections {
    q: Linear,
    k: Linear,
    v: Linear,
    norm_q: RmsNorm,
    norm_k: RmsNorm,
    heads: usize,
}

impl Projections {
    /// `names` are those of q, k, v and of the two norms.
    fn new(
        shape: &BlockShape,
        context: usize,
        names: [&str; 5],
        eps: f64,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let (width, head) = (shape.width(), shape.head_width);
        let [q, k, v, norm_q, norm_k] = names;
        Ok(Self {
            q: linear_no_bias(width, width, vb.pp(q))?,
            k: linear_no_bias(context, width, vb.pp(k))?,
            v: linear_no_bias(context, width, vb.pp(v))?,
            norm_q: RmsNorm::new(head, eps, vb.pp(norm_q))?,
            norm_k: RmsNorm::new(head, eps, vb.pp(norm_k))?,
            heads: shape.heads,
        })
    }

    /// `x` [B, N, width] looks at `context` [B, M, …]: [B, N, width].
    fn attend(&self, x: &Tensor, context: &Tensor, rotary: Option<&Rotary>) -> Result<Tensor> {
        // [B, N, H·D] -> [B, H, N, D]
        let split = |y: Tensor| -> Result<Tensor> {
            let (batch, tokens, _) = y.dims3()?;
            y.reshape((batch, tokens, self.heads, ()))?.transpose(1, 2)?.contiguous()
        };
        let q = self.norm_q.forward(&split(self.q.forward(x)?)?)?;
        let k = self.norm_k.forward(&split(self.k.forward(context)?)?)?;
        let v = split(self.v.forward(context)?)?;
        let (q, k) = match rotary {
            Some(rotary) => (rotary.apply(&q)?, rotary.apply(&k)?),
            None => (q, k),
        };
        let scale = 1.0 / (q.dim(D::Minus1)? as f64).sqrt();
        // [B, H, N, D] -> [B, N, H·D]
        attention(&q, &k, &v, scale, Mask::None)?.transpose(1, 2)?.flatten_from(2)
    }
}

/// Self-attention over all tokens of the clip.
pub(super) struct SelfAttention {
    own: Projections,
    out: Linear,
}

impl SelfAttention {
    pub fn new(shape: &BlockShape, vb: VarBuilder<'_>) -> Result<Self> {
        let names = ["to_q", "to_k", "to_v", "norm_q", "norm_k"];
        Ok(Self {
            own: Projections::new(shape, shape.width(), names, shape.qk_eps, vb.clone())?,
            out: linear_no_bias(shape.width(), shape.width(), vb.pp("to_out.0"))?,
        })
    }

    pub fn forward(&self, x: &Tensor, rotary: &Rotary) -> Result<Tensor> {
        self.out.forward(&self.own.attend(x, x, Some(rotary))?)
    }
}

/// Cross-attention to the text and, in Transfer2.5, to a picture with its own projections; the two are summed.
pub(super) struct CrossAttention {
    text: Projections,
    picture: Option<Projections>,
    out: Linear,
}

impl CrossAttention {
    pub fn new(shape: &BlockShape, vb: VarBuilder<'_>) -> Result<Self> {
        let names = ["to_q", "to_k", "to_v", "norm_q", "norm_k"];
        let picture_names = ["q_img", "k_img", "v_img", "q_img_norm", "k_img_norm"];
        let picture = match shape.picture {
            // The norms of the picture part have epsilon 1e-6 in both references.
            true => Some(Projections::new(shape, shape.width(), picture_names, 1e-6, vb.clone())?),
            false => None,
        };
        Ok(Self {
            text: Projections::new(shape, shape.text_width, names, shape.qk_eps, vb.clone())?,
            picture,
            out: linear_no_bias(shape.width(), shape.width(), vb.pp("to_out.0"))?,
        })
    }

    pub fn forward(&self, x: &Tensor, context: &Context<'_>) -> Result<Tensor> {
        let mut mixed = self.text.attend(x, context.text, None)?;
        if let (Some(projections), Some(picture)) = (&self.picture, context.picture) {
            mixed = (mixed + projections.attend(x, picture, None)?)?;
        }
        self.out.forward(&mixed)
    }
}
