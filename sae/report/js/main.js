// What stands where: the overview, one feature by its hash (#f123), the theme, the keys, the tip beside a token.
const data = readJson("data");
data.paged = new Set(data.pages);
const overview = byId("overview"), feature = byId("feature"), tip = byId("tip"), where = byId("where");
const place = where.textContent, title = document.title;
let overviewScroll = 0, current = null;

function drawOverview() {
  const { curves, density } = data;
  byId("curves-note").textContent = curves.note;
  for (const line of curves.lines) {
    byId("curves").append(lineChart({
      title: line.name, aria: `${line.name} over training; use the arrow keys`, summary: line.unit, zero: line.zero, x: curves.x, y: line.y, xLabel: curves.x_label,
      say: (i) => `${curves.x_label} ${short(curves.x[i])}: ${short(line.y[i])}`,
    }));
  }
  const table = featureTable(data.features, data.strings, data.paged);
  byId("table").append(table.node);
  byId("density-note").textContent = density.note;
  if (!density.bars.length) return;
  const dead = (b) => b.dead;
  byId("density").append(histogram({
    title: "Density of features", aria: "Histogram of feature densities; arrow keys walk the bars, Enter lists a bar's features",
    width: innerWidth > 620 ? 760 : 400,
    summary: "click a bar to list its features", xLabel: "share of data positions at which a feature is active (log scale)",
    ticks: density.ticks, bars: density.bars,
    say: (b) => dead(b) ? `never active: ${whole(b.count)} features` : `${percent(10 ** b.from)} to ${percent(10 ** b.to)}: ${whole(b.count)} features`,
    pick: (b) => dead(b) ? table.pickDensity(0, 0) : table.pickDensity(b.low, b.high),
  }));
}

function route() {
  const match = /^#f(\d+)$/.exec(location.hash);
  const i = match ? Number(match[1]) : null;
  hideTip();
  if (i === null || i >= data.features.density.length) return showOverview();
  if (current === null) overviewScroll = scrollY;
  current = i;
  overview.hidden = true;
  feature.hidden = false;
  feature.replaceChildren(...featurePage(i, data));
  document.title = `Feature ${i} · ${title}`;
  where.textContent = `Feature ${i} · ${place}`;
  scrollTo(0, 0);
  feature.querySelector("h1").focus({ preventScroll: true });
}
function showOverview() {
  const returning = current !== null;
  current = null;
  overview.hidden = false;
  feature.hidden = true;
  feature.replaceChildren();
  document.title = title;
  where.textContent = place;
  if (returning) scrollTo(0, overviewScroll);
}

// The tip follows the pointer and the focus alike.
function showTip(span) {
  tip.textContent = span.dataset.tip;
  tip.hidden = false;
  const box = span.getClientRects()[0] || span.getBoundingClientRect();
  const left = Math.max(8, Math.min(innerWidth - tip.offsetWidth - 8, box.left));
  const above = box.top - tip.offsetHeight - 8;
  tip.style.transform = `translate(${left}px, ${above > 56 ? above : box.bottom + 8}px)`;
}
const hideTip = () => { tip.hidden = true; };
const tokenOf = (event) => (event.target instanceof Element ? event.target.closest(".t[data-tip]") : null);
for (const name of ["pointerover", "focusin"]) document.addEventListener(name, (event) => { const span = tokenOf(event); if (span) showTip(span); });
for (const name of ["pointerout", "focusout"]) document.addEventListener(name, (event) => { if (tokenOf(event)) hideTip(); });
addEventListener("scroll", hideTip, { passive: true });

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input, select, textarea")) return;
  if (current === null) {
    if (event.key === "/") { event.preventDefault(); byId("search").focus(); }
    return;
  }
  if (event.key === "Escape") { location.hash = ""; return; }
  const way = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
  const link = way && feature.querySelector(`.head a[rel="${way}"]`);
  if (link) { event.preventDefault(); location.hash = link.getAttribute("href"); }
});

byId("go").addEventListener("submit", (event) => {
  event.preventDefault();
  const input = byId("go-number"), number = Number(input.value.trim().replace("#", ""));
  const known = input.value.trim() !== "" && Number.isInteger(number) && number >= 0 && number < data.features.density.length;
  input.setCustomValidity(known ? "" : `There are features 0 to ${data.features.density.length - 1}.`);
  if (!known) { input.reportValidity(); return; }
  location.hash = "#f" + number;
  input.value = "";
});
byId("go-number").addEventListener("input", (event) => event.target.setCustomValidity(""));

const THEMES = ["system", "light", "dark"];
byId("theme").addEventListener("click", () => {
  const now = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme || "system") + 1) % THEMES.length];
  if (now === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = now;
  byId("theme").setAttribute("aria-label", `Theme: ${now}`);
  byId("theme").querySelector("span").textContent = ` ${now}`;
});

drawOverview();
addEventListener("hashchange", route);
route();
