// With a bias, on top of what the cell was told, through SiLU.
@group(0) @binding(6) var<storage, read> bias: array<f32>;

fn store(row: u32, column: u32, sum: f32) {
    let at = row * shape.columns + column;
    y[at] = soft(sum + bias[column] + y[at]);
}
