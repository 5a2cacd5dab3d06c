/*
 * The status page: asks /status every few seconds and /history now and then, and shows what it hears.
 *
 * Whatever came over the wire is put into the page as text, never as HTML.  Rows are kept and only what has changed is
 * written, so that neither the place where one reads nor the keyboard's focus is lost.
 */
"use strict";

const STATUS_MILLISECONDS = 5000;
const HISTORY_MILLISECONDS = 30000;
const ANSWER_MILLISECONDS = 10000;
const STATES = ["failing", "degraded", "ok", "unused"];
const WORDS = { failing: "Failing", degraded: "Degraded", ok: "OK", unused: "Unused" };
const FIRST_ROWS = 40;
const DAY = 86400;

/* Shapes, so that a state does not depend on its colour: a cross in an octagon, a triangle, a tick, a dashed ring. */
const SHAPES = {
  failing: ["M5 1h6l4 4v6l-4 4H5l-4-4V5z", "M5.5 5.5l5 5M10.5 5.5l-5 5"],
  degraded: ["M8 1.5L15.3 14.5H.7z", "M8 6v4M8 12v.6"],
  ok: ["M8 .8a7.2 7.2 0 1 1 0 14.4A7.2 7.2 0 1 1 8 .8z", "M4.6 8.3l2.4 2.4 4.4-5"],
  unused: [null, "M8 1.6a6.4 6.4 0 1 1 0 12.8A6.4 6.4 0 1 1 8 1.6z"],
};

const page = {
  token: null,
  status: null,
  heardAt: 0,
  series: {},
  rows: new Map(),
  order: "",
  only: null,
  every: false,
  paused: false,
  asking: false,
};

const byId = (id) => document.getElementById(id);

function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function make(name, className, text) {
  const node = document.createElement(name);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function draw(name, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

function shape(state) {
  const [ground, lines] = SHAPES[state];
  const svg = draw("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" });
  if (ground) svg.append(draw("path", { d: ground, fill: "currentColor" }));
  const filled = ground !== null;
  const stroke = filled ? "var(--card)" : "currentColor";
  const line = draw("path", { d: lines, fill: "none", "stroke-width": 1.8, "stroke-linecap": "round", "stroke-linejoin": "round" });
  line.style.stroke = stroke;
  if (!filled) line.setAttribute("stroke-dasharray", "2.6 2.4");
  svg.append(line);
  return svg;
}

/* Words for numbers and times */

const number = (value) => value.toLocaleString("en-US");
const many = (count, one, more) => `${number(count)} ${count === 1 ? one : more}`;
const seconds = (text) => (text === null ? null : Date.parse(text) / 1000);

/* The server's time, by its own clock. */
function now() {
  return seconds(page.status.now) + (performance.now() - page.heardAt) / 1000;
}

function span(length) {
  const whole = Math.max(0, Math.round(length));
  if (whole < 100) return `${whole} s`;
  if (whole < 100 * 60) return `${Math.round(whole / 60)} min`;
  if (whole < 2 * DAY) return `${Math.round(whole / 3600)} h`;
  return `${Math.round(whole / DAY)} days`;
}

const ago = (text) => `${span(now() - seconds(text))} ago`;

function time(node, text, words) {
  if (node.dateTime !== text) {
    node.dateTime = text;
    node.title = text;
  }
  put(node, words);
}

/* Plots */

const SAMPLES = 120;
const total = (values) => values.reduce((sum, value) => sum + value, 0);

/* So many samples in one, counted from the end, so that what is complete stays as it is. */
function gathered(values, size) {
  const sums = [];
  for (let end = values.length; end > 0; end -= size) sums.unshift(total(values.slice(Math.max(0, end - size), end)));
  return sums;
}

/*
 * Sessions are an area in the upper part, failures bars in the lower one, each by a scale of its own: a few failures
 * among thousands of sessions have to be seen.
 */
function plot(svg, series, { width, height, size }, words) {
  svg.replaceChildren();
  const [sessions, failures] = [gathered(series.sessions, size), gathered(series.failures, size)];
  const step = width / (SAMPLES / size);
  const first = SAMPLES / size - sessions.length;
  const floor = height * (size > 1 ? 0.66 : 0.74);
  drawArea(svg, sessions, (index, value, top) => [(first + index + 0.5) * step, floor - (value / top) * (floor - 2)]);
  svg.append(draw("line", { class: "floor", x1: 0, x2: width, y1: floor, y2: floor }));
  const top = Math.max(1, ...failures);
  failures.forEach((value, index) => {
    if (!value) return;
    const tall = Math.max(0.5, value / top) * (height - floor - 2);
    svg.append(draw("rect", { class: "failed", x: (first + index) * step + step * 0.1, y: height - tall, width: step * 0.8, height: tall }));
  });
  svg.setAttribute("aria-label", words);
}

function drawArea(svg, values, place) {
  if (values.length < 2) return;
  const top = Math.max(1, ...values);
  const points = values.map((value, index) => place(index, value, top).map((each) => each.toFixed(1)).join(" "));
  const ends = [place(0, 0, top), place(values.length - 1, 0, top)].map((each) => each.join(" "));
  svg.append(draw("path", { class: "area", d: `M${ends[0]} L${points.join(" L")} L${ends[1]} Z` }));
  svg.append(draw("path", { class: "edge", d: `M${points.join(" L")}` }));
}

const LARGE = { width: 600, height: 100, size: 1 };
const SMALL = { width: 150, height: 34, size: 4 };
const NONE = { sessions: [], failures: [], active: [] };

function sum(every) {
  const added = { sessions: [], failures: [] };
  for (const key of ["sessions", "failures"]) {
    const longest = Math.max(0, ...every.map((series) => series[key].length));
    const values = new Array(longest).fill(0);
    for (const series of every) series[key].forEach((value, index) => { values[longest - series[key].length + index] += value; });
    added[key] = values;
  }
  return added;
}

function hourly(series) {
  return `last hour: ${many(total(series.sessions), "session", "sessions")}, ${many(total(series.failures), "failure", "failures")}`;
}

function showHistory() {
  const all = sum(Object.values(page.series));
  plot(byId("plot"), all, LARGE, `All destinations, ${hourly(all)}`);
  for (const key of ["sessions", "failures"]) {
    const most = Math.max(0, ...all[key]);
    put(byId(`plot-${key}`), most ? `, at most ${number(most)} in 30 s` : ", none");
  }
  put(byId("fact-hour"), number(total(all.sessions)));
  put(byId("fact-hour-more"), `${rate(all.sessions.slice(-20))} a minute lately`);
  put(byId("fact-failures"), number(total(all.failures)));
  const lately = total(all.failures.slice(-20));
  put(byId("fact-failures-more"), lately ? `${number(lately)} in the last 10 minutes` : "none in the last 10 minutes");
  byId("fact-failures").className = lately ? "bad" : "";
  for (const [label, row] of page.rows) {
    const series = page.series[label] || NONE;
    showPlot(row, series);
  }
}

function showPlot(row, series) {
  row.svg.classList.toggle("empty", total(series.sessions) + total(series.failures) === 0);
  plot(row.svg, series, SMALL, hourly(series));
}

function rate(samples) {
  const each = (total(samples) / Math.max(1, samples.length)) * 2;
  return number(each < 10 ? Math.round(each * 10) / 10 : Math.round(each));
}

/* Rows */

function cell(row, name, head) {
  const td = make("td", `cell-${name}`);
  td.setAttribute("role", "cell");
  td.dataset.head = head;
  row.append(td);
  return td;
}

function line(td, className) {
  const div = make("div", className);
  td.append(div);
  return div;
}

function newRow(label) {
  const tr = make("tr");
  tr.setAttribute("role", "row");
  const row = { tr, state: null };
  const state = cell(tr, "state", "State");
  row.chip = make("span", "chip");
  row.icon = make("span", "icon");
  row.word = make("span");
  row.chip.append(row.icon, row.word);
  state.append(row.chip);
  const name = cell(tr, "name", "Destination");
  row.name = line(name, "name");
  row.where = line(name, "muted small");
  row.reason = line(name, "small reason");
  const count = cell(tr, "count", "Sessions");
  const counts = line(count);
  row.active = make("span", "big");
  row.total = make("span", "muted small");
  counts.append(row.active, row.total);
  row.svg = draw("svg", { viewBox: "0 0 150 34", role: "img", preserveAspectRatio: "none" });
  count.append(row.svg);
  const server = cell(tr, "server", "Mail server");
  row.server = server;
  row.host = line(server);
  row.address = line(server, "muted small");
  row.tls = line(server, "small");
  const login = cell(tr, "login", "Login");
  row.login = login;
  row.success = line(login);
  row.credential = line(login, "muted small");
  const error = cell(tr, "error", "Last error");
  row.error = error;
  row.when = make("time", "small");
  line(error).append(row.when);
  row.held = make("span", "small warn");
  row.when.parentNode.append(row.held);
  row.text = line(error, "said");
  row.remedy = line(error, "muted small");
  showPlot(row, page.series[label] || NONE);
  return row;
}

function certificate(tls) {
  const left = tls === null || tls.certificate_expires === null ? null : seconds(tls.certificate_expires) - now();
  if (left === null) return ["", ""];
  if (left <= 0) return ["certificate has expired", "bad"];
  return [`certificate ends in ${span(left)}`, left < 14 * DAY ? "warn" : "muted"];
}

function showServer(row, upstream) {
  row.server.classList.toggle("empty", upstream === null);
  put(row.host, upstream === null ? "" : `${upstream.host}:${upstream.port}`);
  const address = upstream === null ? null : upstream.address;
  const tls = upstream === null ? null : upstream.tls;
  const secured = tls === null ? (address === null ? "" : "no TLS") : tls.version.replace("v", " ");
  put(row.address, [address === null || address === upstream.host ? "" : address, secured].filter(Boolean).join(" \u00b7 "));
  row.address.title = tls === null ? "" : tls.cipher;
  const [words, kind] = certificate(tls);
  put(row.tls, words);
  row.tls.className = `small ${kind}`;
}

function credential(said) {
  if (said === null) return "";
  if (said.kind === "none") return "no login wanted";
  if (said.expires === null) return `by ${said.kind}`;
  const left = seconds(said.expires) - now();
  return left > 0 ? `by ${said.kind}, good for ${span(left)}` : `by ${said.kind}, to be renewed`;
}

function showLogin(row, said) {
  row.login.classList.toggle("empty", said.last_success === null && said.credential === null);
  put(row.success, said.last_success === null ? (said.credential === null ? "" : "never worked") : `worked ${ago(said.last_success)}`);
  row.success.className = said.last_success === null ? "bad" : "";
  put(row.credential, credential(said.credential));
}

function showHoldOff(row, until) {
  const held = until === null ? 0 : seconds(until) - now();
  put(row.held, held > 0 ? ` \u00b7 next try in ${span(held)}` : "");
}

function showError(row, error, success) {
  row.error.classList.toggle("empty", error === null);
  row.error.classList.toggle("over", error !== null && success !== null && success > error.time);
  if (error === null) {
    row.when.removeAttribute("datetime");
    for (const node of [row.when, row.text, row.remedy]) put(node, "");
    return;
  }
  time(row.when, error.time, [ago(error.time), error.side].filter(Boolean).join(" \u00b7 "));
  put(row.text, error.text);
  row.text.title = error.text;
  put(row.remedy, error.remedy || "");
}

/* The port of an endpoint, or its path. */
function place(endpoint) {
  const [kind, value] = endpoint.split(":");
  return kind.startsWith("tcp") ? `port ${value.replace("port=", "")}` : value;
}

function showRow(row, said) {
  if (row.state !== said.state) {
    row.state = said.state;
    row.tr.className = said.state;
    row.chip.className = `chip ${said.state}`;
    row.icon.replaceChildren(shape(said.state));
    put(row.word, WORDS[said.state]);
  }
  put(row.name, said.destination);
  put(row.where, [said.tenant || "provider", said.protocol.toUpperCase(), place(said.endpoint)].join(" \u00b7 "));
  row.where.title = said.endpoint;
  put(row.reason, said.state === "degraded" ? said.reason : said.listening ? "" : "not listening");
  put(row.active, number(said.sessions));
  put(row.total, `now, ${number(said.sessions_total)} in all`);
  showServer(row, said.upstream);
  showLogin(row, said);
  showError(row, said.last_error, said.last_success);
  showHoldOff(row, said.held_off_until);
  row.search = [said.label, said.service, said.protocol, said.endpoint, said.state, said.upstream && said.upstream.host, said.upstream && said.upstream.address, said.last_error && said.last_error.text, said.last_error && said.last_error.outcome].filter(Boolean).join(" ").toLowerCase();
}

function showRows(destinations) {
  const sorted = [...destinations].sort((one, other) => STATES.indexOf(one.state) - STATES.indexOf(other.state));
  const there = new Set(sorted.map((said) => said.label));
  for (const [label, row] of page.rows) {
    if (there.has(label)) continue;
    row.tr.remove();
    page.rows.delete(label);
  }
  for (const said of sorted) {
    if (!page.rows.has(said.label)) page.rows.set(said.label, newRow(said.label));
    showRow(page.rows.get(said.label), said);
  }
  const order = sorted.map((said) => said.label).join("\n");
  if (order !== page.order) {
    page.order = order;
    byId("rows").append(...sorted.map((said) => page.rows.get(said.label).tr));
  }
  showChoices(destinations);
  filter();
}

function showChoices(destinations) {
  const group = byId("states");
  if (!group.children.length) STATES.forEach((state) => group.append(choice(state)));
  for (const button of group.children) {
    const count = destinations.filter((said) => said.state === button.dataset.state).length;
    put(button.lastChild, `${number(count)} ${WORDS[button.dataset.state].toLowerCase()}`);
    button.hidden = count === 0 && page.only !== button.dataset.state;
  }
}

function choice(state) {
  const button = make("button", `${state} chip`);
  button.type = "button";
  button.dataset.state = state;
  button.setAttribute("aria-pressed", "false");
  const icon = make("span", "icon");
  icon.append(shape(state));
  button.append(icon, make("span"));
  button.addEventListener("click", () => {
    page.only = page.only === state ? null : state;
    for (const each of byId("states").children) each.setAttribute("aria-pressed", String(each.dataset.state === page.only));
    filter();
  });
  return button;
}

function filter() {
  const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const most = page.every ? Infinity : FIRST_ROWS;
  let fitting = 0;
  for (const label of page.order.split("\n")) {
    const row = page.rows.get(label);
    if (row === undefined) continue;
    const fits = (page.only === null || page.only === row.state) && words.every((word) => row.search.includes(word));
    fitting += fits;
    row.tr.hidden = !fits || fitting > most;
  }
  const chosen = words.length || page.only !== null;
  put(byId("shown"), chosen ? `${number(fitting)} of ${number(page.rows.size)} fit` : "");
  byId("more").hidden = fitting <= most;
  put(byId("more"), `Show all ${number(fitting)}`);
  byId("nothing").hidden = fitting > 0;
  put(byId("nothing"), page.rows.size ? "None of the destinations fits." : "There is no destination.");
}

/* The rest of the page */

function verdict(status) {
  const count = (state) => status.destinations.filter((said) => said.state === state).length;
  const all = status.destinations.length;
  const own = status.ready ? "mailproxy itself is ready for clients." : `mailproxy is not ready: ${status.reasons.join("; ")}.`;
  if (status.state === "draining") return ["degraded", "mailproxy is being stopped", "Sessions may finish what they are in the middle of; nobody new is let in."];
  if (!status.ready) return ["failing", "mailproxy is not ready", own];
  if (count("failing")) return ["failing", count("failing") === all ? `${all === 1 ? "The destination is" : "All destinations are"} failing` : `${number(count("failing"))} of ${many(all, "destination", "destinations")} ${count("failing") === 1 ? "is" : "are"} failing`, `${own} ${sides(status)}`];
  if (count("degraded")) return ["degraded", `All destinations work, ${number(count("degraded"))} with trouble`, own];
  if (count("ok")) return ["ok", count("unused") ? "All destinations that are used work" : "All destinations work", own];
  return ["unused", "Nobody has come yet", own];
}

function sides(status) {
  const counts = new Map();
  for (const said of status.destinations) {
    if (said.state !== "failing" || said.last_error === null || said.last_error.side === null) continue;
    counts.set(said.last_error.side, (counts.get(said.last_error.side) || 0) + 1);
  }
  const words = [...counts].sort((one, other) => other[1] - one[1]).map(([side, count]) => `${side} (${count})`);
  return words.length ? `Where the causes are: ${words.join(", ")}.` : "";
}

function showVerdict(status) {
  const [state, words, more] = verdict(status);
  const section = byId("verdict");
  if (section.dataset.state !== state) {
    section.dataset.state = state;
    section.className = `verdict ${state}`;
    byId("verdict-icon").replaceChildren(shape(state));
  }
  put(byId("verdict-words"), words);
  put(byId("verdict-more"), more);
  const failing = status.destinations.filter((said) => said.state === "failing").length;
  put(document.querySelector("title"), failing ? `${failing} failing - mailproxy` : "mailproxy");
}

function showFacts(status) {
  put(byId("version"), status.version);
  put(byId("fact-sessions"), number(status.sessions));
  put(byId("fact-sessions-more"), status.max_sessions ? `of ${number(status.max_sessions)} that there may be` : "no limit");
  put(byId("fact-uptime"), span(status.uptime_seconds));
  put(byId("fact-config"), status.configuration.since === null ? "" : `configuration loaded ${ago(status.configuration.since)}`);
  const problems = status.configuration.problems;
  byId("problems").hidden = problems.length === 0;
  replaceIfOther(byId("problem-list"), problems.map((text) => [text]), ([text]) => make("li", "", text));
}

function replaceIfOther(node, items, build) {
  const key = JSON.stringify(items);
  if (node.dataset.key === key) return;
  node.dataset.key = key;
  node.replaceChildren(...items.map(build));
}

function showFailures(failures) {
  byId("no-failures").hidden = failures.length > 0;
  replaceIfOther(byId("failures"), failures, failure);
  for (const node of byId("failures").querySelectorAll("time")) put(node, ago(node.dateTime));
}

function failure(said) {
  const li = make("li");
  const head = make("div", "head");
  const when = make("time", "muted");
  when.dateTime = said.last;
  when.title = said.last;
  head.append(make("strong", "", said.label), when);
  if (said.count > 1) head.append(make("span", "muted", `${number(said.count)} times since ${said.first.replace("T", " ").replace("Z", " UTC")}`));
  if (said.side !== null) head.append(make("span", "unused chip small", said.side));
  head.append(make("span", "muted small", `last in session ${said.session}`));
  const list = make("dl");
  for (const [word, text] of [["Cause", said.cause], ["Remedy", said.remedy]]) {
    if (text !== null) list.append(make("dt", "", word), make("dd", "", text));
  }
  li.append(head, make("p", "said", said.text), list);
  return li;
}

function show() {
  showVerdict(page.status);
  showFacts(page.status);
  showRows(page.status.destinations);
  showFailures(page.status.failures);
}

/* Asking */

class Locked extends Error {}

async function ask(path) {
  const headers = page.token === null ? {} : { Authorization: `Bearer ${page.token}` };
  const answer = await fetch(path, { headers, cache: "no-store", credentials: "omit", redirect: "error", signal: AbortSignal.timeout(ANSWER_MILLISECONDS) });
  if (answer.status === 401) throw new Locked();
  if (!answer.ok) throw new Error(`the answer was ${answer.status}`);
  return answer.json();
}

function lock() {
  byId("locked").hidden = false;
  byId("content").hidden = true;
  byId("silent").hidden = true;
  put(byId("updated"), "Locked");
  if (page.token !== null) put(byId("locked-why"), "That was not the token.");
  page.token = null;
  byId("token").focus();
}

function unreachable(error) {
  const since = page.status === null ? "" : `; what you see is from ${page.status.now.slice(11, 19)} UTC`;
  put(byId("silent"), `mailproxy does not answer (${error.message})${since}. Trying again.`);
  byId("silent").hidden = false;
  byId("content").classList.add("stale");
  put(byId("updated"), "No answer");
}

async function refresh() {
  if (page.asking || page.paused || document.hidden || !byId("locked").hidden) return;
  page.asking = true;
  try {
    page.status = await ask("status");
    page.heardAt = performance.now();
    byId("silent").hidden = true;
    byId("content").hidden = false;
    byId("content").classList.remove("stale");
    show();
    put(byId("updated"), `Updated ${page.status.now.slice(11, 19)} UTC`);
    if (!page.nextHistory || performance.now() >= page.nextHistory) {
      page.series = (await ask("history")).listeners;
      page.nextHistory = performance.now() + HISTORY_MILLISECONDS;
      showHistory();
    }
    document.body.dataset.shown = "yes";
  } catch (error) {
    if (error instanceof Locked) lock();
    else unreachable(error);
  } finally {
    page.asking = false;
  }
}

byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  page.token = byId("token").value.trim();
  byId("token").value = "";
  byId("locked").hidden = true;
  refresh();
});

byId("pause").addEventListener("click", () => {
  page.paused = !page.paused;
  byId("pause").setAttribute("aria-pressed", String(page.paused));
  put(byId("pause"), page.paused ? "Go on" : "Pause");
  refresh();
});

byId("filter").addEventListener("input", filter);
byId("more").addEventListener("click", () => {
  page.every = true;
  filter();
});
document.addEventListener("visibilitychange", refresh);
setInterval(refresh, STATUS_MILLISECONDS);
refresh();
