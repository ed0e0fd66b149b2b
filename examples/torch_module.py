"""A PyTorch module and its optimizer, trained, checkpointed and resumed by the same loop.

Both have `state_dict()` and `load_state_dict()`, and that is all that attaching them takes: their
tensors go into the checkpoint under their own names, and come back in place. Needs PyTorch, which
runloop itself does not.
"""

import tempfile

import numpy as np
import torch

import runloop as rl


def train(steps, folder):
    """Fits a sine; returns the module and the last loss."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(1, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    x = np.linspace(-3.0, 3.0, 512, dtype=np.float32)[:, None]

    graph = rl.Graph()
    graph.attach("model", model)
    graph.attach("optimizer", optimizer)
    graph.input(("x", "y"), rl.Batches((x, np.sin(x)), 64, seed=0))

    @graph.train_op
    def loss(model, optimizer, x, y):
        error = torch.nn.functional.mse_loss(model(torch.from_numpy(x)), torch.from_numpy(y))
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        return error.item()

    final = rl.FinalOpsHook("global_step")
    hooks = [rl.StopAtStepHook(last_step=steps), final]
    with rl.MonitoredTrainingSession(graph=graph, checkpoint_dir=folder, hooks=hooks) as session:
        while not session.should_stop():
            last_loss = session.run(loss)
    print(f"step {final.final_ops_values}, loss {last_loss:.5f}")
    return model


def main():
    with tempfile.TemporaryDirectory() as folder:
        train(200, folder)
        resumed = train(400, folder)
    with tempfile.TemporaryDirectory() as folder:
        straight = train(400, folder)
    pairs = zip(resumed.parameters(), straight.parameters(), strict=True)
    print("same bits:", all(torch.equal(one, other) for one, other in pairs))


if __name__ == "__main__":
    main()
