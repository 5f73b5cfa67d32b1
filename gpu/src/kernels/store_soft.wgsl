// With a bias, through SiLU.
@group(0) @binding(6) var<storage, read> bias: array<f32>;

fn store(row: u32, column: u32, sum: f32) {
    y[row * shape.columns + column] = soft(sum + bias[column]);
}
