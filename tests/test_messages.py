"""Help in messages: the nearest names, and where the user's own code stood."""

import dataclasses
import inspect

import pytest

from runloop.graph import Graph
from runloop.messages import add_note, caller_site, describe, nearest


def test_the_nearest_names_are_suggested_best_first():
    assert nearest("los", ["loss", "w", "global_step"]) == " Did you mean 'loss'?"
    assert nearest("weight", ["weights", "weight_1"]) == " Did you mean 'weights' or 'weight_1'?"


def test_only_capitals_are_no_difference():
    assert nearest("X", ["x", "loss", "Y"]) == " Did you mean 'x'?"


def test_without_a_near_name_the_known_ones_are_listed():
    assert nearest("zzz", ["b", "a", "a"]) == " Known names: 'a', 'b'."


def test_a_long_list_is_cut():
    known = [f"v{i}" for i in range(20)]
    assert nearest("qqqqqq", known).endswith("'v16', 'v17', ...")
    assert nearest("qqqqqq", known).count("'") == 20


def test_without_any_names_nothing_is_said():
    assert nearest("loss", []) == ""


def test_the_site_is_the_line_that_called_from_outside():
    line = inspect.currentframe().f_lineno + 1
    assert caller_site() == f"{__file__}:{line}"


def test_the_site_of_a_definition_is_the_users_line_and_not_runloops():
    graph = Graph()
    line = inspect.currentframe().f_lineno + 1
    graph.train_op(lambda: None, name="train")
    assert graph._sites["train"] == graph._sites["global_step"] == f"{__file__}:{line}"


def test_a_site_is_found_in_code_that_has_no_file():
    space = {"graph": Graph()}
    exec(compile("\ngraph.variable('w', 0.0)", "<cell>", "exec"), space)
    assert space["graph"]._sites["w"] == "<cell>:2"


class Silent(Exception):
    def __str__(self):
        raise ValueError("no text")


class Subtle(Exception):
    def __str__(self):
        class Loud(str):
            __slots__ = ()

            def __format__(self, spec):
                raise ValueError

        return Loud("text")


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int = 1


class NoNotes(Exception):
    @property
    def __notes__(self):
        raise ValueError


@pytest.mark.parametrize(
    ("exc", "text"),
    [
        (ValueError("a"), "ValueError: a"),
        (ValueError(), "ValueError"),
        (Silent(), "Silent: <its text can't be had: ValueError>"),
        (Subtle(), "Subtle: text"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
)
def test_an_exception_is_described_whatever_its_methods_do(exc, text):
    assert describe(exc) == text


def test_a_note_is_added_once_and_never_gets_in_the_way():
    exc = ValueError()
    add_note(exc, "a")
    add_note(exc, "a")
    assert exc.__notes__ == ["a"]
    add_note(Frozen(), "a")
    add_note(NoNotes(), "a")
