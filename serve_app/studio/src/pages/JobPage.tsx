// One job: state, why it waits, progress, what it makes, attempts, events, log; stop, cancel, resume.
import { lazy, Suspense, useMemo } from "react";
import { Link, useParams } from "wouter";

import { $api } from "../api/client";
import type { Attempt, Blocked, Event, Job } from "../api/schema";
import { useMayWrite } from "../api/session";
import { jobPath } from "../app/paths";
import { ArtifactLink } from "../components/ArtifactLink";
import { Confirm } from "../components/Confirm";
import { type Column, DataTable } from "../components/DataTable";
import { Facts, Json, JsonLink, Moment, ProgressBar, StateBadge } from "../components/Facts";
import { LogTail } from "../components/LogTail";
import { Page, Section } from "../components/Page";
import { ProblemNotice } from "../components/Problem";
import { ShownText } from "../components/ShownText";
import { Empty, Loaded, Loading } from "../components/States";
import { useToast } from "../components/Toasts";
import { duration, moment } from "../format";

const TrainingRun = lazy(() => import("../components/TrainingRun")); // with charts, which other jobs do not need
const LIVE = new Set(["QUEUED", "WAITING", "RUNNING", "CANCELLING"]);

export default function JobPage() {
  const { id } = useParams<{ id: string }>();
  const job = $api.useQuery("get", "/v1/jobs/{id}", { params: { path: { id } } });
  const data = job.data;
  return (
    <Page
      title={data?.name ?? id}
      beside={data && <StateBadge state={data.state} />}
      actions={data && <Actions job={data} />}
      lead={data && <>{data.stage}, submitted <Moment at={data.created_at} /> by <ShownText text={data.created_by} most={80} /> · <JsonLink href={`/v1/jobs/${id}`} /></>}
    >
      <Loaded query={job} what="the job">{(found) => <Details job={found} />}</Loaded>
    </Page>
  );
}

function Details({ job }: { job: Job }) {
  return (
    <>
      {job.blocked && <Waiting job={job} blocked={job.blocked} />}
      {job.state === "FAILED" && (
        <div className="notice problem" role="alert">
          <strong>{job.code ?? "It failed"}</strong>
          <p><ShownText text={job.message ?? "There is no reason."} /></p>
          {job.retryable && <p className="advice">The same request may succeed later.</p>}
          {job.resumable && <p className="advice">Resume continues from the last checkpoint.</p>}
        </div>
      )}
      <ProgressBar progress={job.progress} label={`Progress of ${job.id}`} />
      <Facts
        facts={[
          ["Stage", job.stage],
          ["Attempt", job.attempt],
          ["Profile", job.profile],
          ["Project", job.project],
          ["Last change", <Moment key="t" at={job.updated_at} />],
          ["Last checkpoint", job.progress.durable === null ? null : `${job.progress.durable} ${job.progress.unit ?? ""}`],
          ["Submitted for", job.parent && <Link key="p" href={jobPath(job.parent)}>{job.parent}</Link>],
        ]}
      />
      {job.state !== "FAILED" && job.message && <p><ShownText text={job.message} /></p>}
      {job.notes && <p><ShownText text={job.notes} lines /></p>}
      {job.stage === "train" && <Suspense fallback={<Loading what="the curves" />}><TrainingRun job={job} live={LIVE.has(job.state)} /></Suspense>}
      <Section title="What it makes">
        {job.artifacts.length === 0 ? <p className="quiet">It makes no artifact of its own.</p> : (
          <ul className="plain">
            {job.artifacts.map((ref) => (
              <li key={ref}>{job.state === "SUCCEEDED" ? <ArtifactLink reference={ref} /> : <code>{ref}</code>}</li>
            ))}
          </ul>
        )}
      </Section>
      {job.stage === "pipeline" && <Children parent={job.id} />}
      {job.stage !== "pipeline" && <Section title="Inputs">
        {Object.keys(job.inputs).length === 0 ? <p className="quiet">None.</p> : (
          <ul className="plain">
            {Object.entries(job.inputs).map(([role, ref]) => (
              <li key={role}>{role}: <ArtifactLink reference={ref} /></li>
            ))}
          </ul>
        )}
      </Section>}
      <Section title="Events" beside={<JsonLink href={`/v1/jobs/${job.id}/events`} />}>
        <Events id={job.id} />
      </Section>
      <Section title="Log">
        <LogTail id={job.id} live={LIVE.has(job.state)} />
      </Section>
      <Section title="Attempts">
        <DataTable caption="Attempts" columns={ATTEMPTS} rows={job.attempts} rowKey={(row) => String(row.number)} empty={<Empty title="It has not begun." />} />
      </Section>
      <details>
        <summary>Config</summary>
        <Json value={job.config} />
      </details>
      <details>
        <summary>Requirement</summary>
        <Json value={job.requirement} />
      </details>
    </>
  );
}

const WAITS: Record<string, string> = {
  inputs: "It waits for its inputs, which other jobs make.",
  resources: "It waits for resources that other jobs use.",
  nodes: "It waits for nodes that the autoscaler adds.",
  turn: "Jobs before it in the queue come first.",
  same_artifact: "Another job makes the same artifact.",
  store: "The store does not answer.",
  retry: "It pauses before the next attempt.",
};

function Waiting({ job, blocked }: { job: Job; blocked: Blocked }) {
  return (
    <div className="notice" role="status">
      <strong>{WAITS[blocked.kind] ?? "It waits."}</strong>
      {blocked.reason && <p><ShownText text={blocked.reason} /></p>}
      <Facts
        facts={[
          ["It requires", blocked.requirement],
          ["The cluster has", blocked.capacity],
          ["Fails if it still waits at", job.deadline && moment(job.deadline)],
        ]}
      />
      {blocked.blocked_by.length > 0 && (
        <p>
          Waits for:{" "}
          {blocked.blocked_by.map((id, i) => (
            <span key={id}>{i > 0 && ", "}<Link href={jobPath(id)}>{id}</Link></span>
          ))}
        </p>
      )}
    </div>
  );
}

function Children({ parent }: { parent: string }) {
  const jobs = $api.useQuery("get", "/v1/jobs", { params: { query: { parent, limit: 100 } } });
  return (
    <Section title="Its jobs">
      <Loaded query={jobs} what="its jobs">
        {(page) => page.items.length === 0 ? <p className="quiet">All that it needs exists already.</p> : (
          <ul className="jobs">
            {[...page.items].reverse().map((job) => (
              <li key={job.id} className="card job">
                <div className="job-line"><Link href={jobPath(job.id)}>{job.id}</Link> <StateBadge state={job.state} /></div>
                {job.state === "RUNNING" && <ProgressBar progress={job.progress} label={`Progress of ${job.id}`} />}
                {job.blocked && <p className="quiet"><ShownText text={job.blocked.reason} most={200} /></p>}
              </li>
            ))}
          </ul>
        )}
      </Loaded>
    </Section>
  );
}

function Actions({ job }: { job: Job }) {
  const mayWrite = useMayWrite();
  const toast = useToast();
  const end = $api.useMutation("post", "/v1/jobs/{id}/cancel");
  const resume = $api.useMutation("post", "/v1/jobs/{id}/resume");
  const path = { id: job.id };
  if (!mayWrite) return null;
  if (LIVE.has(job.state)) {
    return (
      <>
        <Confirm label="Stop" title={`Stop ${job.id}?`} action="Stop the job" disabled={job.cancel !== null}
          onConfirm={async () => { await end.mutateAsync({ params: { path, query: { how: "stop" } } }); toast("It finishes its block, writes a checkpoint and ends."); }}>
          It finishes the block that it works on, writes a checkpoint and ends. You can resume it.
        </Confirm>
        <Confirm label="Cancel" title={`Cancel ${job.id}?`} action="Cancel the job" disabled={job.cancel === "cancel"}
          onConfirm={async () => { await end.mutateAsync({ params: { path, query: { how: "cancel" } } }); toast("It is being cancelled."); }}>
          It ends now. Its last checkpoint is kept; what came after it is lost.
        </Confirm>
      </>
    );
  }
  if (job.state === "SUCCEEDED") return null;
  return (
    <>
      <button type="button" className="primary" disabled={resume.isPending} onClick={() => resume.mutate({ params: { path } }, { onSuccess: () => toast("It goes on.") })}>
        Resume
      </button>
      {resume.error != null && <ProblemNotice error={resume.error} what="It was not resumed" />}
    </>
  );
}

function Events({ id }: { id: string }) {
  const events = $api.useQuery("get", "/v1/jobs/{id}/events", { params: { path: { id }, query: { limit: 1000 } } });
  return (
    <Loaded query={events} what="the events">
      {(rows) => <EventTable rows={rows} />}
    </Loaded>
  );
}

function EventTable({ rows }: { rows: Event[] }) {
  const newest = useMemo(() => [...rows].reverse(), [rows]);
  return <DataTable caption="Events, the newest first" columns={EVENTS} rows={newest} rowKey={(row) => String(row.number)} empty={<Empty title="There are no events." />} height={320} />;
}

const EVENTS: Column<Event>[] = [
  { id: "number", header: "No.", value: (event) => event.number, numeric: true },
  { id: "at", header: "Time", value: (event) => event.at, cell: (event) => <Moment at={event.at} /> },
  { id: "state", header: "State", value: (event) => event.state, cell: (event) => <StateBadge state={event.state} /> },
  { id: "message", header: "Message", value: (event) => event.message, cell: (event) => (event.message ? <ShownText text={event.message} most={400} /> : "–") },
];

const ATTEMPTS: Column<Attempt>[] = [
  { id: "number", header: "No.", value: (attempt) => attempt.number, numeric: true },
  { id: "state", header: "State", value: (attempt) => attempt.state, cell: (attempt) => <StateBadge state={attempt.state} /> },
  { id: "started", header: "Began", value: (attempt) => attempt.started_at, cell: (attempt) => moment(attempt.started_at) },
  {
    id: "took", header: "Took", numeric: true,
    value: (attempt) => attempt.ended_at && (Date.parse(attempt.ended_at) - Date.parse(attempt.started_at)) / 1000,
    cell: (attempt) => duration(attempt.ended_at ? (Date.parse(attempt.ended_at) - Date.parse(attempt.started_at)) / 1000 : null),
  },
  { id: "message", header: "End", value: (attempt) => attempt.message, cell: (attempt) => (attempt.message ? <ShownText text={attempt.message} most={300} /> : "–") },
];
