"""A profile for Triton's Model Analyzer, which tries settings of the models and measures them."""

from __future__ import annotations

from dccnet.export.triton.models import MATCH, MATCHES, PREPROCESS
from dccnet.runtime.geometry import Size

_TEXT = """\
# Settings of the models, tried and measured by Triton's Model Analyzer:
#
#     model-analyzer profile --config-file model-analyzer.yaml
#
# Run it in this folder, on the machine that will serve. It starts Triton itself (launch mode local).
model_repository: .
output_model_repository_path: ../model-analyzer/models
override_output_model_repository: true
checkpoint_directory: ../model-analyzer/checkpoints
export_path: ../model-analyzer/results
triton_launch_mode: local
client_protocol: grpc
# Ensembles are searched quickly: from the settings here to their neighbours, as long as they are better.
run_config_search_mode: quick
run_config_search_max_concurrency: 64
run_config_search_max_model_batch_size: 16
run_config_search_max_instance_count: 4
cpu_only_composing_models: {name}_{preprocess},{name}_{matches}
profile_models:
  {name}_{match}:
    objectives:
      perf_throughput: 2
      perf_latency_p99: 1
    # Pictures have any size; these are measured: (height, width, colours).
    perf_analyzer_flags:
      shape:
        - picture_a:{height},{width},3
        - picture_b:{height},{width},3
"""


def profile(name: str, size: Size) -> str:
    """The content of ``model-analyzer.yaml`` for models whose names begin with ``name``.

    Pictures are measured at twice the ``size`` of frames, (height, width).
    """
    return _TEXT.format(
        name=name,
        match=MATCH,
        preprocess=PREPROCESS,
        matches=MATCHES,
        height=2 * size[0],
        width=2 * size[1],
    )
