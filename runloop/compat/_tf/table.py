"""The one table that the shim's modules are made from: which name of TensorFlow is which object.

``NAMES`` maps each namespace to its members, and a member to the ``module:attribute`` that it is.
``SPELLINGS`` maps each namespace to the module names under which it can be imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runloop.compat._tf.dtypes import NAMES as DTYPES
from runloop.compat._tf.errors import CLASSES, CODES
from runloop.graph.tensor_types import DType

__all__ = ["NAMES", "SPELLINGS", "VALUES"]

_TF = "runloop.compat._tf"


def _members(module: str, names: str) -> dict[str, str]:
    """Return ``{name: "module:attribute"}``; ``name=attribute`` where the two differ."""
    pairs = (item.partition("=") for item in names.split())
    return {name: f"{module}:{attribute or name}" for name, _, attribute in pairs}


_PROTOCOL = {
    **_members("runloop.hooks.base", "SessionRunHook"),
    **_members(
        "runloop.run",
        "SessionRunArgs=RunArgs SessionRunContext=RunContext SessionRunValues=RunValues",
    ),
}
_HOOKS = {
    **_PROTOCOL,
    **_members(
        f"{_TF}.hooks",
        "CheckpointSaverHook GlobalStepWaiterHook LoggingTensorHook ProfilerHook "
        "SecondOrStepTimer StepCounterHook StopAtStepHook SummarySaverHook",
    ),
    **_members(
        "runloop.hooks",
        "CheckpointSaverListener FeedFnHook FinalOpsHook NanTensorHook NeverTriggerTimer",
    ),
    **_members("runloop.errors", "NanLossDuringTrainingError"),
}
_SESSIONS = {
    **_members(
        f"{_TF}.sessions",
        "ChiefSessionCreator MonitoredSession MonitoredTrainingSession Scaffold "
        "SingularMonitoredSession WorkerSessionCreator",
    ),
    **_members("runloop.monitored.creators", "SessionCreator"),
}
_COORDINATOR = _members("runloop.coordinator", "Coordinator LooperThread")
_STEP = _members(
    f"{_TF}.graphs",
    "assert_global_step create_global_step get_global_step get_or_create_global_step global_step "
    "write_graph",
)
_STEP_READ = _members(
    f"{_TF}.graphs", "_get_or_create_global_step_read=get_or_create_global_step_read"
)
_READING = {
    **_members(
        f"{_TF}.checkpoints",
        "checkpoint_exists get_checkpoint_mtimes get_checkpoint_state latest_checkpoint "
        "remove_checkpoint",
    ),
    **_members(
        "runloop.checkpoint",
        "NewCheckpointReader=load_checkpoint list_variables load_checkpoint load_variable",
    ),
}
_SAVING = {**_READING, **_members(f"{_TF}.checkpoints", "Saver SaverDef")}
_TRAIN = {
    **_HOOKS,
    **_SESSIONS,
    **_COORDINATOR,
    **_STEP,
    **_SAVING,
    **_members(f"{_TF}.graphs", "_as_graph_element=as_graph_element"),
    **_members(f"{_TF}.records", "summary_iterator"),
    # Names from before TensorFlow 1.0.
    **_members(f"{_TF}.writer", "SummaryWriter=FileWriter SummaryWriterCache=FileWriterCache"),
}
_PROTOS = _members(
    f"{_TF}.protos", "Event LogMessage SessionLog Summary SummaryDescription TaggedRunMetadata"
)
_WRITER = _members(
    f"{_TF}.writer",
    "FileWriter FileWriterCache SummaryWriter=FileWriter SummaryWriterCache=FileWriterCache",
)
_GFILE = _members(
    f"{_TF}.gfile",
    "GFile Open=GFile FastGFile=GFile copy Copy exists Exists glob Glob "
    "isdir IsDirectory listdir ListDirectory makedirs MakeDirs mkdir "
    "MkDir remove Remove rename Rename rmtree DeleteRecursively stat "
    "Stat walk Walk join",
)
_LOGGING = _members(
    f"{_TF}.logging",
    "DEBUG ERROR FATAL INFO WARN debug error exception fatal flush get_logger get_verbosity info "
    "log log_every_n log_first_n log_if set_verbosity vlog warn=warning warning",
)
_ERRORS = {
    **{kind.__name__: f"{kind.__module__}:{kind.__name__}" for kind in CLASSES.values()},
    **_members(
        f"{_TF}.errors", "OpError error_code_from_exception_type exception_type_from_error_code"
    ),
}
_GRAPH = {
    **_members(
        f"{_TF}.graphs",
        "GraphKeys add_to_collection add_to_collections get_collection get_collection_ref "
        "reset_default_graph",
    ),
    **_members("runloop.graph", "Graph get_default_graph"),
    **_members("runloop.graph.handles", "Operation Tensor"),
    **_members("runloop.graph.tensorflow_names", "GraphDef NodeDef"),
    **_members(f"{_TF}.session", "Session get_default_session"),
}
_VARIABLES = {
    **_members(
        f"{_TF}.graphs",
        "global_variables local_variables trainable_variables global_variables_initializer "
        "local_variables_initializer=global_variables_initializer "
        "tables_initializer=global_variables_initializer "
        "all_variables=global_variables initialize_all_variables=global_variables_initializer",
    ),
}
_RUN = {
    **_members("runloop.run", "RunMetadata RunOptions"),
    **_members(f"{_TF}.protos", "ConfigProto GPUOptions=ConfigProto OptimizerOptions=ConfigProto"),
}
_TENSORS = _members(
    f"{_TF}.protos", "HistogramProto SummaryMetadata make_ndarray make_tensor_proto"
)
_TYPES = {
    **_members("runloop.graph.tensor_types", "DType Dimension TensorShape"),
    **_members(f"{_TF}.dtypes", "as_dtype"),
    **_members(f"{_TF}.graphs", "is_tensor"),
}
_NEST = _members(
    f"{_TF}.nest", "assert_same_structure flatten is_nested map_structure pack_sequence_as"
)
_STRINGS = _members(f"{_TF}.strings", "as_bytes as_str=as_text as_str_any as_text")
# Modules that TensorFlow's own modules import, and that tests patch there.
_TIME = {"time": "time:", "os": "os:"}

NAMES: Mapping[str, Mapping[str, str]] = {
    "": {
        **_GRAPH,
        **_VARIABLES,
        **_RUN,
        **_PROTOS,
        **_TENSORS,
        **_TYPES,
        **_members(f"{_TF}.errors", "OpError"),
        **_members(f"{_TF}.graphs", "set_random_seed"),
        **_members(
            f"{_TF}.switches",
            "disable_eager_execution disable_resource_variables disable_v2_behavior "
            "enable_resource_variables executing_eagerly",
        ),
    },
    "app": _members(f"{_TF}.switches", "run=run_app"),
    "compat": _STRINGS,
    # Names of TensorFlow 2; the other namespaces have one object for both versions.
    "compat.v2": {
        **_members("runloop.graph", "Graph"),
        **_members("runloop.graph.handles", "Operation Tensor"),
        **_members("runloop.graph.tensor_types", "DType TensorShape"),
        **_members(f"{_TF}.dtypes", "as_dtype"),
        **_members(f"{_TF}.graphs", "is_tensor"),
        **_members(f"{_TF}.logging", "get_logger"),
        **_members(f"{_TF}.protos", "make_ndarray make_tensor_proto"),
        **_members(f"{_TF}.switches", "executing_eagerly"),
    },
    "compat.v2.train": {
        **_members(f"{_TF}.checkpoints", "get_checkpoint_state latest_checkpoint"),
        **_members("runloop.checkpoint", "list_variables load_checkpoint load_variable"),
        **_members("runloop.coordinator", "Coordinator"),
    },
    "errors": _ERRORS,
    "estimator": {**_HOOKS, **_members(f"{_TF}.switches", "Estimator ModeKeys")},
    "gfile": _GFILE,
    "io": _members(f"{_TF}.records", "tf_record_iterator=RecordIterator")
    | _members(f"{_TF}.graphs", "write_graph"),
    "logging": _LOGGING,
    "nest": _NEST,
    "random": _members(f"{_TF}.graphs", "set_random_seed set_seed=set_random_seed"),
    "summary": {
        **_PROTOS,
        **_WRITER,
        **_members(f"{_TF}.summaries", "merge merge_all scalar"),
    },
    "test": {**_members(f"{_TF}.testing", "TestCase get_temp_dir main"), "mock": "unittest.mock:"},
    "train": _TRAIN,
    "version": {},
    # -- TensorFlow's internal modules, which files import nevertheless -----------------------------
    "python.client.session": _members(f"{_TF}.session", "Session BaseSession=Session"),
    "python.client.timeline": _members(f"{_TF}.metadata", "Timeline"),
    "python.data.ops.iterator_ops": {},
    "python.framework.dtypes": {
        **_members("runloop.graph.tensor_types", "DType"), **_members(f"{_TF}.dtypes", "as_dtype"),
    },
    "python.framework.meta_graph": _members(f"{_TF}.graphs", "create_meta_graph_def"),
    "python.framework.ops": {**_GRAPH, **_members(f"{_TF}.graphs", "GraphKeys set_random_seed")},
    "python.framework.tensor_util": {
        **_members(f"{_TF}.protos", "MakeNdarray=make_ndarray make_tensor_proto"),
        **_members(f"{_TF}.graphs", "is_tensor is_tf_type=is_tensor"),
    },
    "python.lib.io.file_io": _members(
        f"{_TF}.gfile",
        "FileIO=GFile atomic_write_string_to_file read_file_to_string write_string_to_file join "
        "copy=Copy create_dir=MkDir delete_file=Remove delete_recursively=DeleteRecursively "
        "file_exists=Exists get_matching_files=Glob is_directory=IsDirectory "
        "list_directory=ListDirectory recursive_create_dir=MakeDirs rename=Rename stat=Stat "
        "walk=Walk copy_v2=copy create_dir_v2=mkdir delete_file_v2=remove "
        "delete_recursively_v2=rmtree file_exists_v2=exists get_matching_files_v2=glob "
        "is_directory_v2=isdir list_directory_v2=listdir recursive_create_dir_v2=makedirs "
        "rename_v2=rename stat_v2=stat walk_v2=walk",
    ),
    "python.ops.variables": _VARIABLES,
    "python.summary.summary": {
        **_PROTOS, **_WRITER, **_members(f"{_TF}.summaries", "merge merge_all scalar"),
    },
    "python.summary.writer.writer_cache": _WRITER,
    "python.training.basic_session_run_hooks": {
        **_HOOKS,
        **_members(f"{_TF}.graphs", "_as_graph_element=as_graph_element"),
        **_members(f"{_TF}.writer", "SummaryWriterCache=FileWriterCache"),
        **_TIME,
    },
    "python.training.coordinator": _COORDINATOR,
    "python.training.evaluation": _members(f"{_TF}.evaluation", "_StopAfterNEvalsHook=StopAfterNEvalsHook"),
    "python.training.monitored_session": {
        **_HOOKS,
        **_SESSIONS,
        **_members(f"{_TF}.session", "_HookedSession=HookedSession"),
    },
    "python.training.saver": {**_SAVING, **_TIME},
    "python.training.session_manager": {},
    "python.training.session_run_hook": _PROTOCOL,
    "python.training.summary_io": {**_WRITER, **_members(f"{_TF}.records", "summary_iterator")},
    "python.training.training_util": {**_STEP, **_STEP_READ},
    "python.util.nest": _NEST,
    "python.util.deprecation": _members(f"{_TF}.switches", "silence"),
    "python.util.tf_export": _members(f"{_TF}.switches", "estimator_export=tf_export tf_export"),
    "core.framework.summary_pb2": {
        **_members(f"{_TF}.protos", "HistogramProto Summary SummaryDescription SummaryMetadata"),
    },
    "core.util.event_pb2": _members(
        f"{_TF}.protos", "Event LogMessage SessionLog TaggedRunMetadata"
    ),
    "core.protobuf.config_pb2": _RUN,
    "contrib.framework": {
        **_STEP, **_READING, **_members(f"{_TF}.graphs", "get_variables=global_variables"),
    },
    "contrib.learn": {**_HOOKS, **_members(f"{_TF}.switches", "Estimator ModeKeys")},
    "contrib.summary": {},
    "contrib.training": {
        **_HOOKS, **_members(f"{_TF}.evaluation", "StopAfterNEvalsHook SummaryAtEndHook"),
    },
    # Below tensorflow_estimator, not below tensorflow.
    "python.estimator.early_stopping": _members(f"{_TF}.early_stopping", "read_eval_metrics"),
    "python.estimator.estimator_export": _members(
        f"{_TF}.switches", "estimator_export=tf_export"
    ),
}  # fmt: skip

_DTYPES = {
    **{name: DType(name) for name in DTYPES},
    "double": DType("float64"),
    "half": DType("float16"),
}

VALUES: Mapping[str, Mapping[str, Any]] = {
    "": {**_DTYPES, "__version__": "2.21.0"},
    "compat.v2": {**_DTYPES, "__version__": "2.21.0"},
    "python.framework.dtypes": _DTYPES,
    "errors": CODES,
    "version": {"VERSION": "2.21.0", "GIT_VERSION": "runloop"},
}
"""Members that are plain values."""

_HOOKS_OF_ESTIMATOR = "tensorflow_estimator.python.estimator.hooks"

_V2 = "tensorflow.compat.v2"

_DEEP: Mapping[str, tuple[str, ...]] = {
    "": ("tensorflow", "tensorflow.compat.v1"),
    "estimator": (
        "tensorflow_estimator",
        "tensorflow_estimator.python.estimator.estimator",
        "tensorflow_estimator.python.estimator.estimator_lib",
        "tensorflow.python.estimator.estimator_lib",
    ),
    "errors": ("tensorflow.python.framework.errors", "tensorflow.python.framework.errors_impl"),
    "gfile": ("tensorflow.io.gfile", "tensorflow.compat.v1.io.gfile", f"{_V2}.io.gfile",
              "tensorflow.python.platform.gfile"),
    "logging": ("tensorflow.python.platform.tf_logging",),
    "summary": ("tensorflow.contrib.summary.summary",),
    "test": ("tensorflow.python.platform.test",),
    "train": ("tensorflow.python.training.training",),
    "python.summary.writer.writer_cache": ("tensorflow.python.summary.writer.writer",),
    "python.training.basic_session_run_hooks": (
        f"{_HOOKS_OF_ESTIMATOR}.basic_session_run_hooks",
        "tensorflow.contrib.learn.python.learn.basic_session_run_hooks",
        "tensorflow.contrib.learn.basic_session_run_hooks",
        "tensorflow.python.estimator.hooks.basic_session_run_hooks",
    ),
    "python.training.session_run_hook": (
        f"{_HOOKS_OF_ESTIMATOR}.session_run_hook",
        "tensorflow.contrib.learn.python.learn.session_run_hook",
        "tensorflow.contrib.learn.session_run_hook",
        "tensorflow.python.estimator.hooks.session_run_hook",
    ),
    "python.training.saver": (
        "tensorflow.python.training.checkpoint_management",
        "tensorflow.python.training.checkpoint_utils",
        "tensorflow.python.checkpoint.checkpoint_management",
    ),
    "python.training.training_util": (
        "tensorflow.contrib.framework.python.ops.variables",
    ),
}  # fmt: skip


# Namespaces that are the same module under compat.v1 and compat.v2.
_OF_BOTH_VERSIONS = {"compat", "errors", "estimator", "io", "nest", "random", "test", "version"}


def _spellings() -> dict[str, tuple[str, ...]]:
    found = {}
    for space in NAMES:
        own: tuple[str, ...] = ()
        if space:
            own = (f"tensorflow.{space}",)
            if not space.startswith(("python.", "core.", "contrib.", "compat.v2")):
                own += (f"tensorflow.compat.v1.{space}",)
            if space in _OF_BOTH_VERSIONS:
                own += (f"{_V2}.{space}",)
            if space.startswith("python.estimator."):
                own = (f"tensorflow_estimator.{space}", *own)
        found[space] = own + _DEEP.get(space, ())
    return found


SPELLINGS: Mapping[str, tuple[str, ...]] = _spellings()
