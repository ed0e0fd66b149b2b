"""What the shim leaves out, and what to use instead: the texts of its ``AttributeError``."""

from __future__ import annotations

from collections.abc import Mapping

from runloop.compat._tf.table import NAMES

__all__ = ["GRAPH_BUILDING", "LEFT_OUT", "explain"]

LEFT_OUT: Mapping[str, str] = {
    "train.Supervisor": "use train.MonitoredTrainingSession",
    "train.SessionManager": "use a session creator: train.ChiefSessionCreator",
    "train.basic_train_loop": "write the loop: while not session.should_stop(): session.run(...)",
    "train.QueueRunner": "give the data as an input of the graph: graph.input(names, iterable)",
    "train.add_queue_runner": "give the data as an input: graph.input(names, iterable)",
    "train.start_queue_runners": "give the data as an input: graph.input(names, iterable)",
    "train.queue_runner": "give the data as an input: graph.input(names, iterable)",
    "train.checkpoints_iterator": "call train.latest_checkpoint(folder) in a loop",
    "train.update_checkpoint_state": "train.Saver writes the state file at each save",
    "train.generate_checkpoint_state_proto": "train.Saver writes the state file at each save",
    "train.init_from_checkpoint": "load with train.load_checkpoint in a Scaffold's init_fn",
    "train.warm_start": "load with train.load_checkpoint in a Scaffold's init_fn",
    "train.import_meta_graph": "build the program in Python; a checkpoint holds only values",
    "train.export_meta_graph": "build the program in Python; a checkpoint holds only values",
    "train.Checkpoint": "attach objects with graph.attach(name, obj) and use train.Saver",
    "train.CheckpointManager": "use train.Saver(max_to_keep=...)",
    "train.CheckpointOptions": "use the parameters of train.Saver",
    "train.SyncReplicasOptimizer": "runloop runs in one process",
    "train.Server": "runloop runs in one process",
    "train.ClusterSpec": "runloop runs in one process",
    "train.replica_device_setter": "runloop runs in one process",
    "train.experimental": "runloop has no parts of TensorFlow's experimental namespaces",
    "InteractiveSession": "use Session as a context manager",
    "app.flags": "use argparse, or absl.flags of the package absl-py",
    "flags": "use argparse, or absl.flags of the package absl-py",
    "estimator.EstimatorSpec": "Estimators build graphs; build the program with runloop.Graph",
    "estimator.RunConfig": "use the parameters of train.MonitoredTrainingSession",
    "estimator.TrainSpec": "write the loop yourself; train_and_evaluate does not exist here",
    "estimator.EvalSpec": "write the loop yourself; train_and_evaluate does not exist here",
    "estimator.train_and_evaluate": "write the loop yourself, with runloop.InMemoryEvaluatorHook",
    "estimator.experimental": (
        "use runloop.InMemoryEvaluatorHook and runloop.EarlyStoppingHook, which need no Estimator"
    ),
    "compat.v2.summary": "use compat.v1.summary and its FileWriter",
    "python.training.session_manager.SessionManager": (
        "use a session creator: train.ChiefSessionCreator"
    ),
    "python.data.ops.iterator_ops.Iterator": (
        "give the data as an input: graph.input(names, iterable)"
    ),
    "summary.histogram": "compute it in an op and write it with FileWriter.add_summary",
    "summary.image": "encode it in an op and write it with FileWriter.add_summary",
    "summary.audio": "encode it in an op and write it with FileWriter.add_summary",
    "summary.text": "write a Summary.Value(tensor=make_tensor_proto(...)) with a FileWriter",
}
"""``{name: what to use instead}``, for names that a hook or its training script may look for."""

GRAPH_BUILDING = frozenset(
    """
    Variable abs add add_n argmax argmin assert_equal assign assign_add assign_sub boolean_mask
    broadcast_to case cast clip_by_global_norm clip_by_norm clip_by_value colocate_with concat cond
    constant constant_initializer contrib.layers contrib.slim control_dependencies convert_to_tensor
    count_nonzero data device div divide dtypes einsum equal exp expand_dims feature_column fill
    floor gather gather_nd get_local_variable get_variable get_variable_scope global_norm gradients
    greater greater_equal group identity identity_n image initializers is_finite is_inf is_nan keras
    layers less less_equal linalg linspace local_variable log logical_and logical_not logical_or
    losses make_template map_fn math matmul maximum metrics minimum multiply name_scope negative nn
    no_op norm not_equal one_hot ones ones_initializer ones_like optimizers pad placeholder
    placeholder_with_default pow print print_fn Print py_func py_function numpy_function random
    random_normal random_normal_initializer random_shuffle random_uniform
    random_uniform_initializer range rank reduce_all reduce_any reduce_logsumexp reduce_max
    reduce_mean reduce_min reduce_prod reduce_sum report_uninitialized_variables reshape reverse
    round scalar_mul scan scatter_nd scatter_update shape sigmoid sign size slice
    softmax sparse split sqrt square squeeze stack stop_gradient strided_slice string_join strings
    subtract tanh tensordot tile to_float to_int32 to_int64 trace train.AdadeltaOptimizer
    train.AdagradOptimizer train.AdamOptimizer train.ExponentialMovingAverage train.FtrlOptimizer
    train.GradientDescentOptimizer train.MomentumOptimizer train.Optimizer train.RMSPropOptimizer
    train.batch train.batch_join train.exponential_decay train.cosine_decay
    train.piecewise_constant train.polynomial_decay train.shuffle_batch transpose
    truncated_normal_initializer tuple unique unstack variable_scope variables_initializer where
    while_loop zeros zeros_initializer zeros_like glorot_uniform_initializer
    python.ops.array_ops python.ops.math_ops python.ops.init_ops python.ops.control_flow_ops
    python.ops.variable_scope python.ops.state_ops python.keras python.framework.constant_op
    python.ops.resource_variable_ops python.ops.gen_math_ops
    """.split()  # noqa: SIM905  # a hundred quoted names would be harder to read
)
"""Names that build TensorFlow graphs."""


def explain(name: str, top: str = "tensorflow") -> str:
    """Return why the shim has no ``name`` (``train.Supervisor``), and what to use instead.

    Args:
        name: The name below ``top``.
        top: The package in which it was looked up: ``tensorflow`` or ``tensorflow_estimator``.
    """
    full = f"{top}.{name}"
    if name.startswith("compat.v2.") and name not in LEFT_OUT:
        name = name.removeprefix("compat.v2.")
        space, _, leaf = name.rpartition(".")
        if leaf in NAMES.get(space, ()):
            return f"{full} is a name of TensorFlow 1.x: use {top}.compat.v1.{name}."
    if name in LEFT_OUT:
        return f"{full} is not part of runloop.compat.tf: {LEFT_OUT[name]}."
    parts = name.split(".")
    if any(".".join(parts[:n]) in GRAPH_BUILDING for n in range(1, len(parts) + 1)):
        return (
            f"{full} builds TensorFlow graphs, which is out of scope for runloop.compat.tf: build "
            f"the program with runloop.Graph (variables, ops as Python functions), and leave the "
            f"hooks as they are."
        )
    return (
        f"{full} is not part of the hook lifecycle, and runloop.compat.tf has nothing else: replace "
        f"it with NumPy or the standard library, or run this file with TensorFlow."
    )
