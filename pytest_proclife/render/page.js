"use strict";
// All text comes in by textContent: what a program has chosen is never markup.
const DATA = JSON.parse(document.getElementById("data").textContent);
const ZOOMED_IN = 1e-5; // s: the shortest span that is shown
const make = (tag, text, name) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (name) element.className = name;
  return element;
};
const seconds = (value, span) => {
  const digits = Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(span || 1))));
  return value.toFixed(digits) + " s";
};

// --- a run: its scale, its rows

const runs = [...document.querySelectorAll("section.run")].map((section, number) => {
  const data = DATA.runs[number];
  const rows = [...section.querySelectorAll("tr.process")].map((row, index) => ({
    row,
    data: data.processes[index],
    button: row.querySelector("button"),
    details: null,
  }));
  return {
    section, data, rows,
    chart: section.querySelector(".chart"),
    axis: section.querySelector(".axis"),
    from: 0,
    span: data.duration || 1,
    current: rows[0],
  };
});
const rowOf = new Map();
for (const run of runs) for (const row of run.rows) rowOf.set(row.row, [run, row]);

function show(run, from, span) {
  const whole = run.data.duration || 1;
  run.span = Math.min(whole, Math.max(ZOOMED_IN, span));
  run.from = Math.min(whole - run.span, Math.max(0, from));
  run.chart.style.setProperty("--from", run.from);
  run.chart.style.setProperty("--span", run.span);
  ticks(run);
}

function zoom(run, factor, at) {
  const centre = at === undefined ? run.from + run.span / 2 : at;
  const span = run.span * factor;
  show(run, centre - (centre - run.from) * (Math.min(span, run.data.duration) / run.span), span);
}

function ticks(run) {
  const width = run.axis.clientWidth || 400;
  const rough = run.span / Math.max(1, Math.floor(width / 75));
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough * 0.999);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const last = run.from + run.span * (1 - 55 / width); // its words have to fit in
  const marks = [];
  for (let n = Math.ceil(run.from / step - 1e-9); n * step < last; n++) {
    const mark = make("span", (n * step).toFixed(digits) + " s");
    mark.style.setProperty("--a", n * step);
    marks.push(mark);
  }
  run.axis.replaceChildren(...marks);
}

// --- what is known of a process

function section(title, kind, content) {
  const parts = [make("h3", title)];
  if (kind === "text") {
    parts.push(make("pre", content));
  } else if (kind === "values") {
    const list = make("dl");
    for (const [label, value] of content) list.append(make("dt", label), make("dd", value));
    parts.push(list);
  } else {
    const table = make("table");
    table.setAttribute("aria-label", title);
    const head = table.createTHead().insertRow();
    for (const word of ["at", "stated by", "fact"]) {
      const cell = make("th", word);
      cell.scope = "col";
      head.append(cell);
    }
    const body = table.createTBody();
    for (const [at, source, words] of content) {
      const row = body.insertRow();
      row.append(make("td", at, "at number"), make("td", source), make("td", words));
    }
    parts.push(table);
  }
  return parts;
}

function toggle(found, open = !found.details) {
  if (open === Boolean(found.details)) return;
  found.button.setAttribute("aria-expanded", String(open));
  found.row.classList.toggle("open", open);
  if (!open) {
    found.details.remove();
    found.details = null;
    return;
  }
  const row = make("tr", undefined, "details");
  const cell = row.appendChild(make("td"));
  row.setAttribute("role", "row");
  cell.setAttribute("role", "cell");
  cell.setAttribute("aria-colspan", "6");
  cell.colSpan = 6;
  for (const [title, kind, content] of found.data.sections) {
    cell.append(...section(title, kind, content));
  }
  found.row.after(row);
  found.details = row;
}

// --- filters

const form = document.getElementById("filters");
const test = document.getElementById("test");
const find = document.getElementById("find");
const count = document.getElementById("count");
const causes = [...form.querySelectorAll("input[type=checkbox]")];

function filter() {
  const wanted = new Set(causes.filter((box) => box.checked).map((box) => box.value));
  const words = find.value.toLowerCase();
  let shown = 0, all = 0;
  for (const run of runs) {
    let here = 0;
    const fits = !test || test.value === "" || test.value === String(run.data.test);
    for (const found of run.rows) {
      all += 1;
      const hit = fits && wanted.has(found.data.cause) &&
        (!words || found.data.find.toLowerCase().includes(words));
      if (found.row.hidden === hit) found.row.hidden = !hit;
      if (found.details) found.details.hidden = !hit;
      here += hit;
    }
    run.section.hidden = here === 0;
    shown += here;
    rove(run);
  }
  count.textContent = `${shown} of ${all} ${all === 1 ? "process" : "processes"}`;
}

// --- keyboard: one row of each run is a tab stop, the arrows go to the others

function rove(run, to) {
  const next = to || (run.current.row.hidden && run.rows.find((r) => !r.row.hidden)) || run.current;
  run.current.button.tabIndex = -1;
  run.current = next;
  next.button.tabIndex = 0;
}

function step(run, way) {
  const visible = run.rows.filter((found) => !found.row.hidden);
  const at = visible.indexOf(run.current);
  const index = { up: at - 1, down: at + 1, first: 0, last: visible.length - 1 }[way];
  const next = visible[Math.min(visible.length - 1, Math.max(0, index))];
  if (next) {
    rove(run, next);
    next.button.focus();
  }
}

const KEYS = {
  ArrowUp: (run) => step(run, "up"),
  ArrowDown: (run) => step(run, "down"),
  Home: (run) => step(run, "first"),
  End: (run) => step(run, "last"),
  ArrowLeft: (run) => show(run, run.from - run.span / 8, run.span),
  ArrowRight: (run) => show(run, run.from + run.span / 8, run.span),
  "+": (run) => zoom(run, 1 / 2),
  "=": (run) => zoom(run, 1 / 2),
  "-": (run) => zoom(run, 2),
  "0": (run) => show(run, 0, run.data.duration),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const target = event.target;
  if (target === find) {
    if (event.key === "Escape" && find.value) {
      find.value = "";
      filter();
    }
    return;
  }
  if (event.key === "/") {
    event.preventDefault();
    find.focus();
    return;
  }
  if (event.key === "Escape") {
    leave();
    for (const run of runs) for (const found of run.rows) toggle(found, false);
    return;
  }
  if (target.matches("input, select")) return; // their keys are their own
  const section = target.closest("section.run");
  const run = section ? runs.find((run) => run.section === section) : runs[0];
  const act = KEYS[event.key];
  const rowAlone = event.key.startsWith("Arrow") || event.key === "Home" || event.key === "End";
  if (!act || !run || (rowAlone && !target.closest("tr.process"))) return;
  event.preventDefault();
  act(run);
});

// --- pointer

const tip = document.body.appendChild(make("div", undefined, "tip"));
tip.setAttribute("aria-hidden", "true"); // the table has it all
tip.hidden = true;
const guide = make("div", undefined, "guide");
let drag = null;

function timeAt(run, event) {
  const box = run.axis.getBoundingClientRect();
  return run.from + ((event.clientX - box.left) / box.width) * run.span;
}

function leave() {
  tip.hidden = true;
  guide.remove();
}

function hover(run, found, event) {
  const at = timeAt(run, event);
  const near = (run.span / (run.axis.clientWidth || 1)) * 6;
  const lines = [found.data.title, found.data.words, `here: ${seconds(at, run.span)}`];
  for (const phase of found.data.phases) {
    if (at >= phase[0] - near && at <= phase[1] + near) {
      lines.push(`${phase[2]}: ${seconds(phase[0], run.span)} to ${seconds(phase[1], run.span)}`);
    }
  }
  for (const mark of found.data.events) {
    if (Math.abs(mark[0] - at) <= near) lines.push(`${seconds(mark[0], run.span)}: ${mark[1]}`);
  }
  tip.textContent = lines.join("\n");
  tip.hidden = false;
  const room = document.documentElement.clientWidth;
  tip.style.left = Math.max(4, Math.min(event.clientX + 14, room - tip.offsetWidth - 4)) + "px";
  const below = event.clientY + 18;
  const fits = below + tip.offsetHeight < innerHeight;
  tip.style.top = (fits ? below : event.clientY - tip.offsetHeight - 12) + "px";
  if (guide.parentNode !== run.chart) run.chart.append(guide);
  guide.style.left = event.clientX - run.chart.getBoundingClientRect().left + "px";
}

for (const run of runs) {
  run.chart.addEventListener("pointermove", (event) => {
    if (drag && drag.run === run && !drag.over) {
      const moved = event.clientX - drag.x;
      drag.far ||= Math.abs(moved) > 4;
      if (drag.far) show(run, drag.from - (moved / (run.axis.clientWidth || 1)) * run.span, run.span);
      return;
    }
    const cell = event.target.closest("td.time");
    const known = cell && rowOf.get(cell.parentNode);
    if (known) hover(run, known[1], event);
    else leave();
  });
  run.chart.addEventListener("pointerleave", leave);
  run.chart.addEventListener("pointerdown", (event) => {
    drag = null;
    if (event.button === 0 && event.target.closest("td.time, th.time")) {
      drag = { run, x: event.clientX, from: run.from, far: false };
      if (event.pointerType !== "touch") event.preventDefault(); // no text is selected
    }
  });
  run.chart.addEventListener("click", (event) => {
    const dragged = event.detail && drag && drag.far; // by a key it is no end of a drag
    drag = null;
    const known = rowOf.get(event.target.closest("tr"));
    if (!known || dragged || (!event.target.closest("button") && String(getSelection()))) return;
    rove(run, known[1]);
    toggle(known[1]);
  });
  run.chart.addEventListener("dblclick", (event) => {
    const cell = event.target.closest("td.time");
    const known = cell && rowOf.get(cell.parentNode);
    if (!known) return;
    const phases = known[1].data.phases;
    const begin = phases[0][0], end = phases[phases.length - 1][1];
    show(run, begin - (end - begin) * 0.05, (end - begin) * 1.1 || run.span / 8);
  });
  run.chart.addEventListener("wheel", (event) => {
    if (!event.target.closest(".time")) return;
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      zoom(run, event.deltaY > 0 ? 1.25 : 0.8, timeAt(run, event));
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      const way = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
      show(run, run.from + (way / 800) * run.span, run.span);
    }
  }, { passive: false });
  run.section.querySelector(".zoom").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) KEYS[button.value](run);
  });
  for (const found of run.rows) found.button.tabIndex = -1;
}
addEventListener("pointerup", () => { if (drag) drag.over = true; }); // the click comes next
addEventListener("resize", () => runs.forEach(ticks));

form.hidden = false;
for (const element of document.querySelectorAll(".zoom, .keys")) element.hidden = false;
form.addEventListener("input", filter);
form.addEventListener("submit", (event) => event.preventDefault());
for (const run of runs) show(run, 0, run.data.duration);
filter();
