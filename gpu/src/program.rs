//! The kernels, made for one network's sizes.

use forerun_models::dreamer::{Config, refiner};
use forerun_models::kernels::warp::Sampling;

use crate::card::Card;

/// Numbers that a tile of keys (and one of values) may hold: two of them are half of what every card has.
const TILE_NUMBERS: usize = 1024;
/// Rows and columns of results that a workgroup of a matrix product makes.
pub(crate) const PRODUCT_TILE: usize = 64;
/// Rows that a workgroup of the norm takes.
pub(crate) const NORM_ROWS: usize = 4;
/// Queries that a workgroup of attention takes, and invocations of a workgroup in one row.
pub(crate) const LANES: usize = 64;

/// One compiled kernel.
pub(crate) type Kernel = wgpu::ComputePipeline;

/// All kernels of a network.
pub(crate) struct Program {
    /// Products: present and noise to tokens.
    pub(crate) tokens: Kernel,
    /// Products: rows to rows.
    pub(crate) rows: Kernel,
    /// Products: tokens of patches to rows.
    pub(crate) patches: Kernel,
    /// Products: rows through a gate onto the residual.
    pub(crate) gated: Kernel,
    /// The same after SwiGLU.
    pub(crate) gated_swiglu: Kernel,
    /// Register tokens; absent where the network has none.
    pub(crate) registers: Option<Kernel>,
    pub(crate) norm: Kernel,
    pub(crate) turn: Kernel,
    pub(crate) space: Kernel,
    pub(crate) time: Kernel,
    /// The present along the displacements; absent where nothing moves.
    pub(crate) fetch: Option<Kernel>,
    pub(crate) refiner: Option<RefinerKernels>,
    pub(crate) frame: Kernel,
    pub(crate) approach: Kernel,
    pub(crate) settle: Kernel,
}

/// Products of the refiner, in order.
pub(crate) struct RefinerKernels {
    pub(crate) seen: Kernel,
    pub(crate) near: Kernel,
    pub(crate) far: Kernel,
}

/// The constants that the shaders name.
fn constants(config: &Config) -> String {
    let (rows, columns) = config.grid();
    let head = config.width / config.heads;
    let keys = (TILE_NUMBERS / head).clamp(1, 32);
    let cells = config.motion_cells;
    let numbers = [
        ("WIDTH", config.width),
        ("HEADS", config.heads),
        ("HEAD", head),
        ("TOKENS", config.tokens()),
        ("PATCHES", config.patches()),
        ("VALUES", config.patch_values()),
        ("SIDE", config.patch),
        ("PIXELS", config.patch * config.patch),
        ("FINE", refiner::CELL),
        ("ACROSS", config.patch / refiner::CELL),
        ("REFINER", config.refiner.max(1)),
        ("ROWS", rows),
        ("COLUMNS", columns),
        // A network without motion still has a well-formed shader.
        ("CELLS", cells.max(1)),
        ("MOTIONS", motion_numbers(config).max(1)),
        ("WINDOW", config.window),
        ("KEYS", keys),
        ("KEYS_X_HEAD", keys * head),
    ];
    let mut text: String =
        numbers.iter().map(|(name, value)| format!("const {name}: u32 = {value}u;\n")).collect();
    let cubic = config.motion_sampling == Sampling::Cubic;
    for (name, holds) in [("MOVES", cells > 0), ("CUBIC", cubic), ("REFINES", config.refiner > 0)] {
        text.push_str(&format!("const {name}: bool = {holds};\n"));
    }
    text
}

/// Motion outputs a patch: displacements and gates; 0 without motion.
pub(crate) fn motion_numbers(config: &Config) -> usize {
    match config.motion_cells {
        0 => 0,
        cells => 2 * cells * cells + config.patch * config.patch,
    }
}

impl Program {
    /// Compiles the kernels for this network.
    pub(crate) fn new(card: &Card, config: &Config) -> Self {
        let constants = constants(config);
        let kernel = |name: &str, parts: &[&str], entry: &str| {
            let text = [constants.as_str(), include_str!("kernels/common.wgsl")];
            let text: String = text.iter().chain(parts).copied().collect();
            let module = card.device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some(name),
                source: wgpu::ShaderSource::Wgsl(text.into()),
            });
            card.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(name),
                layout: None,
                module: &module,
                entry_point: Some(entry),
                compilation_options: wgpu::PipelineCompilationOptions::default(),
                cache: None,
            })
        };
        let product = |name: &str, load: &str, store: &str| {
            kernel(name, &[include_str!("kernels/linear.wgsl"), load, store], "main")
        };
        let (load_rows, store_rows) =
            (include_str!("kernels/load_rows.wgsl"), include_str!("kernels/store_rows.wgsl"));
        let fine = include_str!("kernels/fine.wgsl");
        let around = [fine, include_str!("kernels/load_around.wgsl")].concat();
        let store_gated = include_str!("kernels/store_gated.wgsl");
        let advance = include_str!("kernels/advance.wgsl");
        Self {
            tokens: product(
                "tokens",
                include_str!("kernels/load_pair.wgsl"),
                include_str!("kernels/store_tokens.wgsl"),
            ),
            rows: product("rows", load_rows, store_rows),
            patches: product("patches", include_str!("kernels/load_patches.wgsl"), store_rows),
            gated: product("gated", load_rows, store_gated),
            gated_swiglu: product("gated_swiglu", include_str!("kernels/load_swiglu.wgsl"), store_gated),
            registers: (config.registers > 0)
                .then(|| kernel("registers", &[include_str!("kernels/registers.wgsl")], "main")),
            norm: kernel("norm", &[include_str!("kernels/norm.wgsl")], "main"),
            turn: kernel("turn", &[include_str!("kernels/turn.wgsl")], "main"),
            space: kernel("space", &[include_str!("kernels/space.wgsl")], "main"),
            time: kernel("time", &[include_str!("kernels/time.wgsl")], "main"),
            fetch: (config.motion_cells > 0)
                .then(|| kernel("fetch", &[include_str!("kernels/fetch.wgsl")], "main")),
            refiner: (config.refiner > 0).then(|| RefinerKernels {
                seen: product(
                    "seen",
                    &[fine, include_str!("kernels/load_seen.wgsl")].concat(),
                    include_str!("kernels/store_told.wgsl"),
                ),
                near: product("near", &around, include_str!("kernels/store_soft.wgsl")),
                far: product("far", &around, include_str!("kernels/store_drawn.wgsl")),
            }),
            frame: kernel("frame", &[include_str!("kernels/frame.wgsl")], "main"),
            approach: kernel("approach", &[advance], "approach"),
            settle: kernel("settle", &[advance], "settle"),
        }
    }
}
