import { screen, waitFor } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { describe, expect, it, vi } from "vitest";

import { answer, calls } from "../testing/answers";
import { renderPage } from "../testing/render";
import LabelsPage from "./LabelsPage";

const ID = "00000000000000b1";
vi.mock("wouter", async (original) => ({ ...(await original<object>()), useParams: () => ({ id: "00000000000000b1" }) }));
vi.mock("../api/session", () => ({ useMayWrite: () => true }));

const FEATURES = "features/00000000000000f1";
const LABELS = {
  id: ID, ref: `labels/${ID}`, url: `/v1/labels/${ID}`, label: `of ${FEATURES}`, name: null, tags: [], notes: "", project: "default", created_by: "ada",
  created_at: "2026-01-01T00:00:00Z", bytes: 2048, stage: "label", job: "label-1", inputs: { features: FEATURES }, fields: {}, config: {},
  provenance: {}, files: [], stage_version: 1, summary: { n_features: 4, labelled: 3, beats: 2, types: { tokens: 2, obscure: 2 } },
};
const FIGURES = { ablation: 0.02, ablation_control: 0.01, promotion: null, promotion_control: null, output_score: null, output_score_control: null, auc: 0.75, auc_permuted: 0.5, detection: 0.8, detection_permuted: 0.55, fuzzing: 0.7, fuzzing_permuted: 0.45 };
const ROWS = [
  { latent: 7, type: "tokens", label: "tokens: '<b>river</b>'", method: "tokens", label_score: 0.91, permuted_score: 0.5, difference: 0.41, difference_low: 0.3, difference_high: 0.5, beats: true, ...FIGURES },
  { latent: 9, type: "obscure", label: null, method: null, label_score: null, permuted_score: null, difference: null, difference_low: null, difference_high: null, beats: null, ...FIGURES },
];

describe("the page of labels", () => {
  it("shows each score beside that of a permuted label, and features without a label as such", async () => {
    answer(`GET /v1/labels/${ID}`, LABELS);
    answer(`GET /v1/labels/${ID}/latents`, { items: ROWS, next: null, total: 2 });
    renderPage(<LabelsPage />);
    expect(await screen.findByText("2, 50.0%")).toBeVisible();
    expect(await screen.findByRole("row", { name: /7 tokens: '<b>river<\/b>' tokens 0\.91 \(0\.50\) 0\.41 \[0\.30, 0\.50\] 0\.750 \(0\.500\) 0\.020 \(0\.010\)/ })).toBeVisible();
    expect(screen.queryByRole("columnheader", { name: /Fuzzing/ })).toBeNull();
    expect(screen.getByRole("row", { name: /9 none obscure – –/ })).toBeVisible();
    expect(screen.getByRole("link", { name: "7" })).toHaveAttribute("href", `/${FEATURES}/7`);
  });

  it("shows detection and fuzzing of labels that a model server was asked for", async () => {
    answer(`GET /v1/labels/${ID}`, { ...LABELS, config: { endpoint: { model: "judge" } } });
    answer(`GET /v1/labels/${ID}/latents`, { items: ROWS.slice(0, 1), next: null, total: 1 });
    renderPage(<LabelsPage />);
    expect(await screen.findByRole("row", { name: /0\.750 \(0\.500\) 0\.800 \(0\.550\) 0\.700 \(0\.450\) 0\.020/ })).toBeVisible();
  });

  it("asks the API for the features with a text in their label and of one type", async () => {
    answer(`GET /v1/labels/${ID}`, LABELS);
    answer(`GET /v1/labels/${ID}/latents`, { items: ROWS, next: null, total: 2 });
    renderPage(<LabelsPage />);
    const user = userEvent.setup();
    await user.type(await screen.findByLabelText("Label with"), "population growth");
    await user.selectOptions(screen.getByLabelText("Type"), "context");
    await waitFor(() => {
      const asked = calls.filter((call) => call.path.includes(`/v1/labels/${ID}/latents`)).at(-1)!;
      expect(asked.query.get("label")).toBe("population growth");
      expect(asked.query.get("type")).toBe("context");
    });
  });

  it("searches all SAEs by meaning, and says of which SAE and hook each feature is", async () => {
    answer(`GET /v1/labels/${ID}`, LABELS);
    answer(`GET /v1/labels/${ID}/latents`, { items: ROWS, next: null, total: 2 });
    const sae = (n: number) => ({ sae: `saes/${n}`, hook: `blocks.${n}.hook_resid_post`, labels: `labels/${n}`, features: `features/${n}` });
    answer("GET /v1/search/features", { chance: 0.3, saes: [sae(1), sae(2)], left_out: 0, items: [{ ...ROWS[0], ...sae(2), latent: 5, cosine: 0.8, density: 0.1 }] });
    history.replaceState(null, "", "?q=water&in=all");
    renderPage(<LabelsPage />);
    expect(await screen.findByText("saes/2, blocks.2.hook_resid_post")).toBeVisible();
    expect(screen.getByRole("link", { name: "5" })).toHaveAttribute("href", "/features/2/5");
    await userEvent.setup().selectOptions(await screen.findByLabelText("Hook"), "blocks.1.hook_resid_post");
    await waitFor(() => {
      const asked = calls.filter((call) => call.path.includes("/v1/search/features")).at(-1)!;
      expect([asked.query.get("q"), asked.query.get("hook")]).toEqual(["water", "blocks.1.hook_resid_post"]);
    });
    expect(screen.getAllByRole("option", { name: /^saes/ }).map((one) => one.textContent)).toEqual(["saes/1"]);
    history.replaceState(null, "", "/");
  });
});
