"""Learn real handwritten digits with nothing but NumPy, and survive being killed.

    python examples/digits.py                   # 10,000 steps, some seconds
    python examples/digits.py --steps 15000     # goes on where the first one stopped

Stop it whenever you like, with Ctrl-C or with `kill -9`, and start it again: it resumes from the
newest checkpoint in `--dir`. The last line is a digest of the trained weights. However often the run
was interrupted, the digest is that of a run that never was, because everything that the next step
depends on is in the checkpoint: weights, momenta, the place in the shuffled data, and the generator
that shifts the images. (On the same machine with the same BLAS: another one rounds differently.)
"""

import os

# One BLAS thread, set before NumPy is imported: BLAS reads it when it is loaded. The matrices have 64
# rows, for which more threads cost more than they bring (on a busy machine they made this program 30
# times slower), and a product split among another number of threads is rounded differently.
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
WEIGHTS = ("w1", "b1", "w2", "b2")
MOMENTA = ("m_w1", "m_b1", "m_w2", "m_b2")
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


def build_graph():
    """Variables, data, and the four functions that a step is made of."""
    images, labels, test_pixels, test_labels = load_digits()
    rng = np.random.default_rng(1)
    graph = rl.Graph()
    shapes = ((64, HIDDEN), (HIDDEN,), (HIDDEN, 10), (10,))
    for name, momentum, shape in zip(WEIGHTS, MOMENTA, shapes, strict=True):
        spread = np.sqrt(2 / shape[0]) if len(shape) == 2 else 0.0
        graph.variable(name, rng.normal(0.0, spread, shape).astype(np.float32))
        graph.variable(momentum, np.zeros(shape, np.float32), trainable=False)
    graph.input(("images", "labels"), rl.Batches((images, labels), BATCH_SIZE, seed=2))
    graph.attach("rng", np.random.default_rng(3))

    @graph.op
    def pixels(images, rng):
        return shift_randomly(images, rng)

    @graph.op(outputs=("loss", "gradients"))
    def backward(pixels, labels, w1, b1, w2, b2):
        hidden, probabilities = forward(pixels, w1, b1, w2, b2)
        error = probabilities.copy()
        error[np.arange(len(labels)), labels] -= 1
        error /= len(labels)
        hidden_error = (error @ w2.T) * (hidden > 0)
        gradients = pixels.T @ hidden_error, hidden_error.sum(0), hidden.T @ error, error.sum(0)
        return cross_entropy(probabilities, labels), gradients

    @graph.train_op(updates=WEIGHTS + MOMENTA)
    def train(gradients, w1, b1, w2, b2, m_w1, m_b1, m_w2, m_b2):
        momenta = [
            DECAY * momentum + gradient
            for momentum, gradient in zip((m_w1, m_b1, m_w2, m_b2), gradients, strict=True)
        ]
        weights = [
            weight - LEARNING_RATE * momentum
            for weight, momentum in zip((w1, b1, w2, b2), momenta, strict=True)
        ]
        return *weights, *momenta

    @graph.op(outputs=("held_out_loss", "held_out_accuracy"))
    def evaluate(w1, b1, w2, b2):
        _, probabilities = forward(test_pixels, w1, b1, w2, b2)
        accuracy = (probabilities.argmax(axis=1) == test_labels).mean()
        return cross_entropy(probabilities, test_labels), accuracy

    graph.summary("loss", "loss")
    graph.summary("held_out_accuracy", "held_out_accuracy")
    return graph


def progress_hook(steps):
    """A progress bar, or a line in the log now and then where tqdm is not installed."""
    try:
        return rl.ProgressBarHook(steps, metrics=("loss",))
    except ImportError as error:
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        logging.getLogger(__name__).info("%s", error)
        return rl.LoggingTensorHook(["loss"], every_n_iter=1000)


def parse_arguments():
    parser = argparse.ArgumentParser(description="Learn handwritten digits with NumPy.")
    parser.add_argument("--steps", type=int, default=10_000, help="the step to stop at")
    parser.add_argument("--dir", default="runs/digits", help="where checkpoints and metrics go")
    parser.add_argument("--save-steps", type=int, default=1000, help="steps between checkpoints")
    parser.add_argument(
        "--patience",
        type=int,
        help="stop after so many steps in which the loss on the held-out fifth did not fall",
    )
    return parser.parse_args()


def main():
    args = parse_arguments()
    final = rl.FinalOpsHook({"accuracy": "held_out_accuracy", "weights": list(WEIGHTS)})
    hooks = [
        rl.StopAtStepHook(last_step=args.steps),
        progress_hook(args.steps),
        rl.PreemptionHook(),  # Ctrl-C and SIGTERM: finish the step, save, and only then go
        final,
    ]
    if args.patience:
        hooks.append(
            rl.EarlyStoppingHook("held_out_loss", mode="min", patience_steps=args.patience)
        )

    with rl.MonitoredTrainingSession(
        graph=build_graph(),
        checkpoint_dir=args.dir,
        scaffold=rl.Scaffold(saver=rl.Saver(background=True)),  # a thread writes, training goes on
        save_checkpoint_steps=args.save_steps,
        save_summaries_steps=100,
        log_step_count_steps=1000,
        hooks=hooks,
    ) as session:
        while not session.should_stop():
            session.run("train")

    values = final.final_ops_values
    digest = hashlib.sha256(b"".join(weight.tobytes() for weight in values["weights"])).hexdigest()
    print(f"held-out accuracy {values['accuracy']:.2%}, in {args.dir}")
    print(f"weights {digest}")


if __name__ == "__main__":
    main()
