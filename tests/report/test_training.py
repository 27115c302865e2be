from report import training


def test_a_long_curve_is_thinned_and_keeps_its_end():
    points = [(step, 1.0) for step in range(1001)]
    thinned = training.thin(points)
    assert len(thinned) <= training.MAX_POINTS
    assert thinned[-1] == (1000, 1.0)
    assert thinned == sorted(thinned)
    assert training.thin(points[:3]) == points[:3]
    assert training.thin([]) == []
