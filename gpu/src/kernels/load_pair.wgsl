// A patch of the present (dark where there is none) and the noisy patch at the same place.
@group(0) @binding(3) var<storage, read> present: array<f32>;
@group(0) @binding(4) var<storage, read> noisy: array<f32>;
@group(0) @binding(5) var<uniform> moment: Moment;

fn load(row: u32, k: u32) -> f32 {
    if (k < VALUES) {
        return present[row * VALUES + k] * moment.has_present;
    }
    return noisy[row * VALUES + k - VALUES];
}
