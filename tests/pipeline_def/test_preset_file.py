import pytest

from contract.search_record import SearchRecord, Trial
from pipeline_def import preset_file
from pipeline_def.config import find_preset
from tests.full_disk import files_of_at_most


@pytest.fixture
def record():
    smoke = find_preset("smoke").hyper_parameters
    return SearchRecord(
        trainer_module="trainer_module",
        preset="smoke",
        hyper_parameters={**vars(smoke), "train_steps": 40},
        space=("learning_rate=0.01..0.2", "random_flip=true,false"),
        held_out=0.1,
        trials=(Trial(0, {"learning_rate": 0.07, "random_flip": False}, "ended", 0.5),),
    )


@pytest.fixture
def tuned(tmp_path, record):
    path = tmp_path / "tuned.yaml"
    preset_file.write(path, record, find_preset("smoke").hyper_parameters)
    return path


def test_a_preset_file_holds_what_differs_from_its_preset(tuned):
    smoke, found = find_preset("smoke"), find_preset(str(tuned))
    changed = {
        name: value
        for name, value in vars(found.hyper_parameters).items()
        if value != getattr(smoke.hyper_parameters, name)
    }
    assert changed == {"learning_rate": 0.07, "random_flip": False, "train_steps": 40}
    assert found.min_accuracy == smoke.min_accuracy


def test_a_preset_file_says_how_it_was_found(tuned):
    assert "50.00% right on 10% of the train examples" in tuned.read_text()


def test_a_full_disk_leaves_the_preset_file_of_an_earlier_search(tuned, record):
    before = tuned.read_text()
    with files_of_at_most(100), pytest.raises(OSError, match="too large"):
        preset_file.write(tuned, record, find_preset("quick").hyper_parameters)
    assert tuned.read_text() == before


@pytest.mark.parametrize("content", ["", "- 1", "preset: quick", "{", "a: b"])
def test_another_file_is_no_preset(content, tmp_path):
    path = tmp_path / "other.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"other.yaml is not a preset file"):
        find_preset(str(path))


def test_a_setting_that_is_gone_is_named(tuned):
    tuned.write_text(tuned.read_text().replace("learning_rate", "speed"))
    with pytest.raises(ValueError, match="speed"):
        find_preset(str(tuned))
