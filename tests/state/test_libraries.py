"""JAX's and PyTorch's state with the real libraries; skipped where they are not installed."""

from typing import NamedTuple

import numpy as np
import pytest

import runloop as rl


def session_of(**attached):
    graph = rl.Graph()
    for name, obj in attached.items():
        graph.attach(name, obj, constant=True)
    return rl.Session(graph=graph)


class Layer(NamedTuple):
    w: object
    b: object


class TestJax:
    @pytest.fixture(autouse=True)
    def jax(self):
        self.jax = pytest.importorskip("jax", reason="JAX is not installed")

    def tree(self, fill):
        jnp = self.jax.numpy
        return {
            "layers": [Layer(jnp.full((2, 3), fill), jnp.full(3, fill, jnp.bfloat16)), (jnp.full(1, fill), None)],
            "none": None,
            "int": jnp.full(2, fill, jnp.int32),
            "key": self.jax.random.key(fill),
            "old": self.jax.random.PRNGKey(fill),
            "scale": 0.5 * fill,
        }  # fmt: skip

    def test_a_pytree_comes_back_as_what_it_was(self, tmp_path):
        jax, saved = self.jax, self.tree(3)
        path = rl.Saver().save(session_of(p=saved), tmp_path / "m")
        here = self.tree(1)
        layers = here["layers"]
        rl.Saver().restore(session_of(p=here), path)
        assert here["layers"] is layers
        assert jax.tree.structure(here) == jax.tree.structure(saved)
        for one, other in zip(jax.tree.leaves(here), jax.tree.leaves(saved), strict=True):
            assert type(one) is type(other)
            if isinstance(one, jax.Array):
                assert one.dtype == other.dtype
                assert one.sharding == other.sharding
            if jax.dtypes.issubdtype(getattr(one, "dtype", None), jax.dtypes.prng_key):
                pair = [jax.random.key_data(key) for key in (one, other)]
            else:
                pair = [one, other]
            np.testing.assert_array_equal(*map(np.asarray, pair))
        assert jax.random.uniform(here["key"]) == jax.random.uniform(saved["key"])

    def test_what_is_filled_in_later_comes_back_as_jaxs_own(self, tmp_path):
        saved = {"w": self.jax.numpy.ones(2), "key": self.jax.random.key(1), "keys": []}
        path = rl.Saver().save(session_of(p=saved), tmp_path / "m")
        here = {"w": None, "key": None, "keys": []}
        rl.Saver().restore(session_of(p=here), path)
        assert isinstance(here["w"], self.jax.Array)
        assert self.jax.random.uniform(here["key"]) == self.jax.random.uniform(saved["key"])

    def test_a_key_for_another_generator_is_a_mismatch(self, tmp_path):
        path = rl.Saver().save(session_of(p={"k": self.jax.random.key(1)}), tmp_path / "m")
        here = {"k": self.jax.random.key(1, impl="rbg")}
        with pytest.raises(rl.errors.CheckpointMismatchError, match="a key of"):
            rl.Saver().restore(session_of(p=here), path)

    def test_optax_goes_on_where_it_was(self, tmp_path):
        optax = pytest.importorskip("optax", reason="optax is not installed")
        jnp = self.jax.numpy
        optimizer = optax.adam(optax.exponential_decay(0.1, 5, 0.9))

        def start():
            params = {"w": jnp.ones(3)}
            return {"params": params, "opt": optimizer.init(params)}

        def train(state, steps):
            for _ in range(steps):
                grads = self.jax.tree.map(lambda p: 2 * p, state["params"])
                updates, state["opt"] = optimizer.update(grads, state["opt"], state["params"])
                state["params"] = optax.apply_updates(state["params"], updates)

        first = start()
        train(first, 7)
        path = rl.Saver().save(session_of(s=first), tmp_path / "m")
        second = start()
        rl.Saver().restore(session_of(s=second), path)
        assert self.jax.tree.structure(first) == self.jax.tree.structure(second)
        train(first, 5)
        train(second, 5)
        assert (first["params"]["w"] == second["params"]["w"]).all()

    def test_variables_may_be_of_jax(self, tmp_path):
        def session(fill):
            graph = rl.Graph()
            graph.variable("w", self.jax.numpy.full(2, fill))
            graph.variable("key", self.jax.random.PRNGKey(fill))
            return rl.Session(graph=graph)

        path = rl.Saver().save(session(3), tmp_path / "m")
        here = session(1)
        rl.Saver().restore(here, path)
        assert isinstance(here.state().variables["w"], self.jax.Array)
        assert here.run("w").tolist() == [3, 3]


class TestTorch:
    @pytest.fixture(autouse=True)
    def torch(self):
        self.torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    def program(self, seed):
        torch = self.torch
        torch.manual_seed(seed)
        model = torch.nn.Sequential(
            torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1)
        )
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3)
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
        return {"model": model, "optimizer": optimizer, "scheduler": scheduler, "scaler": scaler}

    def train(self, parts, steps):
        torch = self.torch
        x = torch.arange(24.0).reshape(8, 3) / 10
        for _ in range(steps):
            parts["optimizer"].zero_grad()
            loss = (parts["model"](x) ** 2).mean()
            parts["scaler"].scale(loss).backward()
            parts["scaler"].step(parts["optimizer"])
            parts["scaler"].update()
            parts["scheduler"].step()

    def test_module_optimizer_scheduler_and_scaler_go_on_where_they_were(self, tmp_path):
        first, second = self.program(1), self.program(2)
        self.train(first, 5)
        path = rl.Saver().save(session_of(**first), tmp_path / "m")
        weights = [*second["model"].parameters()]
        rl.Saver().restore(session_of(**second), path)
        assert all(a is b for a, b in zip(second["model"].parameters(), weights, strict=True))
        self.train(first, 4)
        self.train(second, 4)
        for one, other in zip(
            first["model"].parameters(), second["model"].parameters(), strict=True
        ):
            assert self.torch.equal(one, other)
        assert first["scaler"].get_scale() == second["scaler"].get_scale()
        assert first["scheduler"].get_last_lr() == second["scheduler"].get_last_lr()

    def test_tensors_are_written_into_and_keep_their_dtype(self, tmp_path):
        torch = self.torch
        saved = {"w": torch.ones(3), "half": torch.ones(2, dtype=torch.bfloat16), "p": torch.nn.Parameter(torch.ones(1))}  # fmt: skip
        path = rl.Saver().save(session_of(t=saved), tmp_path / "m")
        here = {"w": torch.zeros(3), "half": torch.zeros(2, dtype=torch.bfloat16), "p": torch.nn.Parameter(torch.zeros(1))}  # fmt: skip
        view, same = here["w"][:2], dict(here)
        rl.Saver().restore(session_of(t=here), path)
        assert view.tolist() == [1, 1]
        assert all(here[name] is same[name] for name in here)
        assert here["half"].tolist() == [1, 1]
        assert here["p"].tolist() == [1]
