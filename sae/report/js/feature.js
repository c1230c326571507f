// The page of one feature: what it does in numbers, and what it responds to in tokens.

function fact(name, value, note) {
  return el("div", {}, [el("dt", {}, name), el("dd", {}, [value, note ? el("small", {}, note) : null])]);
}

function facts(i, data, page) {
  const { density, max, mean } = data.features;
  const rows = [
    fact("Density", percent(density[i]), density[i] ? `1 in ${whole(1 / density[i])} positions` : "never active"),
    fact("Max activation", figures(max[i])),
    fact("Mean when active", figures(mean[i])),
  ];
  if (!page) return el("dl", { class: "facts" }, rows);
  for (const [name, value, note] of page.facts) rows.push(fact(name, value, note));
  return el("dl", { class: "facts" }, rows);
}

function weightList(title, note, entries) {
  return el("div", { class: "card" }, [
    el("h3", {}, title),
    el("ul", { class: "weights" }, entries.map(([left, value]) => el("li", {}, [left, el("span", { class: "num quiet" }, value)]))),
    el("div", { class: "quiet" }, note),
  ]);
}

function neighbours(entries, data) {
  const link = (f) => el("a", { href: "#f" + f }, (data.paged.has(f) ? "● " : "") + f);
  return weightList("Nearest features", "Cosine of the decoder directions. ● has a page.", entries.map(([f, cos]) => [link(f), fixed(cos, 3)]));
}

function labelTable(page, strings) {
  const head = ["Label", "Method", "Score", "Permuted label", "Difference", "Precision", "Recall"];
  const between = (low, high) => (low == null ? "" : ` [${fixed(low, 2)}, ${fixed(high, 2)}]`);
  const rows = page.labels.map(([method, label, score, low, high, permuted, difference, from, to, precision, recall]) => el("tr", {}, [
    el("th", { scope: "row", class: "label" }, strings[label]), el("td", {}, strings[method]),
    el("td", { class: "num" }, fixed(score, 2) + between(low, high)), el("td", { class: "num" }, fixed(permuted, 2)),
    el("td", { class: "num" }, fixed(difference, 2) + between(from, to)),
    el("td", { class: "num" }, precision == null ? "–" : fixed(precision, 2)), el("td", { class: "num" }, recall == null ? "–" : fixed(recall, 2)),
  ]));
  return el("section", {}, [
    el("h2", {}, "Labels"),
    rows.length
      ? el("div", { class: "scroll" }, el("table", { class: "truth" }, [el("thead", {}, el("tr", {}, head.map((name, i) => el("th", { scope: "col", class: i > 1 ? "num" : "" }, name)))), el("tbody", {}, rows)]))
      : el("p", { class: "empty" }, "No method found a label that could be scored."),
    el("p", { class: "quiet" }, "Score: balanced accuracy on documents that the label was not made from, 0.5 by chance, with 95% intervals. Believe the difference."),
  ]);
}

function example([row, position, activation, first, tokens, acts, out], number, strings, max) {
  const values = new Array(tokens.length).fill(0), peak = position - first;
  for (let i = 0; i < acts.length; i += 2) values[acts[i]] = acts[i + 1];
  values[peak] = activation;
  return el("li", { class: "example" }, [
    el("div", { class: "meta" }, [el("b", {}, figures(activation)), el("span", {}, `row ${whole(row)}`), el("span", {}, `position ${position}`)]),
    tokenRow({ label: `Example ${number}, activation ${figures(activation)}, row ${row}, position ${position}`, tokens: tokens.map((s) => strings[s]), values, max, peak, out, first }),
  ]);
}

function sections(page, strings, max) {
  const panels = [], buttons = [];
  const choose = (i, focus) => {
    buttons.forEach((b, j) => { b.setAttribute("aria-selected", j === i); b.tabIndex = j === i ? 0 : -1; });
    panels.forEach((panel, j) => { panel.hidden = j !== i; });
    if (focus) buttons[i].focus();
  };
  page.sections.forEach((section, i) => {
    buttons.push(el("button", { type: "button", role: "tab", id: `tab-${i}`, "aria-controls": `panel-${i}`, onclick: () => choose(i) }, [section.name, " ", el("small", {}, String(section.examples.length))]));
    panels.push(el("div", { class: "panel", role: "tabpanel", id: `panel-${i}`, "aria-labelledby": `tab-${i}` }, [
      el("h3", { class: "printed" }, section.name),
      el("p", { class: "quiet" }, section.note),
      section.examples.length
        ? el("ol", { class: "examples" }, section.examples.map((e, j) => example(e, j + 1, strings, max)))
        : el("p", { class: "empty" }, "No activation falls into this part."),
    ]));
  });
  const tabs = el("div", { class: "tabs", role: "tablist", "aria-label": "Examples", onkeydown: (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    choose((buttons.indexOf(event.target) + step + buttons.length) % buttons.length, true);
  } }, buttons);
  choose(0);
  return [tabs, tokenKey(max), ...panels];
}

function featurePage(i, data) {
  const page = data.paged.has(i) ? readJson("p" + i) : null;
  const at = data.pages.findIndex((f) => f >= i);
  const before = data.pages[(at < 0 ? data.pages.length : at) - 1];
  const after = data.pages.find((f) => f > i);
  const go = (f, text, rel) => el("a", f === undefined ? { role: "link", "aria-disabled": "true" } : { href: "#f" + f, rel, title: `Feature ${f}` }, text);
  const head = el("div", { class: "head" }, [
    el("h1", { tabindex: -1 }, `Feature ${i}`),
    page ? el("span", { class: "quiet" }, `page ${data.pages.indexOf(i) + 1} of ${data.pages.length}`) : null,
    el("nav", { "aria-label": "Features with a page" }, [el("span", { class: "keys quiet" }, [el("kbd", {}, "←"), " ", el("kbd", {}, "→")]), go(before, "← previous", "prev"), go(after, "next →", "next"), el("a", { href: "#" }, "All features")]),
  ]);
  if (!page) return [head, facts(i, data, null), ...withoutPage(i, data)];
  const strings = data.strings;
  const tokens = (entries) => entries.map(([s, value]) => [chip(strings[s]), fixed(value, 2)]);
  return [
    head,
    facts(i, data, page),
    el("div", { class: "columns" }, [
      page.hist.length ? activationHistogram(page.hist.map(([from, to, count]) => ({ from, to, count })), "Activations") : null,
      // A hook that is not as wide as the residual stream has no logit lens.
      page.up.length ? weightList("Promoted tokens", "Logit that one unit of the feature adds.", tokens(page.up)) : null,
      page.down.length ? weightList("Suppressed tokens", "Logit that one unit takes away.", tokens(page.down)) : null,
      neighbours(page.near, data),
    ]),
    ...(page.labels ? [labelTable(page, strings)] : []),
    ...sections(page, strings, data.features.max[i]),
    el("p", { class: "quiet" }, `Why this feature: ${data.rule}`),
  ];
}

function withoutPage(i, data) {
  const { promoted, density, neighbour, cosine } = data.features;
  const width = promoted.length / density.length;
  const chips = promoted.slice(i * width, (i + 1) * width).filter((s) => s >= 0).map((s) => chip(data.strings[s]));
  return [
    el("p", { class: "notice" }, (density[i] ? "This feature has no page with examples. " : "This feature never fired on the tokens looked at, so there are no examples. ") + data.rule),
    el("div", { class: "columns" }, [
      chips.length ? el("div", { class: "card" }, [el("h3", {}, "Promoted tokens"), ...chips]) : null,
      neighbour[i] >= 0 ? neighbours([[neighbour[i], cosine[i]]], data) : null,
    ]),
  ];
}
