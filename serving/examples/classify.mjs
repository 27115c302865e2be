// Classifies image files. Needs Node 18 or newer, and no packages.
// Usage: node classify.mjs http://127.0.0.1:8501 cifar10 cat.png dog.jpg …
import { readFile } from "node:fs/promises";

const [server, model, ...images] = process.argv.slice(2);

const instances = await Promise.all(
  images.map(async (image) => ({ b64: (await readFile(image)).toString("base64") })),
);
const reply = await fetch(`${server}/v1/models/${model}:predict`, {
  method: "POST",
  body: JSON.stringify({ signature_name: "predict_image_bytes", instances }),
});
const { predictions, error } = await reply.json();
if (error) throw new Error(error);

images.forEach((image, i) => {
  const { classes, probabilities } = predictions[i];
  console.log(`${image}: ${classes} (${(Math.max(...probabilities) * 100).toFixed(1)}%)`);
});
