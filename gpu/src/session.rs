//! Futures under way on a card: their buffers, the list of what a pass does, and reading back.

use candle_core::{Device, Tensor};
use forerun_models::dreamer::{Condition, ModelError, Network, Passes, Readings, refiner};
use forerun_models::nn::cells::AROUND;
use forerun_models::nn::ops::rope_table;

use crate::program::{Kernel, LANES, NORM_ROWS, PRODUCT_TILE, RefinerKernels, motion_numbers};
use crate::weights::{Uploaded, rotary_rows};

/// Most workgroups along one axis; more go into further rows (`flat` in common.wgsl counts on it).
const MOST_GROUPS: usize = 65_535;

/// A kernel with what it works on.
struct Dispatch {
    kernel: Kernel,
    bound: wgpu::BindGroup,
    groups: [u32; 3],
}

/// As in common.wgsl.
#[derive(Clone, Copy, Default)]
struct Moment {
    has_present: f32,
    share: f32,
    step: u32,
    seen: u32,
    commit: u32,
}

impl Moment {
    fn bytes(self) -> Vec<u8> {
        let head = [self.has_present, self.share].map(f32::to_le_bytes);
        let tail = [self.step, self.seen, self.commit, 0, 0, 0].map(u32::to_le_bytes);
        head.into_iter().chain(tail).flatten().collect()
    }
}

/// Modulated norm: which vectors of how many.
#[derive(Clone, Copy)]
struct Adapted<'a> {
    modulation: &'a wgpu::Buffer,
    parts: usize,
}

pub(crate) struct Session<'a> {
    on: &'a Uploaded,
    network: &'a Network,
    text: Tensor,
    futures: usize,
    /// Steps that the caches hold.
    steps: usize,
    /// What a pass does, in order.
    pass: Vec<Dispatch>,
    approach: Dispatch,
    settle: Dispatch,
    moment: wgpu::Buffer,
    present: wgpu::Buffer,
    noisy: wgpu::Buffer,
    frames: wgpu::Buffer,
    mixed: wgpu::Buffer,
    everywhere: wgpu::Buffer,
    /// Rotary row of the present step.
    angle: wgpu::Buffer,
    /// All tokens after the last norm.
    tokens: wgpu::Buffer,
    frames_back: wgpu::Buffer,
    registers_back: wgpu::Buffer,
}

/// Makes buffers and dispatches.
struct Maker<'a> {
    on: &'a Uploaded,
    futures: usize,
}

impl<'a> Maker<'a> {
    fn buffer(&self, name: &str, numbers: usize) -> Result<wgpu::Buffer, ModelError> {
        let storage = wgpu::BufferUsages::STORAGE;
        self.made(name, numbers, storage | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST)
    }

    fn made(
        &self,
        name: &str,
        numbers: usize,
        usage: wgpu::BufferUsages,
    ) -> Result<wgpu::Buffer, ModelError> {
        let (size, most) = (4 * numbers.max(4) as u64, self.on.card.most_bytes());
        if size > most {
            return Err(ModelError::Card(format!(
                "{} futures at once need {} MB in one piece, it takes {} MB",
                self.futures,
                size >> 20,
                most >> 20
            )));
        }
        let label = Some(name);
        Ok(self.on.card.device.create_buffer(&wgpu::BufferDescriptor {
            label,
            size,
            usage,
            mapped_at_creation: false,
        }))
    }

    /// Numbers that a kernel is told.
    fn uniform(&self, name: &str, numbers: &[usize]) -> Result<wgpu::Buffer, ModelError> {
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|n| (*n as u32).to_le_bytes()).collect();
        // Uniforms are read in steps of 16 bytes.
        bytes.resize(bytes.len().next_multiple_of(16), 0);
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let buffer = self.made(name, bytes.len() / 4, usage)?;
        self.on.card.queue.write_buffer(&buffer, 0, &bytes);
        Ok(buffer)
    }

    fn dispatch(&self, kernel: &Kernel, bound: &[(u32, &wgpu::Buffer)], groups: [usize; 3]) -> Dispatch {
        let entries: Vec<_> = bound
            .iter()
            .map(|(binding, buffer)| wgpu::BindGroupEntry {
                binding: *binding,
                resource: buffer.as_entire_binding(),
            })
            .collect();
        let bound = self.on.card.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &kernel.get_bind_group_layout(0),
            entries: &entries,
        });
        Dispatch { kernel: kernel.clone(), bound, groups: groups.map(|n| n as u32) }
    }

    /// Workgroups for `count` invocations of a kernel that counts them with `flat`.
    fn flat(count: usize) -> [usize; 3] {
        let groups = count.div_ceil(LANES);
        [groups.min(MOST_GROUPS), groups.div_ceil(MOST_GROUPS), 1]
    }

    /// A matrix product; `extra` are the buffers of the variant's load and store.
    fn product(
        &self,
        kernel: &Kernel,
        weight: &str,
        [rows, columns, inner]: [usize; 3],
        [parts, gate, biased]: [usize; 3],
        to: &wgpu::Buffer,
        extra: &[(u32, &wgpu::Buffer)],
    ) -> Result<Dispatch, ModelError> {
        let shape = self.uniform(weight, &[rows, columns, inner, parts, gate, biased])?;
        let mut bound = vec![(0, &shape), (1, self.on.buffer(weight)?), (2, to)];
        bound.extend_from_slice(extra);
        let groups = [columns.div_ceil(PRODUCT_TILE), rows.div_ceil(PRODUCT_TILE), 1];
        Ok(self.dispatch(kernel, &bound, groups))
    }

    /// Rows to rows, without a bias.
    fn plain(
        &self,
        weight: &str,
        shape: [usize; 3],
        from: &wgpu::Buffer,
        to: &wgpu::Buffer,
    ) -> Result<Dispatch, ModelError> {
        let extra = [(3, from), (6, &self.on.nothing)];
        self.product(&self.on.program.rows, weight, shape, [0, 0, 0], to, &extra)
    }

    fn gated(
        &self,
        kernel: &Kernel,
        weight: &str,
        inner: usize,
        from: &wgpu::Buffer,
        to: &wgpu::Buffer,
        (by, gate): (Adapted<'_>, usize),
    ) -> Result<Dispatch, ModelError> {
        let (d, s) = (self.on.config.width, self.on.config.tokens());
        let extra = [(3, from), (6, by.modulation)];
        self.product(kernel, weight, [self.futures * s, d, inner], [by.parts, gate, 0], to, &extra)
    }

    /// What is drawn anew, put right: see [`forerun_models::dreamer::refiner`]. Buffers: tokens, what was fetched, what is
    /// drawn, what is added to the frame, and two of `refiner` numbers for each of the `all` cells.
    fn refine(
        &self,
        pass: &mut Vec<Dispatch>,
        kernels: &RefinerKernels,
        [tokens, fetched, drawn, touch, told, near]: [&wgpu::Buffer; 6],
        all: usize,
    ) -> Result<(), ModelError> {
        let config = &self.on.config;
        let (d, w, p) = (config.width, config.refiner, self.futures * config.patches());
        let bias = |part: &str| self.on.buffer(&format!("refiner.{part}.bias"));
        let pixels = refiner::CELL * refiner::CELL;
        let extra = [(3, tokens), (6, &self.on.nothing)];
        let shape = [p, all / p.max(1) * w, d];
        pass.push(self.product(
            &self.on.program.patches,
            "refiner.told.weight",
            shape,
            [0, 0, 0],
            told,
            &extra,
        )?);
        let extra = [(3, fetched), (4, drawn), (6, bias("seen")?)];
        pass.push(self.product(
            &kernels.seen,
            "refiner.seen.weight",
            [all, w, 7 * pixels],
            [0, 0, 1],
            told,
            &extra,
        )?);
        let shape = [all, w, AROUND * w];
        let extra = [(3, told), (6, bias("near")?)];
        pass.push(self.product(&kernels.near, "refiner.near.weight", shape, [0, 0, 1], near, &extra)?);
        let shape = [all, 7 * pixels, AROUND * w];
        let extra = [(3, near), (6, bias("far")?), (7, touch)];
        pass.push(self.product(&kernels.far, "refiner.far.weight", shape, [0, 0, 1], drawn, &extra)?);
        Ok(())
    }

    fn norm(
        &self,
        from: &wgpu::Buffer,
        to: &wgpu::Buffer,
        by: Adapted<'_>,
        [shift, scale]: [usize; 2],
    ) -> Result<Dispatch, ModelError> {
        let rows = self.futures * self.on.config.tokens();
        let shape = self.uniform("norm", &[rows, by.parts, shift, scale])?;
        let bound = [(0, &shape), (1, from), (2, by.modulation), (3, to)];
        Ok(self.dispatch(&self.on.program.norm, &bound, [rows.div_ceil(NORM_ROWS), 1, 1]))
    }

    fn turn(
        &self,
        gains: &str,
        table: &wgpu::Buffer,
        positions: usize,
        qkv: &wgpu::Buffer,
    ) -> Result<Dispatch, ModelError> {
        let rows = self.futures * self.on.config.tokens();
        let shape = self.uniform("turn", &[rows, positions])?;
        let bound = [(0, &shape), (1, self.on.buffer(gains)?), (2, table), (3, qkv)];
        Ok(self.dispatch(&self.on.program.turn, &bound, Self::flat(rows * 2 * self.on.config.heads)))
    }
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        on: &'a Uploaded,
        network: &'a Network,
        text: Tensor,
        futures: usize,
    ) -> Result<Self, ModelError> {
        let (config, program) = (&on.config, &on.program);
        let (d, s, p, v) = (config.width, config.tokens(), config.patches(), config.patch_values());
        let (rows, patches, motions) = (futures * s, futures * p, motion_numbers(config));
        let make = Maker { on, futures };
        let groups = make.uniform("groups", &[futures])?;
        // Written before every pass.
        let moment = make.uniform("moment", &[0; 8])?;

        let [present, noisy, frames] = [
            make.buffer("present", patches * v)?,
            make.buffer("noisy", patches * v)?,
            make.buffer("frames", patches * v)?,
        ];
        let (mixed, everywhere) =
            (make.buffer("mixed", futures * d)?, make.buffer("everywhere", futures * d)?);
        let angle = make.buffer("angle", d / config.heads)?;
        let [x, h, attended] =
            [make.buffer("x", rows * d)?, make.buffer("h", rows * d)?, make.buffer("attended", rows * d)?];
        let qkv = make.buffer("qkv", rows * 3 * d)?;
        let wide = make.buffer("wide", rows * 2 * config.feed_forward)?;
        let fresh = make.buffer("fresh", patches * (v + v / 3))?;
        let motion = make.buffer("motion", patches * motions)?;
        let fetched = make.buffer("fetched", if motions > 0 { patches * v } else { 0 })?;
        let touch = make.buffer("touch", if config.refiner > 0 { patches * v } else { 0 })?;

        let mut pass = vec![make.product(
            &program.tokens,
            "patch_in.weight",
            [patches, d, 2 * v],
            [0, 0, 1],
            &x,
            &[
                (3, &present),
                (4, &noisy),
                (5, &moment),
                (6, on.buffer("patch_in.bias")?),
                (7, on.buffer("place")?),
                (8, &everywhere),
            ],
        )?];
        if let Some(kernel) = &program.registers {
            let bound = [(0, &groups), (1, on.buffer("registers")?), (2, &everywhere), (3, &x)];
            pass.push(make.dispatch(kernel, &bound, Maker::flat(futures * config.registers * d)));
        }
        // Every vector that a layer of adaptive norm takes, of all futures.
        let mut modulate = |name: &str, parts: usize| -> Result<wgpu::Buffer, ModelError> {
            let to = make.buffer("modulation", futures * parts * d)?;
            pass.push(make.product(
                &program.rows,
                &format!("{name}.weight"),
                [futures, parts * d, d],
                [0, 0, 1],
                &to,
                &[(3, &mixed), (6, on.buffer(&format!("{name}.bias"))?)],
            )?);
            Ok(to)
        };
        let parts = |i: usize| if config.has_time(i) { 9 } else { 6 };
        let modulations = (0..config.layers)
            .map(|i| modulate(&format!("blocks.{i}.modulation"), parts(i)))
            .collect::<Result<Vec<_>, _>>()?;
        let last = modulate("last.modulation", 2)?;

        for (i, modulation) in modulations.iter().enumerate() {
            let by = Adapted { modulation, parts: parts(i) };
            let name = |part: &str| format!("blocks.{i}.{part}");
            let qkv_shape = [rows, 3 * d, d];
            pass.push(make.norm(&x, &h, by, [0, 1])?);
            pass.push(make.plain(&name("space.qkv.weight"), qkv_shape, &h, &qkv)?);
            pass.push(make.turn(&name("space.gains"), &on.places, s, &qkv)?);
            let queries = [s.div_ceil(LANES), config.heads, futures];
            pass.push(make.dispatch(&program.space, &[(0, &qkv), (1, &attended)], queries));
            pass.push(make.gated(&program.gated, &name("space.out.weight"), d, &attended, &x, (by, 2))?);
            if config.has_time(i) {
                let stored = config.window * rows * d;
                let (keys, values) = (make.buffer("keys", stored)?, make.buffer("values", stored)?);
                pass.push(make.norm(&x, &h, by, [6, 7])?);
                pass.push(make.plain(&name("time.qkv.weight"), qkv_shape, &h, &qkv)?);
                pass.push(make.turn(&name("time.gains"), &angle, 1, &qkv)?);
                let bound = [(0, &groups), (1, &moment), (2, &qkv), (3, &keys), (4, &values), (5, &attended)];
                pass.push(make.dispatch(&program.time, &bound, Maker::flat(rows * config.heads)));
                pass.push(make.gated(&program.gated, &name("time.out.weight"), d, &attended, &x, (by, 8))?);
            }
            pass.push(make.norm(&x, &h, by, [3, 4])?);
            let f = config.feed_forward;
            pass.push(make.plain(&name("feed_in.weight"), [rows, 2 * f, d], &h, &wide)?);
            pass.push(make.gated(&program.gated_swiglu, &name("feed_out.weight"), f, &wide, &x, (by, 5))?);
        }
        pass.push(make.norm(&x, &h, Adapted { modulation: &last, parts: 2 }, [0, 1])?);
        let mut outputs = |weight: &str, bias: &str, columns: usize, to: &wgpu::Buffer| {
            let extra = [(3, &h), (6, on.buffer(bias)?)];
            pass.push(make.product(
                &program.patches,
                weight,
                [patches, columns, d],
                [0, 0, 1],
                to,
                &extra,
            )?);
            Ok::<(), ModelError>(())
        };
        outputs("patch_out.weight", "patch_out.bias", v + v / 3, &fresh)?;
        if motions > 0 {
            outputs("motion.weight", "motion.bias", motions, &motion)?;
        }
        let pixels = Maker::flat(patches * config.patch * config.patch);
        if let Some(kernel) = &program.fetch {
            let bound = [(0, &groups), (1, &moment), (2, &present), (3, &motion), (4, &fetched)];
            pass.push(make.dispatch(kernel, &bound, pixels));
        }
        if let (Some(kernels), Some(cells)) = (&program.refiner, refiner::cells(config)) {
            let all = futures * cells.in_picture();
            let [told, near] =
                [make.buffer("told", all * config.refiner)?, make.buffer("near", all * config.refiner)?];
            make.refine(&mut pass, kernels, [&h, &fetched, &fresh, &touch, &told, &near], all)?;
        }
        let bound = [
            (0, &groups),
            (1, &moment),
            (2, &present),
            (3, &fresh),
            (4, &motion),
            (5, &frames),
            (6, &fetched),
            (7, &touch),
        ];
        pass.push(make.dispatch(&program.frame, &bound, pixels));

        let numbers = Maker::flat(patches * v);
        let bound = [(0, &groups), (1, &moment), (2, &frames), (3, &noisy)];
        let approach = make.dispatch(&program.approach, &bound, numbers);
        let bound = [(0, &groups), (2, &frames), (3, &present)];
        let settle = make.dispatch(&program.settle, &bound, numbers);
        let back = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let held = futures * config.registers * d;
        let session = Self {
            approach,
            settle,
            frames_back: make.made("frames back", patches * v, back)?,
            registers_back: make.made("registers back", held, back)?,
            tokens: h,
            moment,
            on,
            network,
            text,
            futures,
            steps: 0,
            pass,
            present,
            noisy,
            frames,
            mixed,
            everywhere,
            angle,
        };
        on.card.trouble.check()?;
        Ok(session)
    }

    fn write(&self, buffer: &wgpu::Buffer, numbers: &[f32]) -> Result<(), ModelError> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|v| v.to_le_bytes()).collect();
        if bytes.len() as u64 > buffer.size() {
            return Err(ModelError::Input("there are more numbers than the futures hold".into()));
        }
        self.on.card.queue.write_buffer(buffer, 0, &bytes);
        Ok(())
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        self.on.card.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }

    fn run(encoder: &mut wgpu::CommandEncoder, what: &[Dispatch]) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        for Dispatch { kernel, bound, groups: [x, y, z] } in what {
            pass.set_pipeline(kernel);
            pass.set_bind_group(0, bound, &[]);
            pass.dispatch_workgroups(*x, *y, *z);
        }
    }

    fn submit(&self, encoder: wgpu::CommandEncoder) -> Result<(), ModelError> {
        self.on.card.queue.submit([encoder.finish()]);
        self.on.card.trouble.check()
    }

    /// Submits what is encoded, the last of which copies `numbers` numbers into `through`, and hands them out.
    fn read(
        &self,
        encoder: wgpu::CommandEncoder,
        through: &wgpu::Buffer,
        numbers: usize,
    ) -> Result<Vec<f32>, ModelError> {
        let bytes = 4 * numbers as u64;
        self.submit(encoder)?;
        let failed = |what: String| ModelError::Card(what);
        through.map_async(wgpu::MapMode::Read, ..bytes, |_| {});
        let card = &self.on.card;
        card.device.poll(wgpu::PollType::wait_indefinitely()).map_err(|e| failed(e.to_string()))?;
        card.trouble.check()?;
        let view = through.get_mapped_range(..bytes).map_err(|e| failed(e.to_string()))?;
        let found = view.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        drop(view);
        through.unmap();
        Ok(found)
    }

    fn read_pictures(
        &self,
        mut encoder: wgpu::CommandEncoder,
        from: &wgpu::Buffer,
    ) -> Result<Vec<f32>, ModelError> {
        let numbers = self.futures * self.on.config.patches() * self.on.config.patch_values();
        encoder.copy_buffer_to_buffer(from, 0, &self.frames_back, 0, 4 * numbers as u64);
        self.read(encoder, &self.frames_back, numbers)
    }
}

impl Passes for Session<'_> {
    fn set_present(&mut self, patches: &[f32]) -> Result<(), ModelError> {
        self.write(&self.present, patches)
    }

    fn set_noisy(&mut self, noisy: &[f32]) -> Result<(), ModelError> {
        self.write(&self.noisy, noisy)
    }

    fn predict(&mut self, condition: &Condition, step: usize, commit: bool) -> Result<(), ModelError> {
        if step > self.steps {
            return Err(ModelError::Input("a step before this one was not remembered".into()));
        }
        let config = &self.on.config;
        let driven = self.network.drive(self.futures, condition, &self.text)?;
        self.write(&self.mixed, &driven.mixed.flatten_all()?.to_vec1::<f32>()?)?;
        self.write(&self.everywhere, &driven.everywhere.flatten_all()?.to_vec1::<f32>()?)?;
        let angle = rope_table(&[step as f32], config.width / config.heads / 2, config.rope_base);
        self.write(&self.angle, &rotary_rows(&angle))?;
        let moment = Moment {
            has_present: condition.has_context.first().copied().unwrap_or(0.0),
            share: 0.0,
            step: step as u32,
            seen: step.min(config.window - 1) as u32,
            commit: u32::from(commit),
        };
        self.on.card.queue.write_buffer(&self.moment, 0, &moment.bytes());
        if commit {
            self.steps = step + 1;
        }
        let mut encoder = self.encoder();
        Self::run(&mut encoder, &self.pass);
        self.submit(encoder)
    }

    fn readings(&mut self) -> Result<Readings, ModelError> {
        let config = &self.on.config;
        let (d, r) = (config.width, config.registers);
        let mut encoder = self.encoder();
        for future in 0..self.futures {
            let from = 4 * ((future * config.tokens() + config.patches()) * d) as u64;
            let (to, bytes) = (4 * (future * r * d) as u64, 4 * (r * d) as u64);
            encoder.copy_buffer_to_buffer(&self.tokens, from, &self.registers_back, to, bytes);
        }
        let tokens = self.read(encoder, &self.registers_back, self.futures * r * d)?;
        let tokens = Tensor::from_vec(tokens, (self.futures, r, d), &Device::Cpu)?;
        self.network.read_registers(&tokens)?.to_host()
    }

    fn approach(&mut self, share: f32) -> Result<(), ModelError> {
        self.on.card.queue.write_buffer(&self.moment, 4, &share.to_le_bytes());
        let mut encoder = self.encoder();
        Self::run(&mut encoder, std::slice::from_ref(&self.approach));
        self.submit(encoder)
    }

    fn predicted(&mut self) -> Result<Vec<f32>, ModelError> {
        self.read_pictures(self.encoder(), &self.frames)
    }

    fn settle(&mut self) -> Result<Vec<f32>, ModelError> {
        let mut encoder = self.encoder();
        Self::run(&mut encoder, std::slice::from_ref(&self.settle));
        self.read_pictures(encoder, &self.present)
    }
}
