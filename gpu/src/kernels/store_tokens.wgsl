// A patch becomes a token: bias, its place, and what every token of its group hears.
@group(0) @binding(6) var<storage, read> bias: array<f32>;
@group(0) @binding(7) var<storage, read> places: array<f32>;
@group(0) @binding(8) var<storage, read> everywhere: array<f32>;

fn store(row: u32, column: u32, sum: f32) {
    let group = row / PATCHES;
    let patch_at = row % PATCHES;
    let value = sum + bias[column] + places[patch_at * WIDTH + column] + everywhere[group * WIDTH + column];
    y[(group * TOKENS + patch_at) * WIDTH + column] = value;
}
