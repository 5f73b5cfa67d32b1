"""Asks a policy that `forerun serve` serves for actions, with the public openpi-client (not part of CI).

    pip install openpi-client typing_extensions
    forerun serve --policy POLICY --listen 127.0.0.1:8000 &
    python tests/python/openpi_actions.py 127.0.0.1 8000 [API_KEY]
"""
import sys
import time

import numpy as np
from openpi_client import image_tools, websocket_client_policy

host, port = sys.argv[1], int(sys.argv[2])
key = sys.argv[3] if len(sys.argv) > 3 else None


def connect():
    return websocket_client_policy.WebsocketClientPolicy(host=host, port=port, api_key=key)


client = connect()
metadata = client.get_server_metadata()
print("metadata:", metadata)
joints = len(metadata["action_channels"])
states = len(metadata["state_channels"])
picture = np.random.default_rng(1).integers(0, 255, (480, 640, 3), dtype=np.uint8)

checks = 0


def check(what, holds):
    global checks
    checks += 1
    print("ok  " if holds else "BAD ", what)
    if not holds:
        sys.exit(1)


def ask(client, **changes):
    observation = {
        "observation/image": image_tools.convert_to_uint8(image_tools.resize_with_pad(picture, 224, 224)),
        "observation/state": np.zeros(states, dtype=np.float32),
        "prompt": "push the red cube to the left",
    }
    observation.update(changes)
    return client.infer({k: v for k, v in observation.items() if v is not None})


answer = ask(client)
actions = answer["actions"]
check("actions are float32 [steps, channels]", actions.dtype == np.float32 and actions.ndim == 2 and actions.shape[1] == joints)
check("actions are finite", bool(np.isfinite(actions).all()))
check("timing is told", answer["server_timing"]["infer_ms"] > 0)
check("the same is answered to the same", bool((ask(connect())["actions"] == ask(connect())["actions"]).all()))
check("float64 and lists are states too", ask(client, **{"observation/state": np.zeros(states)})["actions"].shape == actions.shape)
check("planes first", ask(client, **{"observation/image": np.moveaxis(picture, 2, 0).copy()})["actions"].shape == actions.shape)
check("full HD", ask(client, **{"observation/image": np.zeros((1080, 1920, 3), np.uint8)})["actions"].shape == actions.shape)
check("nested maps", client.infer({"observation": {"image": picture, "state": np.zeros(states)}, "prompt": "x"})["actions"].shape == actions.shape)
for what, changes in {
    "a state of another length": {"observation/state": np.zeros(states + 1)},
    "a state that is not finite": {"observation/state": np.full(states, np.nan)},
    "no picture": {"observation/image": None},
    "a picture of floats": {"observation/image": picture.astype(np.float32)},
}.items():
    try:
        ask(connect(), **changes)
        check(what + " is refused", False)
    except RuntimeError as e:
        print("     ", str(e).splitlines()[-1][:120])
        check(what + " is refused in words", True)
clients = [connect() for _ in range(4)]
check("four clients at once", all(ask(c)["actions"].shape == actions.shape for c in clients))
began = time.monotonic()
for _ in range(20):
    ask(client)
print(f"{(time.monotonic() - began) / 20 * 1e3:.1f} ms a question")
print(f"{checks} checks passed")
