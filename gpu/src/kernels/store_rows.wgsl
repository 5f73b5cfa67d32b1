// Rows as they lie, with a bias where there is one.
@group(0) @binding(6) var<storage, read> bias: array<f32>;

fn store(row: u32, column: u32, sum: f32) {
    var value = sum;
    if (shape.biased != 0u) {
        value += bias[column];
    }
    y[row * shape.columns + column] = value;
}
