"""What validation found, in words."""

from tensorflow_metadata.proto.v0 import anomalies_pb2


def describe_anomalies(split: str, anomalies: anomalies_pb2.Anomalies) -> list[str]:
    """Returns one line for each anomaly of a split, features in name order."""
    lines = [
        f"{split}: {feature}: {info.description}"
        for feature, info in sorted(anomalies.anomaly_info.items())
    ]
    if anomalies.HasField("dataset_anomaly_info"):
        lines.append(f"{split}: {anomalies.dataset_anomaly_info.description}")
    return lines
