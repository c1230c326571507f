// Elements, numbers and text. Text enters the page by textContent alone: nothing here ever parses HTML.
const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) node.style.setProperty(name, value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  for (const child of [].concat(children ?? [])) if (child != null) node.append(child);
  return node;
}
export const el = (tag, attributes, children) => fill(document.createElement(tag), attributes, children);
export const svg = (tag, attributes, children) => fill(document.createElementNS(SVG, tag), attributes, children);
const byId = (id) => document.getElementById(id);
const readJson = (id) => JSON.parse(byId(id).textContent);

// Numbers as people read them.
export const whole = (n) => Math.round(n).toLocaleString("en-US");
export function short(n) {
  if (n == null || Number.isNaN(n)) return "–";
  const size = Math.abs(n);
  if (size >= 1e9) return trim((n / 1e9).toPrecision(3)) + "B";
  if (size >= 1e6) return trim((n / 1e6).toPrecision(3)) + "M";
  if (size >= 1e4) return trim((n / 1e3).toPrecision(3)) + "k";
  if (size >= 100) return trim(n.toFixed(1));
  if (size >= 1e-4 || n === 0) return trim(n.toPrecision(3));
  return n.toExponential(1).replace("e-", "e−");
}
// The same with its zeros, for figures that stand below one another.
export const figures = (n) => (n && Math.abs(n) >= 1e-4 && Math.abs(n) < 100 ? n.toPrecision(3) : short(n));
export const trim = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
export const percent = (share) =>
  share == null ? "–" : share === 0 ? "0%" : share === 1 ? "100%" : figures(share * 100) + "%";
export const fixed = (n, digits) => (n == null ? "–" : n.toFixed(digits));

// What cannot be seen is shown by a sign: line ends, tabs, control and format characters (which could also turn the
// direction of the text around them), and marks that would sit on the token before.
export const HIDDEN = /[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Z}]/u;
function sign(character, alone) {
  if (character === " ") return character;
  if (character === "\n") return "↵";
  if (character === "\t") return "⇥";
  if (character === "\r") return "␍";
  if (character === "\u00a0") return "⍽";
  const code = character.codePointAt(0);
  if (!alone && (code === 0x200c || code === 0x200d)) return character; // joiners inside an emoji or a word
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  if (code === 0x7f) return "␡";
  return HIDDEN.test(character) ? "⟨U+" + code.toString(16).toUpperCase().padStart(4, "0") + "⟩" : character;
}
export function visible(text) {
  const characters = Array.from(text);
  const shown = characters.map((c) => sign(c, characters.length === 1)).join("");
  return /^\p{M}/u.test(shown) ? "◌" + shown : shown;
}
export const named = (text) => "“" + visible(text) + "”" + (text.trim() === "" && !/[\n\t]/.test(text) ? " (white space)" : "");
