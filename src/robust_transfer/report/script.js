"use strict";
// The report's own behaviour: tables are sorted, and a number shows where it comes from. Texts only ever become text
// nodes, whatever they hold.
const data = JSON.parse(document.getElementById("data").textContent);
const dialog = document.getElementById("trace");

function make(tag, options = {}, ...children) {
  const element = Object.assign(document.createElement(tag), options);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// ---- sorting -----------------------------------------------------------------------------------------------------

function keyOf(row, column) {
  const text = row.cells[column].innerText.trim();
  const number = parseFloat(text.replace(/^[^\d+-]*</, "").replace(/,/g, "").replace("−", "-"));
  return { text, number };
}

function sort(header) {
  const ascending = header.getAttribute("aria-sort") === "descending" || !header.hasAttribute("aria-sort");
  for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const numeric = header.matches(".number, .value, .published");
  for (const body of header.closest("table").tBodies) {
    const rows = [...body.rows].filter((row) => !row.classList.contains("rule"));
    const keyed = rows.map((row) => ({ row, ...keyOf(row, header.cellIndex) }));
    keyed.sort((a, b) => {
      if (numeric && isNaN(a.number) !== isNaN(b.number)) return isNaN(a.number) ? 1 : -1; // what is empty stays below
      const order = numeric && !isNaN(a.number) ? a.number - b.number : a.text.localeCompare(b.text, "en", { numeric: true });
      return ascending ? order : -order;
    });
    body.append(...keyed.map((each) => each.row));
  }
}

for (const header of document.querySelectorAll(".sortable thead th")) {
  header.tabIndex = 0;
  header.addEventListener("click", () => sort(header));
  header.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      sort(header);
    }
  });
}

// ---- where a number comes from -----------------------------------------------------------------------------------

const short = (value) => (value === null || value === undefined ? "–" : Number(value.toPrecision(4)).toString());
const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value));

function numberLine(cell) {
  const [, , metric, numbers] = cell;
  if (!numbers) return make("p", {}, make("span", { className: "big" }, metric));
  const [value, low, high, n, seeds, published] = numbers;
  const parts = [metric];
  if (low !== null) parts.push(`95 % interval ${short(low)} to ${short(high)}`);
  if (n) parts.push(`n = ${n}`);
  if (seeds > 1) parts.push(`mean over ${seeds} seeds`);
  if (published !== null) parts.push(`published ${short(published)}`);
  return make("p", {}, make("span", { className: "big" }, short(value)), " ", parts.join(", "));
}

function list(pairs) {
  const found = make("dl");
  for (const [key, value, className] of pairs) found.append(make("dt", {}, key), make("dd", { className: className || "" }, value));
  return found;
}

function nodeTree(role, index, depth, seen) {
  const [id, kind, state, parents, changed, defaults, places, how, started, seconds, metrics, command] = data.nodes[index];
  const title = [role + ": ", make("span", { className: "kind" }, data.texts[kind]), " ", id];
  if (seen.has(index)) return make("div", { className: "node" }, ...title, " (above)");
  seen.add(index);
  const about = [];
  if (state !== "made") about.push(["state", state]);
  if (started) about.push(["made", `${started}, ${seconds} s, ${data.texts[how]}`]);
  for (const [key, value] of metrics) about.push([key, shown(value)]);
  for (const [part, key, layers, words] of data.specs[places]) {
    about.push(["config", `${part ? part + " as " : ""}${key} (${layers.join(", ")})`]);
    for (const word of words) about.push(["", word]);
  }
  about.push(["alone", data.texts[command].replace("{}", () => id), "command"]);
  const open = make("details", { className: "node", open: depth < 2 }, make("summary", {}, ...title), list(about));
  const values = data.specs[changed];
  if (values.length) open.append(make("p", { className: "count" }, "Values that differ from the defaults"), list(values.map(([path, value]) => [path, shown(value)])));
  const rest = data.specs[defaults];
  if (rest.length) open.append(make("details", {}, make("summary", {}, `${rest.length} values left at their defaults`), list(rest.map(([path, value]) => [path, shown(value)]))));
  for (const [parentRole, parent] of parents) open.append(nodeTree(parentRole, parent, depth + 1, seen));
  return open;
}

function show(productIndex, cellIndex) {
  const product = data.products[productIndex];
  const cell = product.cells[cellIndex];
  const [row, column, , , replicates] = cell;
  document.getElementById("trace-title").textContent = [`${product.key}: ${row}`, column].filter(Boolean).join(", ");
  const seen = new Set();
  const trees = replicates.flatMap((roles, seed) => [
    replicates.length > 1 ? make("h3", {}, `Seed ${seed + 1} of ${replicates.length}`) : null,
    ...roles.map(([role, index]) => nodeTree(role, index, 0, seen)),
  ]);
  const command = make("p", {}, make("code", {}, product.command + " " + [row, column].filter(Boolean).map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ")));
  const none = replicates.every((roles) => !roles.length) ? make("p", {}, "A printed number; nothing was measured for it.") : null;
  document.getElementById("trace-body").replaceChildren(
    ...[numberLine(cell), make("p", { className: "note" }, product.measured), none ? null : command, none, ...trees].filter(Boolean));
  dialog.showModal();
  dialog.scrollTop = 0;
}

function points(details) {
  const index = Number(details.dataset.product);
  const rows = data.products[index].cells.map(([row, column, metric, numbers], i) => {
    const button = make("button", { type: "button" }, row);
    button.dataset.cell = `${index}.${i}`;
    return make("tr", {}, make("td", {}, button), make("td", {}, column), make("td", {}, metric), make("td", { className: "number" }, numbers ? short(numbers[0]) : ""));
  });
  const head = make("tr", {}, ...["row", "column", "shows", "value"].map((text) => make("th", {}, text)));
  details.append(make("div", { className: "scroll" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows))));
}

for (const details of document.querySelectorAll("details.points")) details.addEventListener("toggle", () => points(details), { once: true });

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-cell]");
  if (button) show(...button.dataset.cell.split(".").map(Number));
  else if (event.target === dialog) dialog.close(); // the backdrop
});

// Paper shows what is folded away.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("main details:not(.points)")) details.open = true;
});
