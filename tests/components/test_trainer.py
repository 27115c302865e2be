from components import trainer

CONFIG = {"hyper_parameters": {"rate": 0.1, "steps": 20}, "checkpoint_dir": "checkpoints/abc"}


def test_without_a_tuner_the_config_stays():
    assert trainer.with_found_values(CONFIG, None) == CONFIG


def test_what_a_tuner_found_takes_the_place_of_what_was_set():
    found = trainer.with_found_values(CONFIG, {"space": [], "values": {"rate": 0.3}})
    assert found["hyper_parameters"] == {"rate": 0.3, "steps": 20}


def test_other_values_are_trained_in_another_folder():
    folders = {
        trainer.with_found_values(CONFIG, {"values": {"rate": rate}})["checkpoint_dir"]
        for rate in (0.3, 0.3, 0.2)
    }
    assert len(folders | {CONFIG["checkpoint_dir"]}) == 3
    assert all(folder.startswith("checkpoints/abc-") for folder in folders)
