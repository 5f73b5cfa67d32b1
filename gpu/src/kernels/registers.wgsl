// The tokens after the patches: the registers, and what every token of their group hears.
@group(0) @binding(0) var<uniform> groups: Groups;
@group(0) @binding(1) var<storage, read> registers: array<f32>;
@group(0) @binding(2) var<storage, read> everywhere: array<f32>;
@group(0) @binding(3) var<storage, read_write> x: array<f32>;

const REGISTERS: u32 = TOKENS - PATCHES;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat(id);
    if (index >= groups.count * REGISTERS * WIDTH) {
        return;
    }
    let column = index % WIDTH;
    let which = index / WIDTH % REGISTERS;
    let group = index / (WIDTH * REGISTERS);
    x[(group * TOKENS + PATCHES + which) * WIDTH + column] =
        registers[which * WIDTH + column] + everywhere[group * WIDTH + column];
}
