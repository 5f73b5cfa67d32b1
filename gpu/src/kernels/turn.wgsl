// Queries and keys in place: RMS norm with a gain, then the rotary turn of the token's row (halves convention).
struct Turn {
    rows: u32,
    // Rows of the table: one a token, or one for all.
    positions: u32,
}

@group(0) @binding(0) var<uniform> turn: Turn;
@group(0) @binding(1) var<storage, read> gains: array<f32>;
// Cosines of a row, then its sines.
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<storage, read_write> qkv: array<f32>;

const HALF: u32 = HEAD / 2u;
const EPS: f32 = 1e-6;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    // Two of the three parts of a row are turned.
    let index = flat(id);
    let row = index / (2u * HEADS);
    if (row >= turn.rows) {
        return;
    }
    let part = index % (2u * HEADS);
    let start = row * 3u * WIDTH + part * HEAD;
    let gain = part / HEADS * HEAD;
    let angle = (row % TOKENS) % turn.positions * HEAD;
    var sum = 0.0;
    for (var i = 0u; i < HEAD; i++) {
        sum = fma(qkv[start + i], qkv[start + i], sum);
    }
    let inverse = 1.0 / sqrt(sum / f32(HEAD) + EPS);
    for (var i = 0u; i < HALF; i++) {
        let a = qkv[start + i] * inverse * gains[gain + i];
        let b = qkv[start + HALF + i] * inverse * gains[gain + HALF + i];
        let cosine = table[angle + i];
        let sine = table[angle + HALF + i];
        qkv[start + i] = a * cosine - b * sine;
        qkv[start + HALF + i] = b * cosine + a * sine;
    }
}
