import tensorflow as tf

from contract import event_files


def write_events(folder, *points: tuple[int, float]) -> None:
    with tf.Graph().as_default():
        writer = tf.compat.v1.summary.FileWriter(str(folder))
        for step, value in points:
            summary = tf.compat.v1.Summary()
            summary.value.add(tag="total_loss/raw", simple_value=value)
            writer.add_summary(summary, step)
        writer.close()


def test_curves_are_what_the_event_files_hold(tmp_path):
    write_events(tmp_path, (0, 4.5), (20, 2.25))
    assert event_files.read_scalars(str(tmp_path)) == {"total_loss/raw": [(0, 4.5), (20, 2.25)]}


def test_a_torn_file_is_read_up_to_the_tear_and_the_next_one_goes_on(tmp_path, caplog):
    write_events(tmp_path, (0, 4.5), (20, 2.25))
    (torn,) = tmp_path.iterdir()
    torn.write_bytes(torn.read_bytes()[:-3])
    (tmp_path / "events.out.tfevents.1.empty").touch()
    write_events(tmp_path / "next", (20, 2.5), (40, 1.5))
    (later,) = (tmp_path / "next").iterdir()
    later.rename(tmp_path / "events.out.tfevents.9999999999.later")
    points = event_files.read_scalars(str(tmp_path))["total_loss/raw"]
    assert points == [(0, 4.5), (20, 2.5), (40, 1.5)]
    assert f"{torn} is truncated; the events before that are used" in caplog.text
