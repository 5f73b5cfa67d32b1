"""Tries a policy that `forerun serve` serves in the public gym-pusht environment (not part of CI).

    pip install gym-pusht openpi-client
    forerun serve --policy POLICY --protocol openpi --listen 127.0.0.1:8000 &
    python tests/python/pusht_openpi.py 127.0.0.1 8000 [EPISODES [FIRST_SEED]]

An episode has at most 300 steps of 0.1 s; its success is a coverage of at least 95 % at any step (the environment's own
rule), and beside it the mean of the episodes' largest coverage is told, as LeRobot and Diffusion Policy do.
"""
import sys
from collections import deque

import gym_pusht  # noqa: F401  (registers the environment)
import gymnasium
import numpy as np
from openpi_client import websocket_client_policy

host, port = sys.argv[1], int(sys.argv[2])
episodes = int(sys.argv[3]) if len(sys.argv) > 3 else 50
first = int(sys.argv[4]) if len(sys.argv) > 4 else 100_000
# Actions of a chunk that are carried out before the next question.
EVERY = 6

env = gymnasium.make("gym_pusht/PushT-v0", obs_type="pixels_agent_pos", max_episode_steps=300)
policy = websocket_client_policy.WebsocketClientPolicy(host=host, port=port)
name = policy.get_server_metadata().get("policy", policy.get_server_metadata())


def wilson(k, n, z=1.96):
    p, d = k / n, 1 + z * z / n
    c, h = (p + z * z / (2 * n)) / d, z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / d
    return c - h, c + h


def run(act):
    best, won = [], 0
    for seed in range(first, first + episodes):
        seen, _ = env.reset(seed=seed)
        act(None)
        most, done = 0.0, False
        while not done:
            seen, _, ended, late, info = env.step(act(seen))
            most = max(most, float(info["coverage"]))
            done = ended or late
        won += most >= 0.95
        best.append(most)
    low, high = wilson(won, episodes)
    return f"success {won} of {episodes} ({100 * won / episodes:.0f} %, {100 * low:.0f} to {100 * high:.0f}), mean largest coverage {np.mean(best):.3f}"


def chunks():
    queue = deque()

    def act(seen):
        if seen is None:
            queue.clear()
            return None
        if not queue:
            answer = policy.infer({
                "observation/image": np.ascontiguousarray(seen["pixels"]),
                "observation/state": np.asarray(seen["agent_pos"], dtype=np.float32),
                "prompt": "Push the T-shaped block onto the T-shaped target.",
            })
            queue.extend(np.clip(answer["actions"][:EVERY], 0, 512))
        return queue.popleft()

    return act


def still():
    return lambda seen: None if seen is None else np.asarray(seen["agent_pos"], dtype=np.float32)


def at_random():
    draw = np.random.default_rng(7)
    return lambda seen: None if seen is None else draw.uniform(0, 512, 2).astype(np.float32)


print("policy:", name)
print(f"seeds {first} to {first + episodes - 1}, at most 300 steps, {EVERY} actions of each chunk")
print("policy:    ", run(chunks()), flush=True)
print("do nothing:", run(still()), flush=True)
print("random:    ", run(at_random()), flush=True)
