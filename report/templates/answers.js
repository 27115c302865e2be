// Opens the pictures behind a cell of the confusion matrix; filters curves and mistakes by class.
const openTarget = () => {
  const target = location.hash.startsWith("#confused-") && document.getElementById(location.hash.slice(1));
  if (!target) return;
  target.closest("details").open = true;
  target.scrollIntoView({ block: "center" });
};
addEventListener("hashchange", openTarget);
openTarget();
for (const link of document.querySelectorAll('.matrix a')) {
  link.addEventListener("click", () => setTimeout(openTarget)); // the same cell again
}
const filterByClass = (names, place, show) => {
  const label = document.createElement("label");
  label.textContent = "Class ";
  label.className = "filters";
  const select = document.createElement("select");
  select.add(new Option("all", ""));
  for (const name of [...new Set(names)].sort()) select.add(new Option(name, name));
  select.addEventListener("input", () => show(select.value));
  label.append(select);
  place.before(label);
};
const mistakes = document.querySelector("#mistakes .mistakes");
if (mistakes) {
  const figures = [...mistakes.querySelectorAll("figure[data-label]")];
  const classes = ({ dataset }) => [dataset.label, dataset.predicted];
  filterByClass(figures.flatMap(classes), mistakes, (name) => {
    for (const figure of figures) figure.hidden = name && !classes(figure).includes(name);
  });
}
for (const drawing of document.querySelectorAll("svg:has([data-series])")) {
  const series = [...drawing.querySelectorAll("[data-series]")];
  filterByClass(series.map((one) => one.dataset.series), drawing, (name) => {
    drawing.dataset.chosen = name; // hover.js reads it
    for (const one of series) one.classList.toggle("faded", name && one.dataset.series !== name);
  });
}
// What is folded on the screen is read on paper.
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details")) folded.open = true;
});
