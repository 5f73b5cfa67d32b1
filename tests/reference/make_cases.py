#!/usr/bin/env python3
"""Makes the small reference cases under models/tests/cases with the public Python libraries.

    pip install torch torchvision diffusers transformers      (any CPU build)
    python tests/reference/make_cases.py models/tests/cases [name ...]

Each case is a folder as `forerun models verify` reads it: case.json, case.safetensors and the model as its library
saves it. The networks are tiny and random, so nothing is downloaded. The committed folders are what the tests run;
this script is only needed to make them again or to add one.
"""

import json
import math
import sys
import types
from pathlib import Path

import diffusers
import numpy as np
import torch
import transformers
from safetensors.torch import save_file

SEED = 20261123


# Random numbers ---------------------------------------------------------------------------------------------------


class Numbers:
    """One stream of normal numbers per case, the same on every machine and torch version."""

    def __init__(self, name):
        self.stream = np.random.default_rng([SEED, *name.encode()])

    def __call__(self, *shape, scale=1.0, mean=0.0):
        return torch.from_numpy((mean + scale * self.stream.standard_normal(shape)).astype(np.float32))

    def uniform(self, *shape, low=0.0, high=1.0):
        return torch.from_numpy(self.stream.uniform(low, high, shape).astype(np.float32))

    def ids(self, *shape, low, high):
        return torch.from_numpy(self.stream.integers(low, high, shape))

    def fill(self, model):
        """Weights under which every part of a network matters: no zero gates, no unit norms.

        Autoencoders of two or three channels normalise pixels whose channels nearly cancel; larger biases keep them
        away from there, so that the reference's own rounding stays small.
        """
        offset = 0.8 if "Autoencoder" in type(model).__name__ else 0.2
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                shape = parameter.shape
                if parameter.ndim <= 1 or name.endswith("gamma"):
                    bias = name.endswith("bias")
                    parameter.copy_(self(*shape, scale=offset if bias else 0.2, mean=0.0 if bias else 1.0))
                elif name.endswith(("alpha", "beta")):
                    parameter.copy_(self(*shape, scale=0.3))
                elif name.endswith(("weight_g", "original0")):
                    parameter.copy_(self(*shape, scale=0.1, mean=0.6))
                elif "action_proj" in name:
                    parameter.copy_(self(*shape, scale=0.3))
                elif "pos_emb" in name or "attention_bias" in name:
                    parameter.copy_(self(*shape, scale=0.5))
                elif "embed_tokens" in name or "shared" in name:
                    # Small, so that a wrong epsilon in the first norm shows.
                    parameter.copy_(self(*shape, scale=0.03))
                else:
                    before_norm = ".0." in name and name.split(".")[-2] in ("to_q", "to_k", "add_q_proj", "add_k_proj")
                    scale = 0.03 if before_norm or name.startswith("patch_embed") else 1.0
                    parameter.copy_(self(*shape, scale=scale / math.sqrt(np.prod(shape[1:]))))
        return model.eval().requires_grad_(False)

    def clip(self, frames, height, width):
        """A smooth moving picture, uint8 [T, H, W, 3]."""
        y, x, t = np.mgrid[0:height, 0:width, 0:frames].astype(np.float64)
        colours = []
        for _ in range(3):
            a, b, c, d = self.stream.uniform(0.1, 0.4, 4)
            colours.append(np.sin(a * x + b * y + 0.8 * t + 6 * c) + np.cos(d * x - a * y + t))
        picture = np.clip(np.stack(colours, -1) * 60 + 128, 0, 255).round().astype(np.uint8)
        return np.ascontiguousarray(picture.transpose(2, 0, 1, 3))


# Writing ----------------------------------------------------------------------------------------------------------


def to_store(value):
    value = torch.as_tensor(value).detach().cpu()
    if value.dtype in (torch.uint8, torch.int64):
        return value.contiguous().clone()
    return value.to(torch.float32 if value.is_floating_point() else torch.int64).contiguous().clone()


def write(folder, name, reference, tensors, arguments=None):
    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: to_store(value) for key, value in tensors.items()}, str(folder / "case.safetensors"))
    about = {
        "case": name,
        "reference": reference,
        "arguments": arguments or {},
        "versions": {module.__name__: module.__version__ for module in (torch, diffusers, transformers)},
    }
    (folder / "case.json").write_text(json.dumps(about, indent=1, sort_keys=True) + "\n")


# Configurations ---------------------------------------------------------------------------------------------------

DIT = dict(
    in_channels=17, out_channels=16, num_attention_heads=2, attention_head_dim=12, num_layers=2, mlp_ratio=2.0,
    text_embed_dim=10, adaln_lora_dim=4, max_size=(8, 16, 16), patch_size=(1, 2, 2), rope_scale=(1.0, 3.0, 3.0),
    concat_padding_mask=True, extra_pos_embed_type=None,
)
DIT25 = dict(DIT, use_crossattn_projection=True, crossattn_proj_in_channels=24, encoder_hidden_states_channels=10)
TRANSFER = dict(DIT25, num_layers=1, controlnet_block_every_n=1, img_context_dim_in=6, img_context_num_tokens=3, img_context_dim_out=24)
CONTROL = dict(
    n_controlnet_blocks=1, in_channels=24, latent_channels=18, model_channels=24, num_attention_heads=2,
    attention_head_dim=12, mlp_ratio=2.0, text_embed_dim=10, adaln_lora_dim=4, patch_size=(1, 2, 2),
    max_size=(8, 16, 16), rope_scale=(1.0, 3.0, 3.0), extra_pos_embed_type=None, img_context_dim_in=6,
    img_context_dim_out=24, use_crossattn_projection=True, crossattn_proj_in_channels=24,
    encoder_hidden_states_channels=10,
)
WAN21 = dict(base_dim=2, z_dim=16, dim_mult=[1, 2, 2, 2], num_res_blocks=1, temperal_downsample=[False, True, True])
WAN22 = dict(
    base_dim=2, decoder_base_dim=2, z_dim=6, dim_mult=[1, 2, 2, 2], num_res_blocks=1,
    temperal_downsample=[False, True, True], is_residual=True, in_channels=12, out_channels=12, patch_size=2,
    scale_factor_temporal=4, scale_factor_spatial=16, latents_mean=[0.0] * 6, latents_std=[1.0] * 6,
)
KL = dict(
    latent_channels=16, encoder_block_out_channels=(4, 4, 4, 6), decode_block_out_channels=(4, 4, 4, 6), resolution=64,
    attention_resolutions=(32,), num_layers=1, patch_size=2, patch_type="haar", spatial_compression_ratio=4,
    temporal_compression_ratio=4, latents_mean=None, latents_std=None,
)
T5 = dict(
    vocab_size=60, d_model=10, d_kv=6, d_ff=20, num_layers=2, num_heads=3, relative_attention_num_buckets=8,
    relative_attention_max_distance=20, feed_forward_proj="relu", pad_token_id=0, eos_token_id=1, dropout_rate=0.0,
    decoder_start_token_id=0,
)


def qwen25():
    return transformers.Qwen2_5_VLConfig(
        text_config=dict(
            vocab_size=290, hidden_size=12, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, max_position_embeddings=256, tie_word_embeddings=False,
            rms_norm_eps=1e-6,
            rope_parameters=dict(rope_type="default", rope_theta=1e6, mrope_section=[1, 1, 1]),
        ),
        vision_config=dict(depth=1, hidden_size=8, intermediate_size=8, num_heads=2, out_hidden_size=12, patch_size=4,
                           fullatt_block_indexes=[0]),
        tie_word_embeddings=False,
    )


def flow_unipc(**options):
    return diffusers.UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", **options)


# Cases of single networks -----------------------------------------------------------------------------------------

CASES = {}


def case(make):
    CASES[make.__name__] = make
    return make


def times(numbers, batch, frames, given):
    t = numbers.uniform(batch, 1, frames, 1, 1, low=0.1, high=0.9)
    t[:, :, :given] = 0.0001
    return t


def given_mask(batch, frames, height, width, given):
    mask = torch.zeros(batch, 1, frames, height, width)
    mask[:, :, :given] = 1
    return mask


@case
def dit_predict1(folder, numbers):
    config = dict(DIT, rope_scale=(2.0, 1.0, 1.0), extra_pos_embed_type="learnable")
    model = numbers.fill(diffusers.CosmosTransformer3DModel(**config))
    padding = torch.zeros(1, 1, 32, 48)
    padding[..., 40:] = 1
    tensors = dict(
        hidden_states=numbers(1, 16, 2, 4, 6), encoder_hidden_states=numbers(1, 5, 10), timestep=numbers(1),
        condition_mask=given_mask(1, 2, 4, 6, 1), padding_mask=padding,
    )
    tensors["sample"] = model(**tensors, fps=30).sample
    model.save_pretrained(folder)
    write(folder, "dit_predict1", "diffusers.CosmosTransformer3DModel", tensors, dict(fps=30))


@case
def dit_predict25(folder, numbers):
    model = numbers.fill(diffusers.CosmosTransformer3DModel(**DIT25))
    tensors = dict(
        hidden_states=numbers(2, 16, 3, 4, 6), encoder_hidden_states=numbers(2, 5, 24), timestep=times(numbers, 2, 3, 1),
        condition_mask=given_mask(2, 3, 4, 6, 1), padding_mask=torch.zeros(1, 1, 32, 48),
    )
    tensors["sample"] = model(**tensors, fps=16).sample
    model.save_pretrained(folder)
    write(folder, "dit_predict25", "diffusers.CosmosTransformer3DModel", tensors, dict(fps=16))


@case
def transfer25(folder, numbers):
    dit = numbers.fill(diffusers.CosmosTransformer3DModel(**TRANSFER))
    control = numbers.fill(diffusers.CosmosControlNetModel(**CONTROL))
    tensors = dict(
        latents=numbers(1, 16, 2, 4, 6), controls_latents=numbers(1, 16, 2, 4, 6), text=numbers(1, 5, 24),
        img_context=numbers(1, 3, 6), timestep=times(numbers, 1, 2, 1), condition_mask=given_mask(1, 2, 4, 6, 1),
        padding_mask=torch.zeros(1, 1, 32, 48),
    )
    context = (tensors["text"], tensors["img_context"])
    shared = dict(timestep=tensors["timestep"], encoder_hidden_states=context,
                  condition_mask=tensors["condition_mask"], padding_mask=tensors["padding_mask"])
    blocks = control(controls_latents=tensors["controls_latents"], latents=tensors["latents"],
                     conditioning_scale=[0.6], **shared).control_block_samples
    for i, block in enumerate(blocks):
        tensors[f"control_block.{i}"] = block
    tensors["sample"] = dit(tensors["latents"], block_controlnet_hidden_states=blocks, **shared).sample
    dit.save_pretrained(folder / "transformer")
    control.save_pretrained(folder / "controlnet")
    write(folder, "transfer25", "diffusers.CosmosControlNetModel", tensors, dict(conditioning_scale=[0.6]))


def autoencoder(folder, numbers, name, model, frames, height, width, latents):
    numbers.fill(model)
    video = torch.from_numpy(numbers.clip(frames, height, width)).float().permute(3, 0, 1, 2)[None] / 127.5 - 1
    moments = model.encode(video).latent_dist
    tensors = dict(
        video=video, latents=latents, encoded_mean=moments.mode(), decoded=model.decode(latents).sample,
        encoded_one=model.encode(video[:, :, :1]).latent_dist.mode(), decoded_one=model.decode(latents[:, :, :1]).sample,
    )
    if hasattr(moments, "logvar"):
        tensors["encoded_logvar"] = moments.logvar
    model.save_pretrained(folder)
    write(folder, name, "diffusers." + type(model).__name__, tensors)


@case
def wan21(folder, numbers):
    autoencoder(folder, numbers, "wan21", diffusers.AutoencoderKLWan(**WAN21), 9, 16, 16, numbers(1, 16, 3, 2, 2))


@case
def wan22(folder, numbers):
    autoencoder(folder, numbers, "wan22", diffusers.AutoencoderKLWan(**WAN22), 5, 32, 32, numbers(1, 6, 2, 1, 2))


@case
def kl_cosmos(folder, numbers):
    model = diffusers.AutoencoderKLCosmos(
        latent_channels=4, encoder_block_out_channels=(4, 4, 6), decode_block_out_channels=(4, 4, 6), resolution=64,
        attention_resolutions=(32,), num_layers=1, patch_size=2, patch_type="haar", spatial_compression_ratio=4,
        temporal_compression_ratio=4, latents_mean=None, latents_std=None,
    )
    autoencoder(folder, numbers, "kl_cosmos", model, 9, 16, 24, numbers(1, 4, 3, 4, 6))


@case
def audio(folder, numbers):
    model = numbers.fill(diffusers.Cosmos3AVAEAudioTokenizer(
        sampling_rate=600, vocoder_input_dim=4, dec_dim=4, dec_c_mults=(1, 2), dec_strides=(2, 3), enc_dim=4, enc_n_fft=8,
        enc_hop_length=2, enc_latent_dim=8, enc_c_mults=(1, ), enc_strides=(3, ), enc_num_blocks=1,
    ))
    tensors = dict(waveform=numbers(1, 2, 40, scale=0.5), latents=numbers(1, 4, 5))
    tensors["encoded_mean"] = model.encode(tensors["waveform"]).latent_dist.mode()
    tensors["decoded"] = model.decode(tensors["latents"])
    model.save_pretrained(folder)
    write(folder, "audio", "diffusers.Cosmos3AVAEAudioTokenizer", tensors)


def towers(folder, numbers, name, **changes):
    config = dict(
        head_dim=8, hidden_size=16, intermediate_size=24, latent_channel=6, latent_patch_size=2, patch_latent_dim=24,
        num_attention_heads=2, num_key_value_heads=1, num_hidden_layers=2, rope_axes_dim=(2, 1, 1), action_gen=True,
        action_dim=5, num_embodiment_domains=4, vocab_size=40,
    )
    model = numbers.fill(diffusers.Cosmos3OmniTransformer(**dict(config, **changes)))
    ids, frames, rows = numbers.ids(6, low=0, high=40), 3, 4
    tensors = dict(input_ids=ids, vision_tokens=numbers(1, 6, frames, 3, 4), action_tokens=numbers(rows, 5),
                   action_domain_id=torch.tensor([2]))
    text, patches = len(ids), 2 * 2
    tokens, total = frames * patches, text + frames * patches + rows
    positions = torch.arange(total, dtype=torch.float32).repeat(3, 1)
    positions[0, text:] = 15006 + torch.arange(total - text) * 0.7
    positions[1, text:] = torch.arange(total - text) // 2 % 2
    positions[2, text:] = torch.arange(total - text) % 2
    tensors["position_ids"] = positions
    span = lambda a, b: torch.arange(a, b)
    out = model(
        input_ids=ids, text_indexes=span(0, text), position_ids=positions, und_len=text, sequence_length=total,
        vision_tokens=[tensors["vision_tokens"]], vision_token_shapes=[(frames, 2, 2)],
        vision_sequence_indexes=span(text, text + tokens), vision_mse_loss_indexes=span(text + patches, text + tokens),
        vision_timesteps=torch.full((2 * patches,), 421.0), vision_noisy_frame_indexes=[torch.tensor([1, 2])],
        action_tokens=[tensors["action_tokens"]], action_token_shapes=[(rows, 1, 1)],
        action_sequence_indexes=span(total - rows, total), action_mse_loss_indexes=span(total - rows + 1, total),
        action_timesteps=torch.full((rows - 1,), 421.0), action_noisy_frame_indexes=[span(1, rows)],
        action_domain_ids=[tensors["action_domain_id"]],
    )
    tensors |= dict(sample=out.sample[0], action=out.action[0])
    model.save_pretrained(folder)
    write(folder, name, "diffusers.Cosmos3OmniTransformer", tensors,
          dict(timestep=421, given_vision_frames=[0], given_action_rows=[0]))


@case
def cosmos3(folder, numbers):
    towers(folder, numbers, "cosmos3")


@case
def cosmos3_edge(folder, numbers):
    towers(folder, numbers, "cosmos3_edge", hidden_act="relu2", qk_norm_for_text=False, use_und_k_norm_for_gen=True,
           rms_norm_eps=1e-5, rope_theta=1e8)


@case
def t5(folder, numbers):
    model = numbers.fill(transformers.T5EncoderModel(transformers.T5Config(**T5)))
    ids, mask = numbers.ids(2, 30, low=2, high=60), torch.ones(2, 30, dtype=torch.int64)
    ids[1, 21:], mask[1, 21:] = 0, 0
    hidden = model(ids, attention_mask=mask).last_hidden_state
    tensors = dict(input_ids=ids, attention_mask=mask, last_hidden_state=hidden, prompt_embeds=hidden * mask[..., None])
    model.save_pretrained(folder)
    write(folder, "t5", "transformers.T5EncoderModel", tensors)


@case
def qwen_text(folder, numbers):
    model = numbers.fill(transformers.Qwen2_5_VLForConditionalGeneration(qwen25()))
    ids = numbers.ids(1, 20, low=0, high=250)
    states = model(ids, output_hidden_states=True).hidden_states
    tensors = {f"hidden.{i}": state for i, state in enumerate(states)} | {"input_ids": ids}
    unit = [(s - s.mean(-1, keepdim=True)) / (s.std(-1, keepdim=True) + 1e-8) for s in states[1:]]
    tensors["prompt_embeds"] = torch.cat(unit, -1)
    model.save_pretrained(folder)
    write(folder, "qwen_text", "transformers.Qwen2_5_VLForConditionalGeneration", tensors)


def reason(folder, numbers, name, model, patch, with_clip):
    """A picture of 4 x 6 patches (and a clip of two frames of 2 x 4) among words, to next-token scores."""
    numbers.fill(model)
    merged, width = 6, 3 * 2 * patch * patch
    words = lambda n: numbers.ids(n, low=0, high=30)
    ids, kinds = [words(3), torch.full((merged,), 38), words(4)], [0] * 3 + [1] * merged + [0] * 4
    tensors = dict(pixel_values=numbers(24, width, scale=0.7), image_grid_thw=torch.tensor([[1, 4, 6]]))
    if with_clip:
        tensors |= dict(pixel_values_videos=numbers(16, width, scale=0.7), video_grid_thw=torch.tensor([[2, 2, 4]]))
        for _ in range(2):
            ids += [torch.full((2,), 39), words(2)]
            kinds += [2, 2, 0, 0]
    tensors |= dict(input_ids=torch.cat(ids)[None], mm_token_type_ids=torch.tensor([kinds]))
    tensors["logits"] = model(**tensors, attention_mask=torch.ones_like(tensors["input_ids"])).logits
    model.save_pretrained(folder)
    write(folder, name, "transformers." + type(model).__name__, tensors)


TOKENS = dict(image_token_id=38, video_token_id=39, vision_start_token_id=36, vision_end_token_id=37, tie_word_embeddings=False)
WORDS = dict(vocab_size=40, hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2,
             num_key_value_heads=1, rms_norm_eps=1e-6, max_position_embeddings=128, tie_word_embeddings=False)


@case
def reason1(folder, numbers):
    config = transformers.Qwen2_5_VLConfig(
        text_config=dict(WORDS, rope_parameters=dict(rope_type="default", rope_theta=1e6, mrope_section=[1, 1, 2])),
        vision_config=dict(depth=2, hidden_size=8, intermediate_size=12, num_heads=1, out_hidden_size=16, patch_size=4,
                           spatial_merge_size=2, temporal_patch_size=2, window_size=16, fullatt_block_indexes=[1]),
        **TOKENS,
    )
    reason(folder, numbers, "reason1", transformers.Qwen2_5_VLForConditionalGeneration(config), 4, False)


@case
def reason2(folder, numbers):
    rope = dict(rope_type="default", rope_theta=5e6, mrope_section=[2, 1, 1], mrope_interleaved=True)
    config = transformers.Qwen3VLConfig(
        text_config=dict(WORDS, head_dim=8, rope_parameters=rope),
        vision_config=dict(depth=2, hidden_size=8, intermediate_size=12, num_heads=1, out_hidden_size=16, patch_size=4,
                           spatial_merge_size=2, temporal_patch_size=2, num_position_embeddings=25,
                           deepstack_visual_indexes=[0]),
        **TOKENS,
    )
    reason(folder, numbers, "reason2", transformers.Qwen3VLForConditionalGeneration(config), 4, True)


@case
def schedulers(folder, numbers):
    kinds = {
        "edm": diffusers.EDMEulerScheduler(sigma_min=0.002, sigma_max=80, final_sigmas_type="sigma_min"),
        "unipc_karras": flow_unipc(use_karras_sigmas=True, sigma_max=200.0, sigma_min=0.01),
        "unipc_shift": flow_unipc(flow_shift=5.0),
        "unipc_order3": flow_unipc(flow_shift=3.0, solver_order=3),
    }
    tensors = dict(start=numbers(1, 2, 2, 3, 4))
    for name, scheduler in kinds.items():
        scheduler.save_pretrained(folder / name)
        for steps in (6, 20):
            scheduler.set_timesteps(steps)
            key = f"{name}.{steps}"
            tensors |= {f"{key}.sigmas": scheduler.sigmas, f"{key}.timesteps": scheduler.timesteps}
            if steps == 20:
                continue
            sample = tensors["start"] * max(1.0, float(scheduler.sigmas[0]))
            for i, t in enumerate(scheduler.timesteps):
                scheduler.scale_model_input(sample, t)
                tensors[f"{key}.output.{i}"] = numbers(1, 2, 2, 3, 4)
                sample = scheduler.step(tensors[f"{key}.output.{i}"], t, sample).prev_sample
                tensors[f"{key}.sample.{i}"] = sample
    write(folder, "schedulers", "diffusers schedulers", tensors)


# Tokenizers and pipelines -----------------------------------------------------------------------------------------

PROMPT, NEGATIVE = "the arm turns the T", "blur"


def fast(tokenizer, **special):
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side="right", **special)


def letters():
    """A unigram tokenizer of letters and a few words, with T5's special tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0)]
    pieces += [("\u2581" + word, -3.0 - i / 10) for i, word in enumerate(("the", "arm", "turns", "blur"))]
    pieces += [(letter, -8.0 - i / 10) for i, letter in enumerate("\u2581abcdefghijklmnopqrstuvwxyzT")]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return fast(tokenizer, eos_token="</s>", pad_token="<pad>", unk_token="<unk>")


def chat_bytes():
    """Bytes with the special tokens and the chat layout of the Qwen family."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    marks = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>")
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    made = fast(tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    made.chat_template = (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}{% if m['content'] is string %}{{ m['content'] }}"
        "{% else %}{% for part in m['content'] %}{{ part['text'] }}{% endfor %}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )
    return made


class Guard:
    """Stands where the guardrail component stands: tiny random networks make nothing that needs one."""

    check_text_safety = staticmethod(lambda prompt: True)
    check_video_safety = staticmethod(lambda frames: frames)
    to = lambda self, *args, **kwargs: self


def watched(pipe, tensors, prefix, numbers):
    """Makes the parts of a pipeline write what they take and give into `tensors`."""
    counts = {}

    def put(kind, value):
        i = counts.setdefault(kind, 0)
        counts[kind] += 1
        tensors[f"{prefix}{kind}.{i}"] = value

    def noise(shape, generator=None, device=None, dtype=None, layout=None):
        value = numbers(*shape)
        put("rng", value)
        return value

    for module in [m for n, m in sys.modules.items() if n.startswith("diffusers.") and hasattr(m, "randn_tensor")]:
        module.randn_tensor = noise
    forward, encode, decode = type(pipe.transformer).forward, type(pipe.vae).encode, type(pipe.vae).decode

    def on_forward(self, *args, **kwargs):
        out = forward(self, *args, **kwargs)
        if isinstance(out[0], list):
            for kind, items in zip(("vision", "sound", "action"), out):
                if items:
                    tensors[f"{prefix}dit.{counts.get('dit', 0)}.{kind}"] = items[0]
            counts["dit"] = counts.get("dit", 0) + 1
        else:
            put("dit", out[0])
        return out

    def on_encode(self, x, *args, **kwargs):
        out = encode(self, x, *args, **kwargs)
        put("encoder_in_first", x[:, :, :1])
        put("encoded", out[0].mode())
        return out

    def on_decode(self, z, *args, **kwargs):
        out = decode(self, z, *args, **kwargs)
        put("decoder_in", z)
        put("decoded", out[0])
        return out

    object.__setattr__(pipe.transformer, "forward", types.MethodType(on_forward, pipe.transformer))
    object.__setattr__(pipe.vae, "encode", types.MethodType(on_encode, pipe.vae))
    object.__setattr__(pipe.vae, "decode", types.MethodType(on_decode, pipe.vae))


def unwatched(pipe):
    object.__delattr__(pipe.transformer, "forward")
    for name in ("encode", "decode"):
        object.__delattr__(pipe.vae, name)


def run_pipeline(pipe, tensors, prefix, numbers, names=("latents",), **call):
    watched(pipe, tensors, prefix, numbers)

    def on_step(_, step, time, values):
        for name in names:
            if values.get(name) is not None:
                tensors[f"{prefix}{name}.{step}"] = values[name]
        return {}

    pipe.set_progress_bar_config(disable=True)
    out = pipe(output_type="pt", callback_on_step_end=on_step, callback_on_step_end_tensor_inputs=list(names), **call)
    unwatched(pipe)
    tensors[f"{prefix}sigmas"], tensors[f"{prefix}timesteps"] = pipe.scheduler.sigmas, pipe.scheduler.timesteps
    frames = next(getattr(out, name) for name in ("frames", "images", "video") if hasattr(out, name))
    frames = torch.as_tensor(frames).float().reshape(-1, *frames.shape[-3:])
    tensors[f"{prefix}frames_u8"] = (frames * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    return out


def put_prompts(pipe, tensors, ids, length):
    embeds = pipe.encode_prompt(PROMPT, NEGATIVE, True, max_sequence_length=length, dtype=torch.float32)
    for name, text, value in zip(("prompt", "negative"), (PROMPT, NEGATIVE), embeds):
        row = ids(text)
        tensors[f"{name}_ids"] = torch.as_tensor(row if isinstance(row, list) else row["input_ids"])
        tensors[f"{name}_embeds"] = value


def save_parts(folder, pipeline, parts):
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    index = {"_class_name": pipeline.__name__} | {name: type(part).__name__ for name, part in parts.items()}
    (folder / "model_index.json").write_text(json.dumps(index, indent=1, sort_keys=True) + "\n")


@case
def pipe_predict2(folder, numbers):
    parts = dict(
        text_encoder=numbers.fill(transformers.T5EncoderModel(transformers.T5Config(**T5))), tokenizer=letters(),
        transformer=numbers.fill(diffusers.CosmosTransformer3DModel(**dict(DIT, num_layers=1))),
        vae=numbers.fill(diffusers.AutoencoderKLWan(**WAN21)),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True),
    )
    save_parts(folder, diffusers.Cosmos2VideoToWorldPipeline, parts)
    pipe = diffusers.Cosmos2VideoToWorldPipeline(**parts, safety_checker=Guard())
    length = 12
    tensors = dict(video_u8=numbers.clip(3, 16, 32), latents_start=numbers(1, 16, 2, 2, 4))
    put_prompts(pipe, tensors, lambda t: pipe.tokenizer(t, padding="max_length", max_length=length, truncation=True).input_ids, length)
    size = dict(height=16, width=32, num_frames=5, num_inference_steps=2, guidance_scale=4.0, fps=16, max_sequence_length=length)
    given = torch.from_numpy(tensors["video_u8"]).float().permute(0, 3, 1, 2) / 255
    for prefix, frames in (("image.", dict(image=given[:1])), ("video.", dict(video=given[None]))):
        run_pipeline(pipe, tensors, prefix, numbers, prompt=PROMPT, negative_prompt=NEGATIVE,
                     latents=tensors["latents_start"], **frames, **size)
    write(folder, "pipe_predict2", "diffusers.Cosmos2VideoToWorldPipeline", tensors,
          dict(size, prompt=PROMPT, negative_prompt=NEGATIVE, sigma_conditioning=0.0001))


@case
def pipe_predict25(folder, numbers):
    parts = dict(
        text_encoder=numbers.fill(transformers.Qwen2_5_VLForConditionalGeneration(qwen25())), tokenizer=chat_bytes(),
        transformer=numbers.fill(diffusers.CosmosTransformer3DModel(**dict(DIT25, num_layers=1))),
        vae=numbers.fill(diffusers.AutoencoderKLWan(**WAN21)),
        scheduler=flow_unipc(use_karras_sigmas=True, sigma_max=200.0, sigma_min=0.01),
    )
    save_parts(folder, diffusers.Cosmos2_5_PredictBasePipeline, parts)
    pipe = diffusers.Cosmos2_5_PredictBasePipeline(**parts, safety_checker=Guard())
    length = 150
    said = "You are a helpful assistant who will provide prompts to an image generator."

    def ids(text):
        talk = [dict(role=r, content=[dict(type="text", text=t)]) for r, t in (("system", said), ("user", text))]
        return pipe.tokenizer.apply_chat_template(talk, tokenize=True, max_length=length, truncation=True, padding="max_length")

    tensors = dict(video_u8=numbers.clip(6, 16, 32), latents_start=numbers(1, 16, 2, 2, 4))
    put_prompts(pipe, tensors, ids, length)
    size = dict(height=16, width=32, num_frames=5, num_inference_steps=2, guidance_scale=4.0, max_sequence_length=length)
    whole = torch.from_numpy(tensors["video_u8"]).float().permute(3, 0, 1, 2)[None] / 127.5 - 1
    first = torch.from_numpy(tensors["video_u8"][:1]).float().permute(0, 3, 1, 2)[0] / 255
    from torchvision.transforms.functional import to_pil_image

    modes = (("text.", {}), ("image.", dict(image=to_pil_image(first))), ("video.", dict(video=whole, num_latent_conditional_frames=2)))
    for prefix, start in modes:
        run_pipeline(pipe, tensors, prefix, numbers, prompt=PROMPT, negative_prompt=NEGATIVE,
                     latents=tensors["latents_start"], **start, **size)
    write(folder, "pipe_predict25", "diffusers.Cosmos2_5_PredictBasePipeline", tensors,
          dict(size, prompt=PROMPT, negative_prompt=NEGATIVE, conditional_frame_timestep=0.0001))


# What NVIDIA's own repositories do otherwise than diffusers, written from their papers and code, in our own words ------


# The ends of NVIDIA's table of noise levels, in f32.
RAMP = [float(np.float32(0.999)), 0.0]


def as_nvidia(transformer):
    """Norms of queries and keys have 1e-6 in NVIDIA's networks, 1e-5 in the diffusers library."""
    for block in transformer.transformer_blocks:
        for attention in (block.attn1, block.attn2):
            attention.norm_q.eps = attention.norm_k.eps = 1e-6
    return transformer


def karras(low, high, count):
    part = torch.arange(count, dtype=torch.float64) / (count - 1)
    return (high ** (1 / 7) + part * (low ** (1 / 7) - high ** (1 / 7))) ** 7


class Adams:
    """Second order in -ln(sigma): the clean sample goes on along the line through the last two."""

    def __init__(self):
        self.before = None

    def step(self, x, clean, now, then):
        x, clean = x.double(), clean.double()
        h = math.log(now / then)
        rest = 1 - math.exp(-h)
        out = math.exp(-h) * x + rest * clean
        if self.before is not None:
            old, width = self.before
            out = out + (h - rest) * (clean - old) / width
        self.before = clean, h
        return out.float()


class Looker:
    """A Predict2 network as NVIDIA calls it: no frame rate in the rotary positions, given latents as they are."""

    def __init__(self, transformer, tensors, prefix, given, count, told_given):
        self.transformer, self.tensors, self.prefix = transformer, tensors, prefix
        self.given, self.told_given, self.calls = given, told_given, 0
        frames, height, width = given.shape[2:]
        self.mark = torch.zeros(1, 1, frames, 1, 1)
        self.mark[:, :, :count] = 1
        self.mask = self.mark.expand(1, 1, frames, height, width)
        self.padding = torch.zeros(1, 1, 8 * height, 8 * width)

    def clean(self, x, sigma, text):
        t = sigma / (sigma + 1)
        seen = self.mark * self.given + (1 - self.mark) * (x.double() * (1 - t)).float()
        time = self.mark * self.told_given + (1 - self.mark) * t
        out = self.transformer(hidden_states=seen, timestep=time, encoder_hidden_states=text, fps=None,
                               condition_mask=self.mask, padding_mask=self.padding).sample
        self.tensors[f"{self.prefix}dit.{self.calls}"] = out
        self.calls += 1
        clean = (x.double() * (1 - t) - out.double() * t).float()
        return self.mark * self.given + (1 - self.mark) * clean


def statistics(vae):
    shape = (1, -1, 1, 1, 1)
    return torch.tensor(vae.config.latents_mean).view(shape), torch.tensor(vae.config.latents_std).view(shape)


def encoded(vae, video, tensors, prefix):
    tensors[f"{prefix}encoder_in_first.0"] = video[:, :, :1]
    z = vae.encode(video).latent_dist.mode()
    tensors[f"{prefix}encoded.0"] = z
    mean, std = statistics(vae)
    return (z - mean) / std


def decoded(vae, latents, tensors, prefix):
    mean, std = statistics(vae)
    z = latents * std + mean
    tensors[f"{prefix}decoder_in.0"] = z
    video = vae.decode(z).sample
    tensors[f"{prefix}decoded.0"] = video
    return video


def put_frames(tensors, prefix, video):
    levels = ((video[0] + 1) * 127.5).clamp(0, 255).to(torch.uint8)
    tensors[f"{prefix}frames_u8"] = levels.permute(1, 2, 3, 0)


def unit(frames):
    return torch.from_numpy(frames).float().permute(3, 0, 1, 2)[None] / 127.5 - 1


@case
def pipe_predict2_nvidia(folder, numbers):
    parts = dict(
        text_encoder=numbers.fill(transformers.T5EncoderModel(transformers.T5Config(**T5))), tokenizer=letters(),
        transformer=numbers.fill(diffusers.CosmosTransformer3DModel(**dict(DIT, num_layers=1))),
        vae=numbers.fill(diffusers.AutoencoderKLWan(**WAN21)),
    )
    save_parts(folder, diffusers.Cosmos2VideoToWorldPipeline, parts)
    pipe = diffusers.Cosmos2VideoToWorldPipeline(
        **parts, scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True), safety_checker=Guard())
    as_nvidia(parts["transformer"])
    length, steps, guidance, told = 12, 3, 4.0, 0.0001 / 1.0001
    tensors = dict(video_u8=numbers.clip(3, 16, 32), latents_start=numbers(1, 16, 2, 2, 4))
    put_prompts(pipe, tensors, lambda t: pipe.tokenizer(t, padding="max_length", max_length=length, truncation=True).input_ids, length)
    vae, levels = parts["vae"], karras(0.002, 80.0, steps + 1)
    for prefix, count in (("image.", 1), ("video.", 3)):
        video = unit(tensors["video_u8"][:count])
        video = torch.cat([video] + [video[:, :, -1:]] * (5 - count), 2)
        given = encoded(vae, video, tensors, prefix)
        look = Looker(parts["transformer"], tensors, prefix, given, 1, told)
        solver, x = Adams(), tensors["latents_start"] * 80.0

        def guided(x, sigma):
            toward = look.clean(x, sigma, tensors["prompt_embeds"])
            return toward + guidance * (toward - look.clean(x, sigma, tensors["negative_embeds"]))

        for i in range(steps):
            x = solver.step(x, guided(x, float(levels[i])), float(levels[i]), float(levels[i + 1]))
            tensors[f"{prefix}latents.{i}"] = x
        tensors[f"{prefix}sigmas"], tensors[f"{prefix}timesteps"] = levels, (levels / (levels + 1))[:-1]
        put_frames(tensors, prefix, decoded(vae, guided(x, float(levels[-1])), tensors, prefix))
    write(folder, "pipe_predict2_nvidia", "our own description of NVIDIA's pipeline on diffusers' networks", tensors,
          dict(height=16, width=32, num_frames=5, num_inference_steps=steps, guidance_scale=guidance, fps=16,
               max_sequence_length=length, prompt=PROMPT, negative_prompt=NEGATIVE, sigma_conditioning=0.0001,
               reference="nvidia"))


@case
def pipe_predict25_nvidia(folder, numbers):
    parts = dict(
        text_encoder=numbers.fill(transformers.Qwen2_5_VLForConditionalGeneration(qwen25())), tokenizer=chat_bytes(),
        transformer=numbers.fill(diffusers.CosmosTransformer3DModel(**dict(DIT25, num_layers=1))),
        vae=numbers.fill(diffusers.AutoencoderKLWan(**WAN21)), scheduler=flow_unipc(flow_shift=5.0),
    )
    save_parts(folder, diffusers.Cosmos2_5_PredictBasePipeline, parts)
    settings = folder / "scheduler" / "scheduler_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | dict(ramp=RAMP), indent=1, sort_keys=True) + "\n")
    pipe = diffusers.Cosmos2_5_PredictBasePipeline(**parts, safety_checker=Guard())
    transformer = as_nvidia(parts["transformer"])
    length, steps, guidance = 150, 3, 4.0
    said = "You are a helpful assistant who will provide prompts to an image generator."

    def ids(text):
        talk = [dict(role=r, content=[dict(type="text", text=t)]) for r, t in (("system", said), ("user", text))]
        return pipe.tokenizer.apply_chat_template(talk, tokenize=True, max_length=length, truncation=True, padding="max_length")

    noise = numbers(1, 16, 2, 2, 4)
    tensors = dict(video_u8=numbers.clip(6, 16, 32), latents_start=noise)
    put_prompts(pipe, tensors, ids, length)
    vae, padding = parts["vae"], torch.zeros(1, 1, 16, 32)
    for prefix, count, latent in (("text.", 0, 0), ("image.", 1, 1), ("video.", 5, 2)):
        given = torch.zeros_like(noise)
        if count:
            video = unit(tensors["video_u8"][:1] if count == 1 else tensors["video_u8"][-count:])
            video = torch.cat([video, torch.full((1, 3, 5 - count, 16, 32), -1.0)], 2)
            given = encoded(vae, video, tensors, prefix)
        mark = torch.zeros(1, 1, 2, 1, 1)
        mark[:, :, :latent] = 1
        # NVIDIA's own solver is diffusers' on another ramp: evenly from 0.999 to 0, then shifted.
        scheduler = flow_unipc(flow_shift=5.0)
        scheduler.set_timesteps(sigmas=np.linspace(RAMP[0], RAMP[1], steps + 1)[:-1])
        x, calls = noise, 0

        def velocity(x, time, text):
            nonlocal calls
            out = transformer(hidden_states=mark * given + (1 - mark) * x, timestep=time, encoder_hidden_states=text,
                              condition_mask=mark.expand(1, 1, 2, 2, 4), padding_mask=padding).sample
            tensors[f"{prefix}dit.{calls}"] = out
            calls += 1
            return mark * (noise - given) + (1 - mark) * out

        for i, t in enumerate(scheduler.timesteps):
            # The integer goes in, scaled by a thousandth; given frames are told 0.1 of it.
            time = (mark * 0.1 + (1 - mark) * float(t)) * 0.001
            toward = velocity(x, time, tensors["prompt_embeds"])
            v = toward + guidance * (toward - velocity(x, time, tensors["negative_embeds"]))
            x = scheduler.step(v, t, x).prev_sample
            tensors[f"{prefix}latents.{i}"] = x
        tensors[f"{prefix}sigmas"], tensors[f"{prefix}timesteps"] = scheduler.sigmas, scheduler.timesteps
        video = decoded(vae, x, tensors, prefix)
        put_frames(tensors, prefix, ((video + 1) * 127.5).round() / 127.5 - 1 + 1e-4)
    write(folder, "pipe_predict25_nvidia", "our own description of NVIDIA's pipeline on diffusers' networks", tensors,
          dict(height=16, width=32, num_frames=5, num_inference_steps=steps, guidance_scale=guidance,
               max_sequence_length=length, prompt=PROMPT, negative_prompt=NEGATIVE, conditional_frame_timestep=0.0001,
               reference="nvidia"))


@case
def pipe_policy(folder, numbers):
    """Cosmos Policy with two cameras: actions, state and value as latent frames of a Predict2 network."""
    transformer = numbers.fill(diffusers.CosmosTransformer3DModel(**dict(DIT, num_layers=1, max_size=(16, 16, 16))))
    vae = numbers.fill(diffusers.AutoencoderKLWan(**WAN21))
    for name, part in (("transformer", transformer), ("vae", vae)):
        part.save_pretrained(folder / name)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "CosmosPolicyPipeline"}) + "\n")
    as_nvidia(transformer)
    chunk, action, steps = 3, 7, 5
    tensors = dict(views_u8=numbers.clip(2, 16, 32), text=numbers(1, 12, 10), latents_start=numbers(1, 16, 9, 2, 4),
                   proprio=numbers.uniform(1, 9, low=-1, high=1))
    wrist, primary = (unit(tensors["views_u8"][i : i + 1]).repeat(1, 1, 4, 1, 1) for i in (0, 1))
    black = torch.full_like(wrist, -1.0)
    video = torch.cat([black[:, :, :1], black, wrist, primary, black, black, wrist, primary, black], 2)
    plain = encoded(vae, video, tensors, "")
    room = 16 * 2 * 4

    def fill(vector):
        return vector.flatten().repeat(room // vector.numel() + 1)[:room].view(16, 2, 4)

    def mean_of(latent, count):
        return latent.flatten()[: room // count * count].view(-1, count).mean(0)

    given = plain.clone()
    given[0, :, 1] = fill(tensors["proprio"])
    look = Looker(transformer, tensors, "", given, 4, 0.0)
    # The call at the lowest level is one of the five.
    levels, solver, x = karras(4.0, 80.0, steps), Adams(), tensors["latents_start"] * 80.0
    for i in range(steps):
        clean = look.clean(x, float(levels[i]), tensors["text"])
        x = clean if i + 1 == steps else solver.step(x, clean, float(levels[i]), float(levels[i + 1]))
        tensors[f"latents.{i}"] = x
    tensors["sigmas"], tensors["timesteps"] = levels, (levels / (levels + 1))[:-1]
    tensors["actions"] = mean_of(x[0, :, 4], chunk * action).view(chunk, action)
    tensors["future_proprio"] = mean_of(x[0, :, 5], 9)
    tensors["value"] = ((x[0, :, 8].mean() + 1) / 2).clamp(0, 1)[None]
    cleaned = x.clone()
    for frame in (0, 1, 4, 5):
        cleaned[:, :, frame] = plain[:, :, frame]
    video = decoded(vae, cleaned, tensors, "")
    put_frames(tensors, "", video[:, :, [4 * 5 + 1, 4 * 6 + 1]])
    write(folder, "pipe_policy", "our own description of Cosmos Policy on diffusers' networks", tensors,
          dict(chunk_size=chunk, action_dim=action, num_inference_steps=steps, reference="nvidia"))


@case
def pipe_transfer1(folder, numbers):
    """Transfer1 in two chunks: a copy of the first block of a Predict1 network that sees the control clip."""
    from diffusers.models.transformers.transformer_cosmos import CosmosPatchEmbed

    config = dict(DIT, num_layers=2, rope_scale=(2.0, 1.0, 1.0), extra_pos_embed_type="learnable")
    base = as_nvidia(numbers.fill(diffusers.CosmosTransformer3DModel(**config)))
    branch = as_nvidia(numbers.fill(diffusers.CosmosTransformer3DModel(**dict(config, num_layers=1))))
    vae = numbers.fill(diffusers.AutoencoderKLCosmos(**KL))
    width, channels = 24, 20
    own = torch.nn.ModuleDict(dict(
        hint_embed=CosmosPatchEmbed(channels + 1, width, (1, 2, 2), bias=False),
        zero_blocks=torch.nn.ModuleDict(dict(block0=torch.nn.Linear(width, width))),
    ))
    sizes, layers = [width, 16, 16, 32, 32, 96, 96, 256, width], []
    for i in range(8):
        layers += [torch.nn.Linear(sizes[i], sizes[i + 1])] + [torch.nn.SiLU()] * (i < 7)
    own["input_hint_block"] = torch.nn.Sequential(*layers)
    numbers.fill(own)
    base.save_pretrained(folder / "transformer")
    vae.save_pretrained(folder / "vae")
    (folder / "controlnet").mkdir(parents=True, exist_ok=True)
    kept = {k: v for k, v in branch.state_dict().items() if not k.startswith(("norm_out", "proj_out"))}
    save_file({k: v.contiguous().clone() for k, v in (kept | own.state_dict()).items()},
              str(folder / "controlnet" / "diffusion_pytorch_model.safetensors"))
    about = {k: list(v) if isinstance(v, tuple) else v for k, v in config.items()}
    about |= dict(num_layers=2, num_control_blocks=1, hint_channels=channels)
    (folder / "controlnet" / "config.json").write_text(json.dumps(about, indent=1, sort_keys=True) + "\n")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "CosmosTransfer1Pipeline"}) + "\n")

    size, steps, guidance, weight, fps, data = 9, 2, 3.0, 0.7, 24, 0.5
    height, wide = 16, 32
    tensors = dict(control_u8=numbers.clip(15, height, wide), text=numbers(1, 6, 10), negative_text=numbers(1, 6, 10))
    counts = dict(enc=0, dit=0, dec=0)

    def encode(video):
        tensors[f"encoder_in_first.{counts['enc']}"] = video[:, :, :1]
        z = vae.encode(video).latent_dist.mode()
        tensors[f"encoded.{counts['enc']}"] = z
        counts["enc"] += 1
        return z * data

    shape = encode(torch.zeros(1, 3, size, height, wide)).shape
    tensors = {k: v for k, v in tensors.items() if not k.startswith("enc")}
    counts["enc"] = 0
    noise = numbers(*shape)
    tensors["latents_start"] = noise
    padding = torch.zeros(1, 1, 8 * shape[3], 8 * shape[4])
    levels = karras(0.002, 80.0, steps + 1)
    whole, previous, video = unit(tensors["control_u8"]), None, []
    for chunk in range(2):
        part = whole[:, :, 8 * chunk : 8 * chunk + size]
        part = torch.cat([part] + [part[:, :, -1:]] * (size - part.shape[2]), 2)
        control = encode(part)
        held, count = torch.zeros_like(noise), 0
        if previous is not None:
            tail = ((previous[:, :, -1:] + 1) * 127.5).clamp(0, 255).to(torch.uint8).float() / 127.5 - 1
            held, count = encode(torch.cat([tail, torch.full((1, 3, size - 1, height, wide), -1.0)], 2)), 1
        mark = torch.zeros(1, 1, shape[2], 1, 1)
        mark[:, :, :count] = 1
        mask = mark.expand(1, 1, *shape[2:])

        def look(x, sigma, text):
            spread = math.hypot(sigma, data)
            augmented = (held + 0.001 * noise) / math.hypot(0.001, data)
            x = mark * augmented * spread + (1 - mark) * x
            seen, time = x / spread, torch.tensor([math.log(sigma) / 4])
            inputs = dict(hidden_states=seen, timestep=time, encoder_hidden_states=text, fps=fps, condition_mask=mask, padding_mask=padding)
            hint = torch.cat([control, torch.zeros(1, channels - 16 + 1, *shape[2:])], 1)
            hint = own["input_hint_block"](own["hint_embed"](hint).flatten(1, 3))
            got = []

            def on_branch(module, args, out):
                out = out + hint
                got.append(own["zero_blocks"]["block0"](out) * weight)
                return out

            hook = branch.transformer_blocks[0].register_forward_hook(on_branch)
            branch(**inputs)
            hook.remove()
            hook = base.transformer_blocks[0].register_forward_hook(lambda module, args, out: out + got[0])
            out = base(**inputs).sample
            hook.remove()
            tensors[f"dit.{counts['dit']}"] = out
            counts["dit"] += 1
            clean = x * (data / spread) ** 2 + out * (sigma * data / spread)
            return mark * held + (1 - mark) * clean

        def guided(x, sigma):
            toward = look(x, sigma, tensors["text"])
            return toward + guidance * (toward - look(x, sigma, tensors["negative_text"]))

        solver, x = Adams(), noise * 80.0
        for i in range(steps):
            x = solver.step(x, guided(x, float(levels[i])), float(levels[i]), float(levels[i + 1]))
            tensors[f"latents.{chunk}.{i}"] = x
        z = guided(x, float(levels[-1])) / data
        tensors[f"decoder_in.{chunk}"] = z
        previous = vae.decode(z).sample
        tensors[f"decoded.{chunk}"] = previous
        video.append(previous if chunk == 0 else previous[:, :, 1:])
    tensors["sigmas"], tensors["timesteps"] = levels, levels.log()[:-1] / 4
    put_frames(tensors, "", torch.cat(video, 2)[:, :, :15])
    write(folder, "pipe_transfer1", "our own description of NVIDIA's Transfer1 on diffusers' networks", tensors,
          dict(num_frames_per_chunk=size, num_input_frames=1, fps=fps, num_inference_steps=steps, guidance_scale=guidance,
               control_weight=weight, reference="nvidia"))


def main():
    out, wanted = Path(sys.argv[1]), sys.argv[2:] or list(CASES)
    torch.set_num_threads(1)
    for name in wanted:
        with torch.no_grad():
            CASES[name](out / name, Numbers(name))
        for unused in (out / name).rglob("generation_config.json"):
            unused.unlink()
        size = sum(f.stat().st_size for f in (out / name).rglob("*") if f.is_file())
        print(f"{name:20} {size / 1000:6.0f} kB")


if __name__ == "__main__":
    main()
