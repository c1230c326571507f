// A problem of the API in words, with what to do about it.
import { Link } from "wouter";

import { adviceFor, toProblem } from "../api/problem";
import { jobPath, refPath } from "../app/paths";
import { ShownText } from "./ShownText";

interface Props {
  error: unknown;
  /** What could not be done, for the heading: "The job was not cancelled". */
  what?: string;
  onRetry?: () => void;
}

export function ProblemNotice({ error, what, onRetry }: Props) {
  const problem = toProblem(error);
  const advice = adviceFor(problem);
  return (
    <div className="problem notice" role="alert">
      <strong>{what ?? problem.title}</strong>
      <p>
        <ShownText text={problem.detail} />
      </p>
      {problem.errors && problem.errors.length > 0 && (
        <ul>
          {problem.errors.map((fault, i) => (
            <li key={i}>
              <code>{(fault["where"] ?? "").replace(/^body\.?/, "")}</code> <ShownText text={fault["detail"] ?? ""} />
            </li>
          ))}
        </ul>
      )}
      <Names title="Jobs in the way" names={problem.blocked_by} path={jobPath} />
      <Names title="What refers to it" names={problem.referrers} path={refPath} />
      {problem.largest_workers != null && problem.largest_workers > 0 && (
        <p>The cluster can run {problem.largest_workers} such workers at once.</p>
      )}
      {advice && <p className="advice">{advice}</p>}
      {onRetry && (
        <button type="button" onClick={onRetry}>
          Try again
        </button>
      )}
    </div>
  );
}

function Names({ title, names, path }: { title: string; names: string[] | null | undefined; path: (name: string) => string }) {
  if (!names || names.length === 0) return null;
  return (
    <p>
      {title}:{" "}
      {names.map((name, i) => (
        <span key={name}>
          {i > 0 && ", "}
          <Link href={path(name)}>{name}</Link>
        </span>
      ))}
    </p>
  );
}
