"""Classifies image files, using only the standard library.

Usage: python classify.py cat.png dog.jpg … [--server http://127.0.0.1:8501]
"""

import argparse
import base64
import json
import urllib.request
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("images", nargs="+", type=Path)
parser.add_argument("--server", default="http://127.0.0.1:8501")
parser.add_argument("--model", default="cifar10")
arguments = parser.parse_args()

rows = [{"b64": base64.b64encode(i.read_bytes()).decode()} for i in arguments.images]
body = {"signature_name": "predict_image_bytes", "instances": rows}
url = f"{arguments.server}/v1/models/{arguments.model}:predict"
with urllib.request.urlopen(url, json.dumps(body).encode(), timeout=30) as reply:
    predictions = json.load(reply)["predictions"]

for image, prediction in zip(arguments.images, predictions, strict=True):
    probability = max(prediction["probabilities"])
    print(f"{image.name}: {prediction['classes']} ({probability:.1%})")
