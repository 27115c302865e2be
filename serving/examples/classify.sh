#!/bin/sh
# Classifies one image file. Usage: classify.sh cat.png [http://HOST:PORT [MODEL]]
set -eu
image=$1
server=${2:-http://127.0.0.1:8501}
model=${3:-cifar10}

base64 -w0 "$image" |
    sed 's/.*/{"signature_name": "predict_image_bytes", "instances": [{"b64": "&"}]}/' |
    curl -sS --fail-with-body -d @- "$server/v1/models/$model:predict"
