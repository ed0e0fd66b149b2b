"""What a scenario is handed: it builds programs, drives sessions and writes the trace."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Self

from . import recorders
from .interface import Backend, FakeClock, Program, Script, Spec
from .trace import Trace, describe


class Story:
    """One telling of a scenario with one back end."""

    def __init__(self, backend: Backend, scratch: str) -> None:
        self.backend = backend
        self.train = backend.train
        self.clock = FakeClock()
        self.trace = Trace(backend.checkpoints)
        self.program: Program = None  # type: ignore[assignment] # set by ``building``
        self._scratch = scratch
        self._written_down: list[BaseException] = []
        self._has_step = True

    # What is built

    @contextmanager
    def building(self, **fields: Any) -> Iterator[Program]:
        """A program, its graph the default graph. The keywords are ``Spec``'s fields."""
        spec = Spec(**fields)
        self._has_step = spec.increment is not None
        script = Script(spec, self.trace, self.backend.error)
        self.program = self.backend.build(spec, script)
        with self.program:
            yield self.program

    def fetch(self, names: Any) -> Any:
        """Handles in place of names, in any structure."""
        return self.program.resolve(names)

    def feed(self, feeds: Mapping[str, Any] | None) -> dict[Any, Any] | None:
        """The same for the keys of a feed."""
        return self.program.feed(feeds)

    def hook(self, name: str, **script: Any) -> Any:
        """A hook that writes down its calls: see ``recorders.recorder``."""
        return recorders.recorder(self, name, **script)

    def listener(self, name: str, **script: Any) -> Any:
        """A checkpoint listener that writes down its calls: see ``recorders.listener``."""
        return recorders.listener(self, name, **script)

    def folder(self, label: str = "dir") -> str:
        """A new empty folder; checkpoints that come and go in it are written down."""
        path = tempfile.mkdtemp(dir=self._scratch)
        self.trace.watch(path, label)
        return path

    def fail_in_thread(self, coord: Any, family: str, text: str) -> None:
        """Let a thread of the coordinator raise, and wait until it has."""
        self.note(f"a thread raises {family}")
        recorders.fail_in_thread(self, coord, family, text)

    def error(self, family: str, text: str) -> BaseException:
        """An error of the back end's own class for that family."""
        return self.backend.error(family, text)

    # What is written

    def note(self, text: str) -> None:
        """Write a line of the scenario's own."""
        self.trace.add(text)

    def show(self, label: str, value: Any) -> None:
        """Write a value."""
        self.trace.add(f"{label}: {self.written(value)}")

    def written(self, value: Any) -> str:
        """A value, result, fetch or feed as the trace writes it."""
        return describe(value, self.program.name_of)

    def step_seen(self, session: Any) -> str:
        """The global step that a session shows at this moment, as a piece of a line."""
        if session is None or not self._has_step:
            return ""
        return f" step={describe(session.run(self.fetch('global_step')))}"

    def failed(self, what: str, error: BaseException) -> None:
        """Write an error down."""
        self._written_down.append(error)
        self.trace.add(f"{what} {self.text_of(error)}")

    def text_of(self, error: BaseException) -> str:
        """An error's family and text, and the scenario's own errors that are notes on it."""
        family = self.backend.family(error)
        text = str(error.args[0]) if family == "KeyError" and error.args else str(error)
        if family in {"OutOfRange", "StopIteration"} and not text.startswith("user:"):
            # How the end of the data is put into words is the library's own affair.
            return family
        notes = [n[n.index("user:") :] for n in getattr(error, "__notes__", ()) if "user:" in n]
        return f"{family}: {text}" + "".join(f" (note: {n})" for n in notes)

    def attempt(self, what: str, do: Callable[[], Any]) -> Any:
        """Do something, write down what it gave or raised, and go on; None if it raised."""
        try:
            result = do()
        except BaseException as error:
            self.failed(f"{what} raised", error)
            return None
        self.show(what, result)
        return result

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Go on after an error that is already in the trace."""
        try:
            yield
        except BaseException as error:
            if not self.knows(error):
                raise

    def knows(self, error: BaseException) -> bool:
        """Whether an error is in the trace; any other one is a mistake in the suite."""
        return any(error is known for known in self._written_down)

    # What is driven

    def open(self, kind: str = "MonitoredSession", *given: Any, **arguments: Any) -> "Opened":
        """Make a monitored session; an error of the constructor is written down and raised."""
        self.trace.add(f"> {kind}")
        try:
            raw = getattr(self.train, kind)(*given, **arguments)
        except BaseException as error:
            self.failed("< raised", error)
            raise
        self.trace.add("< made")
        return Opened(self, raw)

    def saver_hook(self, path: str, scaffold: Any, *listeners: Any, **arguments: Any) -> Any:
        """A checkpoint hook that uses the scaffold's saver."""
        return self.train.CheckpointSaverHook(
            path, scaffold=scaffold, listeners=list(listeners), **arguments
        )

    def chief(self, scaffold: Any = None, **arguments: Any) -> Any:
        """A session creator."""
        return self.train.ChiefSessionCreator(scaffold, **arguments)


class Opened:
    """A monitored session whose every use is written down."""

    def __init__(self, story: Story, raw: Any) -> None:
        self._story = story
        self.raw = raw

    def run(self, names: Any = "train", feed: Mapping[str, Any] | None = None, **rest: Any) -> Any:
        """Run; the result or the error is written down, and the error raised."""
        story = self._story
        fed = "" if feed is None else f" with {describe(feed)}"
        story.trace.add(f"> run {describe(names)}{fed}")
        arguments = {} if feed is None else {"feed_dict": story.feed(feed)}
        return self._done(lambda: self.raw.run(story.fetch(names), **arguments, **rest))

    def step(self, function: Callable[[Any], Any]) -> Any:
        """The same with ``run_step_fn``."""
        self._story.trace.add("> run_step_fn")
        return self._done(lambda: self.raw.run_step_fn(function))

    def close(self) -> None:
        """The same with ``close``."""
        self._story.trace.add("> close")
        self._done(self.raw.close)

    def should_stop(self) -> Any:
        """Ask, and write the answer or the error down; the error goes no further."""
        return self._story.attempt("should_stop", self.raw.should_stop)

    def loop(self, names: Any = "train", most: int = 8, secs: float = 0.0) -> None:
        """The usual loop; ``most`` bounds it, and time moves by ``secs`` before every run."""
        for _ in range(most):
            if self.should_stop():
                return
            self._story.clock.advance(secs)
            self.run(names)

    def _done(self, do: Callable[[], Any]) -> Any:
        try:
            result = do()
        except BaseException as error:
            self._story.failed("< raised", error)
            raise
        self._story.trace.add(f"< {self._story.written(result)}")
        return result

    def __enter__(self) -> Self:
        self.raw.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> Any:
        story = self._story
        story.trace.add("> leave" + ("" if value is None else f" by {story.text_of(value)}"))
        try:
            swallowed = self.raw.__exit__(kind, value, traceback)
        except BaseException as error:
            story.failed("< left, raised", error)
            raise
        if value is not None and not swallowed:
            story.failed("< left, raised", value)
        else:
            story.trace.add("< left")
        return swallowed


def tell(
    backend: Backend, scenario: Callable[[Story], None], scratch_root: str | None = None
) -> list[str]:
    """Tell a story and return its trace. An error that is not part of the story is raised.

    Args:
        backend: Who plays it.
        scenario: The story.
        scratch_root: Where its folders are made; the system's folder for such things if None.
    """
    with ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(dir=scratch_root))
        story = Story(backend, scratch)
        stack.enter_context(backend.logging_to(story.trace))
        stack.enter_context(backend.using(story.clock))
        with story.going_on():
            scenario(story)
        return story.trace.lines()
