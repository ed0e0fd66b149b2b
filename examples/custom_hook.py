"""Write a hook: it fetches a value, reads it after every step, and requests a stop.

A hook has five methods; override the ones you need. `before_run` returns what the hook wants to
fetch. The session evaluates that in the same run as the loop's own fetches, and `after_run` gets the
values, in the structure of the request.
"""

import numpy as np

import runloop as rl


class StopWhenSmallHook(rl.SessionRunHook):
    """Requests a stop once a value has stayed below a limit for several steps in a row."""

    def __init__(self, fetch, limit, steps_in_a_row):
        self.fetch = fetch
        self.limit = limit
        self.steps_in_a_row = steps_in_a_row
        self.count = 0

    def before_run(self, run_context):
        return rl.RunArgs({"value": self.fetch, "step": "global_step"})

    def after_run(self, run_context, run_values):
        small = run_values.results["value"] < self.limit
        self.count = self.count + 1 if small else 0
        if self.count >= self.steps_in_a_row:
            # Fetched beside the train op, the step is the one from before this run's update.
            print(f"below {self.limit} since step {run_values.results['step'] - self.count + 2}")
            run_context.request_stop()

    def state_dict(self):  # with these two methods, every checkpoint holds the count
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def main():
    graph = rl.Graph()
    graph.variable("position", np.array([4.0, -3.0]))

    @graph.op
    def height(position):
        return (position**2).sum()

    @graph.train_op(updates="position")
    def descend(position):
        return position - 0.1 * 2 * position

    with rl.MonitoredSession(
        rl.ChiefSessionCreator(graph=graph), hooks=[StopWhenSmallHook("height", 0.01, 3)]
    ) as session:
        while not session.should_stop():
            _, step = session.run(["descend", "global_step"])
    print(f"stopped after {step + 1} steps")


if __name__ == "__main__":
    main()
