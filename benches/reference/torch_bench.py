#!/usr/bin/env python3
"""The work of `forerun bench kernels` in PyTorch, side by side: time of PyTorch / time of Forerun for every case.

    python -m venv venv && venv/bin/pip install torch safetensors numpy
    venv/bin/python benches/reference/torch_bench.py --forerun target/release/forerun

Both run on the same threads, by turns, and the median of the rounds counts. Before anything is timed the script
rebuilds the tiny network from the weights that `forerun bench kernels --dump` writes and holds its outputs against ours:
it measures the same work or stops. A ratio above 1 means that Forerun is faster.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

WIDTH, HEADS, PATCHES, REGISTERS, VALUES = 192, 4, 64, 4, 768
TOKENS, HEAD = PATCHES + REGISTERS, WIDTH // HEADS
LAYERS, WINDOW, STEPS, CLIPS, CHANNELS, CELLS = 6, 8, 4, 8, 32, 4


def rope_line(positions, pairs, base):
    frequency = base ** (-torch.arange(pairs, dtype=torch.float64) / pairs)
    angle = torch.as_tensor(positions, dtype=torch.float64)[:, None] * frequency
    return angle.cos().float(), angle.sin().float()


def rope_grid(pairs, base=100.0):
    row, col = torch.arange(PATCHES) // 8, torch.arange(PATCHES) % 8
    half = pairs // 2
    angle = torch.cat(
        [
            row[:, None].double() * base ** (-torch.arange(half, dtype=torch.float64) / half),
            col[:, None].double() * base ** (-torch.arange(pairs - half, dtype=torch.float64) / (pairs - half)),
        ],
        1,
    )
    angle = torch.cat([angle, torch.zeros(REGISTERS, pairs, dtype=torch.float64)])
    return angle.cos().float(), angle.sin().float()


def turn(x, rope):
    cos, sin = (table.to(x.dtype) for table in rope)
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def rms(x, gain=None):
    x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)
    return x if gain is None else x * gain


def norm_modulate(x, m, shift, scale):
    d = x.shape[-1]
    return rms(x) * (1 + m[:, None, scale * d : (scale + 1) * d]) + m[:, None, shift * d : (shift + 1) * d]


def gated(x, y, m, gate):
    d = x.shape[-1]
    return x + m[:, None, gate * d : (gate + 1) * d] * y


def swiglu(ab):
    a, b = ab.chunk(2, -1)
    return F.silu(a) * b


def heads_of(qkv, gains, rope):
    """[..., S, 3D] -> q, k, v [..., heads, S, hd]"""
    q, k, v = (t.unflatten(-1, (HEADS, HEAD)).transpose(-2, -3) for t in qkv.chunk(3, -1))
    return turn(rms(q, gains[0]), rope), turn(rms(k, gains[1]), rope), v


def attention_space(qkv, gains, rope):
    out = F.scaled_dot_product_attention(*heads_of(qkv, gains, rope))
    return out.transpose(-2, -3).flatten(-2)


def features(values, harmonics):
    parts = [values]
    for harmonic in range(harmonics):
        angle = values * math.pi * 2**harmonic * 0.5
        parts += [angle.sin(), angle.cos()]
    return torch.stack(parts + [torch.ones_like(values)], -1).flatten(-2)


def level_features(groups):
    """Two levels that are 0."""
    one = [0.0] + [0.0, 1.0] * 6
    return torch.tensor(one * 2).expand(groups, -1)


class Net(torch.nn.Module):
    """The tiny network, from its weights by name."""

    def __init__(self, weights):
        super().__init__()
        self.names = {}
        for name, tensor in weights.items():
            if not name.startswith("words."):
                key = name.replace(".", "_")
                self.names[name] = key
                self.register_parameter(key, torch.nn.Parameter(tensor.clone()))
        self.grid = rope_grid(HEAD // 2)
        # A channel is its value, a sine and a cosine for each harmonic, and whether it is known.
        self.harmonics = (weights["action.first.weight"].shape[1] // CHANNELS - 2) // 2

    def w(self, name):
        return getattr(self, self.names[name])

    def mlp(self, name, x):
        h = F.silu(F.linear(x, self.w(f"{name}.first.weight"), self.w(f"{name}.first.bias")))
        return F.linear(h, self.w(f"{name}.second.weight"))

    def along_time(self, qkv, gains, clips, cache, layer):
        if cache is None:
            steps = qkv.shape[0] // clips
            rope = rope_line(range(steps), HEAD // 2, 100.0)
            x = qkv.unflatten(0, (clips, steps)).transpose(1, 2)  # [B, S, T, 3D]
            q, k, v = heads_of(x, gains, rope)
            # The window is longer than the clips here.
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            return out.transpose(-2, -3).flatten(-2).transpose(1, 2).flatten(0, 1)
        x = qkv.unsqueeze(2)  # [B, S, 1, 3D]
        q, k, v = heads_of(x, gains, rope_line([WINDOW], HEAD // 2, 100.0))
        k = torch.cat([cache[layer][0], k], -2)
        v = torch.cat([cache[layer][1], v], -2)
        out = F.scaled_dot_product_attention(q, k, v)
        return out.transpose(-2, -3).flatten(-2).squeeze(2)

    def forward(self, clips, context, noisy, action, state, text, cache=None):
        groups = context.shape[0]
        told = self.mlp("action", features(action, self.harmonics))
        told = told + self.mlp("relative", features(((action - state) * 16.0).clamp(-2, 2), self.harmonics))
        mixed = told + self.mlp("state", features(state, self.harmonics)) + self.mlp("level", level_features(groups).to(state.dtype))
        mixed = mixed + self.w("step_size")[0]
        clip = text + self.w("embodiment")[0]
        mixed = F.silu(mixed + clip.repeat_interleave(groups // clips, 0))
        x = F.linear(torch.cat([context, noisy], -1), self.w("patch_in.weight"), self.w("patch_in.bias"))
        x = torch.cat([x + self.w("place"), self.w("registers").expand(groups, -1, -1)], 1)
        x = x + F.linear(told, self.w("action_token.weight"))[:, None]
        layer = 0
        for i in range(LAYERS):
            p = f"blocks.{i}."
            m = F.linear(mixed, self.w(p + "modulation.weight"), self.w(p + "modulation.bias"))
            h = norm_modulate(x, m, 0, 1)
            h = attention_space(F.linear(h, self.w(p + "space.qkv.weight")), self.w(p + "space.gains"), self.grid)
            x = gated(x, F.linear(h, self.w(p + "space.out.weight")), m, 2)
            if i % 2 == 1:
                h = norm_modulate(x, m, 6, 7)
                qkv = F.linear(h, self.w(p + "time.qkv.weight"))
                h = self.along_time(qkv, self.w(p + "time.gains"), clips, cache, layer)
                x = gated(x, F.linear(h, self.w(p + "time.out.weight")), m, 8)
                layer += 1
            h = norm_modulate(x, m, 3, 4)
            x = gated(x, F.linear(swiglu(F.linear(h, self.w(p + "feed_in.weight"))), self.w(p + "feed_out.weight")), m, 5)
        m = F.linear(mixed, self.w("last.modulation.weight"), self.w("last.modulation.bias"))
        x = norm_modulate(x, m, 0, 1)
        registers = x[:, PATCHES:].mean(1)
        heads = F.linear(registers, self.w("head.weight"), self.w("head.bias"))
        F.linear(registers, self.w("relative_head.weight"), self.w("relative_head.bias"))
        tokens = x[:, :PATCHES]
        out = F.linear(tokens, self.w("patch_out.weight"), self.w("patch_out.bias"))
        motion = F.linear(tokens, self.w("motion.weight"), self.w("motion.bias"))
        field, gate = motion.split([2 * CELLS * CELLS, VALUES // 3], -1)
        fetched = fetch(context, field * 4.0)
        base = mix(context, fetched, gate.sigmoid())
        fresh, gate = out.split([VALUES, VALUES // 3], -1)
        if "refiner.near.weight" not in self.names:
            return mix(base, fresh, gate.sigmoid()), heads
        fresh, gate, touch = self.refine(tokens, fetched, fresh, gate)
        return mix(base, fresh, gate.sigmoid()) + touch, heads

    def refine(self, tokens, fetched, drawn, gate):
        """Two convolutions over cells of 4 x 4 pixels, as convolutions over pictures of 32 x 32 cells."""
        seen = [fine(lines(fetched, 16, 3)), fine(lines(drawn, 16, 3)), fine(lines(gate, 16, 1))]
        width = self.w("refiner.near.weight").shape[0]

        def around(x, name):
            weight = self.w(f"refiner.{name}.weight").unflatten(1, (3, 3, width)).permute(0, 3, 1, 2)
            return F.conv2d(x, weight, self.w(f"refiner.{name}.bias"), padding=1)

        told = lines(F.linear(tokens, self.w("refiner.told.weight")), 4, width)
        x = F.conv2d(torch.cat(seen, 1), self.w("refiner.seen.weight")[:, :, None, None], self.w("refiner.seen.bias"))
        change = around(F.silu(around(F.silu(x + told), "near")), "far")
        return drawn + coarse(change[:, :48], 3), gate + coarse(change[:, 48:64], 1), coarse(change[:, 64:], 3)


def fine(picture):
    """[G, C, 128, 128] -> [G, 4 * 4 * C, 32, 32]"""
    g, c = picture.shape[:2]
    return picture.view(g, c, 32, 4, 32, 4).permute(0, 3, 5, 1, 2, 4).reshape(g, 16 * c, 32, 32)


def coarse(cells, depth):
    """[G, 4 * 4 * depth, 32, 32] -> [G, P, 16 * 16 * depth]"""
    g = cells.shape[0]
    cells = cells.view(g, 4, 4, depth, 8, 4, 8, 4).permute(0, 4, 6, 5, 1, 7, 2, 3)
    return cells.reshape(g, PATCHES, 256 * depth)


def mix(a, b, gate):
    return a + (b - a) * gate.repeat_interleave(3, -1)


def lines(x, side, last):
    """[G, P, side * side * last] -> [G, last, 8 * side, 8 * side]"""
    x = x.view(-1, 8, 8, side, side, last)
    return x.permute(0, 5, 1, 3, 2, 4).reshape(-1, last, 8 * side, 8 * side)


def fetch(context, field):
    """Bicubic sampling at displaced places; borders take the edge's pixel. Catmull-Rom's spline (a = -1/2) written out,
    since grid_sample's has a = -3/4."""
    picture = lines(context, 16, 3)
    field = F.interpolate(lines(field, CELLS, 2), scale_factor=4, mode="bilinear", align_corners=False)
    g, _, h, w = picture.shape
    field = field.float()  # places need more digits than bf16 has
    x = (torch.arange(w) + field[:, 0]).clamp(0, w - 1)
    y = (torch.arange(h)[:, None] + field[:, 1]).clamp(0, h - 1)

    def taps(at, last):
        a = at.detach().floor()
        t = at - a
        t2, t3 = t * t, t * t * t
        weights = (0.5 * (2 * t2 - t - t3), 0.5 * (2 - 5 * t2 + 3 * t3), 0.5 * (t + 4 * t2 - 3 * t3), 0.5 * (t3 - t2))
        a = a.long()
        return [((a + k - 1).clamp(0, last), weight) for k, weight in enumerate(weights)]

    flat = picture.float().flatten(2)
    out = torch.zeros_like(flat)
    for row, down in taps(y, h - 1):
        for col, right in taps(x, w - 1):
            index = (row * w + col).flatten(1)[:, None].expand(-1, 3, -1)
            out = out + flat.gather(2, index) * (down * right).flatten(1)[:, None]
    out = out.to(context.dtype).view(g, 3, 8, 16, 8, 16)
    return out.permute(0, 2, 4, 3, 5, 1).reshape(g, PATCHES, VALUES)


def causal(x, weight, bias):
    return F.conv3d(F.pad(x, (1, 1, 1, 1, 2, 0)), weight, bias)


def decoder():
    """diffusers' Wan 2.1 autoencoder, where it is installed."""
    try:
        from diffusers import AutoencoderKLWan
    except ImportError:
        return None
    vae = AutoencoderKLWan().eval()
    latents = torch.randn(1, 16, 2, 8, 8)
    return lambda: vae.decode(latents)


def encoder():
    """transformers' T5 encoder, where it is installed."""
    try:
        from transformers import T5Config, T5EncoderModel
    except ImportError:
        return None
    config = T5Config(vocab_size=1000, d_model=1024, d_kv=64, d_ff=4096, num_layers=4, num_heads=16, dropout_rate=0.0)
    model = T5EncoderModel(config).eval()
    ids = torch.arange(128)[None]
    return lambda: model(input_ids=ids)


def cases(weights):
    net = Net(weights)
    d, e = WIDTH, torch.randn

    def matmul(rows, inner, outputs):
        x, w = e(rows, inner), e(outputs, inner)
        return lambda: F.linear(x, w)

    def block(n):
        x, m = e(n, TOKENS, d), e(n, 6 * d) * 0.1
        qkv, out = e(3 * d, d) / d**0.5, e(d, d) / d**0.5
        feed_in, feed_out = e(1024, d) / d**0.5, e(d, 512) / 512**0.5
        gains, rope = torch.ones(2, HEAD), rope_grid(HEAD // 2)

        def run():
            h = attention_space(F.linear(norm_modulate(x, m, 0, 1), qkv), gains, rope)
            y = gated(x, F.linear(h, out), m, 2)
            return gated(y, F.linear(swiglu(F.linear(norm_modulate(y, m, 3, 4), feed_in)), feed_out), m, 5)

        return run

    def frame(n, kind=torch.float32):
        frozen = Net(weights).requires_grad_(False).to(kind)
        context, noisy = e(n, PATCHES, VALUES).clamp(-1, 1), e(n, PATCHES, VALUES)
        action, state, text = e(n, CHANNELS) * 0.3, e(n, CHANNELS) * 0.3, e(n, d)
        one = lambda: e(n, TOKENS, HEADS, WINDOW - 1, HEAD).to(kind)
        cache = [(one(), one()) for _ in range(LAYERS // 2)]
        given = [x.to(kind) for x in (context, noisy, action, state, text)]
        return lambda: frozen(n, *given, cache)

    def training():
        groups = CLIPS * STEPS
        optimiser = torch.optim.AdamW(net.parameters(), lr=0.0, fused=True)
        draw = lambda: (e(groups, PATCHES, VALUES) * 0.5).clamp(-1, 1)

        context, noisy, target, text = draw(), draw(), draw(), e(CLIPS, d)
        action, state = e(groups, CHANNELS) * 0.3, e(groups, CHANNELS) * 0.3

        def run():
            optimiser.zero_grad()
            (net(CLIPS, context, noisy, action, state, text)[0] - target).square().mean().backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()

        return run

    gains, rope, qkv = torch.ones(2, HEAD), rope_grid(HEAD // 2), e(8, TOKENS, 3 * d)
    x, m, wide = e(8, TOKENS, d), e(8, 6 * d), e(8, TOKENS, 1024)
    x2, w2 = e(4, 96, 64, 64), e(96, 96, 3, 3)
    x3, w3, b3 = e(1, 96, 4, 64, 64), e(96, 96, 3, 3, 3), e(96)
    # The same with weights and activations in bf16, where PyTorch is faster that way than with autocast.
    stored = {"frame_1": frame(1, torch.bfloat16), "frame_8": frame(8, torch.bfloat16)}
    return stored, {
        "matmul_1024": matmul(1024, 1024, 1024),
        "linear_544x192x1024": matmul(8 * TOKENS, d, 1024),
        "attention_8x68": lambda: attention_space(qkv, gains, rope),
        "norm_modulate_8x68": lambda: norm_modulate(x, m, 0, 1),
        "swiglu_8x68": lambda: swiglu(wide),
        "conv2d_96": lambda: F.conv2d(x2, w2, padding=1),
        "conv3d_96": lambda: causal(x3, w3, b3),
        "block_1": block(1),
        "block_8": block(8),
        "frame_1": frame(1),
        "frame_8": frame(8),
        "training_step": training(),
        "vae_decode": decoder(),
        "text_encoder": encoder(),
    }


def median(job, seconds):
    job()
    times, began = [], time.perf_counter()
    while len(times) < 5 or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        job()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def ours(forerun, name, seconds, threads, bf16):
    command = [forerun, "bench", "kernels", "--case", name, "--seconds", str(seconds), "--threads", str(threads), "--json"]
    command += ["--bf16"] if bf16 else []
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(out.strip().splitlines()[-1])[name]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forerun", default="target/release/forerun")
    parser.add_argument("--seconds", type=float, default=1.0, help="seconds a case and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--case", action="append", help="only this case")
    parser.add_argument("--compiled", action="store_true", help="also torch.compile, which needs a C++ compiler")
    parser.add_argument("--bf16", action="store_true", help="also bf16: Forerun's products with packed weights, PyTorch's autocast")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "case.safetensors")
        subprocess.run([args.forerun, "bench", "kernels", "--dump", path], check=True, capture_output=True)
        weights = load_file(path)
    given = {name[5:]: weights.pop(name) for name in list(weights) if name.startswith("case.")}
    with torch.no_grad():
        frames, heads = Net(weights)(
            2, given["context"], given["noisy"], given["action"], given["state"], given["text"]
        )
    for name, mine in (("frames", frames), ("heads", heads)):
        worst = (mine - given[name]).abs().max().item()
        size = given[name].abs().max().item()
        print(f"same {name}: largest difference {worst:.2e} of {size:.2f}")
        if not worst <= 1e-3 * max(size, 1.0):
            sys.exit("the two networks differ: this would not measure the same work")

    print(f"PyTorch {torch.__version__}, {args.threads} threads; milliseconds, ratio = PyTorch / Forerun")
    kinds = ["eager"] + (["compiled"] if args.compiled else [])
    head = f"{'case':22}{'Forerun':>10}" + "".join(f"{kind:>10}{'ratio':>7}" for kind in kinds)
    head += f"{'GFLOP/s':>10}{'peak MB':>9}"
    if args.bf16:
        head += f"{'our bf16':>10}{'eager/':>8}{'autocast':>10}{'ratio':>7}{'stored':>9}{'ratio':>7}{'GFLOP/s':>10}"
    print(head)
    results = {}
    stored, jobs_by_name = cases(weights)
    for name, job in jobs_by_name.items():
        if args.case and name not in args.case:
            continue
        if job is None:
            print(f"{name:22} its Python library is not installed")
            continue
        jobs = {"eager": job}
        if args.compiled:
            jobs["compiled"] = torch.compile(job)
        if args.bf16:
            jobs["autocast"] = lambda job=job: torch.autocast("cpu", torch.bfloat16)(job)()
            if name in stored:
                jobs["stored"] = stored[name]
        mine = ["forerun"] + (["forerun bf16"] if args.bf16 else [])
        times, found = {kind: [] for kind in [*mine, *jobs]}, {}
        for _ in range(args.rounds):
            for kind in mine:
                found[kind] = ours(args.forerun, name, args.seconds, args.threads, kind != "forerun")
                times[kind].append(found[kind]["ms"])
            for kind, job in jobs.items():
                with torch.enable_grad() if name == "training_step" else torch.no_grad():
                    times[kind].append(median(job, args.seconds))
        mid = {kind: statistics.median(values) for kind, values in times.items()}
        results[name] = mid
        row = "".join(f"{mid[kind]:10.3f}{mid[kind] / mid['forerun']:7.2f}" for kind in kinds)
        speed = lambda kind: f"{found[kind]['gflops'] * found[kind]['ms'] / mid[kind]:10.1f}"
        row += f"{speed('forerun')}{found['forerun']['peak_mb']:9.0f}"
        if args.bf16:
            own = mid["forerun bf16"]
            row += f"{own:10.3f}{mid['eager'] / own:8.2f}{mid['autocast']:10.3f}{mid['autocast'] / own:7.2f}"
            row += f"{mid['stored']:9.3f}{mid['stored'] / own:7.2f}" if name in stored else " " * 16
            row += speed("forerun bf16")
        print(f"{name:22}{mid['forerun']:10.3f}{row}", flush=True)
    if args.json:
        with open(args.json, "w") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
