import { screen, waitFor } from "@testing-library/react";
import { describe, expect, it } from "vitest";

import { loadEarly, PAGE_FILES } from "../app/pageFiles";
import Overview from "../pages/Overview";
import { answer, calls, json, problem } from "../testing/answers";
import { renderPage } from "../testing/render";
import { client } from "./client";
import { askEarly, FIRST_READS, takeEarly } from "./early";

const urls = () => calls.map(({ path, query }) => (query.size ? `${path}?${query.toString()}` : path));
const CLUSTER = { up: true, nodes: [], node_types: [], store_free: 1, running: [], waiting: [] };

describe("early requests", () => {
  it("are word for word what the overview reads, so that it reads nothing twice", async () => {
    answer("GET /v1/cluster", CLUSTER);
    answer("GET /v1/jobs", { items: [], next: null });
    answer("GET /v1/artifacts", { items: [], next: null });
    answer("GET /v1/presets", []);
    askEarly("/");
    await waitFor(() => expect(urls()).toEqual(["/v1/session", ...FIRST_READS["/"]!]));
    renderPage(<Overview />);
    await screen.findByText("Nodes");
    await screen.findByText("Nothing has been made yet.");
    for (const url of FIRST_READS["/"]!) expect(urls().filter((one) => one === url), url).toHaveLength(1);
  });

  it("give each answer once: what is read again comes from the server", async () => {
    let at = 0;
    answer("GET /v1/session", () => json({ name: `reader ${(at += 1)}`, scopes: ["read"], expires_at: null }));
    askEarly("/jobs");
    const names = [];
    for (let i = 0; i < 2; i += 1) names.push((await client.GET("/v1/session")).data?.name);
    expect(names).toEqual(["reader 1", "reader 2"]);
  });

  it("hand on a refusal as the client's own request would", async () => {
    answer("GET /v1/session", () => problem(401, "not_authenticated", "a token is required"));
    askEarly("/jobs");
    const { error, response } = await client.GET("/v1/session");
    expect(response.status).toBe(401);
    expect(error).toMatchObject({ code: "not_authenticated" });
  });

  it("are not sent by the page that signs in, whose code is used first", () => {
    askEarly("/sign-in");
    expect(calls).toHaveLength(0);
    expect(takeEarly(new Request("http://localhost/v1/session"))).toBeUndefined();
  });

  it("load the code of the page at a path only", async () => {
    const loaded: string[] = [];
    const before = PAGE_FILES.map(({ load }) => load);
    PAGE_FILES.forEach((file) => (file.load = async () => { loaded.push(file.path); return { default: () => null }; }));
    loadEarly("/features/0123456789abcdef/17");
    loadEarly("/nothing/of/the/kind");
    PAGE_FILES.forEach((file, i) => (file.load = before[i]!));
    await waitFor(() => expect(loaded).toEqual(["/features/:id/:latent"]));
  });
});
