"""Floor 4: the YAML, typed and checked, with complaints that name file, line and column."""

from medseg.inference import Limits
from medseg.pipeline.dumping import dump_pipeline, pipeline_digest, said_options, step_name
from medseg.pipeline.loading import (
    check_ready,
    load_labels,
    load_pipeline,
    load_site,
    pipeline_file,
)
from medseg.pipeline.parts import Calibration, Input, Pipeline, Previous, Site, Within
from medseg.pipeline.schema import json_schema

__all__ = [
    "Calibration",
    "Input",
    "Limits",
    "Pipeline",
    "Previous",
    "Site",
    "Within",
    "check_ready",
    "dump_pipeline",
    "json_schema",
    "load_labels",
    "load_pipeline",
    "load_site",
    "pipeline_digest",
    "pipeline_file",
    "said_options",
    "step_name",
]
