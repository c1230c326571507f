import { screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { describe, expect, it } from "vitest";

import type { JobCheck as Checked, StepCheck } from "../api/schema";
import { answer, calls, problem } from "../testing/answers";
import { renderPage } from "../testing/render";
import { JobCheck, jobRequest } from "./JobCheck";

const REF = "tokens/00000000000000e1";
const STEP: StepCheck = { stage: "tokenize", fits: "can_never_fit", requires: "1 worker of 64 CPUs", requirement: {}, capacity: "1 node of 2 CPUs", reason: "", suggestion: "set resources.cpus=2", blocked_by: [], largest_workers: 0 };
const check = (more: Partial<Checked>): Checked => ({ fits: "fits", artifacts: [REF], existing: [], job: null, steps: [], disk_bytes: null, plan: null, ...more });

function shown(found: Checked, manual = false) {
  answer("POST /v1/jobs/check", found);
  return renderPage(<JobCheck stage="tokenize" body={{ model: "models/1", name: "taken" }} ready manual={manual} />);
}

describe("the check of a form", () => {
  it("says that an equal result exists, and leads there", async () => {
    shown(check({ existing: [REF] }));
    expect(await screen.findByText("An equal tokenization exists: open it.")).toBeVisible();
    expect(screen.getByRole("link", { name: REF })).toHaveAttribute("href", `/${REF}`);
    expect(calls.at(-1)!.body).toEqual({ config: { stage: "tokenize", model: "models/1" } });
  });

  it("says what it needs and what there is where it can never run", async () => {
    shown(check({ fits: "can_never_fit", steps: [STEP] }));
    expect(await screen.findByText("This can never run here.")).toBeVisible();
    for (const text of [STEP.requires, STEP.capacity!, STEP.suggestion]) expect(screen.getByText(text)).toBeVisible();
  });

  it("names the jobs that it would wait for", async () => {
    shown(check({ fits: "waits", steps: [{ ...STEP, fits: "waits", blocked_by: ["train-0f3c9a7b21"] }] }));
    expect(await screen.findByText("It would wait.")).toBeVisible();
    expect(screen.getByRole("link", { name: "train-0f3c9a7b21" })).toHaveAttribute("href", "/jobs/train-0f3c9a7b21");
  });

  it("leads to an equal job that is under way", async () => {
    shown(check({ job: "tokenize-5c1e09b7aa" }));
    expect(await screen.findByRole("link", { name: "tokenize-5c1e09b7aa" })).toBeVisible();
  });

  it("asks only when it is told to, where the server has to read a source", async () => {
    shown(check({}), true);
    expect(calls).toHaveLength(0);
    await userEvent.setup().click(screen.getByRole("button", { name: "Check it first" }));
    expect(await screen.findByText("It fits: it would start now.")).toBeVisible();
  });

  it("shows the API's words for a request that it refuses", async () => {
    answer("POST /v1/jobs/check", () => problem(422, "missing_input", "the store has no models/1"));
    renderPage(<JobCheck stage="tokenize" body={{}} ready />);
    expect(await screen.findByText("the store has no models/1")).toBeVisible();
  });
});

it("asks for a download as a config of its stage", () => {
  const source = { type: "local", path: "a.txt" };
  expect(jobRequest("download", { source, options: { strip_html: true }, tags: ["x"] }, "dataset")).toEqual({ config: { stage: "download", what: "dataset", source, dataset: { strip_html: true } } });
});
