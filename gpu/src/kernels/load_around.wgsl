// A cell and the eight around it, row by row; nothing beyond the picture.
@group(0) @binding(3) var<storage, read> x: array<f32>;

fn load(row: u32, k: u32) -> f32 {
    let all = PATCHES * IN_PATCH;
    let patch_at = row % all / IN_PATCH;
    let inside = row % IN_PATCH;
    let tap = k / REFINER;
    // One more than the neighbour's row and column.
    let down = patch_at / COLUMNS * ACROSS + inside / ACROSS + tap / 3u;
    let right = patch_at % COLUMNS * ACROSS + inside % ACROSS + tap % 3u;
    if (down < 1u || down > ROWS * ACROSS || right < 1u || right > COLUMNS * ACROSS) {
        return 0.0;
    }
    let r = down - 1u;
    let c = right - 1u;
    let cell = (r / ACROSS * COLUMNS + c / ACROSS) * IN_PATCH + r % ACROSS * ACROSS + c % ACROSS;
    return x[(row / all * all + cell) * REFINER + k % REFINER];
}
