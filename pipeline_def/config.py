"""Everything that can differ between two runs, in flow order."""

import dataclasses
import functools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from contract import estimator, metadata_url, search_space, settings
from contract.did_you_mean import did_you_mean
from contract.settings import Fraction, PositiveFloat, PositiveInt, Share
from contract.warm_start import NONE, check_version
from data_sources.options import DEFAULT_OPTIONS, DataOptions, ImageSize, Labels
from data_sources.spans import check as check_spans
from pipeline_def import preset_file

WarmRate = Annotated[float, "> 0", "<= 1"]


@dataclasses.dataclass(frozen=True)
class PipelineConfig:
    """One run of the pipeline.

    Raises:
        ValueError: A value is outside its range; the message names the field.
    """

    preset: str = "reference"  # the preset that the settings started from

    # batches → examples
    data: str = "auto"  # auto, sample, cifar100, a folder, or an archive
    data_dir: str = "data/cifar10"  # where fetched batches are kept
    image_size: ImageSize = DEFAULT_OPTIONS.image_size  # height and width of a picture
    labels: Labels = DEFAULT_OPTIONS.labels  # which of CIFAR-100's two labels to learn
    skip_corrupt: bool = DEFAULT_OPTIONS.skip_corrupt  # skip unreadable pictures
    spans: str = DEFAULT_OPTIONS.spans  # which span-<number> folders: all, last:N or FROM:TO
    output_dir: str = "output"  # for versions, reports, checkpoints and artifacts

    # data gate: limits beyond which ExampleValidator stops the run; 1 allows anything
    max_label_distance: Share = 0.10  # of label shares: train to eval, and to the last push
    max_image_distance: Share = 0.10  # Jensen-Shannon: brightness, contrast, sharpness, colours
    max_constant_images: Share = 0.001  # fraction of each split with a single colour
    max_duplicate_images: Share = 0.01  # fraction of each split that are copies
    max_leaked_images: Share = 0.001  # fraction of eval that is also in train
    max_shrinkage: Share = 0.5  # fraction of each split lost since the last pushed model

    # tune

    # settings such as `learning_rate=0.01..0.2`, separated by spaces; empty for no search
    tuned: str = ""
    tuning_trials: PositiveInt = 20  # in total, including stopped and failed ones
    tuning_held_out: Fraction = 0.1  # fraction of the train examples that scores the trials
    tuning_parallel: PositiveInt = 1  # trials at the same time; they share the cores

    # train
    trainer_module: str = estimator.DEFAULT  # the dotted path of the Estimator
    warm_start: str = NONE  # start from a pushed version's weights: none, latest or its number
    warm_start_learning_rate: WarmRate = 0.2  # fraction of learning_rate to train with then
    hyper_parameters: Any = dataclasses.field(  # its own dataclass
        default_factory=lambda: estimator.load().presets["reference"]
    )

    # baseline
    baseline_version: str = "latest"  # a pushed version, none, or latest (see `baseline`)
    baseline: Literal["best", "newest"] = "best"  # best: of those judged on the same eval

    # evaluate: what the Evaluator requires for its blessing
    min_accuracy: Fraction = 0.80  # on eval
    max_accuracy_drop: Fraction = 0.01  # compared with the baseline
    min_class_accuracy: Fraction = 0.0  # of each class, on eval
    max_class_accuracy_drop: Share = 0.10  # of each class, compared with the baseline; 1 is off

    # serving check: limits for the candidate's server
    max_serving_difference: PositiveFloat = (
        1e-5  # of a probability, from the Trainer's prediction
    )
    max_latency_milliseconds: PositiveFloat = 200.0  # median of one image over gRPC

    # push
    serving_dir: str = ""  # the serving root; an empty string is <output_dir>/serving
    model_name: str = "cifar10"  # the folder below the serving root, and the name on servers
    keep_versions: PositiveInt = 3  # pushed versions; older ones are deleted
    predict_batch: str = ""  # a folder or file that a pushed model then predicts; empty: none
    keep_runs: PositiveInt = 10  # runs kept completely; of older ones, only the record

    # ML Metadata: an empty string is SQLite in the output folder; else mysql://USER@HOST/DB
    # or postgresql://USER@HOST/DB.
    # With a password, it may only come from CIFAR_METADATA_URL or --metadata-url-file.
    metadata_url: str = dataclasses.field(default="", repr=False)
    enable_cache: bool = True  # false: every stage runs again

    def __post_init__(self) -> None:
        """Checks every value before anything expensive begins."""
        settings.check(self, leave_out=("hyper_parameters",))
        check_spans(self.spans)
        check_version(self.warm_start)
        if self.tuned and self.warm_start != NONE:
            raise ValueError(
                "tuned and warm_start cannot be combined: trials start from random weights, so "
                "their results do not apply to a training that starts from other weights."
            )
        search_space.parse(self.tuned.split(), self.hyper_parameters)
        if self.tuned and not self.tuning_held_out:
            raise ValueError("tuning_held_out must be above 0, because it scores the trials.")
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", self.model_name):
            raise ValueError(
                "model_name must be a folder name of letters, digits, '_', '.' and '-', got "
                f"{self.model_name!r}."
            )
        if self.metadata_url:
            metadata_url.parse(self.metadata_url)

    @property
    def data_options(self) -> DataOptions:
        """Returns how pictures are read."""
        return DataOptions(self.image_size, self.labels, self.skip_corrupt, self.spans)

    def as_record(self) -> dict[str, Any]:
        """Returns every field by name, without a password, for files that people share."""
        fields = dataclasses.asdict(self)
        hyper_parameters = fields.pop("hyper_parameters")
        url = metadata_url.redacted(self.metadata_url)
        return {**fields, **hyper_parameters, "metadata_url": url}


def presets(trainer_module: str = estimator.DEFAULT) -> dict[str, PipelineConfig]:
    """Returns the config of each preset of a trainer module, by name.

    Raises:
        estimator.ContractError: A module other than ours breaks the contract.
    """
    if trainer_module != estimator.DEFAULT:  # the tests check ours, which saves the time
        estimator.check(trainer_module, OWN_FIELDS)
    found = estimator.load(trainer_module)
    return {
        name: PipelineConfig(
            preset=name,
            trainer_module=trainer_module,
            hyper_parameters=hyper_parameters,
            **found.gates.get(name, {}),  # type: ignore[arg-type]
        )
        for name, hyper_parameters in found.presets.items()
    }


def find_preset(name: str = "", trainer_module: str = estimator.DEFAULT) -> PipelineConfig:
    """Returns the config of a preset; by default of `quick`, or of the module's first.

    A name may be the path of a preset file, which names its trainer module itself.

    Raises:
        ValueError: The module breaks the contract or has no such preset.
    """
    found = presets(trainer_module)
    name = name or next(iter({estimator.DEFAULT_PRESET} & found.keys() or found))
    if name not in found and Path(name).is_file():
        given = preset_file.read(Path(name))
        config = find_preset(given.preset, given.trainer_module)
        return apply_settings(config, (f"{n}={value}" for n, value in given.settings.items()))
    if name not in found:
        raise ValueError(
            f"preset must be one of {', '.join(found)} of {trainer_module}, got {name!r}."
            f"{did_you_mean(name, found)}"
        )
    return found[name]


def fields_of(config: PipelineConfig) -> dict[str, settings.Setting]:
    """Returns what `--set` takes, by name: the hyper-parameters, then the config's own."""
    own = {name: one for name, one in _own_settings().items() if name not in _CHOSEN_OTHERWISE}
    kind: Any = type(config.hyper_parameters)
    return settings.of(kind) | own


def value_of(config: PipelineConfig, name: str) -> Any:
    """Returns the value of a field of the config or of its hyper-parameters."""
    return getattr(config if name in OWN_FIELDS else config.hyper_parameters, name)


def default_of(config: PipelineConfig, name: str) -> Any:
    """Returns the default of a field; None if it has none."""
    kind = PipelineConfig if name in OWN_FIELDS else type(config.hyper_parameters)
    (default,) = (field.default for field in dataclasses.fields(kind) if field.name == name)
    return None if default is dataclasses.MISSING else default


def apply_settings(config: PipelineConfig, given: Iterable[str]) -> PipelineConfig:
    """Returns the config with `field=value` settings applied, each parsed to its field's type.

    A field is one of the config or of the trainer module's hyper-parameters.

    Raises:
        ValueError: A setting has no `=`, names no field, or has a value of the wrong type, one
            outside its range or a password; or the network cannot take images of this size.
    """
    fields = fields_of(config)
    changes: dict[str, Any] = {}
    for setting in given:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ValueError(f"--set {setting!r} has no '='; write field=value.")
        if name not in fields:
            raise ValueError(
                f"--set {name}: there is no such field.{did_you_mean(name, fields)} `cifar "
                "config` lists them."
            )
        if name == "metadata_url":
            metadata_url.check_has_no_password(text)
        changes[name] = fields[name].parse(text)
    own = {name: changes.pop(name) for name in OWN_FIELDS & changes.keys()}
    hyper_parameters = dataclasses.replace(config.hyper_parameters, **changes)
    settings.check(hyper_parameters)
    changed = dataclasses.replace(config, hyper_parameters=hyper_parameters, **own)
    check_image_size(changed)
    return changed


def check_is_read(given: Iterable[str], read: Sequence[str]) -> None:
    """Raises ValueError if a `field=value` setting is not of a field that a command reads."""
    names = dict.fromkeys(setting.partition("=")[0] for setting in given)
    if unread := [name for name in names if name not in read]:
        raise ValueError(
            f"--set takes only {', '.join(read)} here; {', '.join(unread)} would have no "
            "effect."
        )


def check_image_size(config: PipelineConfig) -> None:
    """Raises ValueError for an `image_size` that the network cannot take."""
    sizes = estimator.load(config.trainer_module).image_sizes
    if sizes is not None and config.image_size not in sizes:
        raise ValueError(
            f"{config.trainer_module} cannot train on images of {config.image_size} pixels; "
            f"set image_size to one of {', '.join(map(str, sizes))}."
        )


@functools.cache
def _own_settings() -> dict[str, settings.Setting]:
    return settings.of(PipelineConfig, leave_out=("hyper_parameters",))


_CHOSEN_OTHERWISE = ("preset", "trainer_module")
OWN_FIELDS = frozenset(field.name for field in dataclasses.fields(PipelineConfig))
