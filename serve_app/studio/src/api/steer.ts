// Steering as a stream: tokens of all answers as they are chosen, then what was measured.
import { createParser } from "eventsource-parser";

import { sessionEnded } from "./client";
import { PAGE_HEADERS } from "./early";
import { type Problem, toProblem } from "./problem";
import type { SteerBody, SteeringAnswer } from "./schema";

interface NewToken {
  number: number;
  text: string;
}

/** Calls `token` with each token's text and the number of its answer (0 is the unsteered one). Throws a Problem. */
export async function steer(body: Partial<SteerBody>, token: (token: NewToken) => void, signal: AbortSignal): Promise<SteeringAnswer> {
  const response = await fetch("/v1/text/steer", {
    method: "POST", signal, headers: { ...PAGE_HEADERS, "Content-Type": "application/json" }, body: JSON.stringify({ ...body, stream: true }),
  });
  if (response.status === 401) sessionEnded();
  if (!response.ok || response.body === null) throw toProblem(await response.json().catch(() => null));
  let found: SteeringAnswer | null = null;
  let problem: Problem | null = null;
  const parser = createParser({
    onEvent: ({ event, data }) => {
      const value: unknown = JSON.parse(data);
      if (event === "token") token(value as NewToken);
      else if (event === "answers") found = value as SteeringAnswer;
      else if (event === "problem") problem = toProblem(value);
    },
  });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) parser.feed(part.value);
  if (problem !== null) throw problem;
  if (found === null) throw toProblem("The answer was not finished.");
  return found;
}
