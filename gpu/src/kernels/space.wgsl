// Attention among the tokens of a group: an invocation a query, keys and values in tiles, the softmax as they come by
// (Milakov & Gimelshein 2018, https://arxiv.org/abs/1805.02867), so that no scores are stored.
@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

var<workgroup> keys: array<f32, KEYS_X_HEAD>;
var<workgroup> values: array<f32, KEYS_X_HEAD>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) at: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let head = at.y;
    let group = at.z;
    let token = at.x * 64u + index;
    let first = group * TOKENS;
    let scale = 1.0 / sqrt(f32(HEAD));
    var q: array<f32, HEAD>;
    var sums: array<f32, HEAD>;
    if (token < TOKENS) {
        let start = (first + token) * 3u * WIDTH + head * HEAD;
        for (var i = 0u; i < HEAD; i++) {
            q[i] = qkv[start + i] * scale;
        }
    }
    var most = -3.4e38;
    var total = 0.0;
    for (var k0 = 0u; k0 < TOKENS; k0 += KEYS) {
        let count = min(KEYS, TOKENS - k0);
        for (var i = index; i < count * HEAD; i += 64u) {
            let start = (first + k0 + i / HEAD) * 3u * WIDTH + WIDTH + head * HEAD + i % HEAD;
            keys[i] = qkv[start];
            values[i] = qkv[start + WIDTH];
        }
        workgroupBarrier();
        if (token < TOKENS) {
            for (var k = 0u; k < count; k++) {
                var score = 0.0;
                for (var i = 0u; i < HEAD; i++) {
                    score = fma(q[i], keys[k * HEAD + i], score);
                }
                let before = most;
                most = max(most, score);
                let shrink = exp(before - most);
                let weight = exp(score - most);
                total = fma(total, shrink, weight);
                for (var i = 0u; i < HEAD; i++) {
                    sums[i] = fma(sums[i], shrink, weight * values[k * HEAD + i]);
                }
            }
        }
        workgroupBarrier();
    }
    if (token < TOKENS) {
        let to = (first + token) * WIDTH + head * HEAD;
        for (var i = 0u; i < HEAD; i++) {
            y[to + i] = sums[i] / total;
        }
    }
}
