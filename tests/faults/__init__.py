"""Runs that are killed, stopped, starved and damaged: `make test-faults`."""
