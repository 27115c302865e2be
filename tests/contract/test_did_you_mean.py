from contract.did_you_mean import did_you_mean


def test_the_name_that_is_most_alike_is_offered():
    assert did_you_mean("train_step", ["eval_every_steps", "train_steps"]) == (
        " Did you mean train_steps?"
    )
    assert did_you_mean("xyz", ["train_steps"]) == ""
    assert did_you_mean("quik", {"smoke": 1, "quick": 2}) == " Did you mean quick?"
