import { describe, expect, it, vi } from "vitest";

import { Feed, type FeedMessage, type FeedState, type FeedTimes } from "./feed";

const FAST: FeedTimes = { firstByte: 40, silence: 60, retry: 1, longestRetry: 4, poll: 5, streamAgain: 20 };

type Script = (after: string | null, signal: AbortSignal) => Response | Promise<Response>;

/** A feed whose connections answer by these scripts, one after the other; the last one again and again. */
function feedOf(scripts: Script[], poll: () => Promise<void> = async () => undefined) {
  const seen = { states: [] as FeedState[], messages: [] as FeedMessage[], opened: 0, ended: 0, after: [] as (string | null)[] };
  const feed = new Feed(
    {
      open: async (after, signal) => {
        seen.after.push(after);
        return scripts[Math.min(seen.after.length, scripts.length) - 1]!(after, signal);
      },
      poll,
      message: (message) => seen.messages.push(message),
      state: (state) => seen.states.push(state),
      opened: () => (seen.opened += 1),
      ended: () => (seen.ended += 1),
    },
    FAST,
  );
  feed.start();
  return { feed, seen };
}

const frame = (id: number) => `event: state\ndata: {"seq":${id}}\nid: ${id}\n\n`;
const sent = (...parts: string[]): Script => () => new Response(parts.join(""));
/** Sends its parts, then nothing more until it is aborted. */
const open = (...parts: string[]): Script => (_, signal) =>
  new Response(
    new ReadableStream({
      start(controller) {
        for (const part of parts) controller.enqueue(new TextEncoder().encode(part));
        signal.addEventListener("abort", () => controller.error(new DOMException("aborted", "AbortError")));
      },
    }),
  );

describe("the feed", () => {
  it("goes on after the last event that it has, and loses none", async () => {
    const { feed, seen } = feedOf([sent(": hello\n\n", frame(1), frame(2)), sent(frame(3), "event: state\nda"), open(frame(4))]);
    await vi.waitFor(() => expect(seen.messages.map((m) => (m.data as { seq: number }).seq)).toEqual([1, 2, 3, 4]));
    expect(seen.after).toEqual([null, "2", "3"]);
    expect(seen.opened).toBe(3);
    expect(seen.states).toEqual(["connecting", "live", "reconnecting", "live", "reconnecting", "live"]);
    feed.stop();
  });

  it("says that it reconnects when the server is gone, and comes back", async () => {
    const gone: Script = () => Promise.reject(new TypeError("failed to fetch"));
    const { feed, seen } = feedOf([gone, gone, open(frame(7))]);
    await vi.waitFor(() => expect(seen.states.at(-1)).toBe("live"));
    expect(seen.states).toEqual(["connecting", "reconnecting", "reconnecting", "live"]);
    feed.stop();
  });

  it("polls where the stream is held back, until it gets through", async () => {
    const poll = vi.fn(async () => undefined);
    const { feed, seen } = feedOf([open(), open(), open(), open(frame(1))], poll);
    await vi.waitFor(() => expect(seen.states).toContain("polling"));
    await vi.waitFor(() => expect(seen.states.at(-1)).toBe("live"));
    expect(poll).toHaveBeenCalled();
    feed.stop();
  });

  it("says that it reconnects while polls fail too", async () => {
    const { feed, seen } = feedOf([() => new Response("", { status: 503 })], () => Promise.reject(new TypeError("gone")));
    await vi.waitFor(() => expect(seen.after.length).toBeGreaterThan(4));
    expect(new Set(seen.states)).toEqual(new Set(["connecting", "reconnecting"]));
    feed.stop();
  });

  it("notices a connection that has gone silent", async () => {
    const { feed, seen } = feedOf([open(frame(1)), open(frame(2))]);
    await vi.waitFor(() => expect(seen.messages).toHaveLength(2));
    expect(seen.after).toEqual([null, "1"]);
    feed.stop();
  });

  it("ends with the session, and when it is stopped", async () => {
    const { seen } = feedOf([() => new Response("", { status: 401 })]);
    await vi.waitFor(() => expect(seen.ended).toBe(1));
    const other = feedOf([open(frame(1))]);
    await vi.waitFor(() => expect(other.seen.opened).toBe(1));
    other.feed.stop();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(other.seen.after).toHaveLength(1);
    expect(seen.after).toHaveLength(1);
  });
});
