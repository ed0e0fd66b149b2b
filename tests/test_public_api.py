"""What the package shows: complete, sorted, documented, and cheap to import."""

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

import runloop

# The names that other people build on. More may be public; none of these may go. `runloop` has those
# of `runloop.hooks` as well: a test below.
PROMISED = {
    "runloop": """
        Batches CheckpointReader ChiefSessionCreator Coordinator Graph Loop LooperThread
        MonitoredSession MonitoredTrainingSession Op RunArgs RunContext RunMetadata RunOptions
        RunValues Saver Scaffold Session SessionCreator SingularMonitoredSession Variable
        WorkerSessionCreator attributes errors get_checkpoint_state get_default_graph get_global_step
        get_or_create_global_step latest_checkpoint list_variables load_checkpoint
        load_variable
    """,
    "runloop.hooks": """
        CheckpointSaverHook CheckpointSaverListener EarlyStoppingHook FeedFnHook FinalOpsHook
        GlobalStepWaiterHook InMemoryEvaluatorHook LoggingTensorHook NanTensorHook PreemptionHook
        ProfilerHook ProgressBarHook SecondOrStepTimer SessionRunHook StepCounterHook StopAtStepHook
        SummarySaverHook
    """,
    "runloop.errors": """
        AbortedError NanLossDuringTrainingError OutOfRangeError RunloopError UnavailableError
    """,
}

# Loaded by nobody who only uses what `runloop` itself shows: optional packages, the outer floors, and the
# standard library's heavy modules.
NOT_LOADED = {
    "asyncio",
    "concurrent.futures",
    "hypothesis",
    "importlib.metadata",
    "ml_dtypes",
    "multiprocessing",
    "pytest",
    "runloop.cli",
    "runloop.compat",
    "runloop.distributed",
    "runloop.testing",
    "tensorboard",
    "tensorboardX",
    "tensorflow",
    "torch",
    "tqdm",
    "unittest",
    "urllib.request",
}


def modules_with_all():
    """Every module of the package that declares `__all__`."""
    names = [info.name for info in pkgutil.walk_packages(runloop.__path__, "runloop.")]
    candidates = [name for name in names if not name.endswith("__main__")]
    modules = [runloop, *(importlib.import_module(name) for name in candidates)]
    return [module for module in modules if hasattr(module, "__all__")]


def shown(module):
    """The names that a reader of the module would take for public."""
    is_package = hasattr(module, "__path__")
    names = set()
    for name, value in vars(module).items():
        if name.startswith("_") or isinstance(value, types.ModuleType):
            continue
        home = getattr(value, "__module__", None)
        # A package's `__init__` shows what it imports from inside that package; a plain module
        # shows what it defines.
        inside = is_package and str(home).startswith(f"{module.__name__}.")
        if home == module.__name__ or inside:
            names.add(name)
    return names


PUBLIC = modules_with_all()
PUBLIC_IDS = [module.__name__ for module in PUBLIC]
OBJECTS = sorted(
    {
        (f"{value.__module__}.{value.__qualname__}", value)
        for module in PUBLIC
        for value in (getattr(module, name) for name in module.__all__)
        if inspect.isclass(value) or inspect.isfunction(value)
    },
    key=lambda pair: pair[0],
)


def linters_order(name):
    """CONSTANTS, then Classes, then functions: the order that the linter gives to `__all__`."""
    kind = 0 if name.isupper() else 1 if name[0].isupper() else 2
    return kind, name


def public_methods(cls):
    """Name and object of each public method and property that a class itself defines."""
    kinds = (types.FunctionType, property, classmethod, staticmethod)
    return [
        (name, getattr(cls, name))
        for name, value in vars(cls).items()
        if not name.startswith("_") and isinstance(value, kinds)
    ]


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_every_promised_name_is_there(name):
    module = importlib.import_module(name)

    assert set(PROMISED[name].split()) - set(module.__all__) == set()


@pytest.mark.parametrize("name", ["runloop", "runloop.hooks", "runloop.errors"])
def test_the_faces_declare_what_is_public(name):
    assert name in PUBLIC_IDS


def test_every_hook_is_at_the_top_as_well():
    assert set(runloop.hooks.__all__) - set(runloop.__all__) == set()


@pytest.mark.parametrize("module", PUBLIC, ids=PUBLIC_IDS)
def test_all_is_sorted_and_names_things_once(module):
    names = list(module.__all__)
    if module is runloop:  # its own names, then those of its hooks
        names = names[: -len(runloop.hooks.__all__)]
        assert module.__all__ == [*names, *runloop.hooks.__all__]
        assert not set(names) & set(runloop.hooks.__all__)
    assert names == sorted(set(names), key=linters_order)


@pytest.mark.parametrize("module", PUBLIC, ids=PUBLIC_IDS)
def test_all_names_only_what_exists(module):
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


@pytest.mark.parametrize("module", PUBLIC, ids=PUBLIC_IDS)
def test_all_is_complete(module):
    assert shown(module) - set(module.__all__) == set()


@pytest.mark.parametrize("module", PUBLIC, ids=PUBLIC_IDS)
def test_every_public_module_has_a_docstring(module):
    assert (module.__doc__ or "").strip()


@pytest.mark.parametrize("value", [v for _, v in OBJECTS], ids=[name for name, _ in OBJECTS])
def test_every_public_name_and_method_has_a_docstring(value):
    missing = []
    # Named tuples and dataclasses write themselves a docstring that only repeats the signature.
    if not (value.__doc__ or "").strip() or value.__doc__.startswith(f"{value.__name__}("):
        missing.append(value.__qualname__)
    if inspect.isclass(value):
        # An overriding method may inherit its docstring: the contract is the base class's.
        missing += [
            f"{value.__qualname__}.{name}"
            for name, method in public_methods(value)
            if not (inspect.getdoc(method) or "").strip()
        ]

    assert missing == []


def modules_loaded_by(statement):
    script = (
        "import sys, numpy, safetensors, safetensors.numpy; before = set(sys.modules)\n"
        f"{statement}\nprint('\\n'.join(sorted(set(sys.modules) - before)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


def test_import_loads_next_to_nothing():
    loaded = {name for name in modules_loaded_by("import runloop") if name.startswith("runloop")}

    assert loaded == {"runloop", "runloop.hooks", "runloop.lazy"}


def test_all_public_names_together_load_nothing_optional_and_nothing_heavy():
    loaded = modules_loaded_by("from runloop import *")

    assert "runloop.session" in loaded
    assert loaded & NOT_LOADED == set()


# The names of a face are written three times: in its __all__, for type checkers, for `lazy.attributes`.
# `runloop` takes the hooks' names from `runloop.hooks`.


def late_face(name):
    """What a face imports for type checkers and what it hands to `lazy.attributes`, as {name: module}."""
    tree = ast.parse(Path(importlib.import_module(name).__file__).read_text("utf-8"))
    (choice,) = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {
        found: node.module
        for node in choice.body
        for alias in node.names
        for found in (runloop.hooks.__all__ if alias.name == "*" else [alias.name])
    }
    (call,) = [node.value for node in choice.orelse]
    homes = {
        ast.literal_eval(module): " ".join(runloop.hooks.__all__)
        if isinstance(names, ast.Call)
        else ast.literal_eval(names)
        for module, names in zip(call.args[1].keys, call.args[1].values, strict=True)
    }
    return typed, {word: home for home, words in homes.items() for word in words.split()}


@pytest.mark.parametrize("name", ["runloop", "runloop.checkpoint", "runloop.hooks"])
def test_a_late_face_says_the_same_to_type_checkers_and_to_programs(name):
    typed, handed = late_face(name)
    modules = {word: home for word, home in typed.items() if home == name}

    assert typed == handed | modules
    assert set(typed) == set(importlib.import_module(name).__all__)


@pytest.mark.parametrize("name", ["runloop", "runloop.checkpoint", "runloop.hooks"])
def test_a_late_face_lists_its_names_before_anybody_asked_for_one(name):
    listed = (
        f"import {name} as face, sys; names = set(dir(face)); "
        "assert set(face.__all__) < names, names; "
        "assert not [n for n in face.__all__ if n in vars(face)]"
    )
    subprocess.run([sys.executable, "-c", listed], check=True)


def test_a_name_that_is_not_there_is_an_attribute_error_that_knows_what_was_meant():
    with pytest.raises(AttributeError, match="has no attribute 'Sesion'") as info:
        runloop.Sesion

    assert info.value.name == "Sesion"
    assert info.value.obj is runloop


@pytest.mark.parametrize(
    "path",
    [
        "runloop.checkpoint.files.use",
        "runloop.clock.use",
        "runloop.errors.RunloopError",
        "runloop.hooks.base.SessionRunHook",
        "runloop.session.Session",
        "runloop.summary.JsonLinesWriter",
    ],
)
def test_modules_are_attributes_of_their_packages_without_being_imported(path):
    subprocess.run([sys.executable, "-c", f"import runloop; {path}"], check=True)


def test_a_module_that_itself_lacks_something_says_what(tmp_path, monkeypatch):
    (tmp_path / "house").mkdir()
    source = "from runloop import lazy\n__all__ = []\n__getattr__, __dir__ = lazy.attributes(globals(), {})"
    (tmp_path / "house" / "__init__.py").write_text(source)
    (tmp_path / "house" / "attic.py").write_text("import nowhere_to_be_found")
    monkeypatch.syspath_prepend(tmp_path)
    house = importlib.import_module("house")
    with pytest.raises(ModuleNotFoundError, match="nowhere_to_be_found"):
        house.attic
    with pytest.raises(AttributeError, match="module 'house' has no attribute 'cellar'"):
        house.cellar
    assert not hasattr(house, "__wrapped__")
    assert not hasattr(house, "at.tic")
