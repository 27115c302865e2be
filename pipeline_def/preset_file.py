"""A preset as a file: the result of a search, for `cifar run --preset FILE`."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from contract.search_record import SearchRecord
from contract.writing import write_whole


@dataclasses.dataclass(frozen=True)
class PresetFile:
    """The content of a preset file: another preset, and the differences from it."""

    trainer_module: str
    preset: str
    settings: Mapping[str, Any]


def write(path: Path, record: SearchRecord, named: Any) -> None:
    """Writes the best values of a search.

    Args:
        path: The file.
        record: The result of the search.
        named: The hyper-parameters of the preset that the record names.
    """
    found = {**record.hyper_parameters, **record.best.values}
    differing = {name: value for name, value in found.items() if value != getattr(named, name)}
    held_out = f"{record.held_out:.0%} of the train examples"
    content = {
        "trainer_module": record.trainer_module,
        "preset": record.preset,
        "settings": differing,
    }
    write_whole(
        path,
        f"# Found in {len(record.trials)} trials of {' '.join(record.space)}:\n"
        f"# {record.best.accuracy:.2%} right on {held_out}, which were held out of training.\n"
        + yaml.safe_dump(content, sort_keys=False),
    )


def read(path: Path) -> PresetFile:
    """Returns the content of a preset file.

    Raises:
        ValueError: It is not a preset file.
    """
    try:
        content = yaml.safe_load(path.read_text())
        return PresetFile(**content)
    except (OSError, TypeError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(
            f"{path} is not a preset file with trainer_module, preset and settings, as "
            f"`cifar tune` writes it: {error}"
        ) from error
