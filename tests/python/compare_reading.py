"""Holds what Forerun decodes from a data set against what the public `lerobot` library reads: every frame, every camera.

    pip install 'lerobot[dataset]==0.6.1'
    cargo run --release --example dataset_frames -- DATASET | python tests/python/compare_reading.py DATASET

Prints the largest and the mean absolute difference (of 255) and fails when a frame differs by more than 1.5 on average, or
when the frame before it is nearer (the wrong frame). `--every N` looks at every Nth frame only. lerobot 0.6.1 reads
v3.0 only: the clips of a v2.1 set, one an episode and camera, are decoded by PyAV, as lerobot does below.
"""

import argparse
import functools
import json
import sys
from pathlib import Path

import av
import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset


def of_lerobot(root: Path):
    data = LeRobotDataset("local/check", root=root, video_backend="pyav")
    starts = [data.meta.episodes[i]["dataset_from_index"] for i in range(data.num_episodes)]
    return lambda episode, camera, t: data[starts[episode] + t][camera].permute(1, 2, 0).numpy() * 255.0


def of_clips(root: Path, info: dict):
    @functools.lru_cache(maxsize=1)
    def clip(episode: int, camera: str):
        path = root / info["video_path"].format(
            episode_chunk=episode // info["chunks_size"], video_key=camera, episode_index=episode
        )
        with av.open(str(path)) as container:
            return [frame.to_ndarray(format="rgb24").astype(np.float32) for frame in container.decode(video=0)]

    return lambda episode, camera, t: clip(episode, camera)[t]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--every", type=int, default=1)
    args = parser.parse_args()
    info = json.loads((args.dataset / "meta/info.json").read_text())
    reference = of_clips(args.dataset, info) if info["codebase_version"] != "v3.0" else of_lerobot(args.dataset)
    source = sys.stdin.buffer
    seen, worst, total, nearer = 0, 0.0, 0.0, 0
    while line := source.readline():
        head = json.loads(line)
        size = head["width"] * head["height"] * 3
        before = None
        for t in range(head["frames"]):
            ours = np.frombuffer(source.read(size), np.uint8).reshape(head["height"], head["width"], 3)
            if t % args.every == 0:
                theirs = reference(head["episode"], head["camera"], t)
                difference = float(np.abs(ours - theirs).mean())
                worst, total, seen = max(worst, difference), total + difference, seen + 1
                if before is not None and float(np.abs(before - theirs).mean()) < difference - 1e-6:
                    nearer += 1
                assert difference <= 1.5, f"{head} frame {t}: {difference:.3f} of 255"
            before = ours
    assert seen > 0, "nothing came in"
    assert nearer == 0, f"at {nearer} places the frame before is nearer: frames are read one too early"
    print(f"ok: {seen} frames, mean difference {total / seen:.3f}, worst {worst:.3f} of 255")


if __name__ == "__main__":
    main()
