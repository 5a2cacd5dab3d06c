/*
 * The status page: asks /status every few seconds and /history now and then, and shows what it hears.
 */

import { byId, make, put, shape } from "./dom.js";
import { showHistory, showRows } from "./rows.js";
import { ago, many, number, setClock, span } from "./words.js";

const STATUS_MILLISECONDS = 5000;
const HISTORY_MILLISECONDS = 30000;
const ANSWER_MILLISECONDS = 10000;

const page = { token: null, status: null, paused: false, asking: false, nextHistory: 0, open: new Set() };

/* Its state, what it is in a few words, and in a sentence. */
function verdict(status) {
  if (status.state === "draining")
    return ["degraded", "mailproxy is being stopped", "Sessions may finish; nobody new is let in."];
  if (!status.ready) return ["failing", "mailproxy is not ready", `${status.reasons.join("; ")}.`];
  const count = (state) => status.destinations.filter((said) => said.state === state).length;
  const [all, failing] = [status.destinations.length, count("failing")];
  const missing = idle(status);
  const own = `mailproxy itself is ready for clients.${missing && ` ${missing}`}`;
  if (failing) return ["failing", failingWords(failing, all), `${own} ${sides(status)}`];
  if (count("degraded")) return ["degraded", `All destinations work, ${number(count("degraded"))} with trouble`, own];
  if (missing) return ["degraded", "Not all workers serve", own];
  if (!count("ok")) return ["unused", "Nobody has come yet", own];
  return ["ok", `All destinations ${count("unused") ? "that are used " : ""}work`, own];
}

/* Which workers do not serve, and why; nothing where all do, or where there is one process. */
function idle(status) {
  const crew = status.crew || [];
  const those = crew.filter((hand) => !hand.ready);
  const name = (hand) => (hand.number === null ? `seat ${hand.seat}` : `worker ${hand.number}`);
  const words = those.map((hand) => `${name(hand)}: ${hand.reasons.join(", ")}`).join("; ");
  return those.length ? `${number(those.length)} of ${number(crew.length)} workers cannot be used (${words}).` : "";
}

function failingWords(failing, all) {
  if (failing === all) return all === 1 ? "The destination is failing" : "All destinations are failing";
  return `${number(failing)} of ${number(all)} destinations ${failing === 1 ? "is" : "are"} failing`;
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
  put(
    byId("fact-sessions-more"),
    status.max_sessions ? `of ${number(status.max_sessions)} that there may be` : "no limit",
  );
  put(byId("fact-uptime"), span(status.uptime_seconds));
  put(
    byId("fact-config"),
    status.configuration.since === null ? "" : `configuration loaded ${ago(status.configuration.since)}`,
  );
  const problems = status.configuration.problems;
  byId("problems").hidden = problems.length === 0;
  replaceIfOther(
    byId("problem-list"),
    problems.map((text) => [text]),
    ([text]) => make("li", "", text),
  );
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

function headOf(label, moment) {
  const head = make("div", "head");
  const when = make("time", "muted");
  when.dateTime = when.title = moment;
  head.append(make("strong", "", label), when);
  return head;
}

function failure(said) {
  const li = make("li");
  const head = headOf(said.label, said.last);
  if (said.count > 1)
    head.append(
      make("span", "muted", `${number(said.count)} times since ${said.first.replace("T", " ").replace("Z", " UTC")}`),
    );
  if (said.side !== null) head.append(make("span", "unused chip small", said.side));
  head.append(make("span", "muted small", `last in session ${said.session}`));
  const list = make("dl");
  for (const [word, text] of [
    ["Cause", said.cause],
    ["Remedy", said.remedy],
  ]) {
    if (text !== null) list.append(make("dt", "", word), make("dd", "", text));
  }
  li.append(head, make("p", "said", said.text), list);
  return li;
}

function showRecordings(recordings) {
  byId("no-recordings").hidden = recordings.length > 0;
  replaceIfOther(byId("recordings"), recordings, recording);
  for (const node of byId("recordings").querySelectorAll("time")) put(node, ago(node.dateTime));
}

function recording(said) {
  const li = make("li");
  const head = headOf(said.listener, said.ended);
  head.append(
    make("span", "unused chip small", said.outcome),
    make("span", "muted small", `session ${said.session} of ${said.client}`),
  );
  const key = `${said.listener} ${said.session}`;
  const story = make("details");
  story.open = page.open.has(key);
  story.addEventListener("toggle", () => (story.open ? page.open.add(key) : page.open.delete(key)));
  const lines = make("pre", "story", said.lines.join("\n"));
  lines.tabIndex = 0;
  story.append(make("summary", "", many(said.lines.length, "line", "lines")), lines);
  li.append(head);
  if (said.trouble !== null) li.append(make("p", "said", said.trouble));
  li.append(story);
  return li;
}

function show() {
  showVerdict(page.status);
  showFacts(page.status);
  showRows(page.status.destinations);
  showFailures(page.status.failures);
  showRecordings(page.status.recordings);
}

/* Asking */

class Locked extends Error {}

async function ask(path) {
  const headers = page.token === null ? {} : { Authorization: `Bearer ${page.token}` };
  const answer = await fetch(path, {
    headers,
    cache: "no-store",
    credentials: "omit",
    redirect: "error",
    signal: AbortSignal.timeout(ANSWER_MILLISECONDS),
  });
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
    setClock(page.status.now);
    byId("silent").hidden = true;
    byId("content").hidden = false;
    byId("content").classList.remove("stale");
    show();
    put(byId("updated"), `Updated ${page.status.now.slice(11, 19)} UTC`);
    if (performance.now() >= page.nextHistory) {
      const heard = await ask("history");
      page.nextHistory = performance.now() + HISTORY_MILLISECONDS;
      showHistory(heard.listeners);
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

document.addEventListener("visibilitychange", refresh);
setInterval(refresh, STATUS_MILLISECONDS);
refresh();
