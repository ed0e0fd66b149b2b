"""A loop in a process of its own, to be killed: prints a digest of what it ends in."""

import hashlib
import sys

import numpy as np

import runloop as rl


def main(folder):
    rng = np.random.default_rng(0)
    w = np.zeros(2000)
    state = {"w": w, "rng": rng, "lr": 0.5, "means": []}
    with rl.Loop(folder, state, save_steps=7) as loop:
        for _ in loop.epochs(6):
            order = rng.permutation(40)
            for rows in loop.steps(np.array_split(order, 20)):
                w += state["lr"] * rng.normal(size=w.size) + rows.sum()
                loop.report(loss=float(w.mean()))
                print(loop.global_step, flush=True)
            state["lr"] *= 0.9
            state["means"].append(loop.mean("loss"))
            print("between", flush=True)
    digest = hashlib.sha256(w.tobytes() + repr((state["means"], rng.random())).encode())
    print("end", digest.hexdigest(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
