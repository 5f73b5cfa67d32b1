// With a bias: onto what is drawn anew and its gate, and what is added to the frame.
@group(0) @binding(6) var<storage, read> bias: array<f32>;
@group(0) @binding(7) var<storage, read_write> touch: array<f32>;

fn store(row: u32, column: u32, sum: f32) {
    let value = sum + bias[column];
    let drawn = COLOURS + FINE * FINE;
    if (column < drawn) {
        let at = in_drawn(row, column);
        y[at] = y[at] + value;
    } else {
        touch[row / IN_PATCH * VALUES + in_plane(row % IN_PATCH, column - drawn, 3u)] = value;
    }
}
