import io
import json
import signal
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from data_sources.download import SourceError
from data_sources.npm_package import pack, rebuild_batches
from tests.processes import command_of, descendants, is_running, wait_until

TRAIN_LABELS = [3, 1, 4, 1, 5]


@pytest.fixture
def one_image_sheets(tmp_path):
    """A package whose six sheets have one image: black, with one blue pixel."""
    sheet = np.zeros((1, 1024, 3), np.uint8)
    sheet[0, 5 * 32 + 7] = (0, 0, 255)  # line 5, column 7
    png = io.BytesIO()
    Image.fromarray(sheet).save(png, "PNG")
    files = {f"data_batch_{number}.png": png.getvalue() for number in range(1, 6)}
    files["test_batch.png"] = png.getvalue()
    files["train_lables.json"] = json.dumps(TRAIN_LABELS).encode()
    files["test_lables.json"] = b"[9]"
    path = tmp_path / "package.tgz"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def bring(release, tmp_path, said):
    """Gets the tiny package with npm."""
    what = release.npm_package, release.npm_bytes, release.npm_integrity
    pack(*what, tmp_path / "sheets.tgz", said)


def test_blue_pixel_of_a_sheet_lands_in_the_blue_plane(one_image_sheets, tmp_path, said):
    rebuild_batches(one_image_sheets, tmp_path, said)
    record = (tmp_path / "data_batch_3.bin").read_bytes()
    assert len(record) == 3073
    assert record[1 + 2048 + 5 * 32 + 7] == 255
    assert sum(record[1:]) == 255


def test_labels_are_dealt_to_the_sheets_in_order(one_image_sheets, tmp_path, said):
    rebuild_batches(one_image_sheets, tmp_path, said)
    batches = [tmp_path / f"data_batch_{number}.bin" for number in range(1, 6)]
    assert [batch.read_bytes()[0] for batch in batches] == TRAIN_LABELS
    assert (tmp_path / "test_batch.bin").read_bytes()[0] == 9


def test_packed_tarball_is_not_fetched_again(npm, release, tmp_path, said):
    for _ in range(2):
        bring(release, tmp_path, said)
    assert npm.calls == ["view sheets@1.0.0", "pack sheets@1.0.0"]


def test_other_bytes_than_expected_are_deleted(npm, release, tmp_path, said):
    npm.do("if sys.argv[1] == 'pack': open('sheets-1.0.0.tgz', 'w').write('other')\n")
    with pytest.raises(SourceError, match="expected sha512-"):
        bring(release, tmp_path, said)
    assert not (tmp_path / "sheets.tgz").exists()


def test_closed_network_is_told_by_the_code_npm_gives(npm, release, tmp_path, said):
    npm.do("sys.exit('npm error code ENOTFOUND\\nnpm error network request failed')\n")
    with pytest.raises(SourceError, match=r"npm view sheets@1\.0\.0 failed \(ENOTFOUND\)"):
        bring(release, tmp_path, said)


def test_missing_npm_client_is_named(release, tmp_path, said, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match="npm client is not installed"):
        bring(release, tmp_path, said)


@pytest.mark.parametrize("ignored", [True, False])
def test_npm_cannot_write_more_than_is_expected(npm, release, tmp_path, said, ignored):
    # A client that ignores the signal, as Node does, gets an error from the system call.
    npm.do(
        "import signal\n"
        f"signal.signal(signal.SIGXFSZ, signal.{'SIG_IGN' if ignored else 'SIG_DFL'})\n"
        "if sys.argv[1] == 'pack':\n"
        "    try:\n"
        "        open('sheets-1.0.0.tgz', 'wb').write(bytes(10_000_000))\n"
        "    except OSError:\n"
        "        sys.exit('npm error code EFBIG')\n"
    )
    with pytest.raises(SourceError, match=r"EFBIG|downloads more than expected"):
        bring(release, tmp_path, said)
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


def test_a_sheet_of_more_bytes_than_its_pixels_is_refused(one_image_sheets, tmp_path, said):
    bomb = tmp_path / "bomb.tgz"
    with tarfile.open(one_image_sheets) as package, tarfile.open(bomb, "w:gz") as tar:
        for member in package:
            content = package.extractfile(member)
            if member.name == "package/data_batch_1.png":
                member.size, content = 65 << 20, io.BytesIO(bytes(65 << 20))
            tar.addfile(member, content)
    with pytest.raises(ValueError, match=r"data_batch_1\.png has 68,157,440 bytes"):
        rebuild_batches(bomb, tmp_path, said)


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of Linux")
def test_npm_ends_with_a_run_that_is_killed(npm):
    npm.do("import time\ntime.sleep(100)\n")
    program = "from data_sources import npm_package; npm_package._run_npm('view', 'sheets')"
    run = subprocess.Popen([sys.executable, "-c", program])
    wait_until(lambda: any("npm view" in command_of(child) for child in descendants(run.pid)))
    children = descendants(run.pid)
    run.send_signal(signal.SIGKILL)
    run.wait()
    wait_until(lambda: not any(map(is_running, children)))
