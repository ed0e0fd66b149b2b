"""The training of `digits.py` as a graph: hooks can fetch and feed every part of the step by name.

    python examples/digits_graph.py             # 10,000 steps, a few seconds

`pixels`, `loss`, `gradients`, `held_out_accuracy` and the weights are names that a hook may ask for;
each function runs only in those steps in which somebody needs its values. The trained weights are
those of `digits.py`, bit for bit.
"""

import hashlib

import digits  # sets the number of BLAS threads, and so comes before NumPy
import numpy as np

import runloop as rl

WEIGHTS = ("w1", "b1", "w2", "b2")
MOMENTA = ("m_w1", "m_b1", "m_w2", "m_b2")


def build_graph():
    """Variables, data, and the functions that a step consists of."""
    images, labels, *held_out = digits.load_digits()
    graph = rl.Graph()
    for name, weight in digits.initial_weights().items():
        graph.variable(name, weight)
        graph.variable(f"m_{name}", np.zeros_like(weight), trainable=False)
    graph.input(("images", "labels"), rl.Batches((images, labels), digits.BATCH_SIZE, seed=2))
    graph.attach("rng", np.random.default_rng(3))

    @graph.op
    def pixels(images, rng):
        return digits.shift_randomly(images, rng)

    graph.op(digits.backward, outputs=("loss", "gradients"))

    @graph.train_op(updates=WEIGHTS + MOMENTA)
    def train(gradients, w1, b1, w2, b2, m_w1, m_b1, m_w2, m_b2):
        momenta = [
            digits.DECAY * momentum + gradient
            for momentum, gradient in zip((m_w1, m_b1, m_w2, m_b2), gradients, strict=True)
        ]
        weights = [
            weight - digits.LEARNING_RATE * momentum
            for weight, momentum in zip((w1, b1, w2, b2), momenta, strict=True)
        ]
        return *weights, *momenta

    @graph.op(outputs=("held_out_loss", "held_out_accuracy"))
    def evaluate_held_out(w1, b1, w2, b2):
        return digits.evaluate({"w1": w1, "b1": b1, "w2": w2, "b2": b2}, *held_out)

    graph.summary("loss", "loss")
    graph.summary("held_out_accuracy", "held_out_accuracy")
    return graph


def main():
    args = digits.parse_arguments("runs/digits-graph")
    final = rl.FinalOpsHook({"accuracy": "held_out_accuracy", "weights": list(WEIGHTS)})
    hooks = [
        rl.StopAtStepHook(last_step=args.steps),
        digits.progress_hook(args.steps),
        rl.PreemptionHook(),
        final,
    ]
    if args.patience:
        hooks.append(
            rl.EarlyStoppingHook("held_out_loss", mode="min", patience_steps=args.patience)
        )

    with rl.MonitoredTrainingSession(
        graph=build_graph(),
        checkpoint_dir=args.dir,
        scaffold=rl.Scaffold(saver=rl.Saver(background=True)),
        save_checkpoint_steps=args.save_steps,
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
