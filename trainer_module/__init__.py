"""Our Estimator, which a team replaces by its own."""

# The modules that shape the weights, with everything they import: an edit of them retrains. An
# edit of anything else in this folder only exports the existing checkpoints again.
WEIGHT_MODULES = (
    "trainer_module.model",
    "trainer_module.inputs",
    "trainer_module.preprocessing",
)
