import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, describe, expect, it, vi } from "vitest";

import { PutOnList } from "../components/ListForms";
import { ListsOfFeature } from "../components/ListsOfFeature";
import { answer, type Call, calls, json, problem } from "../testing/answers";
import { renderPage } from "../testing/render";
import ListPage from "./ListPage";
import Lists from "./Lists";

const BOATS = "00000000000000b0", SHIPS = "00000000000000c0", SAE = "saes/00000000000000a1";
vi.mock("wouter", async (original) => ({ ...(await original<object>()), useParams: () => ({ id: "00000000000000b0" }) }));
vi.mock("../api/session", () => ({ useMayWrite: () => true }));

// Lists and who is on them, as the API would have them.
let names: Map<string, string>;
let on: Set<string>;
const shown = (id: string) => ({ id, name: names.get(id)!, features: [...on].filter((one) => one.startsWith(id)).length, created_by: "api:ada", created_at: "2026-01-02T03:04:05Z" });
const changed = (method: string) => calls.filter((call) => call.method === method);

beforeEach(() => {
  names = new Map([[BOATS, "boats"], [SHIPS, "ships"]]);
  on = new Set([`${BOATS} 7`]);
  answer("GET /v1/lists", ({ query }: Call) => {
    const of = query.get("latent");
    return json({ items: [...names.keys()].filter((id) => of === null || on.has(`${id} ${of}`)).map(shown), next: null });
  });
  answer("POST /v1/lists", ({ body }: Call) => {
    const { name } = body as { name: string };
    if ([...names.values()].includes(name)) return problem(409, "name_taken", `the name '${name}' belongs to lists/${BOATS}: take another`);
    names.set("00000000000000d0", name);
    return json(shown("00000000000000d0"), 201);
  });
  for (const id of [BOATS, SHIPS, "00000000000000d0"]) {
    answer(`GET /v1/lists/${id}`, () => json(shown(id)));
    answer(`PATCH /v1/lists/${id}`, ({ body }: Call) => {
      const { name } = body as { name: string };
      if (name === "ships") return problem(409, "name_taken", "the name 'ships' belongs to another list: take another");
      names.set(id, name);
      return json(shown(id));
    });
    answer(`DELETE /v1/lists/${id}`, () => new Response(null, { status: 204 }));
    answer(`POST /v1/lists/${id}/features`, ({ body }: Call) => {
      for (const { latent } of (body as { features: { latent: number }[] }).features) on.add(`${id} ${latent}`);
      return json(shown(id));
    });
    answer(`DELETE /v1/lists/${id}/features/00000000000000a1/7`, () => (on.delete(`${id} 7`), new Response(null, { status: 204 })));
    answer(`GET /v1/lists/${id}/features`, () => json({
      items: [...on].filter((one) => one.startsWith(id)).map((one) => ({ sae: SAE, latent: Number(one.split(" ")[1]), features: "features/00000000000000f1", starred: true, label: "hulls", added_by: "api:ada", added_at: "2026-01-02T03:04:05Z" })),
      next: null,
    }));
  }
});

describe("the lists that a feature is on", () => {
  it("are named with links; boxes put it on others and take it off", async () => {
    const user = userEvent.setup();
    renderPage(<ListsOfFeature sae={SAE} latent={7} />);
    expect(await screen.findByRole("link", { name: "boats" })).toHaveAttribute("href", `/lists/${BOATS}`);
    await user.click(screen.getByRole("button", { name: "Lists" }));
    await user.click(await screen.findByRole("checkbox", { name: "ships" }));
    expect(await screen.findByRole("link", { name: "ships" })).toBeVisible();
    expect(changed("POST")[0]).toMatchObject({ path: `/v1/lists/${SHIPS}/features`, body: { features: [{ sae: SAE, latent: 7 }] } });
    await user.click(screen.getByRole("checkbox", { name: "boats" }));
    await waitFor(() => expect(screen.queryByRole("link", { name: "boats" })).toBeNull());
    expect(screen.getByRole("checkbox", { name: "boats" })).not.toBeChecked();
  });

  it("keep a new name that is refused, and say why in the API's words", async () => {
    const user = userEvent.setup();
    renderPage(<ListsOfFeature sae={SAE} latent={8} />);
    await user.click(await screen.findByRole("button", { name: "Lists" }));
    const name = await screen.findByLabelText("Name of a new list");
    await user.type(name, "boats{Enter}");
    expect(await screen.findByText(/the name 'boats' belongs to lists/)).toBeVisible();
    expect(name).toHaveValue("boats");
    await user.type(name, " of wood{Enter}");
    expect(await screen.findByRole("link", { name: "boats of wood" })).toBeVisible();
    expect(on).toContain("00000000000000d0 8");
    expect(name).toHaveValue("");
  });
});

describe("chosen features", () => {
  it("go on a list all at once, and stay chosen when that fails", async () => {
    const user = userEvent.setup();
    const done = vi.fn();
    renderPage(<PutOnList features={[1, 2].map((latent) => ({ sae: SAE, latent }))} onDone={done} />);
    answer(`POST /v1/lists/${SHIPS}/features`, () => problem(422, "invalid_request", "a list may have at most 10,000 features"));
    await user.selectOptions(await screen.findByLabelText("List"), "ships");
    await user.click(screen.getByRole("button", { name: "Put them on the list" }));
    expect(await screen.findByText(/at most 10,000 features/)).toBeVisible();
    expect(done).not.toHaveBeenCalled();
    await user.selectOptions(screen.getByLabelText("List"), "boats");
    await user.click(screen.getByRole("button", { name: "Put them on the list" }));
    await waitFor(() => expect(done).toHaveBeenCalledOnce());
    expect(on).toEqual(new Set([`${BOATS} 7`, `${BOATS} 1`, `${BOATS} 2`]));
    expect(screen.getAllByText("“boats” has 3 features now.").length).toBeGreaterThan(0);
  });
});

describe("the page of lists", () => {
  it("has all of them by name, and makes one", async () => {
    const user = userEvent.setup();
    renderPage(<Lists />);
    const table = await screen.findByRole("table", { name: "Lists of features" });
    expect(within(table).getAllByRole("link").map((link) => link.textContent)).toEqual(["boats", "ships"]);
    await user.type(screen.getByLabelText("Name of a new list"), "hulls{Enter}");
    await waitFor(() => expect(location.pathname).toBe("/lists/00000000000000d0"));
  });

  it("says what to do where there is none", async () => {
    names.clear();
    renderPage(<Lists />);
    expect(await screen.findByText("There are no lists yet.")).toBeVisible();
  });
});

describe("the page of one list", () => {
  it("links its features, takes one off, and keeps a name that is refused", async () => {
    const user = userEvent.setup();
    renderPage(<ListPage />);
    expect(await screen.findByRole("heading", { name: "boats" })).toBeVisible();
    expect(await screen.findByRole("link", { name: "7" })).toHaveAttribute("href", "/features/00000000000000f1/7");
    expect(screen.getByText("hulls")).toBeVisible();
    await user.click(screen.getByRole("button", { name: "Rename" }));
    const name = screen.getByLabelText("New name");
    await user.clear(name);
    await user.type(name, "ships{Enter}");
    expect(await screen.findByText(/belongs to another list/)).toBeVisible();
    expect(name).toHaveValue("ships");
    await user.type(name, " and boats{Enter}");
    expect(await screen.findByRole("heading", { name: "ships and boats" })).toBeVisible();
    await user.click(screen.getByRole("button", { name: "Take feature 7 off the list" }));
    expect(await screen.findByText("No feature is on it yet.")).toBeVisible();
  });

  it("names what goes before it is deleted", async () => {
    const user = userEvent.setup();
    renderPage(<ListPage />);
    await user.click(await screen.findByRole("button", { name: "Delete" }));
    expect(screen.getByRole("alertdialog")).toHaveTextContent("Delete the list “boats”?");
    expect(screen.getByRole("alertdialog")).toHaveTextContent("It has 1 feature.");
    await user.click(screen.getByRole("button", { name: "Delete the list" }));
    await waitFor(() => expect(location.pathname).toBe("/lists"));
    expect(changed("DELETE")[0]!.path).toBe(`/v1/lists/${BOATS}`);
  });
});
