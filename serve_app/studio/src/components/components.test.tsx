import { screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { describe, expect, it, vi } from "vitest";

import type { Progress } from "../api/schema";
import { renderPage } from "../testing/render";
import { Confirm } from "./Confirm";
import { type Column, DataTable } from "./DataTable";
import { ErrorBoundary } from "./ErrorBoundary";
import { ProgressBar, StateBadge } from "./Facts";
import { ProblemNotice } from "./Problem";
import { ShownText } from "./ShownText";
import { Loaded } from "./States";
import { useToast } from "./Toasts";

interface Row { name: string; size: number | null }
const ROWS: Row[] = [{ name: "b", size: 2 }, { name: "a", size: null }, { name: "c", size: 10 }];
const COLUMNS: Column<Row>[] = [
  { id: "name", header: "Name", value: (row) => row.name, sortable: true },
  { id: "size", header: "Size", value: (row) => row.size, numeric: true, sortable: true },
];
const names = () => screen.getAllByRole("row").slice(1).map((row) => within(row).getAllByRole("cell")[0]!.textContent);

describe("DataTable", () => {
  const table = (props = {}) => <DataTable caption="Things" columns={COLUMNS} rows={ROWS} rowKey={(row) => row.name} empty="nothing" {...props} />;

  it("sorts by its headers, rows without a value last", async () => {
    renderPage(table());
    expect(names()).toEqual(["b", "a", "c"]);
    await userEvent.click(screen.getByRole("button", { name: "Name" }));
    expect(names()).toEqual(["a", "b", "c"]);
    expect(screen.getByRole("columnheader", { name: /Name/ })).toHaveAttribute("aria-sort", "ascending");
    await userEvent.click(screen.getByRole("button", { name: "Size" }));
    expect(names()).toEqual(["c", "b", "a"]);
    await userEvent.click(screen.getByRole("button", { name: /Size/ }));
    expect(names()).toEqual(["b", "c", "a"]);
  });

  it("asks the API for another order where that has more rows", async () => {
    const onSort = vi.fn();
    renderPage(table({ onSort, sort: { id: "name", desc: false } }));
    expect(names()).toEqual(["b", "a", "c"]);
    await userEvent.click(screen.getByRole("button", { name: /Name/ }));
    expect(onSort).toHaveBeenCalledExactlyOnceWith({ id: "name", desc: true });
  });

  it("says what stands there without rows, and asks for more at its end", () => {
    const onEnd = vi.fn();
    const { unmount } = renderPage(table({ onEnd }));
    expect(onEnd).toHaveBeenCalled();
    expect(screen.queryByRole("button", { name: "Name" })).toBeNull(); // the rows that are there are not all
    unmount();
    renderPage(table({ rows: [] }));
    expect(screen.getByText("nothing")).toBeVisible();
    expect(screen.queryByRole("table")).toBeNull();
  });

  it("draws a few of 100,000 rows and says how many there are", () => {
    const rows = Array.from({ length: 100_000 }, (_, i) => ({ name: `row ${i}`, size: i }));
    renderPage(table({ rows }));
    expect(screen.getByRole("table")).toHaveAttribute("aria-rowcount", "100001");
    expect(document.querySelectorAll("tbody tr").length).toBeLessThan(200);
  });

  it("keeps the API's order, and loads a page of a long table before its end is near", () => {
    const many = (n: number) => Array.from({ length: n }, (_, i) => ({ name: `row ${n - i}`, size: i }));
    const onEnd = vi.fn();
    const { rerender } = renderPage(table({ rows: many(30), sort: { id: "name", desc: false }, onSort: vi.fn() }));
    expect(screen.getAllByRole("row").slice(1, 4).map((row) => row.textContent)).toEqual(many(30).slice(0, 3).map((row) => expect.stringContaining(row.name)));
    for (const [rows, total, wanted] of [[200, 1000, 1], [400, 1000, 0], [200, undefined, 0]] as const) {
      onEnd.mockClear();
      rerender(table({ rows: many(rows), onSort: vi.fn(), onEnd, total }));
      expect(onEnd, `${rows} of ${total}`).toHaveBeenCalledTimes(wanted);
    }
  });
});

describe("Confirm", () => {
  it("names what goes, does it on the second click only, and stays open with the reason when it fails", async () => {
    const user = userEvent.setup();
    const onConfirm = vi.fn<() => Promise<unknown>>().mockRejectedValueOnce({ status: 409, code: "in_use", title: "", type: "", detail: "it is used", referrers: ["saes/0000000000000001"] });
    renderPage(<Confirm label="Delete" title="Delete datasets/1?" action="Delete it" onConfirm={onConfirm}>It goes.</Confirm>);
    await user.click(screen.getByRole("button", { name: "Delete" }));
    const dialog = screen.getByRole("alertdialog", { name: "Delete datasets/1?" });
    expect(dialog).toHaveAccessibleDescription("It goes.");
    expect(onConfirm).not.toHaveBeenCalled();
    await user.click(within(dialog).getByRole("button", { name: "Delete it" }));
    expect(within(dialog).getByRole("alert")).toHaveTextContent("it is used");
    expect(within(dialog).getByText("saes/0000000000000001")).toBeVisible();
    await user.keyboard("{Escape}");
    expect(screen.queryByRole("alertdialog")).toBeNull();
    expect(screen.getByRole("button", { name: "Delete" })).toHaveFocus();
    onConfirm.mockResolvedValueOnce(undefined);
    await user.click(screen.getByRole("button", { name: "Delete" }));
    await user.click(screen.getByRole("button", { name: "Delete it" }));
    expect(screen.queryByRole("alertdialog")).toBeNull();
  });
});

describe("ProblemNotice", () => {
  it("says what is wrong, at which field, which jobs are in the way, and what to do", () => {
    renderPage(<ProblemNotice error={{ type: "", title: "Conflict", status: 409, code: "cannot_fit", detail: "it needs 8 GPU", blocked_by: ["train-0000000001"], errors: [{ where: "body.saes.0.k", detail: "too large" }] }} />);
    const alert = screen.getByRole("alert");
    expect(alert).toHaveTextContent("it needs 8 GPU");
    expect(alert).toHaveTextContent("saes.0.k too large");
    expect(alert).toHaveTextContent("Ask for less, or add nodes");
    expect(screen.getByRole("link", { name: "train-0000000001" })).toHaveAttribute("href", "/jobs/train-0000000001");
  });

  it.each([
    [new TypeError("failed to fetch"), "The server does not answer"],
    ["Service unavailable", "Service unavailable"],
    [undefined, "without a reason"],
    [new Error("x is not a function"), "x is not a function"],
  ])("explains %s", (error, text) => {
    renderPage(<ProblemNotice error={error} />);
    expect(screen.getByRole("alert")).toHaveTextContent(text);
  });
});

describe("states of a page", () => {
  const query = { data: undefined as string | undefined, error: null as unknown, isError: false, refetch: vi.fn() };
  const shown = (more: Partial<typeof query>) => renderPage(<Loaded query={{ ...query, ...more }} what="the jobs">{(data) => <p>{data}</p>}</Loaded>);

  it("loads", () => {
    shown({});
    expect(screen.getByText("Loading the jobs …")).toBeVisible();
  });
  it("fails, and tries again", async () => {
    shown({ isError: true, error: new TypeError("gone") });
    expect(screen.getByRole("alert")).toHaveTextContent("Cannot load the jobs");
    await userEvent.click(screen.getByRole("button", { name: "Try again" }));
    expect(query.refetch).toHaveBeenCalled();
  });
  it("keeps what was read when reading it again fails", () => {
    shown({ isError: true, error: new TypeError("gone"), data: "old" });
    expect(screen.getByText("old")).toBeVisible();
    expect(screen.getByRole("alert")).toHaveTextContent("Cannot update the jobs");
  });
});

describe("small parts", () => {
  it("shows hostile text as text, and not all of a long one", async () => {
    const { container } = renderPage(<ShownText text={`<img src=x onerror=alert(1)>\u202e${"x".repeat(1_000_000)}`} most={100} />);
    expect(container.querySelector("img")).toBeNull();
    expect(container).toHaveTextContent("<img src=x onerror=alert(1)>⟨U+202E⟩xxx");
    expect(container.textContent!.length).toBeLessThan(200);
    await userEvent.click(screen.getByRole("button", { name: /more \(999,/ }));
    expect(container.textContent!.length).toBeGreaterThan(20_000);
  });

  it("says a job's state and progress in words", () => {
    const progress = { phase: "train", done: 640, total: 4800, unit: "rows", rate: 21.4, eta_s: 194, durable: null } as Progress;
    renderPage(<><StateBadge state="WAITING" /><ProgressBar progress={progress} label="Progress of x" /></>);
    expect(screen.getByText(/waiting/)).toBeVisible();
    expect(screen.getByRole("progressbar", { name: "Progress of x" })).toHaveAttribute("value", String(640 / 4800));
    expect(screen.getByText("train: 640 of 4,800 rows, 21 a second, 3 min 14 s to go")).toBeVisible();
  });

  it("catches a page's fault and forgets it on another page", () => {
    vi.spyOn(console, "error").mockImplementation(() => undefined);
    const Broken = () => { throw new Error("no such field"); };
    const { rerender } = renderPage(<ErrorBoundary place="/a"><Broken /></ErrorBoundary>);
    expect(screen.getByRole("alert")).toHaveTextContent("no such field");
    rerender(<ErrorBoundary place="/b"><p>fine</p></ErrorBoundary>);
    expect(screen.getByText("fine")).toBeVisible();
  });

  it("shows a short message", async () => {
    const Button = () => { const toast = useToast(); return <button type="button" onClick={() => toast("Done.")}>Do</button>; };
    renderPage(<Button />);
    await userEvent.click(screen.getByRole("button", { name: "Do" }));
    expect(screen.getAllByText("Done.").length).toBeGreaterThan(0);
  });
});
