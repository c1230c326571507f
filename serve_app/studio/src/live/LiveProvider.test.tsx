import { QueryClient } from "@tanstack/react-query";
import { describe, expect, it, vi } from "vitest";

import type { Job, PageJobSummary } from "../api/schema";
import { applyMessage } from "./LiveProvider";

const job = (id: string, done: number) => ({ id, state: "RUNNING", progress: { done, total: 10 } }) as Job;

describe("events change what pages show", () => {
  it("puts progress into the job and into every list that has it", () => {
    const queries = new QueryClient();
    const one = ["get", "/v1/jobs/{id}", { params: { path: { id: "train-1" } } }];
    const list = ["get", "/v1/jobs", { params: { query: {} } }];
    const pages = [...list, "pages"];
    queries.setQueryData(one, { ...job("train-1", 1), config: { kept: true } });
    queries.setQueryData(list, { items: [job("train-1", 1), job("train-2", 5)], next: null });
    queries.setQueryData(pages, { pages: [{ items: [job("train-1", 1)], next: null }], pageParams: [null] });
    applyMessage(queries, { event: "progress", data: job("train-1", 3) }, () => undefined);
    expect(queries.getQueryData<Job>(one)).toMatchObject({ progress: { done: 3 }, config: { kept: true } });
    expect(queries.getQueryData<PageJobSummary>(list)!.items.map((item) => item.progress.done)).toEqual([3, 5]);
    expect(queries.getQueryData<{ pages: PageJobSummary[] }>(pages)!.pages[0]!.items[0]!.progress.done).toBe(3);
  });

  it("reads again what a change of state concerns, and artifacts when a job has made them", () => {
    const refresh = vi.fn();
    const event = { job: "train-1", kind: "state", state: "RUNNING" };
    applyMessage(new QueryClient(), { event: "state", data: event }, refresh);
    expect(refresh.mock.calls.flat()).toEqual(["/v1/jobs/{id} train-1", "/v1/jobs", "/v1/cluster"]);
    applyMessage(new QueryClient(), { event: "state", data: { ...event, state: "SUCCEEDED" } }, refresh);
    expect(refresh).toHaveBeenLastCalledWith("artifacts");
    refresh.mockClear();
    applyMessage(new QueryClient(), { event: "log", data: { ...event, kind: "log" } }, refresh);
    expect(refresh.mock.calls.flat()).toEqual(["/v1/jobs/{id} train-1"]);
  });
});
