// Of each group's tokens the patches, which come first.
@group(0) @binding(3) var<storage, read> x: array<f32>;

fn load(row: u32, k: u32) -> f32 {
    let token = row / PATCHES * TOKENS + row % PATCHES;
    return x[token * shape.inner + k];
}
