"""The report of a run: reads facts from its artifacts and renders one self-contained page."""
