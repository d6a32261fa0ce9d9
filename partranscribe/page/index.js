// Fills the table of a batch, sorts it and searches in it; below common.js.

const percent = (share) => (100 * share).toFixed(1);
const clock = (seconds) => {
  const whole = Math.round(seconds), hours = Math.floor(whole / 3600), two = (value) => String(value).padStart(2, "0");
  const minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
};
const COLUMNS = [
  { key: "name", title: "File" },
  { key: "duration_s", title: "Duration", show: clock, total: true },
  { key: "notes", title: "Notes", show: (count) => count.toLocaleString("en"), total: true },
  { key: "note_f1", title: "Note F1", show: percent, what: "Note F1 in %" },
  { key: "note_offset_f1", title: "+ offset", show: percent, what: "Note and offset F1 in %" },
  { key: "note_offset_velocity_f1", title: "+ velocity", show: percent, what: "Note, offset and velocity F1 in %" },
  { key: "duration_accuracy", title: "Duration acc.", show: percent, what: "Note duration accuracy in %" },
  { key: "status", title: "Status" },
].filter(({ key }) => key in { name: 1, status: 1 } || data.rows.some((row) => row[key] !== null));
const SIGNS = { // shapes, as colour alone is not seen by all
  done: "M4 10.5l4 4 8-9", kept: "M4 7h12M4 13h12", failed: "M5 5l10 10M15 5L5 15", "not begun": "M10 4v7M10 15v.5",
};
const inOrder = new Intl.Collator("en", { numeric: true }).compare; // 2 comes before 10

const ROWS_AT_ONCE = 200;

let sorted = { key: null, falling: false };
let status = null; // the only one to show; null for all

function element(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function sign(name) {
  const space = "http://www.w3.org/2000/svg";
  const picture = document.createElementNS(space, "svg"), path = document.createElementNS(space, "path");
  picture.setAttribute("viewBox", "0 0 20 20");
  picture.setAttribute("aria-hidden", "true");
  path.setAttribute("class", "line");
  path.setAttribute("d", SIGNS[name]);
  picture.append(path);
  return picture;
}

// ---------------------------------------------------------------- rows

function nameCell(row) {
  const cell = element("th", "", { scope: "row" });
  const name = element("bdi", row.name, { dir: "auto" });
  const link = row.page === null ? name : element("a", "", { href: row.page });
  if (link !== name) link.append(name);
  cell.append(link);
  return cell;
}

function statusCell(row) {
  const cell = element("td", "", { class: "status" });
  const word = element("span", "", { class: row.status.replace(" ", "-") });
  word.append(sign(row.status), row.status);
  cell.append(word);
  if (row.reason && row.status !== "kept") cell.append(element("small", row.reason));
  return cell;
}

function rowElement(row) {
  const made = document.createElement("tr");
  for (const { key, show } of COLUMNS) {
    if (key === "name") made.append(nameCell(row));
    else if (key === "status") made.append(statusCell(row));
    else made.append(element("td", row[key] === null ? "–" : show(row[key]), { class: "number" }));
  }
  return made;
}

const rows = data.rows.map((row, place) => ({
  ...row, place, words: `${row.name}\n${row.status}\n${row.reason}`.toLowerCase(),
}));
let shown = rows; // those that fit, in their order; the table holds the first of them

/** Put the next rows into the table: only as many as are looked at, as there may be thousands. */
function addRows() {
  const next = shown.slice(by("rows").children.length).slice(0, ROWS_AT_ONCE);
  by("rows").append(...next.map((row) => (row.element ??= rowElement(row))));
  by("more").hidden = by("rows").children.length === shown.length;
}

function compare(one, other) {
  const { key, falling } = sorted;
  if (key === null) return one.place - other.place;
  const [a, b] = [one[key], other[key]];
  if (a === null || b === null) return (a === null) - (b === null) || one.place - other.place; // always last
  const order = typeof a === "string" ? inOrder(a, b) : a - b;
  return (falling ? -order : order) || one.place - other.place;
}

/** Sums and means of what is shown. */
function meansElement() {
  const made = document.createElement("tr");
  for (const { key, show, total } of COLUMNS) {
    const values = shown.map((row) => row[key]).filter((value) => typeof value === "number");
    const sum = values.reduce((before, value) => before + value, 0);
    if (key === "name") made.append(element("th", "Total, mean of scores", { scope: "row" }));
    else if (key === "status") made.append(element("td"));
    else made.append(element("td", values.length ? show(total ? sum : sum / values.length) : "–", { class: "number" }));
  }
  return made;
}

function refresh() {
  const words = by("search").value.toLowerCase().split(/\s+/);
  const fits = (row) => (status === null || row.status === status) && words.every((word) => row.words.includes(word));
  shown = rows.filter(fits).sort(compare);
  by("rows").replaceChildren();
  addRows();
  by("means").replaceChildren(meansElement());
  by("means").hidden = shown.length < 2;
  by("nothing").hidden = shown.length > 0;
  by("shown").textContent = shown.length === rows.length ? "" : `${shown.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")}`;
  for (const heading of by("columns").children) {
    const { key } = heading.dataset;
    if (key === sorted.key) heading.setAttribute("aria-sort", sorted.falling ? "descending" : "ascending");
    else heading.removeAttribute("aria-sort");
  }
  for (const button of by("statuses").children) {
    button.setAttribute("aria-pressed", String(status === null || button.dataset.status === status));
  }
}

// ---------------------------------------------------------------- controls

/** First rising, then falling, then as the batch was given. */
function sortBy(key) {
  if (sorted.key !== key) sorted = { key, falling: false };
  else sorted = sorted.falling ? { key: null, falling: false } : { key, falling: true };
  refresh();
}

function fillHead() {
  const seconds = rows.reduce((before, row) => before + (row.duration_s ?? 0), 0);
  const count = rows.length === 1 ? "1 recording" : `${rows.length.toLocaleString("en")} recordings`;
  by("subtitle").textContent = `${count}, ${clock(seconds)}${data.interrupted ? ", interrupted before the end" : ""}`;
  by("made-by").textContent = data.made_by;
  for (const { key, title, show, what } of COLUMNS) {
    const heading = element("th", "", { scope: "col", "data-key": key, class: show ? "number" : "" });
    const button = element("button", title, { type: "button", title: what ?? title });
    button.addEventListener("click", () => sortBy(key));
    heading.append(button);
    by("columns").append(heading);
  }
  for (const name of Object.keys(SIGNS)) {
    const many = rows.filter((row) => row.status === name).length;
    if (!many) continue;
    const button = element("button", `${name} `, { type: "button", "data-status": name });
    button.append(element("b", many.toLocaleString("en")));
    button.addEventListener("click", () => {
      status = status === name ? null : name;
      refresh();
    });
    by("statuses").append(button);
  }
}

function listen() {
  by("search").addEventListener("input", refresh);
  by("more").addEventListener("click", addRows);
  const watch = new IntersectionObserver((seen) => {
    if (!seen.some((one) => one.isIntersecting)) return;
    addRows();
    watch.unobserve(by("more"));  // who jumps to the new end at once never leaves it, and would not be seen again
    watch.observe(by("more"));
  }, { rootMargin: "600px" });
  watch.observe(by("more"));
  by("clear").addEventListener("click", () => {
    by("search").value = "";
    status = null;
    refresh();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && event.target !== by("search")) {
      event.preventDefault();
      by("search").focus();
    }
  });
  followTheme(() => {});
}

fillHead();
listen();
refresh();
