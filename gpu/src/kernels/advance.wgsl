// What happens between passes: noise goes on towards the predicted frames; predicted frames become the present.
@group(0) @binding(0) var<uniform> groups: Groups;
@group(0) @binding(1) var<uniform> moment: Moment;
@group(0) @binding(2) var<storage, read> frames: array<f32>;
@group(0) @binding(3) var<storage, read_write> changed: array<f32>;

// Along the straight line from noise to the predicted frame.
@compute @workgroup_size(64)
fn approach(@builtin(global_invocation_id) id: vec3<u32>) {
    let at = flat(id);
    if (at < groups.count * PATCHES * VALUES) {
        changed[at] += (frames[at] - changed[at]) * moment.share;
    }
}

@compute @workgroup_size(64)
fn settle(@builtin(global_invocation_id) id: vec3<u32>) {
    let at = flat(id);
    if (at < groups.count * PATCHES * VALUES) {
        changed[at] = clamp(frames[at], -1.0, 1.0);
    }
}
