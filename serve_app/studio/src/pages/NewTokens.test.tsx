import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { describe, expect, it, vi } from "vitest";

import { answer, calls, problem } from "../testing/answers";
import { renderPage } from "../testing/render";
import NewTokens from "./NewTokens";

vi.mock("wouter", async (original) => ({ ...(await original<object>()), useSearch: () => "dataset=datasets/00000000000000d1" }));

const SCHEMAS = {
  TokenizeRequest: {
    type: "object", required: ["dataset", "model"],
    properties: {
      stage: { const: "tokenize", default: "tokenize" },
      dataset: { type: "string" }, model: { type: "string" },
      add_special_tokens: { type: "boolean", default: true, description: "Recommended for most models." },
      return_attention_mask: { type: "boolean", default: true, description: "False saves the room." },
    },
  },
};
const item = (ref: string, label: string) => ({ ref, id: ref.split("/")[1], label, name: null, tags: [], fields: {}, created_at: "2026-01-01T00:00:00Z", bytes: 1 });
const token = (text: string, role: string, start: number | null) => ({ id: 7, text, special: role !== "data", role, row: 0, position: 0, start, stop: start });

async function form() {
  sessionStorage.clear();
  answer("GET /openapi.json", { components: { schemas: SCHEMAS } });
  answer("GET /v1/datasets", { items: [item("datasets/00000000000000d1", "letters")], next: null });
  answer("GET /v1/models", { items: [item("models/00000000000000a1", "tiny")], next: null });
  const user = userEvent.setup();
  renderPage(<NewTokens />);
  await screen.findByRole("option", { name: /tiny/ });
  return user;
}
const preview = () => screen.getByRole("complementary", { name: "Preview" });

describe("the form of a tokenization", () => {
  it("sends the dataset of the address, the model and both switches as they were chosen", async () => {
    const user = await form();
    answer("POST /v1/text/tokens", { tokens: [], attention_mask: null, counts: {} });
    answer("POST /v1/tokens", { created: true, artifacts: ["tokens/00000000000000e1"], jobs: [], job: { id: "tokenize-1", state: "QUEUED" } });
    await user.selectOptions(screen.getByLabelText(/Model/), "models/00000000000000a1");
    for (const name of ["Add special tokens", "Return attention mask"]) {
      expect(screen.getByRole("switch", { name })).toBeChecked();
      await user.click(screen.getByRole("switch", { name }));
    }
    await user.click(screen.getByRole("button", { name: "Tokenize" }));
    await waitFor(() => expect(calls.some((call) => call.path === "/v1/tokens")).toBe(true));
    expect(calls.find((call) => call.method === "POST" && call.path === "/v1/tokens")!.body).toEqual({
      dataset: "datasets/00000000000000d1", model: "models/00000000000000a1", add_special_tokens: false, return_attention_mask: false,
    });
  });

  it("shows what the tokenizer makes of a text, and the role of each token that is no data in a word", async () => {
    const user = await form();
    answer("POST /v1/text/tokens", { tokens: [token("<s>", "bos", null), token("Ray", "data", 0)], attention_mask: [1, 1], counts: { tokens: 2, special: 1 } });
    expect(within(preview()).getByText(/Choose a model/)).toBeVisible();
    await user.selectOptions(screen.getByLabelText(/Model/), "models/00000000000000a1");
    expect(await within(preview()).findByText("bos")).toBeVisible();
    expect(within(preview()).getByText("Ray")).toBeVisible();
    const sent = calls.filter((call) => call.path === "/v1/text/tokens").at(-1)!.body as Record<string, unknown>;
    expect(sent["model"]).toBe("models/00000000000000a1");
    await user.click(screen.getByRole("switch", { name: "Add special tokens" }));
    await waitFor(() => expect(calls.filter((call) => call.path === "/v1/text/tokens").at(-1)!.body).toMatchObject({ add_special_tokens: false }));
  });

  it("says why there is no preview, and keeps the text", async () => {
    const user = await form();
    answer("POST /v1/text/tokens", () => problem(422, "invalid", "this model has no tokenizer"));
    await user.selectOptions(screen.getByLabelText(/Model/), "models/00000000000000a1");
    expect(await within(preview()).findByText("this model has no tokenizer")).toBeVisible();
    expect(screen.getByLabelText(/A text/)).not.toHaveValue("");
  });
});
