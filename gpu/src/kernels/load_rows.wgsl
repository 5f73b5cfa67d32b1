// Rows as they lie.
@group(0) @binding(3) var<storage, read> x: array<f32>;

fn load(row: u32, k: u32) -> f32 {
    return x[row * shape.inner + k];
}
