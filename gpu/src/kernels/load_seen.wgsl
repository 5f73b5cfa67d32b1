// What was fetched for a cell, then what is drawn there with its gate.
@group(0) @binding(3) var<storage, read> fetched: array<f32>;
@group(0) @binding(4) var<storage, read> fresh: array<f32>;

fn load(row: u32, k: u32) -> f32 {
    if (k < COLOURS) {
        return fetched[row / IN_PATCH * VALUES + in_plane(row % IN_PATCH, k, 3u)];
    }
    return fresh[in_drawn(row, k - COLOURS)];
}
