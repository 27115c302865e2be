// Sorts, filters and compares the runs of the table; without scripts the table is still there.
const table = document.getElementById("all-runs");
if (table) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const runs = new Map(JSON.parse(document.getElementById("run-data").textContent).map((run) => [run.id, run]));
  const element = (name, text = "", attributes = {}) => {
    const made = document.createElement(name);
    made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };

  // Sorting: a button in each header.
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent.trim();
  };
  [...table.tHead.rows[0].cells].forEach((header, column) => {
    const button = element("button", "", { type: "button" });
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const down = header.getAttribute("aria-sort") !== "descending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      header.setAttribute("aria-sort", down ? "descending" : "ascending");
      rows.sort((a, b) => {
        const [first, second] = [valueOf(a, column), valueOf(b, column)];
        const order = typeof first === "number" ? first - second : first.localeCompare(second);
        return down ? -order : order;
      });
      body.append(...rows);
    });
  });

  // Filtering.
  const [search, status, shown] = ["search", "status", "shown"].map((id) => document.getElementById(id));
  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word)) || (status.value && row.dataset.status !== status.value);
    }
    shown.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} runs`;
  };
  const form = search.form;
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", filter);
  filter();

  // Comparing: a box in each row.
  const comparison = document.getElementById("comparison");
  document.getElementById("how-to-compare").textContent = "Tick two or more runs in the table above.";
  const chosen = () => rows.filter((row) => row.querySelector("input").checked).map((row) => runs.get(row.dataset.run)).reverse();
  const format = (name, value) => {
    if (value === null || value === undefined) return "–";
    if (typeof value !== "number") return value;
    if (name.includes("accuracy")) return `${(100 * value).toFixed(1)}%`;
    return value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 3 : 0 });
  };
  const compare = (caption, picked, part, differentOnly, nameOfFormat) => {
    const names = [...new Set(picked.flatMap((run) => Object.keys(run[part])))];
    const lines = names.map((name) => [name, ...picked.map((run) => format(nameOfFormat ?? name, run[part][name]))]);
    const kept = lines.filter((line) => !differentOnly || new Set(line.slice(1)).size > 1);
    if (!kept.length) return element("p", `${caption}: no difference.`);
    const made = element("table");
    made.append(element("caption", caption));
    const head = made.createTHead().insertRow();
    head.append(element("td"), ...picked.map((run) => element("th", run.id, { scope: "col" })));
    const content = made.createTBody();
    for (const line of kept) {
      const row = content.insertRow();
      row.append(element("th", line[0], { scope: "row" }), ...line.slice(1).map((text) => element("td", text)));
    }
    const scroll = element("div", "", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption });
    scroll.append(made);
    return scroll;
  };
  const curves = (picked) => {
    const all = picked.flatMap((run) => run.evaluations);
    if (!all.length) return "";
    const [width, height, left, bottom] = [360, 216, 40, 30];
    const most = Math.max(...all.map(([step]) => step));
    const x = (step) => left + (step / most) * (width - left - 10);
    const y = (accuracy) => (1 - accuracy) * (height - bottom - 10) + 10;
    const svg = (name, attributes, text = "") => {
      const made = document.createElementNS("http://www.w3.org/2000/svg", name);
      for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
      made.textContent = text;
      return made;
    };
    const ends = picked.filter((run) => run.evaluations.length).map((run) => `${run.id} ${format("accuracy", run.evaluations.at(-1)[1])}`);
    const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Accuracy on eval over the steps. Ends at: ${ends.join(", ")}` });
    for (const tick of [0, 0.25, 0.5, 0.75, 1]) {
      drawing.append(svg("path", { d: `M${left} ${y(tick)}H${width - 10}`, stroke: "var(--line)" }));
      drawing.append(svg("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end", "font-size": 11, fill: "currentColor" }, `${100 * tick}%`));
    }
    for (const step of [0, most / 2, most]) {
      drawing.append(svg("text", { x: x(step), y: height - 8, "text-anchor": step === most ? "end" : "middle", "font-size": 11, fill: "currentColor" }, Math.round(step).toLocaleString("en")));
    }
    picked.forEach((run, number) => {
      const colour = `var(--series-${(number % 4) + 1})`;
      const points = run.evaluations.map(([step, accuracy]) => `${x(step)},${y(accuracy)}`);
      drawing.append(svg("polyline", { points: points.join(" "), fill: "none", stroke: colour, "stroke-width": 2, "stroke-dasharray": ["none", "6 3", "2 3"][Math.floor(number / 4) % 3] }));
      for (const [step, accuracy] of run.evaluations) {
        const dot = svg("circle", { cx: x(step), cy: y(accuracy), r: 3, fill: colour });
        dot.append(svg("title", {}, `${run.id}, step ${step.toLocaleString("en")}: ${format("accuracy", accuracy)}`));
        drawing.append(dot);
      }
    });
    const made = element("figure", "", { class: "plot" });
    const legend = element("figcaption", "Accuracy on eval during training: ");
    picked.forEach((run, number) => {
      const swatch = element("span", `● ${run.id} `, { style: `color: var(--series-${(number % 4) + 1})` });
      legend.append(swatch);
    });
    made.append(drawing, legend);
    return made;
  };
  const show = () => {
    const picked = chosen();
    comparison.replaceChildren();
    if (picked.length < 2) return;
    comparison.append(
      curves(picked),
      compare("Numbers", picked, "numbers", false),
      compare("Settings that differ", picked, "settings", true),
      compare("Accuracy on each class", picked, "classes", false, "accuracy"),
      compare("Stages", picked, "stages", false),
    );
  };
  for (const row of rows) {
    const box = element("input", "", { type: "checkbox", "aria-label": `Compare ${row.dataset.run}` });
    box.addEventListener("change", show);
    row.querySelector(".pick").append(box);
  }
}
