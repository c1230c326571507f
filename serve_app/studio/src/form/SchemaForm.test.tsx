import { screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { describe, expect, it, vi } from "vitest";

import { answer } from "../testing/answers";
import { renderPage } from "../testing/render";
import { SchemaForm, type SchemaFormProps } from "./SchemaForm";

const SCHEMAS = {
  Request: {
    type: "object",
    required: ["name"],
    properties: {
      name: { type: "string", minLength: 1, maxLength: 5, description: "What `it` is called." },
      add_special_tokens: { type: "boolean", default: true, description: "Recommended." },
      length: { type: "integer", minimum: 8, default: 128 },
      packing: { type: "string", enum: ["concatenate", "off"], default: "concatenate" },
      splits: { type: "array", items: { enum: ["train", "test"], type: "string" }, default: ["train", "test"], minItems: 1 },
      weights: { type: "array", items: { type: "number", exclusiveMinimum: 0 }, default: [] },
      rows: { anyOf: [{ type: "integer", minimum: 1 }, { type: "null" }] },
      source: {
        oneOf: [{ $ref: "#/components/schemas/Hub" }, { $ref: "#/components/schemas/Upload" }],
        discriminator: { propertyName: "type" },
      },
      saes: { type: "array", items: { $ref: "#/components/schemas/Sae" }, default: [] },
      values: { type: "array", prefixItems: [{ type: "string", maxLength: 3 }, { type: "string", maxLength: 3 }], minItems: 2, maxItems: 2 },
      resources: { $ref: "#/components/schemas/Resources", description: "Overrides." },
    },
  },
  Hub: { type: "object", required: ["type", "repo"], properties: { type: { const: "hub" }, repo: { type: "string", pattern: "^\\w+/\\w+$" } } },
  Upload: { type: "object", required: ["type", "upload"], properties: { type: { const: "upload" }, upload: { type: "string" } } },
  Sae: { type: "object", properties: { k: { type: "integer", minimum: 1, default: 32 } } },
  Resources: { type: "object", description: "All of them.", properties: { cpus: { anyOf: [{ type: "number", minimum: 0 }, { type: "null" }] } } },
};

async function form(props: Partial<SchemaFormProps> = {}) {
  answer("GET /openapi.json", { components: { schemas: SCHEMAS } });
  const onSubmit = vi.fn(async (_: Record<string, unknown>) => undefined);
  const user = userEvent.setup();
  const shown = renderPage(<SchemaForm schema="Request" submit="Send" onSubmit={onSubmit} {...props} />);
  await screen.findByRole("button", { name: "Send" });
  return { onSubmit, user, ...shown };
}
const send = (user: ReturnType<typeof userEvent.setup>) => user.click(screen.getByRole("button", { name: "Send" }));

describe("a form from a schema", () => {
  it("sends only what was filled in", async () => {
    const { onSubmit, user } = await form();
    await user.type(screen.getByLabelText(/Name/), "ada");
    await send(user);
    expect(onSubmit).toHaveBeenCalledExactlyOnceWith({ name: "ada" });
  });

  it("has lines for a list of a fixed length, and does not send an object whose fields were cleared", async () => {
    const { onSubmit, user } = await form();
    await user.type(screen.getByLabelText(/Name/), "ada");
    await user.type(screen.getByLabelText("Values"), "one\nlonger");
    await user.type(screen.getByLabelText("Cpus"), "2{Backspace}");
    await send(user);
    expect(screen.getAllByText(/String should have at most 3 characters/).length).toBeGreaterThan(0);
    await user.clear(screen.getByLabelText("Values"));
    await user.type(screen.getByLabelText("Values"), "one\ntwo");
    await send(user);
    expect(onSubmit).toHaveBeenCalledExactlyOnceWith({ name: "ada", values: ["one", "two"] });
  });

  it("has a control for each type, with its description", async () => {
    const { onSubmit, user } = await form();
    await user.type(screen.getByLabelText(/Name/), "ada");
    const special = screen.getByRole("switch", { name: "Add special tokens" });
    expect(special).toBeChecked();
    expect(special).toHaveAccessibleDescription("Recommended.");
    await user.click(special);
    await user.type(screen.getByLabelText("Length"), "64");
    await user.selectOptions(screen.getByLabelText("Packing"), "off");
    await user.click(within(screen.getByRole("group", { name: "Splits" })).getByLabelText("test"));
    await user.type(screen.getByLabelText("Weights"), "1\n0.5");
    await user.type(screen.getByLabelText("Rows"), "10");
    await user.selectOptions(screen.getByLabelText("Source"), "hub");
    await user.type(screen.getByLabelText(/Repo/), "a/b");
    await user.click(screen.getByRole("button", { name: "Add one" }));
    await user.type(screen.getByLabelText("K"), "16");
    await user.type(screen.getByLabelText("Cpus"), "0.5");
    await send(user);
    expect(onSubmit).toHaveBeenCalledExactlyOnceWith({
      name: "ada", add_special_tokens: false, length: 64, packing: "off", splits: ["train"], weights: [1, 0.5], rows: 10,
      source: { type: "hub", repo: "a/b" }, saes: [{ k: 16 }], resources: { cpus: 0.5 },
    });
  });

  it("says what is wrong in the API's words, at the field and above, and sends nothing", async () => {
    const { onSubmit, user } = await form();
    await user.type(screen.getByLabelText("Length"), "7");
    await user.type(screen.getByLabelText("Rows"), "many");
    await user.type(screen.getByLabelText("Weights"), "1\n-1");
    await send(user);
    expect(screen.getByLabelText("Length")).toHaveAccessibleDescription(/Input should be greater than or equal to 8/);
    expect(screen.getByLabelText("Rows")).toHaveAccessibleDescription(/Input should be a valid integer/);
    expect(screen.getByLabelText(/Name/)).toHaveAccessibleDescription(/Field required/);
    expect(screen.getByLabelText(/Name/)).toBeInvalid();
    expect(screen.getByText(/line 2: Input should be greater than 0/)).toBeVisible();
    expect(screen.getByRole("alert")).toHaveTextContent("4 fields are not right");
    expect(onSubmit).not.toHaveBeenCalled();
    expect(screen.getByLabelText("Rows")).toHaveValue("many");
    await user.clear(screen.getByLabelText("Length"));
    expect(screen.getByLabelText("Length")).toBeValid();
  });

  it("shows the server's faults at their fields and keeps what was typed", async () => {
    const fault = { where: "body.length", code: "value_error", detail: "only the server knows" };
    const refused = { type: "", title: "", status: 422, code: "invalid_request", detail: "body.length: only ...", errors: [fault] };
    const { user } = await form({ onSubmit: () => Promise.reject(refused) });
    await user.type(screen.getByLabelText(/Name/), "ada");
    await send(user);
    expect(await screen.findByRole("alert")).toHaveTextContent("all that you typed is still here");
    expect(screen.getByLabelText("Length")).toHaveAccessibleDescription(/only the server knows/);
    expect(screen.getByLabelText(/Name/)).toHaveValue("ada");
  });

  it("keeps a draft until it was sent", async () => {
    const first = await form({ draft: "test" });
    await first.user.type(screen.getByLabelText(/Name/), "ada");
    first.unmount();
    const { user, unmount } = await form({ draft: "test" });
    expect(screen.getByLabelText(/Name/)).toHaveValue("ada");
    await send(user);
    unmount();
    expect(sessionStorage.getItem("raylens-draft-test")).toBeNull();
  });

  it("groups fields, hides some, and takes fields of other forms", async () => {
    const { onSubmit, user } = await form({
      groups: [{ title: "First", fields: ["name", "length"] }],
      hide: ["resources", "saes", "source"],
      labels: { length: "Tokens in a row" },
      custom: { name: ({ onChange }) => <button type="button" onClick={() => onChange("own")}>Choose</button> },
    });
    expect(screen.getByRole("heading", { name: "First" })).toBeVisible();
    expect(screen.queryByLabelText("Cpus")).toBeNull();
    await user.click(screen.getByRole("button", { name: "Choose" }));
    await user.type(screen.getByLabelText("Tokens in a row"), "99");
    await send(user);
    expect(onSubmit).toHaveBeenCalledExactlyOnceWith({ name: "own", length: 99 });
  });
});
