// y = x w^T: tiles of 64 rows by 64 columns, 16 numbers deep; each of 16 x 16 invocations sums 4 x 4 results.
//
// `load(row, k)` and `store(row, column, sum)` are added by the Rust side (load_*.wgsl, store_*.wgsl): where the rows come
// from, and what becomes of a result.

struct Shape {
    rows: u32,
    columns: u32,
    inner: u32,
    // Vectors of WIDTH in a row of the modulation, and which one is the gate.
    parts: u32,
    gate: u32,
    // Whether there is a bias.
    biased: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

const TILE: u32 = 64u;
const DEPTH: u32 = 16u;

var<workgroup> xs: array<f32, 1024>;
var<workgroup> ws: array<f32, 1024>;

@compute @workgroup_size(16, 16)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) at: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let row0 = group.y * TILE;
    let column0 = group.x * TILE;
    var sums: array<vec4<f32>, 4>;
    for (var k0 = 0u; k0 < shape.inner; k0 += DEPTH) {
        for (var i = index; i < TILE * DEPTH; i += 256u) {
            let line = i / DEPTH;
            let k = i % DEPTH;
            var a = 0.0;
            var b = 0.0;
            if (k0 + k < shape.inner) {
                if (row0 + line < shape.rows) {
                    a = load(row0 + line, k0 + k);
                }
                if (column0 + line < shape.columns) {
                    b = weight[(column0 + line) * shape.inner + k0 + k];
                }
            }
            xs[k * TILE + line] = a;
            ws[k * TILE + line] = b;
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) {
            let x = k * TILE + at.y * 4u;
            let w = k * TILE + at.x * 4u;
            let b = vec4<f32>(ws[w], ws[w + 1u], ws[w + 2u], ws[w + 3u]);
            sums[0] = fma(vec4<f32>(xs[x]), b, sums[0]);
            sums[1] = fma(vec4<f32>(xs[x + 1u]), b, sums[1]);
            sums[2] = fma(vec4<f32>(xs[x + 2u]), b, sums[2]);
            sums[3] = fma(vec4<f32>(xs[x + 3u]), b, sums[3]);
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < 4u; i++) {
        let row = row0 + at.y * 4u + i;
        if (row >= shape.rows) {
            break;
        }
        let found = sums[i];
        for (var j = 0u; j < 4u; j++) {
            let column = column0 + at.x * 4u + j;
            if (column < shape.columns) {
                store(row, column, found[j]);
            }
        }
    }
}
