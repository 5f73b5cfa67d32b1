// The present, fetched along the predicted displacements. An invocation a pixel; pictures lie patch by patch.
@group(0) @binding(0) var<uniform> groups: Groups;
@group(0) @binding(1) var<uniform> moment: Moment;
@group(0) @binding(2) var<storage, read> present: array<f32>;
@group(0) @binding(3) var<storage, read> motion: array<f32>;
@group(0) @binding(4) var<storage, read_write> fetched: array<f32>;

const WIDE: u32 = COLUMNS * SIDE;
const HIGH: u32 = ROWS * SIDE;
// Pixels of displacement for an output of 1.
const MOTION_SCALE: f32 = 4.0;

fn pixel(y: u32, x: u32) -> u32 {
    return (y / SIDE * COLUMNS + x / SIDE) * PIXELS + y % SIDE * SIDE + x % SIDE;
}

// Displacement of cell (y, x) of a group, in pixels.
fn displacement(group: u32, y: u32, x: u32) -> vec2<f32> {
    let patch_at = group * PATCHES + y / CELLS * COLUMNS + x / CELLS;
    let at = patch_at * MOTIONS + (y % CELLS * CELLS + x % CELLS) * 2u;
    return vec2<f32>(motion[at], motion[at + 1u]) * MOTION_SCALE;
}

struct Taps {
    at: vec4<u32>,
    weight: vec4<f32>,
}

// Neighbours along an axis with their weights; places beyond it take its end.
fn taps(place: f32, last: u32) -> Taps {
    let inside = clamp(place, 0.0, f32(last));
    let a = min(u32(inside), last);
    let t = inside - f32(a);
    let at = vec4<u32>(max(a, 1u) - 1u, a, min(a + 1u, last), min(a + 2u, last));
    if (CUBIC) {
        // Catmull-Rom (Keys 1981, https://doi.org/10.1109/TASSP.1981.1163711, a = -1/2).
        let t2 = t * t;
        let t3 = t2 * t;
        return Taps(at, 0.5 * vec4<f32>(
            2.0 * t2 - t - t3,
            2.0 - 5.0 * t2 + 3.0 * t3,
            t + 4.0 * t2 - 3.0 * t3,
            t3 - t2,
        ));
    }
    return Taps(at, vec4<f32>(0.0, 1.0 - t, t, 0.0));
}

fn seen(group: u32, at: u32) -> vec3<f32> {
    let start = (group * PATCHES * PIXELS + at) * 3u;
    return vec3<f32>(present[start], present[start + 1u], present[start + 2u]);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat(id);
    if (index >= groups.count * WIDE * HIGH) {
        return;
    }
    let group = index / (WIDE * HIGH);
    let y = index / WIDE % HIGH;
    let x = index % WIDE;
    let ratio = f32(CELLS) / f32(SIDE);
    let down = clamp((f32(y) + 0.5) * ratio - 0.5, 0.0, f32(ROWS * CELLS - 1u));
    let right = clamp((f32(x) + 0.5) * ratio - 0.5, 0.0, f32(COLUMNS * CELLS - 1u));
    let y0 = u32(down);
    let x0 = u32(right);
    let y1 = min(y0 + 1u, ROWS * CELLS - 1u);
    let x1 = min(x0 + 1u, COLUMNS * CELLS - 1u);
    let v = down - f32(y0);
    let h = right - f32(x0);
    let by = displacement(group, y0, x0) * (1.0 - v) * (1.0 - h)
        + displacement(group, y0, x1) * (1.0 - v) * h
        + displacement(group, y1, x0) * v * (1.0 - h)
        + displacement(group, y1, x1) * v * h;
    let across = taps(f32(x) + by.x, WIDE - 1u);
    let along = taps(f32(y) + by.y, HIGH - 1u);
    var found = vec3<f32>(0.0);
    for (var j = 0u; j < 4u; j++) {
        for (var i = 0u; i < 4u; i++) {
            let weight = along.weight[j] * across.weight[i];
            found += seen(group, pixel(along.at[j], across.at[i])) * weight;
        }
    }
    found *= moment.has_present;
    let to = (group * PATCHES * PIXELS + pixel(y, x)) * 3u;
    fetched[to] = found.x;
    fetched[to + 1u] = found.y;
    fetched[to + 2u] = found.z;
}
