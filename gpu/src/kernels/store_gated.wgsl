// Added to what is there, through a gate: one vector a group.
@group(0) @binding(6) var<storage, read> modulation: array<f32>;

fn store(row: u32, column: u32, sum: f32) {
    let gate = modulation[(row / TOKENS * shape.parts + shape.gate) * WIDTH + column];
    let at = row * WIDTH + column;
    y[at] = fma(gate, sum, y[at]);
}
