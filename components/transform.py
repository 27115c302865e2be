"""The transform graph: the stock Transform with the classes and size of the images.

The graph is traced without data, so these come from the schema.
"""

import json
from typing import Any

from tfx import types
from tfx.components.transform import executor as stock_executor
from tfx.components.transform.component import Transform as StockTransform
from tfx.dsl.components.base import executor_spec
from tfx.types import artifact_utils, standard_component_specs

from contract import image_set


class Executor(stock_executor.Executor):
    """Traces `preprocessing_fn` with the size of the images in its `custom_config`."""

    def Do(  # noqa: N802 - the name TFX calls
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the transform graph."""
        schema_dir = artifact_utils.get_single_uri(
            input_dict[standard_component_specs.SCHEMA_KEY]
        )
        images = image_set.read(schema_dir)
        config = {"image_size": images.image_size, "class_names": images.class_names}
        exec_properties = {
            **exec_properties,
            standard_component_specs.CUSTOM_CONFIG_KEY: json.dumps(config),
        }
        super().Do(input_dict, output_dict, exec_properties)


class Transform(StockTransform):
    """Turns `preprocessing_fn` into the graph that every image passes."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
