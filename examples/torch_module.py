"""A PyTorch module, optimizer, scheduler and GradScaler, trained, checkpointed and resumed.

All four have `state_dict()` and `load_state_dict()`, so it is enough to put them into the loop's
state: their tensors go into the checkpoint under their own names, and come back in place. Needs
PyTorch, which runloop itself does not.
"""

import tempfile

import numpy as np
import torch

import runloop as rl


def train(steps, folder):
    """Fits a sine; returns the module."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(1, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=400)
    scaler = torch.amp.GradScaler("cpu")
    x = np.linspace(-3.0, 3.0, 512, dtype=np.float32)[:, None]
    batches = rl.Batches((x, np.sin(x)), 64, seed=0)
    state = {
        "model": model,
        "optimizer": optimizer,
        "scheduler": scheduler,
        "scaler": scaler,
        "batches": batches,
    }

    with rl.Loop(folder, state, save_steps=100) as loop:
        for _step in loop.steps(steps):
            inputs, targets = (torch.from_numpy(array) for array in next(batches))
            with torch.autocast("cpu", dtype=torch.bfloat16):
                error = torch.nn.functional.mse_loss(model(inputs), targets)
            optimizer.zero_grad()
            scaler.scale(error).backward()
            scaler.step(optimizer)
            scaler.update()
            scheduler.step()
            loop.report(loss=error.item(), rate=scheduler.get_last_lr()[0])
        print(f"step {loop.global_step}, mean loss {loop.mean('loss'):.5f}")
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
