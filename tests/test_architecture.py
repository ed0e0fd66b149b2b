"""The floors of the package: who may import whom.

Every import statement counts, wherever it stands: at the top of a module, inside a function, and
under `if TYPE_CHECKING:`. An import that is put off or only for the type checker is still knowledge
of the other module, and knowledge is what the floors limit. Calls of `importlib.import_module` with
a literal name count too. What does not count is that Python imports a package's `__init__` before
any module inside it: `import runloop.nest` runs `runloop/__init__.py`, but says nothing about it.
"""

import ast
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest

import runloop

PACKAGE = "runloop"
ROOT = Path(runloop.__file__).parent

# The floors, from the ground up: a module imports only from rows above its own in this table, and from
# its own package. A package stands for all modules in it. "" is the package's `__init__`.
FLOORS = (
    ("contexts",),
    ("errors", "clock", "messages", "lazy", "nest", "step_stats"),
    ("run", "timers", "coordinator", "data", "observers", "summary"),
    ("state",),  # what has state, and how it becomes tensors and JSON
    ("graph",),  # what a program consists of
    ("plan",),  # how one run of it is worked out
    ("session",),
    ("checkpoint",),
    ("hooks",),
    ("monitored",),  # sessions that call hooks
    ("",),  # the public names; what follows is not imported with them
    ("compat", "testing"),
    ("cli",),
    ("__main__",),
)

# What `pip install` brings without extras; everything else is imported where it is used.
REQUIRED = {"numpy", "safetensors"}
OPTIONAL = {"jax", "ml_dtypes", "torch", "tensorboardX", "tqdm"}
# This is for test environments, and is imported by nothing else in the package.
FOR_TESTING = ("runloop.testing",)
OPTIONAL_FOR_TESTING = {"hypothesis", "pytest"}


class Import(NamedTuple):
    """One import statement: the full name that it brings in, and where it stands."""

    target: str
    line: int
    deferred: bool  # inside a function, or only for type checkers


def read_modules(root, package=PACKAGE):
    """Maps the full name of each module under `root` to its parsed source."""
    modules = {}
    for path in sorted(root.rglob("*.py")):
        parts = [package, *path.relative_to(root).with_suffix("").parts]
        if parts[-1] == "__init__":
            parts.pop()
        modules[".".join(parts)] = (ast.parse(path.read_text("utf-8")), path.name == "__init__.py")
    return modules


def imports_of(name, tree, is_package, known):
    """Every import in one module; `from a import b` is `a.b` where that is a module, else `a`."""
    found = []

    def visit(node, deferred):
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, node.lineno, deferred) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = name.split(".")
                parents = parents[: len(parents) - node.level + (1 if is_package else 0)]
                base = ".".join([*parents, base] if base else parents)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.append(Import(inner if inner in known else base, node.lineno, deferred))
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else None
            called = node.func.id if isinstance(node.func, ast.Name) else called
            literal = node.args and isinstance(node.args[0], ast.Constant)
            if called in {"import_module", "__import__"} and literal:
                found.append(Import(str(node.args[0].value), node.lineno, deferred))
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for child in node.body:
                visit(child, deferred=True)
            for child in node.orelse:
                visit(child, deferred)
            return
        for child in ast.iter_child_nodes(node):
            visit(child, deferred or inside)

    visit(tree, deferred=False)
    return found


def floor_of(name, floors, package=PACKAGE):
    """The index of the row that holds a module: its own, else that of the nearest package."""
    rows = {entry: index for index, row in enumerate(floors) for entry in row}
    inner = name[len(package) + 1 :]
    while inner:
        if inner in rows:
            return rows[inner]
        inner = inner.rpartition(".")[0]
    return rows.get("") if name == package else None


def find_cycle(edges):
    """One cycle of a {module: imported modules} mapping as a path, or None."""
    state = {}
    path = []

    def visit(name):
        state[name] = "open"
        path.append(name)
        for other in sorted(edges.get(name, ())):
            if state.get(other) == "open":
                return [*path[path.index(other) :], other]
            if other not in state:
                cycle = visit(other)
                if cycle:
                    return cycle
        path.pop()
        state[name] = "done"
        return None

    for name in sorted(edges):
        if name not in state:
            cycle = visit(name)
            if cycle:
                return cycle
    return None


def violations(root, floors, package=PACKAGE):
    """All that is wrong with the imports of a package, one sentence each."""
    modules = read_modules(root, package)
    problems = [
        f"{name} is on no floor: give it a row in the table"
        for name in modules
        if floor_of(name, floors, package) is None
    ]
    edges = {}
    for name, (tree, is_package) in modules.items():
        own = floor_of(name, floors, package)
        family = name.split(".")[:2]
        for target, line, _ in imports_of(name, tree, is_package, modules):
            if target != package and not target.startswith(package + "."):
                continue
            if target not in modules:
                problems.append(f"{name}:{line} imports {target}, which does not exist")
                continue
            edges.setdefault(name, set()).add(target)
            other = floor_of(target, floors, package)
            if own is None or other is None or other < own:
                continue
            if other == own and target.split(".")[:2] == family and len(family) > 1:
                continue
            problems.append(f"{name}:{line} imports {target}, which is not below it")
    cycle = find_cycle(edges)
    if cycle:
        problems.append("cycle: " + " -> ".join(cycle))
    return list(dict.fromkeys(problems))  # one statement may bring in several names


def test_modules_import_only_from_floors_below():
    assert violations(ROOT, FLOORS) == []


def test_the_table_names_only_modules_that_exist():
    modules = {name.removeprefix(PACKAGE).lstrip(".") for name in read_modules(ROOT)}

    assert [entry for row in FLOORS for entry in row if entry not in modules] == []


def test_required_packages_alone_are_imported_at_import_time():
    modules = read_modules(ROOT)
    problems = []
    for name, (tree, is_package) in modules.items():
        optional = OPTIONAL
        if name.startswith(FOR_TESTING):
            optional = OPTIONAL | OPTIONAL_FOR_TESTING
        for target, line, deferred in imports_of(name, tree, is_package, modules):
            top = target.split(".", maxsplit=1)[0]
            if top in {PACKAGE, *REQUIRED} or top in sys.stdlib_module_names:
                continue
            in_testing = top in OPTIONAL_FOR_TESTING and top in optional
            if top not in optional or not (deferred or in_testing):
                problems.append(f"{name}:{line} imports {target}")
    assert problems == []


# The checker itself, on made-up packages.


def make_package(folder, files):
    for path, source in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(source), "utf-8")
    return folder


TABLE = (("ground",), ("middle",), ("pack.base",), ("pack",), ("",), ("top",))


def test_the_checker_accepts_a_house_in_order(tmp_path):
    root = make_package(
        tmp_path,
        {
            "__init__.py": "from house.middle import x\nfrom house import pack",
            "ground.py": "import os\nimport numpy as np",
            "middle.py": "from house import ground\nfrom .ground import x",
            "pack/__init__.py": "from house.pack.one import One\nfrom . import two",
            "pack/base.py": "import house.middle",
            "pack/one.py": "from house.pack.base import Base\nfrom .two import Two",
            "pack/two.py": "from .. import ground",
            "top.py": "import house",
        },
    )

    assert violations(root, TABLE, "house") == []


@pytest.mark.parametrize(
    "source",
    [
        "from house.top import x",
        "import house.top as t",
        "from house import top",
        "from . import top",
        "from .top import x",
        "def later():\n    from house.top import x",
        "if TYPE_CHECKING:\n    from house.top import x",
        "import typing\nif typing.TYPE_CHECKING:\n    import house.top",
        "import importlib\nimportlib.import_module('house.top')",
    ],
)
def test_the_checker_finds_an_import_from_above(tmp_path, source):
    root = make_package(tmp_path, {"__init__.py": "", "middle.py": source, "top.py": "x = 1"})

    (problem,) = violations(root, TABLE, "house")

    assert (
        problem
        == f"house.middle:{source.count(chr(10)) + 1} imports house.top, which is not below it"
    )


def test_the_checker_finds_an_import_on_the_same_floor(tmp_path):
    root = make_package(tmp_path, {"left.py": "import house.right", "right.py": ""})

    (problem,) = violations(root, (("left", "right"),), "house")

    assert problem == "house.left:1 imports house.right, which is not below it"


def test_the_checker_finds_a_base_that_knows_its_family(tmp_path):
    root = make_package(tmp_path, {"pack/base.py": "from . import one", "pack/one.py": ""})

    (problem,) = violations(root, TABLE, "house")

    assert problem == "house.pack.base:1 imports house.pack.one, which is not below it"


def test_the_checker_finds_an_import_of_the_face_from_below(tmp_path):
    root = make_package(tmp_path, {"__init__.py": "x = 1", "ground.py": "from house import x"})

    (problem,) = violations(root, TABLE, "house")

    assert problem == "house.ground:1 imports house, which is not below it"


def test_the_checker_finds_a_cycle_inside_a_package(tmp_path):
    root = make_package(
        tmp_path,
        {
            "pack/__init__.py": "",
            "pack/one.py": "from house.pack import two",
            "pack/two.py": "def later():\n    from house.pack import three",
            "pack/three.py": "from house.pack.one import x",
        },
    )

    (problem,) = violations(root, TABLE, "house")

    assert problem == (
        "cycle: house.pack.one -> house.pack.two -> house.pack.three -> house.pack.one"
    )


def test_the_checker_finds_a_module_without_a_row(tmp_path):
    root = make_package(tmp_path, {"attic.py": "", "ground.py": ""})

    (problem,) = violations(root, TABLE, "house")

    assert problem == "house.attic is on no floor: give it a row in the table"


def test_the_checker_finds_an_import_of_nothing(tmp_path):
    root = make_package(tmp_path, {"middle.py": "import house.cellar"})

    (problem,) = violations(root, TABLE, "house")

    assert problem == "house.middle:1 imports house.cellar, which does not exist"
