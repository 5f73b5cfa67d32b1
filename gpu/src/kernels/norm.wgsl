// RMS norm without gain, then scale and shift of the row's group. 64 invocations a row, four rows at once.
struct Parts {
    rows: u32,
    // Vectors of WIDTH in a row of the modulation, and which ones are used.
    parts: u32,
    shift: u32,
    scale: u32,
}

@group(0) @binding(0) var<uniform> parts: Parts;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> modulation: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

const LANES: u32 = 64u;
const EPS: f32 = 1e-6;

var<workgroup> squares: array<f32, 256>;

@compute @workgroup_size(64, 4)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) at: vec3<u32>,
) {
    let row = group.x * 4u + at.y;
    let mine = at.y * LANES + at.x;
    var sum = 0.0;
    if (row < parts.rows) {
        for (var i = at.x; i < WIDTH; i += LANES) {
            let value = x[row * WIDTH + i];
            sum = fma(value, value, sum);
        }
    }
    squares[mine] = sum;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (at.x < half) {
            squares[mine] += squares[mine + half];
        }
        workgroupBarrier();
    }
    if (row >= parts.rows) {
        return;
    }
    let inverse = 1.0 / sqrt(squares[at.y * LANES] / f32(WIDTH) + EPS);
    let base = row / TOKENS * parts.parts;
    for (var i = at.x; i < WIDTH; i += LANES) {
        let scale = 1.0 + modulation[(base + parts.scale) * WIDTH + i];
        let shift = modulation[(base + parts.shift) * WIDTH + i];
        y[row * WIDTH + i] = fma(x[row * WIDTH + i] * inverse, scale, shift);
    }
}
