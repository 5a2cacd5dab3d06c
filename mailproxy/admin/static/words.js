/*
 * Words for numbers and times.
 */

import { put } from "./dom.js";

export const DAY = 86400;

/* What the server's clock said, and when it was heard by ours. */
const clock = { said: 0, heardAt: 0 };

export function setClock(text) {
  clock.said = seconds(text);
  clock.heardAt = performance.now();
}

/* The server's time: that of this machine may be another. */
export function now() {
  return clock.said + (performance.now() - clock.heardAt) / 1000;
}

export const number = (value) => value.toLocaleString("en-US");
export const many = (count, one, more) => `${number(count)} ${count === 1 ? one : more}`;
export const seconds = (text) => (text === null ? null : Date.parse(text) / 1000);

export function span(length) {
  const whole = Math.max(0, Math.round(length));
  if (whole < 100) return `${whole} s`;
  if (whole < 100 * 60) return `${Math.round(whole / 60)} min`;
  if (whole < 2 * DAY) return `${Math.round(whole / 3600)} h`;
  return `${Math.round(whole / DAY)} days`;
}

export const ago = (text) => `${span(now() - seconds(text))} ago`;

export function time(node, text, words) {
  if (node.dateTime !== text) {
    node.dateTime = text;
    node.title = text;
  }
  put(node, words);
}
