import threading

from contract import events
from contract.events import WorkDone


def test_work_of_many_threads_is_counted_together():
    seen: list[WorkDone] = []

    def work() -> None:
        for _ in range(100):
            events.advance(2)

    with events.sent_to(seen.append):
        events.begin(800, "images")
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {event.done for event in seen} == set(range(2, 801, 2))
    assert {(event.total, event.unit) for event in seen} == {(800, "images")}


def test_nobody_listens_any_more_after_the_block():
    seen: list[WorkDone] = []
    with events.sent_to(seen.append):
        pass
    events.send(WorkDone(1, 2, "step"))
    assert seen == []
