// Cells of FINE x FINE pixels: they lie in the order of their patches, row by row inside one.
const IN_PATCH: u32 = ACROSS * ACROSS;
const COLOURS: u32 = FINE * FINE * 3u;

// Where in its patch number `k` of a cell's colours (depth 3) or gates (depth 1) is.
fn in_plane(cell: u32, k: u32, depth: u32) -> u32 {
    let run = FINE * depth;
    let y = cell / ACROSS * FINE + k / run;
    return (y * ACROSS + cell % ACROSS) * run + k % run;
}

// Where number `k` of cell `row` is in what is drawn anew: a patch's colours, then its gates.
fn in_drawn(row: u32, k: u32) -> u32 {
    let cell = row % IN_PATCH;
    let start = row / IN_PATCH * (VALUES + PIXELS);
    if (k < COLOURS) {
        return start + in_plane(cell, k, 3u);
    }
    return start + VALUES + in_plane(cell, k - COLOURS, 1u);
}

fn soft(x: f32) -> f32 {
    return x / (1.0 + exp(-x));
}
