"""The TFX nodes of the pipeline."""
