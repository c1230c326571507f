import { screen, waitFor } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { describe, expect, it, vi } from "vitest";

import { answer, calls, problem } from "../testing/answers";
import { renderPage } from "../testing/render";
import SteeringPage from "./SteeringPage";

vi.mock("wouter", async (original) => ({ ...(await original<object>()), useParams: () => ({ id: "00000000000000f1", latent: "7" }) }));

// A chart needs a canvas.
vi.mock("../components/LineChart", () => ({ LineChart: ({ title }: { title: string }) => <p>{title}</p> }));

const FEATURE = {
  latent: 7, sae: "saes/00000000000000a1", hook: "blocks.1", count: 4, density: 0.25, max: 2, mean: 1, quantiles: [], quantile_probabilities: [], no_logit_lens: null,
  histogram: [], promoted: [], suppressed: [], neighbours: [],
};
const one = (dose: number, text: string) => ({ dose, text, tokens: [text], ids: [1], ended: false, perplexity: 10 + dose, repetition: 0, kl: dose / 2, change: dose / 10, positions: dose ? 9 : 0, problem: null as string | null });
const events = (list: [string, unknown][]) => new Response(list.map(([event, data]) => `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`).join(""), { headers: { "Content-Type": "text/event-stream" } });
const found = (...steered: object[]) => ({ model: "models/00000000000000b1", prompt: ["a"], unsteered: one(0, "<b>plain</b>"), steered, budget: null });

function opened() {
  history.replaceState(null, "", "/");
  answer("GET /v1/features/00000000000000f1/latents/7", FEATURE);
  renderPage(<SteeringPage />);
  return userEvent.setup();
}

describe("the steering page", () => {
  it("shows both answers with their figures, as text", async () => {
    const user = opened();
    answer("POST /v1/text/steer", () => events([["token", { number: 0, text: "x" }], ["answers", found(one(1, "changed"))]]));
    await user.type(await screen.findByLabelText("Prompt"), "Once");
    await user.click(screen.getByRole("button", { name: "Steer" }));
    expect(await screen.findByText("<b>plain</b>")).toBeVisible();
    expect(screen.getByText("changed")).toBeVisible();
    expect(screen.getByText(/at 9 positions/)).toBeVisible();
    expect(screen.getByText(/without 10/)).toBeVisible();
    const sent = calls.findLast((call) => call.path === "/v1/text/steer")!.body as Record<string, unknown>;
    expect(sent).toMatchObject({ text: "Once", stream: true, max_tokens: 48, interventions: [{ sae: "saes/00000000000000a1", latent: 7, op: "add", value: 1, unit: "max", where: "both" }] });
  });

  it("asks for a curve of doses, and keeps what was entered in the address", async () => {
    const user = opened();
    answer("POST /v1/text/steer", () => events([["answers", found(one(0, "a"), one(1, "b"))]]));
    await user.type(await screen.findByLabelText("Prompt"), "Once");
    await user.selectOptions(screen.getByLabelText("Strength"), "curve");
    await user.selectOptions(screen.getByLabelText("Change"), "ablate");
    await user.click(screen.getByRole("button", { name: "Steer" }));
    expect(await screen.findByText("KL per token, nats")).toBeVisible();
    const sent = calls.findLast((call) => call.path === "/v1/text/steer")!.body as { doses: number[]; interventions: object[] };
    expect(sent.doses[0]).toBe(0);
    expect(sent.interventions[0]).not.toHaveProperty("value");
    await waitFor(() => expect(location.search).toContain("strength=curve"));
  });

  it("says why a dose has no whole answer, beside the others", async () => {
    const user = opened();
    const broken = { ...one(4, ""), perplexity: null, kl: null, problem: "the change is too strong, use a smaller value" };
    answer("POST /v1/text/steer", () => events([["answers", found(one(1, "b"), broken)]]));
    await user.type(await screen.findByLabelText("Prompt"), "Once");
    await user.click(screen.getByRole("button", { name: "Steer" }));
    expect(await screen.findByText("It breaks off: the change is too strong, use a smaller value.")).toBeVisible();
    expect(screen.getByText("b")).toBeVisible();
  });

  it("keeps the prompt after an error", async () => {
    const user = opened();
    answer("POST /v1/text/steer", () => problem(422, "steering", "the change is too strong, use a smaller value"));
    await user.type(await screen.findByLabelText("Prompt"), "Once");
    await user.click(screen.getByRole("button", { name: "Steer" }));
    expect(await screen.findByText(/use a smaller value/)).toBeVisible();
    expect(screen.getByLabelText("Prompt")).toHaveValue("Once");
  });
});
