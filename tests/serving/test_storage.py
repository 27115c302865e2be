import pytest
from google.protobuf import text_format

from serving.model_server import storage


def test_folders_with_a_number_for_a_name_are_versions(tmp_path):
    for name in ("3", "00000012", "v4", "0.1", "temp-5", ".staging-6", "-7", "8x"):
        (tmp_path / name).mkdir()
    assert list(storage.list_versions(tmp_path)) == [12, 3]


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        ("", [3]),
        ("latest { num_versions: 2 }", [3, 2]),
        ("all { }", [3, 2, 1]),
        ("specific { versions: 1 versions: 9 }", [1]),
        ("specific { }", []),
        ("latest { }", [3]),
        ("latest { num_versions: 9 }", [3, 2, 1]),
    ],
)
def test_policy_chooses_versions_newest_first(tmp_path, policy, wanted):
    on_disk = {number: tmp_path / str(number) for number in (1, 2, 3)}
    parsed = text_format.Parse(policy, storage.VersionPolicy())
    assert list(storage.wanted_versions(on_disk, parsed)) == wanted


def test_of_several_names_for_a_number_the_last_is_taken(tmp_path):
    """Source: file_system_storage_path_source.cc, IndexChildrenByVersion."""
    for name in ("7", "007", "07"):
        (tmp_path / name).mkdir()
    assert storage.list_versions(tmp_path) == {7: tmp_path / "7"}


def test_a_number_that_no_int64_holds_is_no_version(tmp_path):
    for number in (2**63 - 1, 2**63):
        (tmp_path / str(number)).mkdir()
    assert list(storage.list_versions(tmp_path)) == [2**63 - 1]


def test_a_base_path_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        storage.list_versions(tmp_path / "nowhere")
