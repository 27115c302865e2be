"""Archives that are damaged, malicious, or not archives at all."""

import gzip
import io
import subprocess
import tarfile

import pytest

from data_sources.archive import unpack
from data_sources.cifar_format import BATCH_FILES

PAGE = b"<!DOCTYPE html>\n<html><body>Please sign in to this network.</body></html>\n"
FOLDER = "cifar-10-batches-bin"


@pytest.fixture
def batches_dir(tmp_path):
    """The folder that batches are unpacked into."""
    folder = tmp_path / "batches"
    folder.mkdir()
    return folder


def member(name, content=b"", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, io.BytesIO(content)


def pack(path, cifar_dir, *members, folder=FOLDER):
    """Writes an archive with the given members before the six batches."""
    with tarfile.open(path, "w:gz") as tar:
        for info, content in members:
            tar.addfile(info, content)
        tar.add(cifar_dir, folder)
    return path


@pytest.mark.parametrize("folder", [FOLDER, "my-pictures", "."])
def test_the_six_batches_are_unpacked_and_nothing_else(
    folder, cifar_dir, batches_dir, said, tmp_path
):
    others = (member("readme.html", PAGE), member(f"{FOLDER}/batches.meta.txt", b"airplane"))
    unpack(pack(tmp_path / "a.tar.gz", cifar_dir, *others, folder=folder), batches_dir, said)
    unpacked = {path.name: path.read_bytes() for path in batches_dir.iterdir()}
    assert unpacked == {name: (cifar_dir / name).read_bytes() for name in BATCH_FILES}


# Members outside the folder

OUTSIDE = {
    "../escaped.bin": {},
    "cifar-10-batches-bin/../../escaped.bin": {},
    "/tmp/escaped.bin": {},
    "cifar-10-batches-bin/symlink": {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
    "cifar-10-batches-bin/hardlink": {"type": tarfile.LNKTYPE, "linkname": "../../x"},
    "cifar-10-batches-bin/test_batch.bin": {"type": tarfile.SYMTYPE, "linkname": "/etc/x"},
    "cifar-10-batches-bin/device": {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3},
    "cifar-10-batches-bin/fifo": {"type": tarfile.FIFOTYPE},
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_an_archive_that_reaches_outside_its_folder_is_refused(
    name, cifar_dir, batches_dir, said, tmp_path
):
    path = pack(tmp_path / "evil.tar.gz", cifar_dir, member(name, **OUTSIDE[name]))
    with pytest.raises(ValueError, match="Nothing was unpacked") as refusal:
        unpack(path, batches_dir, said)
    assert f"{path} contains {name!r}, w" in str(refusal.value)
    assert [found.name for found in tmp_path.rglob("*") if found.is_file()] == ["evil.tar.gz"]


@pytest.mark.parametrize("kind", ["gnu", "pax"])
def test_a_sparse_batch_is_refused(kind, batches_dir, said, tmp_path):
    with (tmp_path / "data_batch_1.bin").open("wb") as file:
        file.truncate(1 << 40)
    command = ["tar", "-cSzf", "sparse.tar.gz", f"--format={kind}", "data_batch_1.bin"]
    subprocess.run(command, cwd=tmp_path, check=True)
    with pytest.raises(ValueError, match="sparse file"):
        unpack(tmp_path / "sparse.tar.gz", batches_dir, said)


# Files that are not archives, or broken ones


def web_page(path, archive):
    path.write_bytes(PAGE)


def compressed_page(path, archive):
    path.write_bytes(gzip.compress(PAGE))


def empty_archive(path, archive):
    path.write_bytes(b"")


def half_an_archive(path, archive):
    content = archive.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flipped_bit(path, archive):
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def wrong_gzip_checksum(path, archive):
    content = bytearray(archive.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)


def lacking_a_batch(path, archive):
    with tarfile.open(archive) as whole, tarfile.open(path, "w:gz") as tar:
        for info in whole:
            if "data_batch_5" not in info.name:
                tar.addfile(info, whole.extractfile(info))


def batch_twice(path, archive):
    with tarfile.open(archive) as whole, tarfile.open(path, "w:gz") as tar:
        for info in [*whole, whole.getmember("cifar-10-batches-bin/test_batch.bin")]:
            tar.addfile(info, whole.extractfile(info))


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (web_page, "begins with b'<!DOCTYPE.*That is a web page"),
        (compressed_page, "is damaged or incomplete"),
        (empty_archive, "is empty"),
        (half_an_archive, "is damaged or incomplete"),
        (flipped_bit, "is damaged or incomplete"),
        (wrong_gzip_checksum, "is damaged or incomplete"),
        (lacking_a_batch, r"lacks data_batch_5\.bin"),
        (batch_twice, r"contains test_batch\.bin twice"),
    ],
)
def test_a_broken_archive_is_named(damage, found, archive, batches_dir, said, tmp_path):
    bad = tmp_path / "bad.tar.gz"
    damage(bad, archive)
    with pytest.raises(ValueError, match=rf"bad\.tar\.gz.*{found}"):
        unpack(bad, batches_dir, said)


# Archives that unpack to more than they should


def header_only(name, size_bytes):
    """A .tar.gz whose one member is declared but missing."""
    info = tarfile.TarInfo(name)
    info.size = size_bytes
    return gzip.compress(info.tobuf())


def with_filler(archive, pax=None):
    """The tiny archive with 20 MB of zeros beside the batches, or in a header."""
    out = io.BytesIO()
    with tarfile.open(archive) as source, tarfile.open(fileobj=out, mode="w:gz") as tar:
        filler = tarfile.TarInfo(f"{FOLDER}/filler")
        if pax:
            filler.pax_headers = pax
        else:
            filler.size = 20 << 20
        tar.addfile(filler, io.BytesIO(bytes(filler.size)))
        for info in source:
            tar.addfile(info, source.extractfile(info))
    return out.getvalue()


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda whole: header_only("data_batch_1.bin", 5 << 30), r"of 5,368,709,120 bytes"),
        (with_filler, "unpacks to more than 16,777,216 bytes beside the six batches"),
        (
            lambda whole: with_filler(whole, pax={"comment": "0" * (20 << 20)}),
            "unpacks to more",
        ),
        (lambda whole: whole.read_bytes() + gzip.compress(bytes(20 << 20)), "unpacks to more"),
    ],
    ids=["large batch", "large file beside", "large header", "bytes after the end"],
)
def test_an_archive_that_unpacks_to_too_much_is_refused(
    make, expected, archive, batches_dir, said, tmp_path
):
    bomb = tmp_path / "bomb.tar.gz"
    bomb.write_bytes(make(archive))
    with pytest.raises(ValueError, match=expected):
        unpack(bomb, batches_dir, said)
