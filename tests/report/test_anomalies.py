from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2

from report.anomalies import describe_anomalies


def test_each_anomaly_is_a_line_by_feature_and_that_of_the_data_is_the_last():
    found = text_format.Parse(
        """
        anomaly_info { key: "label" value { description: "Unexpected value: 10" } }
        anomaly_info { key: "image" value { description: "Not always present" } }
        dataset_anomaly_info { description: "Low number of examples" }
        """,
        anomalies_pb2.Anomalies(),
    )
    assert describe_anomalies("train", found) == [
        "train: image: Not always present",
        "train: label: Unexpected value: 10",
        "train: Low number of examples",
    ]


def test_a_split_without_anomalies_has_no_line():
    assert describe_anomalies("eval", anomalies_pb2.Anomalies()) == []
