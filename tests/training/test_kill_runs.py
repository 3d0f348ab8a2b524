import kill_runs


def test_a_run_that_is_killed_ends_as_one_that_is_not():
    figures = kill_runs.run(kills=2, seed=0, steps=12, every=2)
    assert figures["identical"]
    assert figures["killed"] == 2
