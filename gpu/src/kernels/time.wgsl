// Attention along time at one place: an invocation a token and head, over the stored steps and the present one, which is
// stored too when the pass is to be remembered.
@group(0) @binding(0) var<uniform> groups: Groups;
@group(0) @binding(1) var<uniform> moment: Moment;
@group(0) @binding(2) var<storage, read> qkv: array<f32>;
@group(0) @binding(3) var<storage, read_write> keys: array<f32>;
@group(0) @binding(4) var<storage, read_write> values: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let rows = groups.count * TOKENS;
    let index = flat(id);
    let row = index / HEADS;
    if (row >= rows) {
        return;
    }
    let head = index % HEADS;
    let start = row * 3u * WIDTH + head * HEAD;
    let to = row * WIDTH + head * HEAD;
    let scale = 1.0 / sqrt(f32(HEAD));
    // Scores are of unit vectors times gains: they are small, but the greatest is taken off all the same.
    var sums: array<f32, HEAD>;
    var own = 0.0;
    for (var i = 0u; i < HEAD; i++) {
        own = fma(qkv[start + i] * scale, qkv[start + WIDTH + i], own);
        sums[i] = qkv[start + 2u * WIDTH + i];
    }
    var most = own;
    var total = 1.0;
    for (var back = 1u; back <= moment.seen; back++) {
        let slot = (moment.step - back) % WINDOW;
        let at = slot * rows * WIDTH + to;
        var score = 0.0;
        for (var i = 0u; i < HEAD; i++) {
            score = fma(qkv[start + i] * scale, keys[at + i], score);
        }
        let before = most;
        most = max(most, score);
        let shrink = exp(before - most);
        let weight = exp(score - most);
        total = fma(total, shrink, weight);
        for (var i = 0u; i < HEAD; i++) {
            sums[i] = fma(sums[i], shrink, weight * values[at + i]);
        }
    }
    for (var i = 0u; i < HEAD; i++) {
        y[to + i] = sums[i] / total;
    }
    if (moment.commit != 0u) {
        // The oldest of a full window is not looked at any more, so its place is free.
        let at = moment.step % WINDOW * rows * WIDTH + to;
        for (var i = 0u; i < HEAD; i++) {
            keys[at + i] = qkv[start + WIDTH + i];
            values[at + i] = qkv[start + 2u * WIDTH + i];
        }
    }
}
