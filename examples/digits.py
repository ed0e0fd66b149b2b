"""Learn real handwritten digits with nothing but NumPy, and survive being killed.

    python examples/digits.py                   # 10,000 steps, a few seconds
    python examples/digits.py --steps 15000     # continues where the first one stopped

Stop it whenever you like, with Ctrl-C or with `kill -9`, and start it again: it resumes from the
newest checkpoint in `--dir`. The last line is a digest of the trained weights. However often the run
was interrupted, the digest is that of an uninterrupted run, because the checkpoints hold everything
that the next step depends on: weights, momenta, the position in the shuffled data, and the generator
that shifts the images. (This assumes the same machine with the same BLAS: another one rounds
differently.)

`digits_graph.py` is the same training as a graph.
"""

import os

# One BLAS thread, set before NumPy is imported: BLAS reads it when it is loaded. The matrices have
# 64 rows, for which more threads cost more than they bring (on a busy machine they made this program
# 30 times slower), and a product that is split among more threads is rounded differently.
for name in ("OPENBLAS", "MKL", "BLIS", "OMP"):
    os.environ[f"{name}_NUM_THREADS"] = "1"
os.environ["VECLIB_MAXIMUM_THREADS"] = "1"  # Apple's Accelerate

import argparse
import hashlib
import logging
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

import runloop as rl

DATA = Path(__file__).parent / "data" / "digits.safetensors"
HIDDEN = 128
BATCH_SIZE = 64
LEARNING_RATE = np.float32(0.05)
DECAY = np.float32(0.9)


def load_digits():
    """Training images and labels, then those of the fifth that is held out."""
    tensors = load_file(DATA)
    images = tensors["images"].astype(np.float32) / 16
    order = np.random.default_rng(0).permutation(len(images))
    held_out, training = np.split(order, [len(order) // 5])
    labels = tensors["labels"]
    return images[training], labels[training], images[held_out].reshape(-1, 64), labels[held_out]


def initial_weights():
    """Random weights of one hidden layer: `w1`, `b1`, `w2`, `b2`, in float32."""
    rng = np.random.default_rng(1)
    shapes = {"w1": (64, HIDDEN), "b1": (HIDDEN,), "w2": (HIDDEN, 10), "b2": (10,)}
    spreads = {"w1": np.sqrt(2 / 64), "b1": 0.0, "w2": np.sqrt(2 / HIDDEN), "b2": 0.0}
    return {
        name: rng.normal(0.0, spreads[name], shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def shift_randomly(images, rng):
    """Moves each 8 x 8 image by at most one pixel in each direction; gives rows of 64 pixels."""
    count = len(images)
    padded = np.zeros((count, 10, 10), images.dtype)
    padded[:, 1:9, 1:9] = images
    down, right = rng.integers(0, 3, (2, count, 1)) + np.arange(8)
    each = np.arange(count)[:, None, None]
    return padded[each, down[:, :, None], right[:, None, :]].reshape(count, 64)


def forward(pixels, w1, b1, w2, b2):
    """One hidden layer of rectified units, then a softmax: both layers' outputs."""
    hidden = np.maximum(pixels @ w1 + b1, 0)
    scores = hidden @ w2 + b2
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    return hidden, exponentials / exponentials.sum(axis=1, keepdims=True)


def cross_entropy(probabilities, labels):
    """The mean negative log-likelihood of the right labels."""
    return -np.log(probabilities[np.arange(len(labels)), labels] + 1e-9).mean()


def backward(pixels, labels, w1, b1, w2, b2):
    """The loss of a batch, and its gradients in the order of the weights."""
    hidden, probabilities = forward(pixels, w1, b1, w2, b2)
    error = probabilities.copy()
    error[np.arange(len(labels)), labels] -= 1
    error /= len(labels)
    hidden_error = (error @ w2.T) * (hidden > 0)
    gradients = pixels.T @ hidden_error, hidden_error.sum(0), hidden.T @ error, error.sum(0)
    return cross_entropy(probabilities, labels), gradients


def evaluate(weights, pixels, labels):
    """Loss and accuracy on a set of images."""
    _, probabilities = forward(pixels, **weights)
    return cross_entropy(probabilities, labels), (probabilities.argmax(axis=1) == labels).mean()


def progress_hook(steps):
    """A progress bar, or log lines at intervals where tqdm is not installed."""
    try:
        return rl.ProgressBarHook(steps, metrics=("loss",))
    except ImportError as error:
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        logging.getLogger(__name__).info("%s", error)
        return rl.LoggingTensorHook(["loss"], every_n_iter=1000)


def parse_arguments(folder="runs/digits"):
    parser = argparse.ArgumentParser(description="Learn handwritten digits with NumPy.")
    parser.add_argument("--steps", type=int, default=10_000, help="the step to stop at")
    parser.add_argument("--dir", default=folder, help="where checkpoints and metrics go")
    parser.add_argument("--save-steps", type=int, default=1000, help="steps between checkpoints")
    parser.add_argument(
        "--patience",
        type=int,
        help="stop after this many steps in which the loss on the held-out fifth did not fall",
    )
    return parser.parse_args()


def main():
    args = parse_arguments()
    images, labels, *held_out = load_digits()
    weights = initial_weights()
    momenta = {name: np.zeros_like(weight) for name, weight in weights.items()}
    rng = np.random.default_rng(3)
    batches = rl.Batches((images, labels), BATCH_SIZE, seed=2)
    state = {"weights": weights, "momenta": momenta, "rng": rng, "batches": batches}

    hooks = [
        rl.StopAtStepHook(last_step=args.steps),
        progress_hook(args.steps),
        rl.PreemptionHook(),  # Ctrl-C and SIGTERM: finish the step, save, and only then end
    ]
    if args.patience:
        hooks.append(
            rl.EarlyStoppingHook("held_out_loss", mode="min", patience_steps=args.patience)
        )

    saver = rl.Saver(background=True)  # a thread writes, and training goes on meanwhile
    with rl.Loop(args.dir, state, save_steps=args.save_steps, saver=saver, hooks=hooks) as loop:
        for _epoch in loop.epochs():
            loss, accuracy = evaluate(weights, *held_out)
            loop.report(held_out_loss=loss, held_out_accuracy=accuracy)
            for batch_images, batch_labels in loop.steps(batches):
                pixels = shift_randomly(batch_images, rng)
                loss, gradients = backward(pixels, batch_labels, **weights)
                for name, gradient in zip(weights, gradients, strict=True):
                    momenta[name][...] = DECAY * momenta[name] + gradient
                    weights[name] -= LEARNING_RATE * momenta[name]
                loop.report(loss=loss)

    digest = hashlib.sha256(b"".join(weight.tobytes() for weight in weights.values())).hexdigest()
    _, accuracy = evaluate(weights, *held_out)
    print(f"held-out accuracy {accuracy:.2%}, in {args.dir}")
    print(f"weights {digest}")


if __name__ == "__main__":
    main()
