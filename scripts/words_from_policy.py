#!/usr/bin/env python3
"""Put the text encoder of a policy into a world model.

    python -m venv venv && venv/bin/pip install torch safetensors numpy
    venv/bin/python scripts/words_from_policy.py MODEL POLICY OUT

Both encoders have one architecture (models/src/dreamer/words.rs). A narrower one is filled up with zeros, which changes no
number that it computes: norms are scaled by the root of the ratio of the widths, further heads have zero values. OUT gets MODEL's
contract and configuration, and no lineage or scorecard: it is not meant to be used before `forerun train --from OUT` has
taught the rest of the network what the new vectors mean.
"""

import math
import os
import shutil
import sys

import torch
from safetensors import safe_open
from safetensors.torch import save_file


def load(folder):
    with safe_open(os.path.join(folder, "model.safetensors"), "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()


def filled(tensor, shape):
    out = torch.zeros(shape)
    out[tuple(slice(0, n) for n in tensor.shape)] = tensor
    return out


def parts(tensor, count, shape):
    """Each of `count` blocks of rows filled up on its own."""
    rows = (shape[0] // count, *shape[1:])
    return torch.cat([filled(block, rows) for block in tensor.chunk(count)])


def main(model, policy, out):
    weights, metadata = load(model)
    words = {name: tensor.float() for name, tensor in load(policy)[0].items() if name.startswith("words.")}
    if not words or words.keys() != {name for name in weights if name.startswith("words.")}:
        sys.exit("the two have no text encoders of as many layers; train the policy with words, or the model with as many layers")
    narrow, wide = (tensors["words.embed"].shape[1] for tensors in (words, weights))
    if narrow > wide:
        sys.exit(f"the policy's encoder is {narrow} wide, the model's only {wide}")
    for name, tensor in words.items():
        like = weights[name]
        if "norm" in name:
            tensor = filled(tensor * math.sqrt(narrow / wide), like.shape)
        elif name.endswith("qkv.weight"):
            tensor = parts(tensor, 3, like.shape)
        elif name.endswith("feed_in.weight"):
            tensor = parts(tensor, 2, like.shape)
        elif not name.endswith("gains"):
            tensor = filled(tensor, like.shape)
        weights[name] = tensor.to(like.dtype).contiguous()
    os.makedirs(out)
    for file in ("contract.json", "config.json"):
        shutil.copy(os.path.join(model, file), out)
    save_file(weights, os.path.join(out, "model.safetensors"), metadata=metadata)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
