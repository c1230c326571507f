// Parts of a feature's page, which the report and the web pages (serve_app/studio) both show: rows of tokens, chips, the histogram.
import { histogram } from "./charts.js";
import { el, figures, named, short, visible, whole } from "./dom.js";

// A token by itself: spaces count, so the ones at its ends are shown.
export const chipText = (text) => visible(text).replace(/^ +| +$/g, (spaces) => "␣".repeat(spaces.length));
function chip(text) {
  const shown = chipText(text);
  return el("span", { class: "chip", title: shown }, shown);
}

// The shade, the weight of the letters and the thickness of the line below all say how active a token is.
function shadeOf(value, max) {
  const share = max > 0 ? Math.min(1, value / max) : 0;
  return { share, look: { "--a": share.toFixed(3), "--u": 1 + Math.round(share * 3), "--w": share > 0.66 ? 700 : share > 0.33 ? 600 : 400 } };
}

function token(text, value, max, peak, out, position) {
  const { share, look } = shadeOf(value, max);
  const says = `${named(text)}: ${value ? `activation ${figures(value)}, ${Math.round(share * 100)}% of the largest` : out ? "not a data position" : "not active"}`;
  return el("span", {
    class: "t" + (value ? " on" : "") + (peak ? " peak" : "") + (out ? " out" : ""), role: "option", tabindex: -1,
    "aria-label": says, "aria-selected": peak ? "true" : "false", "data-tip": position === null ? says : `${says} · position ${position}`,
    ...(value ? look : {}),
  }, visible(text));
}

/**
 * A row of tokens with their activations. `peak`: index of its own position; `out`: indices of what is no data; `first`: position of
 * its first token in the row, if that is known. Arrow keys walk the tokens. `onAt` is told the index of the token under the pointer
 * or with the focus and what is said of it, `onChoose` the index of one that is clicked or chosen with Enter.
 * @param {{ label: string, tokens: string[], values: number[], max: number, peak?: number | null, out?: number[], first?: number | null,
 *   onAt?: ((index: number, says: string) => void) | null, onChoose?: ((index: number) => void) | null }} row
 * @returns {HTMLElement}
 */
export function tokenRow({ label, tokens, values, max, peak = null, out = [], first = null, onAt = null, onChoose = null }) {
  const keys = onChoose ? " Enter shows all features of a token." : "";
  const line = el("div", {
    class: onChoose ? "tokens choosable" : "tokens", role: "listbox", tabindex: 0, "aria-orientation": "horizontal", "aria-label": `${label}. Arrow keys walk the tokens.${keys}`,
  });
  const outside = new Set(out);
  const spans = tokens.map((text, i) => token(text, values[i] || 0, max, i === peak, outside.has(i), first === null ? null : first + i));
  spans.forEach((span, i) => {
    // The space before a word stays outside its shade, so that lines break before the shade and not within it.
    const spaces = /^( +)\S/u.exec(span.textContent);
    if (spaces) { line.append(spaces[1]); span.textContent = span.textContent.slice(spaces[1].length); }
    line.append(span);
    if (i === peak && values[i]) line.append(el("span", { class: "value", "aria-hidden": "true" }, figures(values[i])));
  });
  const indexOf = (event) => spans.indexOf(event.target instanceof Element ? event.target.closest(".t") : null);
  if (onAt) {
    const at = (event) => {
      const i = indexOf(event);
      if (i < 0) return;
      spans.forEach((span, j) => span.classList.toggle("here", i === j));
      onAt(i, spans[i].getAttribute("aria-label"));
    };
    for (const name of ["pointerover", "focusin"]) line.addEventListener(name, at);
  }
  if (onChoose) line.addEventListener("click", (event) => { const i = indexOf(event); if (i >= 0) onChoose(i); });
  line.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const at = indexOf(event), step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    let to = null;
    if (step) to = at < 0 ? spans[peak ?? 0] : spans[Math.max(0, Math.min(spans.length - 1, at + step))];
    else if (event.key === "Home") to = spans[0];
    else if (event.key === "End") to = spans.at(-1);
    else if (event.key === "Escape" && at >= 0) to = line;
    else if (event.key !== "Enter" || !onChoose) return;
    event.preventDefault();
    event.stopPropagation(); // elsewhere on the page these keys mean something else
    if (event.key === "Enter") onChoose(at < 0 ? peak ?? 0 : at);
    else to?.focus();
  });
  return line;
}

// What the looks of tokens mean.
export function tokenKey(max) {
  const swatches = [0.1, 0.4, 0.7, 1].map((share) => el("span", { class: "t on", ...shadeOf(share * max, max).look }, figures(share * max)));
  return el("div", { class: "key quiet" }, [
    el("span", {}, ["Darker, bolder and thicker underlined is more active: ", ...swatches.flatMap((s) => [s, " "])]),
    el("span", {}, "boxed: the example's own position"),
    el("span", { class: "keys" }, [el("kbd", {}, "Tab"), " to an example, then ", el("kbd", {}, "←"), " ", el("kbd", {}, "→"), " along its tokens"]),
  ]);
}

// Bars {from, to, count} in log10 of the activation.
export function activationHistogram(bars, title) {
  return histogram({
    title, xLabel: "activation when active (log scale)", aria: "Histogram of this feature's non-zero activations; use the arrow keys",
    summary: `${whole(bars.reduce((sum, { count }) => sum + count, 0))} positions`, bars, width: 330, height: 255,
    say: (bar) => `${short(10 ** bar.from)} to ${short(10 ** bar.to)}: ${whole(bar.count)}`,
  });
}
