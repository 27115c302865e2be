import tensorflow as tf

from report import training


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
    assert training.read_scalars(str(tmp_path)) == {"total_loss/raw": [(0, 4.5), (20, 2.25)]}


def test_a_long_curve_is_thinned_and_keeps_its_end():
    points = [(step, 1.0) for step in range(1001)]
    thinned = training.thin(points)
    assert len(thinned) <= training.MAX_POINTS
    assert thinned[-1] == (1000, 1.0)
    assert thinned == sorted(thinned)
    assert training.thin(points[:3]) == points[:3]
    assert training.thin([]) == []
