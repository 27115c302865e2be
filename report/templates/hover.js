// Shows the values of a plot's nearest points beside the pointer.
const MOST = 12; // lines beside the pointer; of more, the nearest alone
for (const drawing of document.querySelectorAll("svg[data-points]")) {
  const all = JSON.parse(drawing.dataset.points); // x, y in the drawing's units; words; any series
  if (!all.length) continue;
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  tip.setAttribute("aria-hidden", "true");
  drawing.parentElement.append(tip);
  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    const unit = drawing.viewBox.baseVal.width / box.width;
    const [x, y] = [(event.clientX - box.left) * unit, (event.clientY - box.top) * unit];
    const chosen = drawing.dataset.chosen;
    const points = all.filter((point) => !chosen || point[3] === chosen);
    const distance = ([px, py]) => Math.abs(px - x) + Math.abs(py - y) / 1000;
    const nearest = points.reduce((best, point) => (distance(point) < distance(best) ? point : best));
    const beside = points.filter((point) => Math.abs(point[0] - nearest[0]) < 0.5);
    const shown = beside.length > MOST ? [nearest] : beside.sort((a, b) => a[1] - b[1]);
    tip.textContent = shown.map((point) => point[2]).join("\n");
    tip.hidden = false;
    tip.style.top = `${event.clientY - box.top + 12}px`;
    tip.style.left = `${Math.min(event.clientX - box.left + 12, Math.max(box.width - tip.offsetWidth, 0))}px`;
  });
  drawing.addEventListener("pointerleave", () => { tip.hidden = true; });
}
