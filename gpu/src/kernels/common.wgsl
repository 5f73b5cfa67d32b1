// What all kernels know, after the constants of the network (program.rs).

struct Groups {
    // Futures.
    count: u32,
}

// What changes from pass to pass.
struct Moment {
    // 1 where there is a frame to start from, else 0.
    has_present: f32,
    // Share of the way from noise to the predicted frame.
    share: f32,
    // Number of the step, and how many before it are looked at.
    step: u32,
    seen: u32,
    // Whether the step is remembered.
    commit: u32,
}

// Number of an invocation where there are more workgroups (of 64) than fit into one row of them.
fn flat(id: vec3<u32>) -> u32 {
    return id.x + id.y * 65535u * 64u;
}
