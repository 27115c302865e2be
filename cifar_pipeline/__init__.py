"""The pipeline from Python, as in a notebook: run it, load a run, predict, compare.

```
import cifar_pipeline

run = cifar_pipeline.run("smoke", data="sample", train_steps=100)
cifar_pipeline.predict(["cat.png"], run)[0].class_name
cifar_pipeline.compare(*cifar_pipeline.list_runs())
```
"""

from cifar_pipeline.functions import compare, list_runs, load_run, predict, run

__all__ = ["compare", "list_runs", "load_run", "predict", "run"]
