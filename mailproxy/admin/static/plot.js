/*
 * Plots of the last hour.
 */

import { draw } from "./dom.js";
import { many, number } from "./words.js";

const SAMPLES = 120;
export const total = (values) => values.reduce((sum, value) => sum + value, 0);

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
export function plot(svg, series, { width, height, size }, words) {
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
    svg.append(
      draw("rect", {
        class: "failed",
        x: (first + index) * step + step * 0.1,
        y: height - tall,
        width: step * 0.8,
        height: tall,
      }),
    );
  });
  svg.setAttribute("aria-label", words);
}

function drawArea(svg, values, place) {
  if (values.length < 2) return;
  const top = Math.max(1, ...values);
  const points = values.map((value, index) =>
    place(index, value, top)
      .map((each) => each.toFixed(1))
      .join(" "),
  );
  const ends = [place(0, 0, top), place(values.length - 1, 0, top)].map((each) => each.join(" "));
  svg.append(draw("path", { class: "area", d: `M${ends[0]} L${points.join(" L")} L${ends[1]} Z` }));
  svg.append(draw("path", { class: "edge", d: `M${points.join(" L")}` }));
}

export const LARGE = { width: 600, height: 100, size: 1 };
export const SMALL = { width: 150, height: 34, size: 4 };
export const NONE = { sessions: [], failures: [], active: [] };

export function sum(every) {
  const added = { sessions: [], failures: [] };
  for (const key of ["sessions", "failures"]) {
    const longest = Math.max(0, ...every.map((series) => series[key].length));
    const values = new Array(longest).fill(0);
    for (const series of every)
      series[key].forEach((value, index) => {
        values[longest - series[key].length + index] += value;
      });
    added[key] = values;
  }
  return added;
}

export function hourly(series) {
  const [sessions, failures] = [total(series.sessions), total(series.failures)];
  return `last hour: ${many(sessions, "session", "sessions")}, ${many(failures, "failure", "failures")}`;
}

export function rate(samples) {
  const each = (total(samples) / Math.max(1, samples.length)) * 2;
  return number(each < 10 ? Math.round(each * 10) / 10 : Math.round(each));
}
