import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { describe, expect, it, vi } from "vitest";

import { answer, calls, problem } from "../testing/answers";
import { renderPage } from "../testing/render";
import DatasetPage from "./DatasetPage";
import Datasets from "./Datasets";

const ID = "00000000000000d1";
vi.mock("wouter", async (original) => ({ ...(await original<object>()), useParams: () => ({ id: "00000000000000d1" }) }));
vi.mock("../api/session", () => ({ useMayWrite: () => true }));

const DATASET = {
  id: ID, ref: `datasets/${ID}`, url: `/v1/datasets/${ID}`, label: "letters", name: null, tags: ["old"], notes: "", project: "default", created_by: "ada",
  created_at: "2026-01-01T00:00:00Z", bytes: 2048, stage: "download", job: "download-1", inputs: {}, fields: { documents: 3, text_bytes: 100 }, config: {},
  provenance: {}, files: [{ name: "a.parquet", size: 2048, sha256: "x" }], stage_version: 1,
  summary: { documents: 3, text_bytes: 100, splits: { train: { documents: 2 }, test: { documents: 1 } } },
  statistics: { missing_splits: ["validation"], document_characters: { min: 1, histogram: [[1, 2, 1], [2, 4, 2]] }, scripts: [], duplicates: { documents: 0, texts: 0 } },
};

function page() {
  answer(`GET /v1/datasets/${ID}`, DATASET);
  answer(`GET /v1/datasets/${ID}/samples`, { items: [{ doc: 2, split: "test", text: "<b>hi</b>", text_start: 0, text_bytes: 9, match: null, messages: null, columns: { region: "north" } }], next: null, looked_at: 3, total: 3 });
  answer("GET /v1/tokens", { items: [], next: null });
  renderPage(<DatasetPage />);
}

describe("the page of a dataset", () => {
  it("shows its documents as text, its splits with shares, and which split is missing", async () => {
    page();
    expect(await screen.findByText("<b>hi</b>")).toBeVisible();
    const splits = within(screen.getByRole("region", { name: "Documents of each split" }));
    expect(splits.getByRole("row", { name: /train 2 66.7%/ })).toBeVisible();
    expect(screen.getByText("It has no split validation.")).toBeVisible();
    expect(screen.getByRole("row", { name: /2 to 3/ })).toBeVisible();
  });

  it("asks before it deletes, and names what refers to it where that is refused", async () => {
    page();
    const user = userEvent.setup();
    answer(`DELETE /v1/datasets/${ID}`, () => problem(409, "referenced", "tokens refer to it", { referrers: ["tokens/00000000000000e1"] }));
    await user.click(await screen.findByRole("button", { name: "Delete" }));
    const dialog = within(screen.getByRole("alertdialog"));
    expect(dialog.getByText(/1 file of 2 KiB/)).toBeVisible();
    await user.click(dialog.getByRole("button", { name: "Delete it" }));
    expect(await dialog.findByRole("link", { name: "tokens/00000000000000e1" })).toBeVisible();
  });

  it("saves a name, tags and notes", async () => {
    page();
    const user = userEvent.setup();
    answer(`PATCH /v1/datasets/${ID}`, DATASET);
    await user.click(await screen.findByRole("button", { name: "Edit" }));
    await user.type(screen.getByLabelText("Name"), "mine");
    await user.clear(screen.getByLabelText("Tags"));
    await user.type(screen.getByLabelText("Tags"), "a, b");
    await user.click(screen.getByRole("button", { name: "Save" }));
    await waitFor(() => expect(calls.find((call) => call.method === "PATCH")!.body).toEqual({ name: "mine", notes: "", tags: ["a", "b"] }));
  });
});

describe("the list of datasets", () => {
  it("says what to do where there is none", async () => {
    answer("GET /v1/datasets", { items: [], next: null });
    renderPage(<Datasets />);
    expect(await screen.findByText("There are no datasets yet.")).toBeVisible();
    expect(screen.getAllByRole("link", { name: "Add a dataset" })[0]).toHaveAttribute("href", "/datasets/new");
  });

  it("says what failed, and tries again", async () => {
    answer("GET /v1/datasets", () => problem(503, "store_away", "the store does not answer"));
    renderPage(<Datasets />);
    expect(await screen.findByText("the store does not answer")).toBeVisible();
    answer("GET /v1/datasets", { items: [DATASET], next: null });
    await userEvent.setup().click(screen.getByRole("button", { name: "Try again" }));
    expect(await screen.findByRole("link", { name: "letters" })).toHaveAttribute("href", `/datasets/${ID}`);
  });
});
