"""Folders and archives of pictures: what is converted, and what is refused."""

import collections
import hashlib
import io
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_sources import picture_file, picture_folder
from data_sources.cifar_format import decode_records
from data_sources.dataset import locate, verify_pictures
from data_sources.options import DataOptions

RED, GREEN, BLUE = (220, 20, 20), (20, 220, 20), (20, 20, 220)
CLASSES = {"rose": RED, "leaf": GREEN, "sky": BLUE}
SKIP = DataOptions(skip_corrupt=True)


def picture(colour, size=(40, 40), kind="PNG", **options) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind, **options)
    return file.getvalue()


def write(folder: Path, **files: bytes) -> None:
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Four pictures of each of three classes to train on, two to judge by."""
    root = tmp_path / "flowers"
    for split, count in (("train", 4), ("val", 2)):
        for name, (red, green, blue) in CLASSES.items():
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                content = picture((red + number, green, blue + (split == "val")))
                (root / split / name / f"{number}.png").write_bytes(content)
    return root


@pytest.fixture
def read(tmp_path, said):
    """Returns what `--data` finds, and the images by split: (key, class, pixels) of each."""

    def read(data: Path, options: DataOptions = DataOptions()):  # noqa: B008 - a constant
        found = locate(str(data), tmp_path / "data" / "cifar10", said, options=options)
        layout = found.layout
        images = collections.defaultdict(list)
        for split, names in layout.splits.items():
            for name in names:
                content = (found.directory / name).read_bytes()
                pixels, labels = decode_records(content, layout.record_format)
                keys = (found.directory / name).with_suffix(".txt").read_text().splitlines()
                classes = [layout.record_format.class_names[label] for label in labels]
                images[split] += zip(keys, classes, pixels, strict=True)
        return found, images

    return read


def test_each_picture_has_the_class_of_its_folder(folder, read):
    found, images = read(folder)
    assert found.layout.image_set.class_names == ("leaf", "rose", "sky")
    assert (len(images["train"]), len(images["eval"])) == (12, 6)
    for split, place in (("train", "train"), ("eval", "val")):
        for key, name, pixels in images[split]:
            assert key.startswith(f"{place}/{name}/")
            assert pixels.shape == (32, 32, 3)
            assert np.abs(pixels.astype(int) - CLASSES[name]).max() <= 4


def test_a_second_look_reads_what_was_converted(folder, read, said):
    first, _ = read(folder)
    assert str(said).count("Converting") == 2  # begun and done
    second, _ = read(folder)
    assert first == second
    assert str(said).count("Converting") == 2
    (first.directory / "train_00001.bin").write_bytes(b"damaged")
    third, _ = read(folder)
    assert third == first
    assert str(said).count("Converting") == 4


def test_a_changed_picture_is_other_data(folder, read):
    before, _ = read(folder)
    (folder / "train/rose/0.png").write_bytes(picture((1, 2, 3)))
    after, _ = read(folder)
    assert after.fingerprint != before.fingerprint
    assert after.eval_fingerprint == before.eval_fingerprint


def test_the_size_is_that_of_the_setting(folder, read):
    found, images = read(folder, DataOptions(image_size=48))
    assert found.layout.image_set.image_shape == (48, 48, 3)
    assert images["train"][0][2].shape == (48, 48, 3)


def test_verify_reads_every_picture_and_compares_it_with_the_sums(folder, said):
    assert len(verify_pictures(folder, said).pictures) == 18
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}"
        for path in sorted(folder.rglob("*.png"))
    ]
    (folder / "SHA256SUMS").write_text("\n".join(sums))
    verify_pictures(folder, said)
    (folder / "train/rose/0.png").write_bytes(picture((5, 5, 5)))
    (folder / "val/sky/1.png").unlink()
    (folder / "train/sky/2.png").write_bytes(b"")
    with pytest.raises(ValueError, match="cannot be used") as refusal:
        verify_pictures(folder, said)
    for what in ("rose/0.png has SHA-256", "sky/1.png is in SHA256SUMS", "sky/2.png is empty"):
        assert what in str(refusal.value)


# Without folders for the splits


def test_a_picture_never_changes_sides(tmp_path, read):
    root = tmp_path / "flat"
    for number in range(60):
        name = list(CLASSES)[number % 3]
        write(root, **{f"{name}__{number}.png": picture((number * 4, number, 9))})
    _, before = read(root)
    sides = {pixels.tobytes(): split for split in before for _, _, pixels in before[split]}
    assert 1 <= len(before["eval"]) <= 15
    for path in sorted(root.rglob("*.png"))[::2]:
        path.unlink()
    for path in sorted(root.rglob("*.png")):
        path.rename(path.with_name(f"renamed-{path.name}"))
    for number in range(40):
        write(root, **{f"rose__new{number}.png": picture((3, number * 5, 200))})
    _, after = read(root)
    moved = [
        key
        for split in after
        for key, _, pixels in after[split]
        if sides.get(pixels.tobytes(), split) != split
    ]
    assert moved == []


# Archives


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_an_archive_holds_what_its_folder_does(folder, read, tmp_path, kind):
    _, expected = read(folder)
    archive = tmp_path / f"flowers.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as zipped:
            for path in sorted(folder.rglob("*")):
                zipped.write(path, f"flowers/{path.relative_to(folder)}")
    else:
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(folder, "flowers")
    found, images = read(archive)
    assert found.source == "archive"
    for split in expected:
        keys, names, pixels = zip(*images[split], strict=True)
        wanted_keys, wanted_names, wanted_pixels = zip(*expected[split], strict=True)
        assert (keys, names) == (wanted_keys, wanted_names)
        np.testing.assert_array_equal(pixels, wanted_pixels)


def test_a_zip_that_reaches_outside_is_refused(tmp_path, read):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as zipped:
        zipped.writestr("../escaped/a.png", picture(RED))
    with pytest.raises(
        ValueError, match=r"'\.\./escaped/a\.png', whose path leaves the folder"
    ):
        read(tmp_path / "evil.zip")


# Kinds of pictures


def test_every_kind_of_picture_becomes_rgb_of_eight_bits(tmp_path, read):
    root = tmp_path / "kinds"
    grey16 = io.BytesIO()
    Image.fromarray(np.full((40, 40), 128 * 256 + 77, np.uint16)).save(grey16, "PNG")
    animated = io.BytesIO()
    frames = [Image.new("P", (40, 40), 1), Image.new("P", (40, 40), 2)]
    for frame in frames:
        frame.putpalette([0, 0, 0, *RED, *GREEN])
    frames[0].save(animated, "GIF", save_all=True, append_images=frames[1:])
    alpha, cmyk, grey = io.BytesIO(), io.BytesIO(), io.BytesIO()
    Image.new("RGBA", (40, 40), (*RED, 0)).save(alpha, "PNG")
    Image.new("CMYK", (40, 40), (0, 255, 255, 0)).save(cmyk, "JPEG", quality=100)
    Image.new("L", (40, 40), 90).save(grey, "PNG")
    expected = {
        "animated.gif": (animated, RED),
        "alpha.png": (alpha, RED),
        "cmyk.jpg": (cmyk, (255, 0, 0)),
        "grey.png": (grey, (90, 90, 90)),
        "grey16.png": (grey16, (128, 128, 128)),
        "wrong.png": (io.BytesIO(picture(BLUE, kind="JPEG", quality=100)), BLUE),
        "small.webp": (io.BytesIO(picture(GREEN, (3, 5), "WEBP", lossless=True)), GREEN),
        "no-suffix": (io.BytesIO(picture(GREEN, (300, 20), "BMP")), GREEN),
    }
    for name, (file, _) in expected.items():
        write(root, **{f"train__one__{name}": file.getvalue()})
    write(
        root, train__two__a=picture(RED), eval__one__a=picture(RED), eval__two__a=picture(RED)
    )
    _, images = read(root)
    found = {key.split("/")[-1]: pixels for key, name, pixels in images["train"]}
    for name, (_, colour) in expected.items():
        assert np.abs(found[name].astype(int) - colour).max() <= 3, name


def test_a_photograph_is_upright():
    image = Image.new("RGB", (60, 40), BLUE)
    image.paste(RED, (0, 0, 60, 20))  # red above, as the camera saw it
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter when it is shown
    file = io.BytesIO()
    image.save(file, "PNG", exif=exif)
    pixels = picture_file.decode(file.getvalue(), 32)
    assert pixels[16, 2].tolist() == list(BLUE)
    assert pixels[16, 29].tolist() == list(RED)


def test_training_resizes_as_the_model_server_does():
    import tensorflow as tf

    from trainer_module import export

    draws = np.random.default_rng(0).integers(0, 256, (150, 90, 3), np.uint8)
    smooth = Image.fromarray(draws).resize((90, 150), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    smooth.save(file, "PNG")
    (served,) = export.decode_images(tf.constant([file.getvalue()]), (32, 32, 3)).numpy()
    trained = picture_file.decode(file.getvalue(), 32)
    assert np.abs(served.astype(int) - trained).max() <= 1


# Another decoder


@pytest.mark.parametrize("is_archive", [False, True])
def test_pictures_that_another_decoder_converted_are_converted_again(
    folder, read, tmp_path, monkeypatch, is_archive
):
    data = folder
    if is_archive:
        data = tmp_path / "flowers.tar.gz"
        with tarfile.open(data, "w:gz") as tar:
            tar.add(folder, "flowers")
    before, _ = read(data)
    decode = picture_file.decode
    monkeypatch.setattr(picture_file, "decode", lambda *given: 255 - decode(*given))
    monkeypatch.setattr(picture_file, "CONVERSION", picture_file.CONVERSION + 1)
    after, images = read(data)
    for _, name, pixels in images["train"] + images["eval"]:
        assert np.abs(255 - pixels.astype(int) - CLASSES[name]).max() <= 4
    assert after.fingerprint != before.fingerprint
    assert after.eval_fingerprint != before.eval_fingerprint


def test_other_pixels_need_another_number_of_the_conversion(tmp_path, read):
    """If this fails, raise CONVERSION, and write it and the new checksum here."""
    shades = np.arange(35 * 55 * 3).reshape(35, 55, 3) * 7 % 256
    image = Image.fromarray(shades.astype(np.uint8))
    grey16 = Image.fromarray((np.arange(40 * 40).reshape(40, 40) * 40).astype(np.uint16))
    turned = Image.Exif()
    turned[0x0112] = 6
    root = tmp_path / "kinds"
    for name, one, kind, options in (
        ("a", image, "PNG", {}),
        ("b", image.convert("RGBA"), "TIFF", {}),
        ("c", image, "PNG", {"exif": turned}),
        ("d", image.convert("P"), "GIF", {}),
        ("e", grey16, "PNG", {}),
        ("f", image, "JPEG", {}),
        ("g", image, "WEBP", {}),
    ):
        for place in (root / "train/one", root / "eval/one"):
            place.mkdir(parents=True, exist_ok=True)
            one.save(place / name, kind, **options)
    for split in ("train", "eval"):
        write(root, **{f"{split}__two__a": picture(RED)})
    _, images = read(root)
    pixels = b"".join(
        one.tobytes() for _, _, one in sorted(images["train"], key=lambda i: i[0])
    )
    found = picture_file.CONVERSION, hashlib.sha256(pixels).hexdigest()[:16]
    assert found == (1, "b48ea4ecdeb42f12")


# What cannot be used: all of it in one message, or left out


@pytest.fixture
def bad(folder, tmp_path, monkeypatch) -> Path:
    """The folder with a file of every kind that cannot be used."""
    monkeypatch.setattr(picture_file, "MAX_PIXELS", 10_000)
    monkeypatch.setattr(picture_folder, "MAX_FILE_BYTES", 100_000)
    rose = folder / "train" / "rose"
    whole = picture((9, 8, 7), kind="JPEG")
    (rose / "empty.png").write_bytes(b"")
    (rose / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (rose / "notes.txt").write_bytes(b"not a picture")
    (rose / "huge.png").write_bytes(picture(RED, (101, 101)))
    (rose / "heavy.png").write_bytes(bytes(100_001))
    (rose / "out.png").symlink_to(tmp_path / "elsewhere.png")
    (tmp_path / "elsewhere.png").write_bytes(picture(RED))
    os.mkfifo(rose / "fifo.png")
    (rose / ".DS_Store").write_bytes(b"hidden")
    (rose / "Thumbs.db").write_bytes(b"hidden")
    (rose / "in.png").symlink_to(folder / "train" / "rose" / "0.png")
    return folder


BAD = {
    "empty.png": "is empty",
    "cut.jpg": "is damaged (",
    "notes.txt": "is not a picture in a known format (PNG, ",
    "huge.png": "has 101×101 pixels, expected at most 10,000",
    "heavy.png": "has 100,001 bytes, expected at most 100,000",
    "out.png": "is a link out of the folder",
    "fifo.png": "is not a file",
}


def test_every_bad_file_is_named_in_one_message(bad, read):
    with pytest.raises(ValueError, match="cannot be used as it is") as refusal:
        read(bad)
    lines = str(refusal.value).splitlines()
    found = {line.split("/")[-1].split(" ")[0]: line for line in lines[1:-1]}
    assert found.keys() == BAD.keys()
    for name, what in BAD.items():
        assert f"train/rose/{name} {what}" in found[name]
    assert "skip_corrupt=true" in lines[-1]


def test_bad_files_are_left_out_and_counted_if_asked(bad, read):
    found, images = read(bad, SKIP)
    assert len(images["train"]) == 13  # with the link that stays inside
    assert found.layout.record.skipped == {
        "too large": 2, "link": 1, "no file": 1, "empty": 1, "damaged": 1, "no picture": 1,
    }  # fmt: skip
    with pytest.raises(ValueError, match="cannot be used"):
        read(bad)


def test_a_class_without_a_picture_left_is_refused(folder, read):
    for path in (folder / "train/sky").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="no picture of class sky in train can be used"):
        read(folder, SKIP)


def class_in_eval_alone(folder):
    (folder / "val/new").mkdir()
    shutil.copy(folder / "val/rose/0.png", folder / "val/new")


def class_in_train_alone(folder):
    shutil.rmtree(folder / "val/sky")


def names_that_differ_in_case(folder):
    for split in ("train", "val"):
        shutil.copytree(folder / split / "rose", folder / split / "Rose")


def no_eval(folder):
    (folder / "val").rename(folder / "extra")


def other_folder(folder):
    write(folder, extra__rose__a=picture(RED))


def linked_class(folder):
    (folder / "train/linked").symlink_to(folder / "train/rose")


def one_class(folder):
    for split in ("train", "val"):
        for name in ("sky", "leaf"):
            shutil.rmtree(folder / split / name)


def ten_thousand_classes(folder):
    for number in range(10_000):
        (folder / f"train/c{number}").mkdir()
        (folder / f"train/c{number}/a").write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (class_in_eval_alone, "class new in eval, but not in train"),
        (class_in_train_alone, "class sky in train, but not in eval"),
        (names_that_differ_in_case, "the classes Rose and rose differ only in case"),
        (no_eval, "there is train/, but none of eval/, val/, test/"),
        (other_folder, "extra/ is beside train/"),
        (linked_class, "train/linked is a link to a folder"),
        (one_class, "there are 1 classes with pictures, expected 2 to 1,000"),
        (ten_thousand_classes, "there are 10,003 classes with pictures, expected 2 to 1,000"),
    ],
)
def test_a_folder_that_is_wrong_is_refused(damage, what, folder, read):
    damage(folder)
    with pytest.raises(ValueError, match="cannot be used as it is") as refusal:
        read(folder)
    assert what in str(refusal.value)
    assert len(str(refusal.value).splitlines()) <= 210


def test_a_class_of_one_picture_is_used(folder, read):
    write(folder, train__one__a=picture((7, 7, 7)), val__one__b=picture((8, 8, 8)))
    found, _ = read(folder)
    assert found.layout.image_set.class_names == ("leaf", "one", "rose", "sky")
