/*
 * Nodes of the page.  Whatever came over the wire becomes text in them, never HTML.  It is written only where it
 * differs, so that neither the place where one reads nor the keyboard's focus is lost.
 */

/* Shapes, so that a state does not depend on its colour: a cross in an octagon, a triangle, a tick, a dashed ring. */
const SHAPES = {
  failing: ["M5 1h6l4 4v6l-4 4H5l-4-4V5z", "M5.5 5.5l5 5M10.5 5.5l-5 5"],
  degraded: ["M8 1.5L15.3 14.5H.7z", "M8 6v4M8 12v.6"],
  ok: ["M8 .8a7.2 7.2 0 1 1 0 14.4A7.2 7.2 0 1 1 8 .8z", "M4.6 8.3l2.4 2.4 4.4-5"],
  unused: [null, "M8 1.6a6.4 6.4 0 1 1 0 12.8A6.4 6.4 0 1 1 8 1.6z"],
};

export const byId = (id) => document.getElementById(id);

export function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function make(name, className, text) {
  const node = document.createElement(name);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

export function draw(name, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

export function shape(state) {
  const [ground, lines] = SHAPES[state];
  const svg = draw("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" });
  if (ground) svg.append(draw("path", { d: ground, fill: "currentColor" }));
  const filled = ground !== null;
  const stroke = filled ? "var(--card)" : "currentColor";
  const line = draw("path", {
    d: lines,
    fill: "none",
    "stroke-width": 1.8,
    "stroke-linecap": "round",
    "stroke-linejoin": "round",
  });
  line.style.stroke = stroke;
  if (!filled) line.setAttribute("stroke-dasharray", "2.6 2.4");
  svg.append(line);
  return svg;
}
