// One stream of the events of all jobs (Server-Sent Events), for the whole application: a browser opens few connections.
//
// After a break it continues after the last event that it has (Last-Event-ID), on whichever replica answers. Each time the
// stream opens, `opened` is called, so that pages read anew what they show: nothing is lost, whatever was missed. Where the
// stream does not get through (a proxy that buffers), `poll` is called in its place until it does.
import { createParser } from "eventsource-parser";

export type FeedState = "connecting" | "live" | "reconnecting" | "polling" | "paused";
export interface FeedMessage {
  event: string;
  data: unknown;
}
export interface FeedOptions {
  /** Asks for the stream, after an event. */
  open: (after: string | null, signal: AbortSignal) => Promise<Response>;
  /** Reads what pages show. Rejects if the server does not answer. */
  poll: () => Promise<void>;
  message: (message: FeedMessage) => void;
  state: (state: FeedState) => void;
  opened: () => void;
  ended: () => void; // the session has ended
}
export interface FeedTimes {
  firstByte: number; // the server sends a comment at once
  silence: number; // and a sign of life every 15 s
  retry: number;
  longestRetry: number;
  poll: number;
  streamAgain: number; // from polling
}
export const TIMES: FeedTimes = {
  firstByte: 6_000, silence: 40_000, retry: 500, longestRetry: 8_000, poll: 2_000, streamAgain: 30_000,
};
const FAILURES = 3; // in a row, without a byte: the stream is blocked

export class Feed {
  private last: string | null = null;
  private stopping = new AbortController();
  private running = false;

  constructor(private readonly options: FeedOptions, private readonly times: FeedTimes = TIMES) {}

  start(): void {
    if (this.running) return;
    this.running = true;
    this.stopping = new AbortController();
    void this.run(this.stopping.signal);
  }

  /** Closes the stream; `start` continues where it was. */
  stop(): void {
    this.running = false;
    this.stopping.abort();
  }

  private async run(stopped: AbortSignal): Promise<void> {
    let failures = 0;
    this.options.state("connecting");
    while (!stopped.aborted) {
      const outcome = await this.stream(stopped);
      if (stopped.aborted || outcome === "ended") return;
      failures = outcome === "received" ? 0 : failures + 1;
      if (failures >= FAILURES) {
        await this.pollFor(this.times.streamAgain, stopped);
      } else {
        this.options.state("reconnecting");
        await pause(Math.min(this.times.retry * 2 ** failures, this.times.longestRetry), stopped);
      }
    }
  }

  /** Reads one stream to its end. "received": it carried something. "ended": the session has ended. */
  private async stream(stopped: AbortSignal): Promise<"received" | "nothing" | "ended"> {
    const attempt = new AbortController();
    const abort = () => attempt.abort();
    stopped.addEventListener("abort", abort, { once: true });
    let timer = setTimeout(abort, this.times.firstByte);
    let received = false;
    try {
      const response = await this.options.open(this.last, attempt.signal);
      if (response.status === 401) {
        this.options.ended();
        return "ended";
      }
      if (!response.ok || response.body === null) return "nothing";
      const parser = createParser({ onEvent: (event) => this.deliver(event.id, event.event ?? "message", event.data) });
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return received ? "received" : "nothing";
        clearTimeout(timer);
        timer = setTimeout(abort, this.times.silence);
        if (!received) {
          received = true;
          this.options.state("live");
          this.options.opened();
        }
        parser.feed(value);
      }
    } catch {
      return received ? "received" : "nothing"; // aborted, or the connection broke
    } finally {
      clearTimeout(timer);
      stopped.removeEventListener("abort", abort);
    }
  }

  private deliver(id: string | undefined, event: string, data: string): void {
    if (id !== undefined && id !== "") this.last = id;
    let value: unknown;
    try {
      value = JSON.parse(data);
    } catch {
      return; // a broken connection can cut an event
    }
    this.options.message({ event, data: value });
  }

  private async pollFor(milliseconds: number, stopped: AbortSignal): Promise<void> {
    const until = Date.now() + milliseconds;
    while (!stopped.aborted && Date.now() < until) {
      try {
        await this.options.poll();
        this.options.state("polling");
      } catch {
        this.options.state("reconnecting");
      }
      await pause(this.times.poll, stopped);
    }
  }
}

function pause(milliseconds: number, stopped: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      stopped.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    stopped.addEventListener("abort", done, { once: true });
    if (stopped.aborted) done();
  });
}
