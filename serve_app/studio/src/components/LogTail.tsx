// The end of a job's log, and what is added while it runs.
import { useEffect, useRef, useState } from "react";

import { client } from "../api/client";
import { toProblem } from "../api/problem";
import { visible } from "../format";
import { ProblemNotice } from "./Problem";

const EVERY_MS = 1_500;
const LINES = 2_000; // older ones are dropped from the page; the link has all

export function LogTail({ id, live }: { id: string; live: boolean }) {
  const [lines, setLines] = useState<string[]>([]);
  const [error, setError] = useState<unknown>(null);
  const [read, setRead] = useState(false);
  const next = useRef<number | null>(null);
  const box = useRef<HTMLPreElement>(null);
  const follows = useRef(true);
  useEffect(() => {
    next.current = null;
    setLines([]);
  }, [id]);
  useEffect(() => {
    let stopped = false;
    let timer: ReturnType<typeof setTimeout>;
    const step = async () => {
      try {
        const query = next.current === null ? {} : { offset: next.current };
        const { data, error: problem, response } = await client.GET("/v1/jobs/{id}/log", { params: { path: { id }, query }, parseAs: "text" });
        if (stopped) return;
        if (!response.ok) throw toProblem(problem);
        next.current = Number(response.headers.get("X-Next-Offset") ?? next.current ?? 0);
        const text = (data as string | undefined) ?? ""; // an empty answer has no data
        if (text) setLines((old) => [...old, ...text.replace(/\n$/, "").split("\n").map(visible)].slice(-LINES));
        setRead(true);
        setError(null);
      } catch (problem) {
        if (!stopped) setError(problem);
      }
      if (live && !stopped) timer = setTimeout(() => void step(), EVERY_MS);
    };
    void step();
    return () => {
      stopped = true;
      clearTimeout(timer);
    };
  }, [id, live]);
  useEffect(() => {
    if (box.current && follows.current) box.current.scrollTop = box.current.scrollHeight;
  }, [lines]);
  return (
    <>
      {error !== null && <ProblemNotice error={error} what="Cannot read the log" />}
      {read && lines.length === 0 && <p className="quiet">Nothing was written yet.</p>}
      {lines.length > 0 && (
        <pre
          ref={box}
          className="log"
          tabIndex={0}
          aria-label="Log"
          onScroll={({ currentTarget: node }) => {
            follows.current = node.scrollHeight - node.scrollTop - node.clientHeight < 40;
          }}
        >
          {lines.join("\n")}
        </pre>
      )}
    </>
  );
}
