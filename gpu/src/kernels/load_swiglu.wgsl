// silu(a) b, a being the first half of a row (Shazeer 2020, https://arxiv.org/abs/2002.05202).
@group(0) @binding(3) var<storage, read> x: array<f32>;

fn load(row: u32, k: u32) -> f32 {
    let at = row * 2u * shape.inner + k;
    let a = x[at];
    return a / (1.0 + exp(-a)) * x[at + shape.inner];
}
