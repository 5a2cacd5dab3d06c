/*
 * The table of destinations.  Rows are kept from one answer to the next.
 */

import { byId, draw, make, put, shape } from "./dom.js";
import { LARGE, NONE, SMALL, hourly, plot, rate, sum, total } from "./plot.js";
import { DAY, ago, now, number, seconds, span, time } from "./words.js";

const STATES = ["failing", "degraded", "ok", "unused"];
const WORDS = { failing: "Failing", degraded: "Degraded", ok: "OK", unused: "Unused" };
const FIRST_ROWS = 40;

const table = { rows: new Map(), series: {}, order: "", only: null, every: false };

export function showHistory(series) {
  table.series = series;
  const all = sum(Object.values(table.series));
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
  for (const [label, row] of table.rows) {
    showPlot(row, table.series[label] || NONE);
  }
}

function showPlot(row, series) {
  row.svg.classList.toggle("empty", total(series.sessions) + total(series.failures) === 0);
  plot(row.svg, series, SMALL, hourly(series));
}

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
  showPlot(row, table.series[label] || NONE);
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
  put(
    row.address,
    [address === null || address === upstream.host ? "" : address, secured].filter(Boolean).join(" \u00b7 "),
  );
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
  put(
    row.success,
    said.last_success === null ? (said.credential === null ? "" : "never worked") : `worked ${ago(said.last_success)}`,
  );
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
  row.search = [
    said.label,
    said.service,
    said.protocol,
    said.endpoint,
    said.state,
    said.upstream && said.upstream.host,
    said.upstream && said.upstream.address,
    said.last_error && said.last_error.text,
    said.last_error && said.last_error.outcome,
  ]
    .filter(Boolean)
    .join(" ")
    .toLowerCase();
}

export function showRows(destinations) {
  const sorted = [...destinations].sort((one, other) => STATES.indexOf(one.state) - STATES.indexOf(other.state));
  const there = new Set(sorted.map((said) => said.label));
  for (const [label, row] of table.rows) {
    if (there.has(label)) continue;
    row.tr.remove();
    table.rows.delete(label);
  }
  for (const said of sorted) {
    if (!table.rows.has(said.label)) table.rows.set(said.label, newRow(said.label));
    showRow(table.rows.get(said.label), said);
  }
  const order = sorted.map((said) => said.label).join("\n");
  if (order !== table.order) {
    table.order = order;
    byId("rows").append(...sorted.map((said) => table.rows.get(said.label).tr));
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
    button.hidden = count === 0 && table.only !== button.dataset.state;
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
    table.only = table.only === state ? null : state;
    for (const each of byId("states").children)
      each.setAttribute("aria-pressed", String(each.dataset.state === table.only));
    filter();
  });
  return button;
}

function filter() {
  const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const most = table.every ? Infinity : FIRST_ROWS;
  let fitting = 0;
  for (const label of table.order.split("\n")) {
    const row = table.rows.get(label);
    if (row === undefined) continue;
    const fits = (table.only === null || table.only === row.state) && words.every((word) => row.search.includes(word));
    fitting += fits;
    row.tr.hidden = !fits || fitting > most;
  }
  const chosen = words.length || table.only !== null;
  put(byId("shown"), chosen ? `${number(fitting)} of ${number(table.rows.size)} fit` : "");
  byId("more").hidden = fitting <= most;
  put(byId("more"), `Show all ${number(fitting)}`);
  byId("nothing").hidden = fitting > 0;
  put(byId("nothing"), table.rows.size ? "None of the destinations fits." : "There is no destination.");
}

byId("filter").addEventListener("input", filter);
byId("more").addEventListener("click", () => {
  table.every = true;
  filter();
});
