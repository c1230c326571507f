import { screen, waitFor } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { describe, expect, it, vi } from "vitest";

import { answer } from "../testing/answers";
import { renderPage } from "../testing/render";
import MapPage, { fit, nearest } from "./MapPage";

const ID = "00000000000000b1";
vi.mock("wouter", async (original) => ({ ...(await original<object>()), useParams: () => ({ id: "00000000000000b1" }) }));

const MAP = { x: [0, 1, 2, 50], y: [0, 1, 2, 50], types: ["tokens", "obscure"], type: [0, 0, 1, 1] } as never;

describe("the map of features", () => {
  it("finds the nearest shown feature within reach", () => {
    const view = fit(MAP), all = [true, true, true, true];
    const place = (value: number) => (value - view.x) * view.scale;
    expect(nearest(MAP, all, view, place(50), place(50), 5)).toBe(3);
    expect(nearest(MAP, all, view, place(2.1), place(2.1), 5)).toBe(2);
    expect(nearest(MAP, [true, true, false, true], view, place(2.1), place(2.1), 100)).toBe(1);
    expect(nearest(MAP, all, view, place(25), place(25), 5)).toBe(null);
  });

  it("chooses and says a feature by keyboard, of the types that are shown", async () => {
    answer(`GET /v1/labels/${ID}`, { id: ID, inputs: { features: "features/00000000000000f1" } });
    answer(`GET /v1/labels/${ID}/map`, MAP);
    answer(`GET /v1/labels/${ID}/latents/2`, [{ label: "tokens: 'river'", score: 0.9, permuted_score: 0.5 }]);
    renderPage(<MapPage />);
    const user = userEvent.setup();
    const map = await screen.findByRole("application", { name: /Map of 4 features/ });
    await user.selectOptions(screen.getByLabelText("Type"), "obscure");
    map.focus();
    await user.keyboard("n");
    await waitFor(() => expect(screen.getByRole("link", { name: "Feature 2" })).toHaveAttribute("href", "/features/00000000000000f1/2"));
    expect(await screen.findByText("0.90 (permuted 0.50)")).toBeVisible();
  });
});
