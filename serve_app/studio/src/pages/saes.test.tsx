import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { describe, expect, it, vi } from "vitest";

import { ActiveTokens } from "../components/ActiveTokens";
import { paretoFront } from "../components/ParetoPlot";
import { expand } from "../form/SaeGrid";
import { answer, calls, json } from "../testing/answers";
import type { Schema } from "../form/schema";
import { renderPage } from "../testing/render";
import FeaturePage from "./FeaturePage";
import FeaturesPage from "./FeaturesPage";
import Saes from "./Saes";

vi.mock("wouter", async (original) => ({ ...(await original<object>()), useParams: () => ({ id: "00000000000000f1", latent: "7" }) }));
vi.mock("../api/session", () => ({ useMayWrite: () => true }));

const F = "/v1/features/00000000000000f1";
const SAE = "/v1/saes/00000000000000a1";
const FEATURE = {
  latent: 7, sae: "saes/00000000000000a1", hook: "blocks.1", count: 4, density: 0.25, max: 2, mean: 1, quantiles: [], quantile_probabilities: [], no_logit_lens: null,
  histogram: [{ start: 1, stop: 2, count: 4 }], promoted: [{ token: "<b>km</b>", logit: 0.5 }], suppressed: [], neighbours: [{ latent: 9, cosine: 0.4 }],
};
const EXAMPLE = { kind: "top", part: null, rank: 0, row: 3, position: 5, activation: 2, tokens: ["a", " km"], activations: [0, 2], at: 1, excluded: [0] };
const item = (id: string, ev: number, l0: number) => ({
  id, ref: `saes/${id}`, url: `/v1/saes/${id}`, label: id, name: null, tags: [], project: "default", created_by: "ada", created_at: "2026-01-01T00:00:00Z", bytes: 1, fields: { ev, l0 },
});

function feature(more: object = {}) {
  answer(`GET ${F}/latents/7`, { ...FEATURE, ...more });
  answer(`GET ${F}/latents/7/examples`, [EXAMPLE, { ...EXAMPLE, kind: "quantile", part: 0, activation: 0.5 }]);
  renderPage(<FeaturePage />);
}

describe("the page of a feature", () => {
  it("shows tokens as text, neighbours as links, and the examples of each interval", async () => {
    feature();
    expect(await screen.findByText("<b>km</b>")).toBeVisible();
    expect(screen.getByRole("link", { name: "9" })).toHaveAttribute("href", "/features/00000000000000f1/9");
    expect(await screen.findByRole("listbox", { name: /Example 1, activation 2/ })).toBeVisible();
    await userEvent.setup().click(screen.getByRole("button", { name: /Interval 1/ }));
    expect(await screen.findByRole("listbox", { name: /Example 1, activation 0.5/ })).toBeVisible();
  });

  it("shows at which hooks a crosscoder's feature is, which does not steer", async () => {
    feature({ hook: "blocks.1 + blocks.2", hook_shares: { "blocks.1": 0.25, "blocks.2": 0.75 } });
    expect(await screen.findByText("Norm at blocks.2")).toBeVisible();
    expect(screen.getByText("75.0%")).toBeVisible();
    expect(screen.queryByRole("link", { name: "Steer with it" })).toBeNull();
  });

  it("stars a feature that nobody has annotated", async () => {
    feature();
    const star = await screen.findByRole("button", { name: /Star/ });
    const annotation = { sae: FEATURE.sae, latent: 7, starred: true, label: "", notes: "", updated_by: "api:ada", updated_at: "2026-01-01T00:00:00Z" };
    answer(`PUT ${SAE}/latents/7/star`, annotation);
    answer(`GET ${SAE}/latents/7`, annotation);
    await userEvent.setup().click(star);
    expect(await screen.findByRole("button", { name: /Starred/ })).toHaveAttribute("aria-pressed", "true");
  });

  it("keeps a text of one's own after an error", async () => {
    feature();
    const user = userEvent.setup();
    answer("POST /v1/text/features", () => json({ type: "x", title: "x", status: 503, code: "no_capacity", detail: "no memory is free" }, 503));
    await user.type(await screen.findByLabelText("A text, up to 1,000 characters"), "ten km");
    await user.click(screen.getByRole("button", { name: "Find active features" }));
    expect(await screen.findByText("no memory is free")).toBeVisible();
    expect(screen.getByLabelText("A text, up to 1,000 characters")).toHaveValue("ten km");
    expect(calls.at(-1)!.body).toMatchObject({ sae: FEATURE.sae, text: "ten km", latents: [7] });
  });
});

it("walks tokens by arrow keys and says their values", async () => {
  renderPage(<ActiveTokens label="Example" tokens={["a", " km"]} activations={[0, 2]} max={2} peak={1} />);
  const user = userEvent.setup();
  await user.tab();
  await user.keyboard("{Home}");
  expect(screen.getByRole("status")).toHaveTextContent("“a”: not active");
  await user.keyboard("{ArrowRight}");
  expect(screen.getByRole("status")).toHaveTextContent("activation 2.00");
});

it("sorts all features by the API", async () => {
  answer(F, {});
  answer(`GET ${F}/latents`, { items: [{ latent: 7, count: 1, density: 0.5, max: 1, mean: 1, promoted_tokens: [" km"] }], next: null, total: 1 });
  const asked: string[] = [];
  const stubbed = globalThis.fetch;
  vi.stubGlobal("fetch", (input: Request) => { asked.push(input.url); return stubbed(input); });
  renderPage(<FeaturesPage />);
  const table = within(await screen.findByRole("region", { name: "Features" }));
  await userEvent.setup().click(table.getByRole("button", { name: /Density/ }));
  await waitFor(() => expect(asked.some((url) => url.includes("sort=density&order=desc"))).toBe(true));
  vi.stubGlobal("fetch", stubbed);
});

describe("SAEs", () => {
  it("plots their figures as links", async () => {
    answer("GET /v1/saes", { items: [item("00000000000000a1", 0.9, 30), item("00000000000000a2", 0.8, 10)], next: null });
    renderPage(<Saes />);
    expect(await screen.findByRole("link", { name: "00000000000000a1: EV 0.900, L0 30" })).toHaveAttribute("href", "/saes/00000000000000a1");
  });

  it("joins those that none surpasses", () => {
    expect(paretoFront([{ l0: 30, ev: 0.9 }, { l0: 10, ev: 0.8 }, { l0: 20, ev: 0.7 }]).map(({ l0 }) => l0)).toEqual([10, 30]);
  });

  it("are every combination of a grid, with k where an architecture has it", () => {
    const kinds = new Map<string, Schema>([["topk", { properties: { k: {} } }], ["gated", { properties: {} }]]);
    const saes = expand({ hooks: "blocks.1, blocks.2", architectures: ["topk", "gated"], widths: "64", ks: "4 8", seeds: "0", settings: { gated: { l1: 3 } } }, kinds);
    expect(saes).toHaveLength(6);
    expect(saes[0]).toEqual({ architecture: "topk", hook: "blocks.1", d_sae: 64, k: 4, seed: 0 });
    expect(saes.filter((one) => "k" in one)).toHaveLength(4);
    expect(saes.filter((one) => one["l1"] === 3).map((one) => one["architecture"])).toEqual(["gated", "gated"]);
  });
});
