"""A training loop that can be stopped at any moment, and goes on where it was.

    python examples/training_loop.py DATASET --state state.json --stop-after 5

Fits the mean brightness of small windows of images by a straight line through their colours, batch by batch. After
each batch the model and the state of the batches are written together, so that both are of the same moment. Run it
again, with another number of workers if you like: it takes up the rest of the epoch.
"""

from __future__ import annotations

import argparse
import json
import os

import numpy as np

import luisy_dir as luisy

EPOCHS = 2
WINDOW = luisy.window(16)


def load(path, weights, batches):
    """The model and the state of a run that was stopped."""
    with open(path, encoding="utf-8") as file:
        saved = json.load(file)
    weights[:] = saved["weights"]
    batches.load_state_dict(saved["batches"])
    return saved["seen"]


def save(path, weights, batches, seen):
    """Both in one file, which is replaced as a whole."""
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump({"weights": weights.tolist(), "batches": batches.state_dict(), "seen": seen}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{path}.new", path)


def step(weights, images):
    """One step down the gradient; the loss before it."""
    colours = images.reshape(-1, 3) / 255
    brightness = colours @ [0.2125, 0.7154, 0.0721]
    error = colours @ weights - brightness
    weights -= 0.5 * colours.T @ error / len(error)
    return float(np.mean(error**2))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("dataset")
    parser.add_argument("--state", default="state.json")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--stop-after", type=int, help="after so many batches, end as if somebody had stopped it")
    options = parser.parse_args()

    patches = luisy.open_dataset(options.dataset)[:, WINDOW, WINDOW]
    weights, seen, done = np.zeros(3), [[] for _ in range(EPOCHS)], 0
    with patches.batches(5, shuffle=True, seed=7, workers=options.workers) as batches:
        if os.path.exists(options.state):
            seen = load(options.state, weights, batches)
        while batches.epoch < EPOCHS:
            for batch in batches:
                loss = step(weights, batch.data)
                seen[batch.epoch] += batch.keys
                save(options.state, weights, batches, seen)
                done += 1
                if done == options.stop_after:
                    print(f"stopped in epoch {batch.epoch}, after {len(seen[batch.epoch])} of {len(patches)} items")
                    return
    for epoch, keys in enumerate(seen):
        if sorted(keys) != sorted(patches.keys):
            raise SystemExit(f"epoch {epoch}: an item was left out, or seen twice")
        print(f"epoch {epoch}: each of {len(keys)} items was seen once, beginning with {keys[0]}")
    print(f"weights {np.round(weights, 6).tolist()}" + (f", loss {loss:.6f}" if done else ": nothing was left to do"))


if __name__ == "__main__":
    main()
