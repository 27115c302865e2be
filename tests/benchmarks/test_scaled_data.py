import numpy as np

from benchmarks import scaled_data


def records(path) -> np.ndarray:
    return np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, 3073)


def test_three_times_the_data_is_three_times_the_batches(cifar_dir, tmp_path):
    scaled_data.write(cifar_dir, tmp_path / "scaled", 3)
    assert len(list((tmp_path / "scaled").glob("data_batch_*.bin"))) == 15
    first = (cifar_dir / "data_batch_2.bin").read_bytes()
    assert (tmp_path / "scaled/data_batch_2.bin").read_bytes() == first
    assert len(records(tmp_path / "scaled/test_batch.bin")) == 60


def test_copies_have_the_same_labels_and_other_images(cifar_dir, tmp_path):
    scaled_data.write(cifar_dir, tmp_path / "scaled", 20)
    copies = [records(tmp_path / f"scaled/data_batch_{5 * copy + 1}.bin") for copy in range(20)]
    for copy in copies:
        assert (copy[:, 0] == copies[0][:, 0]).all()
        assert (copy != copies[0]).sum(axis=1).max() <= 2
    assert len({copy[0].tobytes() for copy in copies}) == 20
