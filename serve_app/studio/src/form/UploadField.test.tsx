import { screen, waitFor } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { describe, expect, it, vi } from "vitest";

import { answer, calls, json, problem } from "../testing/answers";
import { renderPage } from "../testing/render";
import { UploadField } from "./UploadField";

const ID = "00000000000000f1";
const upload = (bytes: number) => ({ id: ID, name: "a.txt", state: "open", file_count: 1, bytes, files: bytes ? [{ name: "a.txt", bytes }] : [] });

describe("files of one's own", () => {
  it("go on where sending broke off, and are named in the request once they are on the server", async () => {
    const onChange = vi.fn();
    answer("POST /v1/uploads", upload(0));
    answer(`GET /v1/uploads/${ID}`, upload(0));
    answer(`PATCH /v1/uploads/${ID}/files/a.txt`, () => problem(503, "store_away", "the store does not answer"));
    renderPage(<UploadField path="source.upload" schema={{ type: "string" }} value={undefined} onChange={onChange} />);
    const user = userEvent.setup();
    await user.upload(screen.getByLabelText("Files of this computer"), new File(["hello"], "a.txt"));
    expect(await screen.findByText("the store does not answer")).toBeVisible();
    answer(`GET /v1/uploads/${ID}`, upload(2));
    answer(`PATCH /v1/uploads/${ID}/files/a.txt`, () => json({ name: "a.txt", bytes: 5 }));
    answer(`POST /v1/uploads/${ID}/finish`, { ...upload(5), state: "finished" });
    await user.click(screen.getByRole("button", { name: "Try again" }));
    await waitFor(() => expect(onChange).toHaveBeenCalledExactlyOnceWith(ID));
    expect(calls.filter((call) => call.method === "PATCH").at(-1)!.headers.get("Upload-Offset")).toBe("2");
    expect(calls.find((call) => call.path.endsWith("/finish"))!.body).toEqual({ files: { "a.txt": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" } });
  });
});
