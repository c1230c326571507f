import { screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { describe, expect, it, vi } from "vitest";

import { answer } from "../testing/answers";
import { renderPage } from "../testing/render";
import Probes from "./Probes";
import ProbesPage from "./ProbesPage";

const ID = "00000000000000c1", SAE = "saes/00000000000000a1";
vi.mock("wouter", async (original) => ({ ...(await original<object>()), useParams: () => ({ id: "00000000000000c1" }) }));
vi.mock("../api/session", () => ({ useMayWrite: () => true }));

const of = (value: number) => ({ value, low: value - 0.1, high: value + 0.1 });
const figure = (value: number) => ({ sae: of(value), controls: [{ control: "random latents", ...of(0.5), difference: of(value - 0.5) }] });
const PROBES = {
  id: ID, ref: `probes/${ID}`, url: `/v1/probes/${ID}`, label: `of ${SAE}`, name: null, tags: [], notes: "", project: "default", created_by: "ada", created_at: "2026-01-01T00:00:00Z",
  bytes: 10, stage: "probe", job: null, inputs: { sae: SAE, tokens: "tokens/00000000000000b1" }, config: {}, provenance: {}, stage_version: 1,
  fields: { sae: SAE, column: "topic", classes: 2, accuracy: 0.9 }, summary: { accuracy: 0.9, accuracy_of_controls: { "random latents": 0.5 } },
  files: [{ name: "probes.json", size: 10, sha256: "x" }],
};
const BODY = {
  method: "95% intervals.", split: "train", class_column: "topic", whole_hook: of(0.95), sparse_probing: [{ k: 1, ...figure(0.7) }, { k: 5, ...figure(0.9) }],
  documents: { train: 70, test: 30, positions: 900 }, excluded: { bos: 100, sink: 0 },
  classes: [{ class: "<b>news</b>", train: 40, test: 20, whole_hook: of(0.96), sparse_probing: [{ k: 1, ...figure(0.71), latents: [7] }, { k: 5, ...figure(0.91), latents: [7, 8, 9, 10, 11] }] }],
  perturbation: { reason: "one class alone has no other classes' probes that could change" }, spurious: null,
};

function page(body: object = BODY) {
  answer(`GET /v1/probes/${ID}`, PROBES);
  answer(`GET /v1/probes/${ID}/files/probes.json`, body);
  answer("GET /v1/features", { items: [{ ...PROBES, ref: "features/00000000000000f1" }], next: null });
  renderPage(<ProbesPage />);
}

describe("the page of probes", () => {
  it("shows each figure beside its control, with intervals, and says why one is missing", async () => {
    page();
    const table = within(await screen.findByRole("region", { name: "Accuracy of sparse probes, the mean over classes" }));
    expect(table.getAllByRole("row")[2]!.textContent).toBe("50.900 [0.800, 1.000]0.500 [0.400, 0.600]+0.400 [+0.300, +0.500]");
    expect(screen.getByText("one class alone has no other classes' probes that could change")).toBeVisible();
    expect(screen.getByText(/the config names no/)).toBeVisible();
    expect(screen.getByText(/Positions that were left out: 100 bos\./)).toBeVisible();
  });

  it("shows classes at the largest k, or at the one chosen, with latents as links", async () => {
    page();
    const largest = within(await screen.findByRole("region", { name: "Accuracy of each class’s probe on 5 latents" }));
    expect(largest.getByText("<b>news</b>")).toBeVisible();
    expect(await largest.findByRole("link", { name: "11" })).toHaveAttribute("href", "/features/00000000000000f1/11");
    await userEvent.setup().selectOptions(screen.getByLabelText(/Latents that a probe reads/), "1");
    const one = within(await screen.findByRole("region", { name: "Accuracy of each class’s probe on 1 latent" }));
    expect(one.getByText("0.710 [0.610, 0.810]")).toBeVisible();
    expect(one.getAllByRole("link")).toHaveLength(1);
  });

  it("shows SCR and TPP with their controls where they were measured", async () => {
    const spurious = { train: 20, test: 10, documents: [], biased: of(0.6), oracle: of(0.9), gap: of(0.3), spurious_value: of(0.99), latents: [3], rows: [{ ablated: 4, accuracy: figure(0.8), scr: figure(0.66) }] };
    page({ ...BODY, perturbation: { rows: [{ ablated: 4, tpp: figure(0.2), intended: figure(0.3), unintended: figure(0.1) }], latents: { "<b>news</b>": [9] } }, spurious });
    const lost = within(await screen.findByRole("region", { name: "Accuracy that probes lose when latents are ablated" }));
    expect(lost.getAllByRole("row").slice(1).map((row) => within(row).getAllByRole("cell")[1]!.textContent)).toEqual(["0.200 [0.100, 0.300]", "0.300 [0.200, 0.400]", "0.100 [0.000, 0.200]"]);
    const removed = within(screen.getByRole("region", { name: "Spurious correlation removal" }));
    expect(removed.getAllByRole("row")[1]!.textContent).toContain("SCR0.660 [0.560, 0.760]0.500");
    expect(screen.getByText("+0.300 [+0.200, +0.400]", { selector: "dd" })).toBeVisible();
  });
});

it("lists probes with the figure of random latents in brackets", async () => {
  answer("GET /v1/probes", { items: [PROBES], next: null });
  renderPage(<Probes />);
  const row = (await screen.findByRole("link", { name: `of ${SAE}` })).closest("tr")!;
  expect(row).toHaveTextContent("0.900 (0.500)");
  expect(within(row).getByRole("link", { name: SAE })).toHaveAttribute("href", `/${SAE}`);
  expect(screen.getByRole("link", { name: "Probe an SAE" })).toHaveAttribute("href", "/probes/new");
});
