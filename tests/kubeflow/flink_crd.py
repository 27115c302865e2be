"""The schema of a FlinkDeployment, from the operator's CustomResourceDefinition.

The file is META-INF/fabric8/flinkdeployments.flink.apache.org-v1.yml of
org.apache.flink:flink-kubernetes-operator-api:1.10.0.
"""

import gzip
from pathlib import Path
from typing import Any

import jsonschema
import yaml

FILE = Path(__file__).with_name("flinkdeployments-1.10.0.yml.gz")


def validate(document: dict[str, Any]) -> None:
    """Raises jsonschema.ValidationError for a wrong type, or a field that does not exist."""
    definition = yaml.load(gzip.decompress(FILE.read_bytes()), yaml.CSafeLoader)
    (version,) = definition["spec"]["versions"]
    group = definition["spec"]["group"]
    assert document["apiVersion"] == f"{group}/{version['name']}"
    assert document["kind"] == definition["spec"]["names"]["kind"]
    schema = strict(version["schema"]["openAPIV3Schema"])
    body = {name: document[name] for name in document.keys() - {"apiVersion", "kind"}}
    jsonschema.validate(body, schema | {"properties": schema["properties"] | {"metadata": {}}})


def strict(schema: Any) -> Any:
    """Returns a schema that allows no other fields; Kubernetes would silently drop them."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: strict(each) for name, each in schema.items()}
    if schema.get("x-kubernetes-int-or-string") is True:
        found = {"type": ["integer", "string"]}
    elif isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        found.setdefault("additionalProperties", False)
    return found
