// Small parts that many pages have: facts, badges of states, progress, times, links to JSON.
import { type ReactNode, useEffect, useState } from "react";

import type { Progress, State } from "../api/schema";
import { ago, duration, moment, percent, whole } from "../format";

/** Names and values, as a list of terms. A value of null is left out. */
export function Facts({ facts }: { facts: [name: string, value: ReactNode][] }) {
  return (
    <dl className="facts">
      {facts
        .filter(([, value]) => value !== null && value !== undefined)
        .map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}

const SIGNS: Record<State, string> = {
  QUEUED: "○", WAITING: "◔", RUNNING: "▶", SUCCEEDED: "✓", FAILED: "✕", CANCELLING: "◌", CANCELLED: "■", LOST: "?",
};

/** A job's state: a sign and a word, never a colour alone. */
export function StateBadge({ state }: { state: State }) {
  return (
    <span className={`badge ${state.toLowerCase()}`}>
      <span aria-hidden="true">{SIGNS[state] ?? "·"}</span> {state.toLowerCase()}
    </span>
  );
}

/** How far a phase is, as a bar and in words. Nothing if the job has not said so yet. */
export function ProgressBar({ progress, label }: { progress: Progress; label: string }) {
  const { done, total, unit, rate, eta_s, phase } = progress;
  if (done == null || total == null) return null;
  const share = total > 0 ? Math.min(1, done / total) : 0;
  return (
    <div className="progress">
      <progress aria-label={label} max={1} value={share}>
        {percent(share)}
      </progress>
      <span className="quiet">
        {phase && `${phase}: `}
        {whole(done)} of {whole(total)} {unit}
        {rate != null && rate > 0 && `, ${rate >= 10 ? whole(rate) : rate.toPrecision(2)} a second`}
        {eta_s != null && `, ${duration(eta_s)} to go`}
      </span>
    </div>
  );
}

/** A moment as "5 min ago", with the time itself on hover. */
export function Moment({ at }: { at: string | null | undefined }) {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 15_000);
    return () => clearInterval(timer);
  }, []);
  if (at == null) return <>–</>;
  return (
    <time dateTime={at} title={moment(at)}>
      {ago(at, Math.max(now, Date.now() - 15_000))}
    </time>
  );
}

/** A link to what the API itself answers. */
export function JsonLink({ href }: { href: string }) {
  return (
    <a className="json" href={href} target="_blank" rel="noreferrer">
      as JSON
    </a>
  );
}

/** A value as indented JSON. */
export function Json({ value }: { value: unknown }) {
  return (
    <pre className="json-text" tabIndex={0}>
      {JSON.stringify(value, null, 2)}
    </pre>
  );
}
