// The list of jobs, with filters in the address.
import { Link, useLocation, useSearch } from "wouter";

import { useCursorPages } from "../api/pages";
import type { JobSummary, State } from "../api/schema";
import { jobPath } from "../app/paths";
import { type Column, DataTable } from "../components/DataTable";
import { JsonLink, Moment, ProgressBar, StateBadge } from "../components/Facts";
import { Page } from "../components/Page";
import { ShownText } from "../components/ShownText";
import { Empty, Loaded } from "../components/States";
import { StartDemo } from "./Overview";

const STATES: State[] = ["RUNNING", "WAITING", "QUEUED", "CANCELLING", "SUCCEEDED", "FAILED", "CANCELLED", "LOST"];
const STAGES = ["download", "tokenize", "harvest", "train", "evaluate", "extract", "report", "maintain", "pipeline"] as const;
type Stage = (typeof STAGES)[number];

export default function Jobs() {
  const search = new URLSearchParams(useSearch());
  const [path, go] = useLocation();
  const state = STATES.find((one) => one === search.get("state"));
  const stage = STAGES.find((one) => one === search.get("stage"));
  const query = { limit: 100, ...(state && { state: [state] }), ...(stage && { stage: stage as Stage }) };
  const jobs = useCursorPages("/v1/jobs", query);
  const choose = (name: string, value: string) => {
    if (value) search.set(name, value);
    else search.delete(name);
    go(search.size ? `${path}?${search.toString()}` : path, { replace: true });
  };
  return (
    <Page title="Jobs" lead="A job makes artifacts. Each has a state, and says why it waits." actions={<JsonLink href="/v1/jobs" />}>
      <div className="controls">
        <Choice label="State" value={state ?? ""} options={STATES} onChange={(value) => choose("state", value)} />
        <Choice label="Stage" value={stage ?? ""} options={STAGES} onChange={(value) => choose("stage", value)} />
      </div>
      <Loaded query={jobs.query} what="the jobs">
        {() => (
          <DataTable
            caption="Jobs, the newest first"
            columns={COLUMNS}
            rows={jobs.rows}
            rowKey={(row) => row.id}
            onEnd={jobs.more}
            empty={
              state || stage ? (
                <Empty title="No job is like that.">
                  <button type="button" onClick={() => go(path, { replace: true })}>Show all jobs</button>
                </Empty>
              ) : (
                <Empty title="There are no jobs yet.">
                  <StartDemo />
                </Empty>
              )
            }
          />
        )}
      </Loaded>
      {jobs.hasMore && (
        <button type="button" disabled={jobs.loadingMore} onClick={jobs.more}>
          {jobs.loadingMore ? "Loading …" : "Load older jobs"}
        </button>
      )}
    </Page>
  );
}

const COLUMNS: Column<JobSummary>[] = [
  { id: "id", header: "Job", value: (job) => job.id, cell: (job) => <Link href={jobPath(job.id)}>{job.name ?? job.id}</Link> },
  { id: "stage", header: "Stage", value: (job) => job.stage, wide: true },
  { id: "state", header: "State", value: (job) => job.state, cell: (job) => <StateBadge state={job.state} /> },
  { id: "progress", header: "Progress", value: () => null, cell: (job) => <JobNow job={job} /> },
  { id: "created", header: "Submitted", value: (job) => job.created_at, cell: (job) => <Moment at={job.created_at} /> },
  { id: "by", header: "By", value: (job) => job.created_by, cell: (job) => <ShownText text={job.created_by} most={60} />, wide: true },
];

function JobNow({ job }: { job: JobSummary }) {
  if (job.state === "RUNNING" && job.progress.total != null) return <ProgressBar progress={job.progress} label={`Progress of ${job.id}`} />;
  const text = job.blocked?.reason || job.message;
  return text ? <ShownText text={text} most={110} /> : <>–</>;
}

function Choice({ label, value, options, onChange }: { label: string; value: string; options: readonly string[]; onChange: (value: string) => void }) {
  return (
    <label>
      {label}
      <select value={value} onChange={(event) => onChange(event.target.value)}>
        <option value="">all</option>
        {options.map((one) => (
          <option key={one} value={one}>
            {one.toLowerCase()}
          </option>
        ))}
      </select>
    </label>
  );
}
