"""The Estimator model: what a team replaces to run its own."""

# What shapes the weights, together with all that these import: an edit of it trains anew. After
# an edit of anything else in this folder, the checkpoints that are there are exported again.
WEIGHT_MODULES = (
    "trainer_module.model",
    "trainer_module.inputs",
    "trainer_module.preprocessing",
)
