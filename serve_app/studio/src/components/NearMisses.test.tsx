import { screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { describe, expect, it } from "vitest";

import type { Feature } from "../api/schema";
import { answer, calls, problem } from "../testing/answers";
import { renderPage } from "../testing/render";
import { NearMisses } from "./NearMisses";

const ID = "00000000000000f1", PATH = `/v1/features/${ID}/latents/7/near-misses`;
const near = { kind: "near", part: null, rank: 0, row: 3, position: 12, activation: 0, tokens: [" the", " bank", " lends"], activations: [0.5, 0, 0], at: 1 };
const shown = () => renderPage(<NearMisses id={ID} feature={{ latent: 7, max: 2 } as Feature} />);

describe("near misses", () => {
  it("say how often the token is silent, and show where", async () => {
    answer(`GET ${PATH}`, { items: [near], tokens: [" bank"], rows: 8, positions: 20, silent: 15 });
    shown();
    expect(await screen.findByText(/It is silent at 15 of 20 positions/)).toHaveTextContent("in 8 rows.");
    expect(screen.getByText("position 12")).toBeVisible();
    const row = screen.getByRole("listbox", { name: /Near miss 1/ });
    row.focus();
    await userEvent.keyboard("{ArrowRight}");
    expect(screen.getByText(/bank.*: not active/)).toBeVisible();
    expect(calls.map((call) => call.path)).toEqual([PATH]);
  });

  it.each([[20, /here the token alone decides/], [0, /No row that was searched/]])("say why there is none, of %i positions", async (positions, text) => {
    answer(`GET ${PATH}`, { items: [], tokens: [" bank"], rows: 8, positions, silent: 0 });
    shown();
    expect(await screen.findByText(text)).toBeVisible();
  });

  it("show the API's words if the model has no memory", async () => {
    answer(`GET ${PATH}`, () => problem(503, "no_capacity", "the language model needs 2 GiB", { blocked_by: ["train-0000000001"] }));
    shown();
    expect(await screen.findByText(/needs 2 GiB/)).toBeVisible();
  });
});
