// The table of all features: sorted, searched and cut by density in memory; one page of rows in the document.
const ALL_COLUMNS = [
  { key: "index", name: "Feature", num: true, first: 1 },
  { key: "density", name: "Density", num: true, first: -1, title: "Share of data positions at which the feature is active" },
  { key: "max", name: "Max", num: true, wide: true, first: -1, title: "Largest activation" },
  { key: "mean", name: "Mean", num: true, wide: true, first: -1, title: "Mean of the non-zero activations" },
  { key: "score", name: "Label", num: false, first: -1, labels: true, title: "The best label and its score on other text, 0.5 by chance; sorted by that score" },
  { name: "Promoted tokens", lens: true, title: "Tokens whose logit the feature's direction raises most" },
  { key: "cosine", name: "Nearest feature", num: false, first: -1, title: "The other feature with the largest decoder cosine; sorted by that cosine" },
];

function labelCell(data, strings, i) {
  if (data.label[i] < 0) return [el("span", { class: "quiet" }, strings[data.type[i]])];
  return [strings[data.label[i]], el("span", { class: "quiet" }, ` ${fixed(data.score[i], 2)} (permuted ${fixed(data.permuted[i], 2)}), ${strings[data.type[i]]}`)];
}

function featureTable(data, strings, paged) {
  const { density, max, mean, promoted, neighbour, cosine } = data;
  const n = density.length, width = n ? promoted.length / n : 0;
  const COLUMNS = ALL_COLUMNS.filter((column) => (width || !column.lens) && (data.label || !column.labels));
  const values = { density, max, mean, cosine, score: data.score, index: density.map((_, i) => i) };
  const lower = new Map();
  const words = (i) => {
    if (!lower.has(i)) {
      const own = [];
      for (let j = 0; j < width; j++) if (promoted[i * width + j] >= 0) own.push(strings[promoted[i * width + j]].toLowerCase());
      if (data.label && data.label[i] >= 0) own.push(strings[data.label[i]].toLowerCase());
      lower.set(i, own);
    }
    return lower.get(i);
  };
  const state = { sort: "index", way: 1, page: 0, size: 50, low: null, high: null, dead: false };
  let rows = [];

  const search = el("input", { type: "search", placeholder: width ? "token, or a feature's number" : "a feature's number", autocomplete: "off", id: "search" });
  const from = el("input", { class: "narrow", inputmode: "decimal", placeholder: "0", id: "density-from", autocomplete: "off" });
  const to = el("input", { class: "narrow", inputmode: "decimal", placeholder: "100", id: "density-to", autocomplete: "off" });
  const only = el("input", { type: "checkbox", id: "only-pages" });
  const clear = el("button", { type: "button", id: "clear" }, "Clear");
  const size = el("select", { "aria-label": "Rows on a page" }, [25, 50, 100, 250].map((s) => el("option", { value: s, selected: s === 50 }, `${s} rows`)));
  const count = el("span", { class: "count quiet", role: "status" });
  const previous = el("button", { type: "button" }, "← Previous rows");
  const next = el("button", { type: "button" }, "Next rows →");
  const body = el("tbody");
  const heads = COLUMNS.map((column) =>
    el("th", { scope: "col", class: [column.num && "num", column.wide && "wide"].filter(Boolean).join(" "), title: column.title },
      column.key ? el("button", { type: "button", onclick: () => sortBy(column) }, column.name) : el("span", {}, column.name)));

  function sortBy(column) {
    state.way = state.sort === column.key ? -state.way : column.first;
    state.sort = column.key;
    refresh();
  }
  function limit(input) {
    const text = input.value.trim().replace("%", "");
    const value = text === "" ? null : Number(text) / 100;
    input.setAttribute("aria-invalid", Number.isNaN(value));
    return Number.isNaN(value) ? null : value;
  }
  function matches(i, query, number) {
    if (only.checked && !paged.has(i)) return false;
    // The bounds went through percent: a density that equals one must not be lost to rounding.
    if (state.low != null && density[i] < state.low * (1 - 1e-9)) return false;
    if (state.high != null && density[i] > state.high * (1 + 1e-9)) return false;
    if (query === "") return true;
    return i === number || words(i).some((word) => word.includes(query));
  }
  function refresh() {
    const query = search.value.toLowerCase();
    const number = /^#?\d+$/.test(query.trim()) ? Number(query.trim().replace("#", "")) : -1;
    rows = values.index.filter((i) => matches(i, query, number));
    const by = values[state.sort], way = state.way;
    rows.sort((a, b) => ((by[a] ?? -Infinity) - (by[b] ?? -Infinity)) * way || a - b);
    state.page = 0;
    COLUMNS.forEach((column, i) => {
      const sorted = column.key && column.key === state.sort;
      heads[i].setAttribute("aria-sort", sorted ? (state.way > 0 ? "ascending" : "descending") : "none");
      if (column.key) heads[i].firstChild.textContent = column.name + (sorted ? (state.way > 0 ? " ▲" : " ▼") : "");
    });
    draw();
  }
  function draw() {
    const start = state.page * state.size, stop = Math.min(rows.length, start + state.size);
    body.replaceChildren(...rows.slice(start, stop).map(row));
    if (!rows.length) body.append(el("tr", {}, el("td", { colspan: COLUMNS.length, class: "empty" }, "No feature matches. Clear the search or widen the density range.")));
    count.textContent = rows.length ? `${whole(start + 1)}–${whole(stop)} of ${whole(rows.length)}${rows.length < n ? ` (of ${whole(n)} features)` : " features"}` : `0 of ${whole(n)} features`;
    previous.disabled = state.page === 0;
    next.disabled = stop >= rows.length;
  }
  function row(i) {
    const chips = [];
    for (let j = 0; j < width; j++) if (promoted[i * width + j] >= 0) chips.push(chip(strings[promoted[i * width + j]]));
    const near = neighbour[i] >= 0 ? [el("a", { href: "#f" + neighbour[i] }, String(neighbour[i])), el("span", { class: "quiet" }, ` cos ${fixed(cosine[i], 2)}`)] : "–";
    return el("tr", {}, [
      el("td", { class: "num" }, el("a", { href: "#f" + i, title: paged.has(i) ? "Has a page with examples" : "Statistics only" }, (paged.has(i) ? "● " : "") + i)),
      el("td", { class: "num", title: density[i] ? `1 in ${whole(1 / density[i])} data positions` : "never active" }, percent(density[i])),
      el("td", { class: "num wide" }, figures(max[i])),
      el("td", { class: "num wide" }, figures(mean[i])),
      data.label ? el("td", { class: "label" }, labelCell(data, strings, i)) : null,
      width ? el("td", {}, chips) : null,
      el("td", {}, near),
    ]);
  }
  const turn = (by) => { state.page += by; draw(); };
  const changed = () => { state.low = limit(from); state.high = limit(to); refresh(); };
  previous.addEventListener("click", () => turn(-1));
  next.addEventListener("click", () => turn(1));
  size.addEventListener("change", () => { state.size = Number(size.value); state.page = 0; draw(); });
  for (const input of [search, from, to]) input.addEventListener("input", changed);
  only.addEventListener("change", changed);
  clear.addEventListener("click", () => { search.value = from.value = to.value = ""; only.checked = false; changed(); search.focus(); });
  refresh();

  const node = el("div", {}, [
    el("div", { class: "controls" }, [
      el("label", {}, [data.label ? "Search labels and promoted tokens" : width ? "Search promoted tokens" : "Find a feature", search]),
      el("label", {}, ["Density from, %", from]),
      el("label", {}, ["to, %", to]),
      el("label", { class: "check" }, [only, "● with a page only"]),
      clear,
    ]),
    el("div", { class: "scroll" }, el("table", {}, [el("thead", {}, el("tr", {}, heads)), body])),
    el("div", { class: "pager" }, [count, size, previous, next]),
  ]);
  const pickDensity = (low, high) => {
    from.value = low == null ? "" : String(+(low * 100).toPrecision(4));
    to.value = high == null ? "" : String(+(high * 100).toPrecision(4));
    changed();
    node.scrollIntoView({ behavior: "smooth", block: "start" });
  };
  return { node, pickDensity };
}
