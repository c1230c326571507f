import { screen } from "@testing-library/react";
import { describe, expect, it, vi } from "vitest";

import { answer } from "../testing/answers";
import { renderPage } from "../testing/render";
import type { Job } from "../api/schema";
import TrainingRun, { joined, onto, placeOf } from "./TrainingRun";

vi.mock("./LineChart", () => ({ LineChart: ({ title, curves }: { title: string; curves: { name: string }[] }) => <p>{title}: {curves.map((one) => one.name).join(" and ")}</p> }));
vi.mock("wouter", async (original) => ({ ...(await original<object>()), useSearch: () => "with=train-2" }));

const sae = (label: string, step: number[], finished = false) => ({ sae: "saes/00000000000000a1", label, finished, steps: step.length, columns: { step, mse: step.map((n) => 1 / (n + 1)), l0: step, dead: step, lr: step, aux: step.map(() => 0) } });

describe("a training run", () => {
  it("draws its curves beside those of the runs that the address names", async () => {
    answer("GET /v1/jobs", { items: [], next: null });
    answer("GET /v1/jobs/train-1/training", { saes: [sae("topk 64", [0, 2])], checkpoints: [{ block: 8, bytes: 2048, saes: 1 }] });
    answer("GET /v1/jobs/train-2/training", { saes: [sae("gated 64", [0, 1], true)], checkpoints: [] });
    renderPage(<TrainingRun job={{ id: "train-1" } as Job} live />);
    expect(await screen.findByText("L0: topk 64 and train-2: gated 64")).toBeVisible();
    expect(screen.queryByText(/Auxiliary loss/)).toBeNull();
    expect(screen.getByText("Before block 8")).toBeVisible();
  });

  it("says that there are no steps yet", async () => {
    answer("GET /v1/jobs", { items: [], next: null });
    answer("GET /v1/jobs/train-1/training", { saes: [sae("topk 64", [])], checkpoints: [] });
    answer("GET /v1/jobs/train-2/training", { saes: [], checkpoints: [] });
    renderPage(<TrainingRun job={{ id: "train-1" } as Job} live />);
    expect(await screen.findByText(/There are no steps yet/)).toBeVisible();
  });

  it("puts curves of different steps on one axis", () => {
    const x = joined([sae("a", [0, 2]), sae("b", [0, 1])]);
    expect(x).toEqual([0, 1, 2]);
    expect(placeOf(["topk 8 at blocks.1", "gated 8 at blocks.1"])).toBe(" at blocks.1");
    expect(placeOf(["topk 8 at blocks.1", "topk 8 at blocks.2"])).toBe("");
    expect(onto(x, sae("a", [0, 2]), "l0")).toEqual([0, null, 2]);
  });
});
