// The next frame: the present, partly what was fetched, partly drawn anew. An invocation a pixel, in the order of the buffers.
@group(0) @binding(0) var<uniform> groups: Groups;
@group(0) @binding(1) var<uniform> moment: Moment;
@group(0) @binding(2) var<storage, read> present: array<f32>;
@group(0) @binding(3) var<storage, read> fresh: array<f32>;
@group(0) @binding(4) var<storage, read> motion: array<f32>;
@group(0) @binding(5) var<storage, read_write> frames: array<f32>;
@group(0) @binding(6) var<storage, read> fetched: array<f32>;
@group(0) @binding(7) var<storage, read> touch: array<f32>;

fn gate(raw: f32) -> f32 {
    return 1.0 / (1.0 + exp(-raw));
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat(id);
    if (index >= groups.count * PATCHES * PIXELS) {
        return;
    }
    let patch_at = index / PIXELS;
    let inside = index % PIXELS;
    let at = index * 3u;
    var base = vec3<f32>(present[at], present[at + 1u], present[at + 2u]) * moment.has_present;
    if (MOVES) {
        let found = vec3<f32>(fetched[at], fetched[at + 1u], fetched[at + 2u]);
        base += (found - base) * gate(motion[patch_at * MOTIONS + 2u * CELLS * CELLS + inside]);
    }
    let start = patch_at * (VALUES + PIXELS);
    let drawn = vec3<f32>(
        fresh[start + inside * 3u],
        fresh[start + inside * 3u + 1u],
        fresh[start + inside * 3u + 2u],
    );
    // Where there is no present the gate is fully open.
    let open = gate(fresh[start + VALUES + inside]) * moment.has_present + 1.0 - moment.has_present;
    var made = base + (drawn - base) * open;
    if (REFINES) {
        made += vec3<f32>(touch[at], touch[at + 1u], touch[at + 2u]);
    }
    frames[at] = made.x;
    frames[at + 1u] = made.y;
    frames[at + 2u] = made.z;
}
