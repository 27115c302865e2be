// Opens the pictures behind a cell of the confusion matrix, and filters mistakes by class.
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
const mistakes = document.querySelector("#mistakes .mistakes");
if (mistakes) {
  const figures = [...mistakes.querySelectorAll("figure[data-label]")];
  const names = [...new Set(figures.flatMap((figure) => [figure.dataset.label, figure.dataset.predicted]))].sort();
  const label = document.createElement("label");
  label.textContent = "Class ";
  const select = document.createElement("select");
  for (const name of ["all", ...names]) select.add(new Option(name, name === "all" ? "" : name));
  select.addEventListener("input", () => {
    for (const figure of figures) {
      figure.hidden = select.value && ![figure.dataset.label, figure.dataset.predicted].includes(select.value);
    }
  });
  label.append(select);
  label.className = "filters";
  mistakes.before(label);
}
// What is folded on the screen is read on paper.
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details")) folded.open = true;
});
