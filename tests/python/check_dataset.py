"""Opens a data set that Forerun wrote with the public `lerobot` library and checks everything in it.

    pip install 'lerobot[dataset]==0.6.1'
    python tests/python/check_dataset.py DATASET [--frames N]

Frames are decoded by PyAV through lerobot; states, actions, tasks, indices and statistics are compared with what
numpy computes from the rows. Not part of `cargo test`: it needs Python.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from lerobot.datasets.compute_stats import aggregate_stats
from lerobot.datasets.lerobot_dataset import LeRobotDataset

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--frames", type=int, default=50, help="frames to decode")
    args = parser.parse_args()

    data = LeRobotDataset("local/check", root=args.dataset, video_backend="pyav")
    meta = data.meta
    info = json.loads((args.dataset / "meta/info.json").read_text())
    assert len(data) == info["total_frames"] == sum(meta.episodes["length"]), "frame counts disagree"
    assert data.num_episodes == info["total_episodes"] == len(meta.episodes), "episode counts disagree"

    table = data.hf_dataset.with_format("numpy")[:]
    index = np.asarray(table["index"])
    assert (index == np.arange(len(data))).all(), "global indices are not consecutive"
    numbers = [k for k, f in meta.features.items() if f["dtype"] not in ("video", "image")]

    per_episode = []
    from lerobot.datasets.io_utils import load_nested_dataset

    stats_rows = load_nested_dataset(args.dataset / "meta/episodes").with_format("numpy")
    for row in range(len(meta.episodes)):
        episode = meta.episodes[row]
        rows = slice(episode["dataset_from_index"], episode["dataset_to_index"])
        assert (np.asarray(table["episode_index"])[rows] == row).all(), f"rows of episode {row} are elsewhere"
        task = meta.tasks.iloc[int(np.asarray(table["task_index"])[rows][0])].name
        assert [task] == list(episode["tasks"]), f"episode {row}: {task!r} is not {episode['tasks']}"
        stamps = np.asarray(table["timestamp"])[rows]
        assert np.allclose(stamps, np.arange(len(stamps)) / meta.fps, atol=1e-4)
        stored = stats_rows[row]
        own = {}
        for key in numbers:
            values = np.asarray(table[key])[rows].astype(np.float64).reshape(len(stamps), -1)
            truth = {
                "min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0),
                **{name: np.quantile(values, q, axis=0) for name, q in QUANTILES.items()},
            }
            for name, value in truth.items():
                ours = np.asarray(stored[f"stats/{key}/{name}"])
                # Population variance by different orders of summation: allow for f32 columns.
                assert np.allclose(ours, value, rtol=1e-5, atol=1e-5), f"{row} {key} {name}: {ours} is not {value}"
        for key in meta.features:
            own[key] = {}
            for name in ["min", "max", "mean", "std", "count", *QUANTILES]:
                value = np.asarray(stored[f"stats/{key}/{name}"], dtype=object)
                value = np.array(value.tolist(), dtype=np.float64)
                shape = (3, 1, 1) if meta.features[key]["dtype"] == "video" and name != "count" else (-1,)
                own[key][name] = value.reshape(shape)
        per_episode.append(own)

    whole = aggregate_stats(per_episode)
    for key, stats in whole.items():
        for name, value in stats.items():
            ours = meta.stats[key][name]
            assert ours.shape == np.asarray(value).shape, f"{key} {name}: shape {ours.shape}"
            assert np.allclose(ours, value, rtol=1e-6, atol=1e-6), f"{key} {name}: {ours} is not {value}"

    rng = np.random.default_rng(0)
    for i in rng.choice(len(data), min(args.frames, len(data)), replace=False):
        item = data[int(i)]
        for key in meta.video_keys:
            frame = item[key]
            height, width, _ = meta.features[key]["shape"]
            assert tuple(frame.shape) == (3, height, width), f"frame {i}: shape {tuple(frame.shape)}"
        assert isinstance(item["task"], str) and item["task"]
    print(f"ok: {len(meta.episodes)} episodes, {len(data)} frames, {len(meta.tasks)} tasks, {len(whole)} features")


if __name__ == "__main__":
    main()
