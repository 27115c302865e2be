"""The report of a run: facts read from its artifacts, one self-contained page made of them."""
