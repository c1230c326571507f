import { screen } from "@testing-library/react";
import { describe, expect, it } from "vitest";

import { answer } from "../testing/answers";
import { renderPage } from "../testing/render";
import { FeatureLabels } from "./FeatureLabels";

const FEATURES = "features/00000000000000f1";
const LABEL = {
  method: "endpoint", label: "rivers", inherited_from: null, score: 0.9, score_low: 0.8, score_high: 0.95, permuted_score: 0.5, difference: 0.4, difference_low: 0.3,
  difference_high: 0.5, auc: 0.77, auc_low: 0.7, auc_high: 0.85, auc_permuted: 0.48, precision: null, recall: null,
  fuzzing: { score: 0.81, low: 0.7, high: 0.9, permuted: 0.52, difference: 0.29, difference_low: 0.1, difference_high: 0.4 },
};

describe("the labels of a feature", () => {
  it("show their AUC by meaning and fuzzing, each beside that of the permuted label", async () => {
    answer("GET /v1/labels", { items: [{ id: "b1" }], next: null });
    answer("GET /v1/labels/b1/latents/3", [LABEL]);
    renderPage(<FeatureLabels features={FEATURES} latent={3} />);
    expect(await screen.findByRole("row", { name: "rivers endpoint 0.90 [0.80, 0.95] 0.50 0.40 [0.30, 0.50] 0.77 [0.70, 0.85] (0.48) 0.81 [0.70, 0.90] (0.52) – –" })).toBeVisible();
  });

  it("have no column of fuzzing where no model server was asked", async () => {
    answer("GET /v1/labels", { items: [{ id: "b1" }], next: null });
    answer("GET /v1/labels/b1/latents/3", [{ ...LABEL, method: "tokens", fuzzing: null }]);
    renderPage(<FeatureLabels features={FEATURES} latent={3} />);
    expect(await screen.findByRole("columnheader", { name: "AUC by meaning" })).toBeVisible();
    expect(screen.queryByRole("columnheader", { name: "Fuzzing" })).toBeNull();
  });
});
