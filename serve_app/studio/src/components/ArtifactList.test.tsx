import { screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, expect, it, vi } from "vitest";

import Jobs from "../pages/Jobs";
import { answer, type Call, calls, json } from "../testing/answers";
import { renderPage } from "../testing/render";
import { ArtifactList, fieldColumn } from "./ArtifactList";

vi.mock("../api/session", () => ({ useMayWrite: () => true }));

const item = (number: number) => ({
  id: `000000000000000${number}`, ref: `saes/000000000000000${number}`, label: `sae ${number}`, name: null, tags: [], bytes: 1, created_at: "2026-01-01T00:00:00Z", fields: { ev: number / 10 },
});
const list = () => <ArtifactList kind="saes" caption="SAEs" columns={[fieldColumn("ev", "EV", (value) => String(value))]} empty="nothing" />;
const names = () => screen.getAllByRole("row").slice(1).map((row) => within(row).getAllByRole("cell")[0]!.textContent);
const asked = () => calls.map((call) => [call.query.get("sort"), call.query.get("order"), call.query.get("cursor")]);

beforeEach(() => history.replaceState(null, "", "/saes"));

it("shows the API's order over all pages, and has headers ask for another", async () => {
  const user = userEvent.setup();
  // What is on a page is known to the API alone: the smallest EV of all is on the second one.
  answer("GET /v1/saes", ({ query }: Call) => {
    const all = query.get("sort") === "ev" ? (query.get("order") === "asc" ? [1, 3, 2] : [3, 2, 1]) : [2, 3, 1];
    return query.has("cursor") ? json({ items: all.slice(2).map(item), next: null }) : json({ items: all.slice(0, 2).map(item), next: "n" });
  });
  renderPage(list());
  expect(await screen.findByText("sae 1")).toBeVisible();
  expect(names()).toEqual(["sae 2", "sae 3", "sae 1"]);
  expect(asked()).toEqual([["created", "desc", null], ["created", "desc", "n"]]);
  expect(screen.getByRole("columnheader", { name: /Made/ })).toHaveAttribute("aria-sort", "descending");
  calls.length = 0;
  await user.click(screen.getByRole("button", { name: "EV" }));
  expect(location.search).toBe("?sort=ev&order=desc");
  await vi.waitFor(() => expect(names()).toEqual(["sae 3", "sae 2", "sae 1"]));
  expect(asked()).toEqual([["ev", "desc", null], ["ev", "desc", "n"]]);
  await user.click(screen.getByRole("button", { name: /EV/ }));
  // As the API gave them, not as their values would be sorted here.
  await vi.waitFor(() => expect(names()).toEqual(["sae 1", "sae 3", "sae 2"]));
});

it("keeps filters when the order changes, and leaves out an order that the table does not have", async () => {
  history.replaceState(null, "", "/saes?sort=nonsense&order=asc&name=x");
  answer("GET /v1/saes", { items: [item(1)], next: null });
  renderPage(list());
  await userEvent.setup().click(await screen.findByRole("button", { name: "Size" }));
  expect(asked()[0]).toEqual(["created", "desc", null]);
  expect(new URLSearchParams(location.search).get("name")).toBe("x");
  expect(calls.at(-1)!.query.get("name")).toBe("x");
  expect(asked().at(-1)).toEqual(["bytes", "desc", null]);
});

it("has jobs sorted by the API too", async () => {
  answer("GET /v1/jobs", { items: [{ id: "train-0000000001", stage: "train", state: "FAILED", name: null, progress: {}, blocked: null, message: "", created_at: "2026-01-01T00:00:00Z", created_by: "ada" }], next: null });
  renderPage(<Jobs />);
  await userEvent.setup().click(await screen.findByRole("button", { name: "State" }));
  await vi.waitFor(() => expect(asked().at(-1)).toEqual(["state", "asc", null]));
});
