import { screen, waitFor } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { describe, expect, it, vi } from "vitest";

import { answer, calls, problem } from "../testing/answers";
import { renderPage } from "../testing/render";
import LabelQueue from "./LabelQueue";

const ID = "00000000000000b1", FEATURES = "00000000000000f1", SAE = "00000000000000a1";
vi.mock("wouter", async (original) => ({ ...(await original<object>()), useParams: () => ({ id: "00000000000000b1" }) }));
vi.mock("../api/session", () => ({ useMayWrite: () => true }));

function page() {
  const row = (latent: number, label: string | null) => ({ latent, label, type: "tokens", label_score: label === null ? null : 0.91, permuted_score: 0.5 });
  answer(`GET /v1/labels/${ID}`, { id: ID, inputs: { features: `features/${FEATURES}` } });
  answer(`GET /v1/labels/${ID}/latents`, { items: [row(7, "tokens: 'river'"), row(9, null)], next: null, total: 2 });
  for (const latent of [7, 9]) {
    answer(`GET /v1/features/${FEATURES}/latents/${latent}`, { latent, sae: `saes/${SAE}`, max: 2 });
    answer(`GET /v1/features/${FEATURES}/latents/${latent}/examples`, [{ row: 1, position: 2, activation: 2, tokens: ["the", " bank"], activations: [0, 2], at: 1 }]);
    answer(`GET /v1/saes/${SAE}/latents/${latent}`, () => problem(404, "not_found", "nobody has annotated it"));
    answer(`PATCH /v1/saes/${SAE}/latents/${latent}`, { latent, label: "x", notes: "", starred: false });
  }
  renderPage(<LabelQueue />);
  return userEvent.setup();
}

describe("the queue of features to name", () => {
  it("saves with Enter, goes on, and has the cursor in the next name", async () => {
    const user = page();
    const name = await screen.findByLabelText("Name of feature 7");
    await waitFor(() => expect(name).toHaveFocus());
    expect(screen.getByText("1 of 2")).toBeVisible();
    expect(await screen.findByRole("listbox", { name: /Example 1/ })).toBeVisible();
    await user.type(name, "banks of rivers{Enter}");
    const next = await screen.findByLabelText("Name of feature 9");
    await waitFor(() => expect(next).toHaveFocus());
    expect(calls.find((call) => call.method === "PATCH")).toMatchObject({ path: `/v1/saes/${SAE}/latents/7`, body: { label: "banks of rivers" } });
    expect(screen.getByText(/No method found a label/)).toBeVisible();
  });

  it("goes on and back by Alt and an arrow key without saving", async () => {
    const user = page();
    const before = calls.filter((call) => call.method === "PATCH").length;
    await waitFor(() => expect(screen.getByLabelText(/Name of feature/)).toHaveFocus());
    await user.keyboard("{Alt>}{ArrowRight}{/Alt}");
    await waitFor(() => expect(screen.getByLabelText("Name of feature 9")).toHaveFocus());
    await user.keyboard("{Alt>}{ArrowLeft}{/Alt}");
    expect(await screen.findByLabelText("Name of feature 7")).toBeVisible();
    expect(calls.filter((call) => call.method === "PATCH")).toHaveLength(before);
  });
});
