"""TensorBoard for the trainings of an output folder, named after the runs that started them."""

import contextlib
import io
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from contract.training_folder import training_of
from report import runs
from report.run_record import RunRecord

CHECKPOINTS = "checkpoints"
SECONDS_BETWEEN_LOOKS = 5.0


def names_of(output: Path, records: Sequence[RunRecord]) -> dict[str, Path]:
    """Returns the folder of each training by its name, such as `2026-11-26T07-25-58 quick`.

    A training without a record is named after its fingerprint. One with the values that a
    search found has their checksum at the end of its name.

    Args:
        output: The output folder.
        records: Its runs, oldest first; the first run of a training started it.
    """
    began = {run.training_fingerprint: run for run in reversed(records)}
    names = {}
    for folder in sorted((output / CHECKPOINTS).glob("*/")):
        fingerprint = training_of(folder)
        run = began.get(fingerprint)
        name = f"{run.run_id} {run.settings.preset}" if run else fingerprint
        names[name + folder.name.removeprefix(fingerprint)] = folder
    return names


@contextlib.contextmanager
def named_trainings(output: Path) -> Iterator[Path]:
    """Yields a folder with a link to each training by name, and keeps it up to date."""
    done = threading.Event()
    with tempfile.TemporaryDirectory(prefix="cifar-board-") as name:
        folder = Path(name)

        def look() -> None:
            for training, target in names_of(output, runs.read_runs(output)).items():
                if not (folder / training).is_symlink():
                    (folder / training).symlink_to(target.resolve())

        def watch() -> None:
            while not done.wait(SECONDS_BETWEEN_LOOKS):
                look()

        look()
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield folder
        finally:
            done.set()
            watcher.join()


def launch(folder: Path, flags: Sequence[str]) -> str:
    """Starts TensorBoard on a folder in a separate thread, and returns its URL.

    Args:
        folder: Contains a folder for each training.
        flags: Of TensorBoard.

    Raises:
        ValueError: A flag is wrong, or the port is taken.
    """
    from tensorboard import default, program
    from tensorboard.plugins.base_plugin import FlagsError

    board = program.TensorBoard(default.get_plugins())
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            board.configure(["tensorboard", "--logdir", str(folder), *flags])
            return board.launch()
    except (FlagsError, program.TensorBoardServerException) as error:
        raise ValueError(f"TensorBoard did not start: {error}") from error
    except SystemExit as error:
        if not error.code:  # as after --help
            raise
        raise ValueError(f"TensorBoard did not start: {said.getvalue().strip()}") from error
