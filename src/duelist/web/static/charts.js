// Small SVG charts, drawn from numbers. Each has a title and, for those who cannot see it, its values in words.

import { number } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 480;
const HEIGHT = 170;
const MARGIN = { left: 44, right: 10, top: 10, bottom: 24 };
const INNER = { width: WIDTH - MARGIN.left - MARGIN.right, height: HEIGHT - MARGIN.top - MARGIN.bottom };

// points: [{label, value}], values of 0 or more.
export function barChart(points, title) {
  const top = Math.max(1, ...points.map((point) => point.value));
  const svg = canvas(title, points.map((point) => `${point.label} ${point.value}`));
  const step = INNER.width / Math.max(points.length, 1);
  axes(svg, 0, top);
  points.forEach((point, i) => {
    const height = (INNER.height * point.value) / top;
    const x = MARGIN.left + i * step;
    add(svg, "rect", { class: "bar", x: x + step * 0.1, y: MARGIN.top + INNER.height - height, width: step * 0.8, height });
    if (i % 6 === 0 || i === points.length - 1) text(svg, x + step / 2, HEIGHT - 6, point.label, "middle");
  });
  return svg;
}

// points: [{x, y}].
export function lineChart(points, title) {
  const svg = canvas(title, points.map((point) => `${number(point.x)}: ${number(point.y, 3)}`));
  if (points.length === 0) {
    text(svg, WIDTH / 2, HEIGHT / 2, "No round is measured yet", "middle");
    return svg;
  }
  const [left, right] = span(points.map((point) => point.x));
  const [low, high] = span(points.map((point) => point.y));
  const across = (x) => MARGIN.left + (INNER.width * (x - left)) / (right - left);
  const up = (y) => MARGIN.top + INNER.height * (1 - (y - low) / (high - low));
  axes(svg, low, high);
  add(svg, "polyline", { class: "line", points: points.map(({ x, y }) => `${across(x)},${up(y)}`).join(" ") });
  for (const { x, y } of points) add(svg, "circle", { class: "point", cx: across(x), cy: up(y), r: 3 });
  text(svg, across(left), HEIGHT - 6, number(left), "start");
  text(svg, across(right), HEIGHT - 6, number(right), "end");
  return svg;
}

function span(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return low === high ? [low - 0.5, high + 0.5] : [low, high];
}

function canvas(title, values) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `${title}: ${values.join("; ") || "no values"}`);
  return svg;
}

function axes(svg, low, high) {
  const [x, y] = [MARGIN.left, MARGIN.top + INNER.height];
  add(svg, "line", { class: "axis", x1: x, y1: MARGIN.top, x2: x, y2: y });
  add(svg, "line", { class: "axis", x1: x, y1: y, x2: x + INNER.width, y2: y });
  const digits = high - low >= 10 ? 0 : 2;
  text(svg, x - 6, MARGIN.top + 8, number(high, Number.isInteger(high) ? 0 : digits), "end");
  text(svg, x - 6, y, number(low, Number.isInteger(low) ? 0 : digits), "end");
}

function add(parent, name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  parent.append(element);
  return element;
}

function text(svg, x, y, content, anchor) {
  add(svg, "text", { x, y, "text-anchor": anchor }).textContent = content;
}
