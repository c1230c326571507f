// The list of jobs, filtered and sorted by the API; filters and order are in the address.
import { Link } from "wouter";

import { useCursorPages } from "../api/pages";
import type { JobSummary, paths, State } from "../api/schema";
import { jobPath } from "../app/paths";
import { orderOf, sortOf, useUrlState } from "../app/urlState";
import { type Column, DataTable } from "../components/DataTable";
import { JsonLink, Moment, ProgressBar, StateBadge } from "../components/Facts";
import { Page } from "../components/Page";
import { ShownText } from "../components/ShownText";
import { Empty, Loaded } from "../components/States";
import { StartDemo } from "./Overview";

const STATES: State[] = ["RUNNING", "WAITING", "QUEUED", "CANCELLING", "SUCCEEDED", "FAILED", "CANCELLED", "LOST"];
type Query = NonNullable<paths["/v1/jobs"]["get"]["parameters"]["query"]>;
type Stage = NonNullable<Query["stage"]>;
// All of them, in the order in which they are run: one that is missing here is an error of types.
const STAGE_ORDER: Record<Stage, number> = {
  download: 0, tokenize: 1, harvest: 2, synthesize: 3, train: 4, import: 5, evaluate: 6, probe: 7, extract: 8, label: 9, report: 10, export: 11, maintain: 12, pipeline: 13,
};
const STAGES = (Object.keys(STAGE_ORDER) as Stage[]).sort((a, b) => STAGE_ORDER[a] - STAGE_ORDER[b]);
const NEWEST_FIRST = { id: "created", desc: true };

export default function Jobs() {
  const [search, set] = useUrlState();
  const sort = sortOf(search, NEWEST_FIRST, COLUMNS.filter((column) => column.sortable).map((column) => column.id));
  const state = STATES.find((one) => one === search.get("state"));
  const stage = STAGES.find((one) => one === search.get("stage"));
  const query = { limit: 100, sort: sort.id as NonNullable<Query["sort"]>, order: orderOf(sort), ...(state && { state: [state] }), ...(stage && { stage }) } as const;
  const jobs = useCursorPages("/v1/jobs", query);
  return (
    <Page title="Jobs" lead="A job makes artifacts. Each has a state, and says why it waits." actions={<JsonLink href="/v1/jobs" />}>
      <div className="controls">
        <Choice label="State" value={state ?? ""} options={STATES} onChange={(value) => set({ state: value })} />
        <Choice label="Stage" value={stage ?? ""} options={STAGES} onChange={(value) => set({ stage: value })} />
      </div>
      <Loaded query={jobs.query} what="the jobs">
        {() => (
          <DataTable
            caption="Jobs"
            columns={COLUMNS}
            rows={jobs.rows}
            rowKey={(row) => row.id}
            sort={sort}
            onSort={(next) => set({ sort: next.id, order: orderOf(next) })}
            onEnd={jobs.more}
            empty={
              state || stage ? (
                <Empty title="No job is like that.">
                  <button type="button" onClick={() => set(null)}>Show all jobs</button>
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
          {jobs.loadingMore ? "Loading …" : "Load more jobs"}
        </button>
      )}
    </Page>
  );
}

const COLUMNS: Column<JobSummary>[] = [
  { id: "id", header: "Job", value: (job) => job.id, cell: (job) => <Link href={jobPath(job.id)}>{job.name ?? job.id}</Link> },
  { id: "stage", header: "Stage", value: (job) => job.stage, sortable: true, wide: true },
  { id: "state", header: "State", value: (job) => job.state, sortable: true, cell: (job) => <StateBadge state={job.state} /> },
  { id: "progress", header: "Progress", value: () => null, cell: (job) => <JobNow job={job} /> },
  { id: "created", header: "Submitted", value: (job) => job.created_at, sortable: true, cell: (job) => <Moment at={job.created_at} /> },
  { id: "created_by", header: "By", value: (job) => job.created_by, sortable: true, cell: (job) => <ShownText text={job.created_by} most={60} />, wide: true },
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
