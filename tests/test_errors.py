"""The exceptions: what they are besides, what they are made from, what they say."""

import pytest

from runloop import errors

from .checks import fails

OPERATION_ERRORS = (errors.OutOfRangeError, errors.AbortedError, errors.UnavailableError)


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.OutOfRangeError, EOFError),
        (errors.AbortedError, RuntimeError),
        (errors.UnavailableError, RuntimeError),
        (errors.NanLossDuringTrainingError, RuntimeError),
        (errors.CheckpointError, Exception),
        (errors.CheckpointNotFoundError, FileNotFoundError),
        (errors.CheckpointFormatError, ValueError),
        (errors.CheckpointCorruptError, ValueError),
        (errors.CheckpointMismatchError, ValueError),
        (errors.CheckpointReadError, OSError),
        (errors.CheckpointWriteError, OSError),
        (errors.CheckpointLockedError, RuntimeError),
        (errors.CheckpointTimeoutError, TimeoutError),
    ],
)
def test_every_error_is_a_runloop_error_and_the_builtin_that_a_caller_expects(kind, builtin):
    assert issubclass(kind, errors.RunloopError)
    assert issubclass(kind, builtin)


def test_all_lists_every_exception_of_the_module():
    defined = {
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, Exception) and not name.startswith("_")
    }
    assert set(errors.__all__) == defined


def test_everything_about_checkpoints_is_a_checkpoint_error():
    for name in errors.__all__:
        if name.startswith("Checkpoint"):
            assert issubclass(getattr(errors, name), errors.CheckpointError)


@pytest.mark.parametrize("kind", OPERATION_ERRORS)
def test_an_operation_error_is_made_from_its_message(kind):
    error = kind("the data has ended")
    assert str(error) == error.message == "the data has ended"
    assert (error.node_def, error.op) == (None, None)


@pytest.mark.parametrize("kind", OPERATION_ERRORS)
def test_an_operation_error_is_made_from_tensorflows_three_arguments(kind):
    node_def, op = object(), object()
    error = kind(node_def, op, "the data has ended")
    assert str(error) == error.message == "the data has ended"
    assert error.node_def is node_def
    assert error.op is op


@pytest.mark.parametrize("kind", OPERATION_ERRORS)
@pytest.mark.parametrize("args", [(), (1, 2), (1, 2, 3, 4)])
def test_an_operation_error_takes_one_or_three_arguments(kind, args):
    with fails(
        TypeError,
        f"{kind.__name__} takes (message) or (node_def, op, message), got {len(args)} arguments",
    ):
        kind(*args)


@pytest.mark.parametrize("kind", OPERATION_ERRORS)
def test_an_operation_error_takes_its_arguments_by_name_too(kind):
    for error in (
        kind(message="gone"),
        kind(None, message="gone", op=None),
        kind(node_def=None, op=None, message="gone"),
    ):
        assert (error.node_def, error.op, str(error)) == (None, None, "gone")
    assert kind(1, 2, message="gone").op == 2
    for args, named in (((1, 2), {"op": 3}), ((), {"op": 3}), ((), {"message": 1, "text": 2})):
        with fails(
            TypeError,
            f"{kind.__name__} takes (message) or (node_def, op, message), "
            f"got {len(args)} arguments and the named {', '.join(named)}",
        ):
            kind(*args, **named)


def test_an_operation_error_survives_copying_and_subclassing():
    import copy

    class EndOfFile(errors.OutOfRangeError):
        pass

    again = copy.copy(EndOfFile("the end"))
    assert type(again) is EndOfFile
    assert str(again) == "the end"


def test_the_nan_error_has_tensorflows_text():
    error = errors.NanLossDuringTrainingError()
    assert error.args == ()
    assert str(error) == "NaN loss during training."


def test_a_missing_checkpoint_says_its_own_message():
    assert str(errors.CheckpointNotFoundError("there is no 'ckpt/x'")) == "there is no 'ckpt/x'"


def test_a_mismatch_carries_its_report():
    report = object()
    assert errors.CheckpointMismatchError("differs", report).report is report
    assert errors.CheckpointMismatchError("differs").report is None


def test_a_read_error_says_which_file():
    error = errors.CheckpointReadError(13, "Permission denied", "ckpt/x")
    assert (error.errno, error.filename) == (13, "ckpt/x")
