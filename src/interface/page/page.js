"use strict";

const PERIOD_MS = 2000;
const SAMPLES = 150; // five minutes
const SAMPLES_FIRST = 30; // what the charts have room for before they are squeezed
const COLUMNS = ["Slot", "State", "Process", "Generation", "Up", "Waiting", "Memory", "CPU",
                 "Restarts", "Last exit", "Status"];
const KINDS = {
  up: "good", ready: "good", running: "good", starting: "busy", replacing: "busy",
  reloading: "busy", draining: "busy", stopping: "busy", backoff: "bad", broken: "bad",
  hung: "bad", down: "idle",
};
const SVG = "http://www.w3.org/2000/svg";

const pools = new Map(); // name -> what is shown of it
let answeredAt = null;
let timer = 0;

const byId = (id) => document.getElementById(id);

function duration(seconds) {
  const units = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => seconds >= size);
  if (first < 0) return "0s";
  let rest = Math.floor(seconds);
  return units.slice(first, first + 2).map(([name, size]) => {
    const n = Math.floor(rest / size);
    rest -= n * size;
    return n > 0 ? n + name : "";
  }).filter(Boolean).join(" ");
}

function bytes(n) {
  if (n === null) return "";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let i = 0;
  for (; n >= 1000 && i < units.length - 1; i++) n /= 1000;
  return n.toFixed(n < 10 && i > 0 ? 1 : 0) + " " + units[i];
}

const percent = (share) => share === null ? "" : (share * 100).toFixed(share < 0.1 ? 1 : 0) + " %";
const count = (n) => n === null ? "" : String(n);

// Touches the document only where something changed: what is selected stays so.
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function setPill(element, text, kind) {
  setText(element, text);
  const name = "pill " + (kind || "idle");
  if (element.className !== name) element.className = name;
}

function make(tag, parent, className) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  parent.append(element);
  return element;
}

// As many children as there are items.
function fit(parent, n, create) {
  while (parent.children.length > n) parent.lastElementChild.remove();
  while (parent.children.length < n) create();
  return parent.children;
}

/* Charts */

function makeChart(parent, title, format) {
  const figure = make("figure", parent);
  const caption = make("figcaption", figure);
  setText(make("span", caption), title);
  const most = make("span", caption, "most");
  const value = make("b", caption);
  const svg = document.createElementNS(SVG, "svg");
  const area = document.createElementNS(SVG, "polygon");
  const curve = document.createElementNS(SVG, "polyline");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  area.setAttribute("class", "area");
  curve.setAttribute("class", "curve");
  svg.append(area, curve);
  figure.append(svg);
  return { title, format, most, value, svg, area, curve, samples: [] };
}

function addSample(chart, value) {
  const samples = chart.samples;
  samples.push(value);
  if (samples.length > SAMPLES) samples.shift();
  const most = Math.max(...samples.filter((x) => x !== null), 0);
  const top = most || 1;
  const width = Math.max(samples.length, SAMPLES_FIRST);
  const first = width - samples.length;
  const points = samples
    .map((x, i) => x === null ? null : `${first + i},${(42 - 40 * x / top).toFixed(1)}`)
    .filter((point) => point !== null);
  const text = value === null ? "–" : chart.format(value);
  setText(chart.value, text);
  setText(chart.most, "at most " + chart.format(most));
  chart.svg.setAttribute("viewBox", `0 0 ${width - 1} 44`);
  chart.curve.setAttribute("points", points.join(" "));
  chart.area.setAttribute("points", points.length === 0 ? "" :
    `${points[0].split(",")[0]},44 ${points.join(" ")} ${points[points.length - 1].split(",")[0]},44`);
  chart.svg.setAttribute("aria-label",
    `${chart.title}: ${text} now, at most ${chart.format(most)} in the last minutes`);
}

/* Pools */

function makePool(name) {
  const section = byId("pool").content.cloneNode(true).firstElementChild;
  const fields = {};
  for (const element of section.querySelectorAll("[data-field]"))
    fields[element.dataset.field] = element;
  byId("pools").append(section);
  const pool = { section, fields, workers: new Map() };
  setText(fields.name, name);
  section.dataset.pool = name;
  pool.charts = {
    waiting: makeChart(fields.charts, "Waiting", (n) => String(n)),
    cpu: makeChart(fields.charts, "CPU", percent),
    memory: makeChart(fields.charts, "Memory", bytes),
    ready: makeChart(fields.charts, "Ready", (n) => String(n)),
  };
  return pool;
}

// The share of a CPU that each worker used since the last time; null when that is not known yet.
function cpuShares(pool, slots, now) {
  const before = pool.workers;
  pool.workers = new Map();
  return slots.map((slot) => {
    if (slot.pid === null || slot.cpu_s === null) return null;
    const last = before.get(slot.pid);
    pool.workers.set(slot.pid, { cpu: slot.cpu_s, at: now });
    return last && now > last.at ? Math.max(0, slot.cpu_s - last.cpu) / (now - last.at) : null;
  });
}

function sum(values) {
  const known = values.filter((x) => x !== null);
  return known.length > 0 ? known.reduce((a, b) => a + b, 0) : null;
}

function lastExit(exit) {
  if (!exit) return "";
  const how = exit.signal !== null ? "signal " + exit.signal :
    exit.code !== null ? "status " + exit.code : "did not start";
  return `${exit.reason}, ${how}, ${new Date(exit.at).toLocaleTimeString()}`;
}

function showSlot(row, slot, share) {
  const values = [count(slot.slot), null,
    count(slot.pid) + (slot.next_pid ? " → " + slot.next_pid : ""),
    count(slot.generation), slot.uptime_s === null ? "" : duration(slot.uptime_s),
    count(slot.queue), bytes(slot.rss_bytes), percent(share), count(slot.restarts),
    lastExit(slot.last_exit), slot.status];
  values.forEach((value, i) => {
    if (value !== null) setText(row.children[i], value);
  });
  const state = slot.state === "up" && slot.worker_state && slot.worker_state !== "ready" ?
    slot.worker_state : slot.state;
  setPill(row.children[1].firstElementChild, state, KINDS[state]);
}

function makeRow(body) {
  const row = make("tr", body);
  COLUMNS.forEach((label, i) => {
    const cell = make("td", row, i >= 9 ? "text" : "");
    cell.dataset.label = label;
    if (i === 1) make("span", cell);
  });
}

function showListeners(list, listeners) {
  const items = fit(list, listeners.length, () => make("li", list));
  listeners.forEach((l, i) => setText(items[i], l.address + (l.queue === null ? "" :
    `, ${l.queue} of ${l.backlog} waiting`)));
}

function showPool(data, now) {
  let pool = pools.get(data.name);
  if (!pool) pools.set(data.name, pool = makePool(data.name));
  const shares = cpuShares(pool, data.slots, now);
  const ok = data.ready >= data.workers;
  setPill(pool.fields.ready, `${data.ready} of ${data.workers} ready`,
          ok ? "good" : data.ready > 0 ? "busy" : "bad");
  setText(pool.fields.command, data.command);
  showListeners(pool.fields.listeners, data.listeners);
  const rows = fit(pool.fields.slots, data.slots.length, () => makeRow(pool.fields.slots));
  data.slots.forEach((slot, i) => showSlot(rows[i], slot, shares[i]));
  addSample(pool.charts.waiting, sum(data.listeners.map((l) => l.queue)));
  addSample(pool.charts.cpu, sum(shares));
  addSample(pool.charts.memory, sum(data.slots.map((slot) => slot.rss_bytes)));
  addSample(pool.charts.ready, data.ready);
}

function reloadText(reload) {
  if (reload.result === "none") return "";
  if (reload.result === "running") return "reload running";
  const at = new Date(reload.at).toLocaleTimeString();
  return reload.result === "ok" ? `reloaded at ${at}` : `reload failed at ${at}: ${reload.reason}`;
}

function show(status) {
  const now = performance.now() / 1000;
  setPill(byId("state"), status.state, KINDS[status.state]);
  setText(byId("master"), [`version ${status.version}`, `process ${status.pid}`,
    `up ${duration(status.uptime_s)}`, `generation ${status.generation}`,
    reloadText(status.reload)].filter(Boolean).join(" · "));
  for (const data of status.pools) showPool(data, now);
  const names = new Set(status.pools.map((data) => data.name));
  for (const [name, pool] of pools)
    if (!names.has(name)) {
      pool.section.remove();
      pools.delete(name);
    }
}

/* The clock */

function showTrouble(text) {
  const element = byId("trouble");
  element.hidden = text === "";
  setText(element, text);
  document.body.classList.toggle("stale", text !== "");
}

async function refresh() {
  clearTimeout(timer);
  try {
    const reply = await fetch("status", { cache: "no-store", signal: AbortSignal.timeout(5000) });
    if (!reply.ok) throw new Error("status " + reply.status);
    show(await reply.json());
    answeredAt = Date.now();
    showTrouble("");
  } catch {
    showTrouble("The master does not answer" + (answeredAt === null ? "." :
      ` since ${duration((Date.now() - answeredAt) / 1000)}. What follows is how it was then.`));
  }
  if (!document.hidden) timer = setTimeout(refresh, PERIOD_MS);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) refresh();
});
refresh();
