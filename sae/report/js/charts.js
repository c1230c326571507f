// Charts as inline SVG: axes with round ticks, and the value under the pointer or the arrow keys.
import { el, short, svg } from "./dom.js";

const W = 420, HEIGHT = 190, LEFT = 46, RIGHT = 12, TOP = 8, BOTTOM = 36;

function ticks(low, high, count) {
  const span = high - low || 1;
  const power = 10 ** Math.floor(Math.log10(span / count));
  const off = (step) => Math.abs(span / step - count);
  const step = [1, 2, 5, 10].map((m) => m * power).reduce((best, s) => (off(s) < off(best) ? s : best));
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-6; i++) found.push(+(i * step).toPrecision(12));
  return found;
}

function axes(x, y, xTicks, yTicks, label, width, height) {
  const parts = [], bottom = height - BOTTOM;
  for (const [value, text] of yTicks) {
    parts.push(svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }));
    parts.push(svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, text));
  }
  for (const [value, text] of xTicks) {
    parts.push(svg("line", { class: "grid", x1: x(value), x2: x(value), y1: bottom, y2: bottom + 4 }));
    parts.push(svg("text", { x: x(value), y: bottom + 16, "text-anchor": "middle" }, text));
  }
  parts.push(svg("text", { x: (LEFT + width - RIGHT) / 2, y: height - 4, "text-anchor": "middle" }, label));
  return parts;
}

// A figure whose `places` can be walked by pointer or keyboard; show(i) marks one and says what stands there.
function figure(options, drawing, width, height, count, nearest, show) {
  const says = el("output", {}, options.summary || "");
  const plot = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: 0, "aria-label": options.aria }, drawing);
  let at = -1;
  const move = (i) => {
    at = Math.max(0, Math.min(count - 1, i));
    says.textContent = show(at);
  };
  const leave = () => {
    at = -1;
    show(-1);
    says.textContent = options.summary || "";
  };
  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    move(nearest(((event.clientX - box.left) / box.width) * width));
  });
  plot.addEventListener("pointerleave", leave);
  plot.addEventListener("blur", leave);
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const end = { Home: 0, End: count - 1 }[event.key];
    if (step === undefined && end === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    move(end !== undefined ? end : at < 0 ? (step > 0 ? 0 : count - 1) : at + step);
  });
  return { node: el("figure", {}, [el("figcaption", {}, [el("b", {}, options.title), says]), plot]), plot };
}

function lineChart(options) {
  const { x: xs, y: ys } = options;
  const known = ys.filter((v) => v != null);
  let low = Math.min(...known), high = Math.max(...known);
  if (options.zero) low = Math.min(0, low);
  if (high === low) { high += Math.abs(high) * 0.05 || 1; }
  const x = (v) => LEFT + ((v - xs[0]) / (xs[xs.length - 1] - xs[0] || 1)) * (W - LEFT - RIGHT);
  const H = HEIGHT, y = (v) => H - BOTTOM - ((v - low) / (high - low)) * (H - TOP - BOTTOM);
  let path = "", pen = false;
  ys.forEach((v, i) => {
    if (v == null) { pen = false; return; }
    path += `${pen ? "L" : "M"}${x(xs[i]).toFixed(1)} ${y(v).toFixed(1)}`;
    pen = true;
  });
  const cursor = svg("line", { class: "cursor", y1: TOP, y2: H - BOTTOM, visibility: "hidden" });
  const dot = svg("circle", { class: "dot", r: 4, visibility: "hidden" });
  const label = (v) => [v, short(v)];
  const drawing = [
    ...axes(x, y, ticks(xs[0], xs[xs.length - 1], 4).map(label), ticks(low, high, 4).map(label), options.xLabel, W, H),
    svg("path", { class: "curve", d: path }), cursor, dot,
  ];
  const nearest = (px) => {
    let best = 0;
    xs.forEach((v, i) => { if (Math.abs(x(v) - px) < Math.abs(x(xs[best]) - px)) best = i; });
    return best;
  };
  const show = (i) => {
    const there = i >= 0 && ys[i] != null;
    for (const mark of [cursor, dot]) mark.setAttribute("visibility", there ? "visible" : "hidden");
    if (!there) return "";
    cursor.setAttribute("x1", x(xs[i])); cursor.setAttribute("x2", x(xs[i]));
    dot.setAttribute("cx", x(xs[i])); dot.setAttribute("cy", y(ys[i]));
    return options.say(i);
  };
  return figure(options, drawing, W, H, xs.length, nearest, show).node;
}

// Bars over a log10 axis. `bars`: {from, to (both log10), count, dead?}. pick(bar) is called on a click or Enter.
export function histogram(options) {
  const { bars, width = W, height: H = HEIGHT } = options;
  const lowest = bars[0].from, highest = bars[bars.length - 1].to;
  const most = Math.max(1, ...bars.map((b) => b.count));
  const x = (v) => LEFT + ((v - lowest) / (highest - lowest || 1)) * (width - LEFT - RIGHT);
  const y = (v) => H - BOTTOM - (v / most) * (H - TOP - BOTTOM);
  const xTicks = (options.ticks || logTicks(lowest, highest)).filter(([v]) => v >= lowest - 1e-9 && v <= highest + 1e-9);
  const yTicks = ticks(0, most, 4).filter((v) => Number.isInteger(v)).map((v) => [v, short(v)]);
  const rects = bars.map((bar) => {
    const height = bar.count ? Math.max(1.5, y(0) - y(bar.count)) : 0;
    const gap = Math.min(1, (x(bar.to) - x(bar.from)) * 0.15);
    return svg("rect", {
      class: bar.dead ? "barlet dead" : "barlet", x: x(bar.from) + gap / 2, y: y(0) - height,
      width: Math.max(0.5, x(bar.to) - x(bar.from) - gap), height,
    });
  });
  const nearest = (px) => Math.max(0, bars.findIndex((b) => px < x(b.to)) + (px >= x(highest) ? bars.length : 0));
  let at = -1;
  const show = (i) => {
    if (at >= 0) rects[at].classList.remove("here");
    at = i;
    if (i < 0) return "";
    rects[i].classList.add("here");
    return options.say(bars[i]);
  };
  const { node, plot } = figure(options, [...axes(x, y, xTicks, yTicks, options.xLabel, width, H), ...rects], width, H, bars.length, nearest, show);
  if (options.pick) {
    plot.addEventListener("click", () => at >= 0 && options.pick(bars[at]));
    plot.addEventListener("keydown", (event) => { if (event.key === "Enter" && at >= 0) options.pick(bars[at]); });
  }
  return node;
}

function logTicks(low, high) {
  const found = [];
  const each = high - low > 2.5 ? [1] : high - low > 1 ? [1, 3] : [1, 2, 3, 5, 7];
  for (let power = Math.floor(low); power <= high; power++)
    for (const m of each) found.push([power + Math.log10(m), short(m * 10 ** power)]);
  return found;
}
