// What there is and what happens now: nodes, jobs, the newest artifacts, and the demo by one click.
import { useState } from "react";
import { Link, useLocation } from "wouter";

import { $api } from "../api/client";
import type { ArtifactItem, Cluster, JobSummary } from "../api/schema";
import { useMayWrite } from "../api/session";
import { jobPath } from "../app/paths";
import { ArtifactLink } from "../components/ArtifactLink";
import { type Column, DataTable } from "../components/DataTable";
import { JsonLink, Moment, ProgressBar, StateBadge } from "../components/Facts";
import { Page, Section } from "../components/Page";
import { ProblemNotice } from "../components/Problem";
import { ShownText } from "../components/ShownText";
import { Empty, Loaded } from "../components/States";
import { bytes, whole } from "../format";

const LIVE = ["RUNNING", "WAITING", "QUEUED", "CANCELLING"] as const;

export default function Overview() {
  const cluster = $api.useQuery("get", "/v1/cluster", {}, { refetchInterval: 15_000 });
  const jobs = $api.useQuery("get", "/v1/jobs", { params: { query: { state: [...LIVE], limit: 20 } } });
  const artifacts = $api.useQuery("get", "/v1/artifacts", { params: { query: { limit: 12 } } });
  return (
    <Page title="Overview" lead="From a language model and a text to features that a person can read.">
      <Loaded query={cluster} what="the cluster">{(data) => <ClusterTiles cluster={data} />}</Loaded>
      <Section title="Jobs now" beside={<Link href="/jobs">all jobs</Link>}>
        <Loaded query={jobs} what="the jobs">
          {(page) => (page.items.length === 0 ? <NoJobs /> : <ul className="jobs">{page.items.map((job) => <LiveJob key={job.id} job={job} />)}</ul>)}
        </Loaded>
      </Section>
      <Section title="Newest artifacts" beside={<JsonLink href="/v1/artifacts?limit=12" />}>
        <Loaded query={artifacts} what="the artifacts">
          {(page) => <DataTable caption="Newest artifacts" columns={COLUMNS} rows={page.items} rowKey={(row) => row.ref} empty={<NoArtifacts />} />}
        </Loaded>
      </Section>
    </Page>
  );
}

const COLUMNS: Column<ArtifactItem>[] = [
  { id: "ref", header: "Artifact", value: (row) => row.ref, cell: (row) => <ArtifactLink reference={row.ref} /> },
  { id: "label", header: "What it is", value: (row) => row.name ?? row.label, cell: (row) => <ShownText text={row.name ?? row.label} most={120} /> },
  { id: "bytes", header: "Size", value: (row) => row.bytes, cell: (row) => bytes(row.bytes), numeric: true, sortable: true },
  { id: "created", header: "Made", value: (row) => row.created_at, cell: (row) => <Moment at={row.created_at} />, sortable: true },
];

function ClusterTiles({ cluster }: { cluster: Cluster }) {
  const sum = (of: (node: Cluster["nodes"][number]) => number) => cluster.nodes.reduce((all, node) => all + of(node), 0);
  return (
    <>
      {!cluster.up && (
        <div className="notice" role="alert">
          <strong>No dispatcher admits jobs.</strong> Jobs wait until one is back: <code>python -m cluster up</code> starts it.
        </div>
      )}
      <div className="tiles">
        <Tile name="Nodes" value={whole(cluster.nodes.length)} note={cluster.up ? "up" : "seen last"} />
        <Tile name="CPUs free" value={whole(sum((n) => n.free_cpus))} note={`of ${whole(sum((n) => n.cpus))}`} />
        <Tile name="GPUs free" value={whole(sum((n) => n.free_gpus))} note={`of ${whole(sum((n) => n.gpus))}`} />
        <Tile name="Memory free" value={bytes(sum((n) => n.free_memory))} note={`of ${bytes(sum((n) => n.memory))} for jobs`} />
        <Tile name="Store free" value={bytes(cluster.store_free)} note="for artifacts" />
        <Tile name="Jobs" value={whole(cluster.running.length)} note={`running, ${whole(cluster.waiting.length)} pending`} />
      </div>
    </>
  );
}

function Tile({ name, value, note }: { name: string; value: string; note: string }) {
  return (
    <div className="tile">
      <div className="tile-name">{name}</div>
      <div className="tile-value">{value}</div>
      <div className="tile-note">{note}</div>
    </div>
  );
}

function LiveJob({ job }: { job: JobSummary }) {
  return (
    <li className="card job">
      <div className="job-line">
        <Link href={jobPath(job.id)}>{job.name ?? job.id}</Link> <StateBadge state={job.state} />
        <span className="quiet">
          {job.stage}, <Moment at={job.created_at} />
        </span>
      </div>
      <ProgressBar progress={job.progress} label={`Progress of ${job.id}`} />
      {job.blocked && (
        <p className="quiet">
          <ShownText text={job.blocked.reason} most={300} />
        </p>
      )}
    </li>
  );
}

function NoJobs() {
  return (
    <Empty title="No job runs or waits.">
      <StartDemo />
    </Empty>
  );
}

function NoArtifacts() {
  return <Empty title="Nothing has been made yet." />;
}

/** Submits the demo and goes to its job. */
export function StartDemo() {
  const presets = $api.useQuery("get", "/v1/presets", {}, { staleTime: Infinity });
  const create = $api.useMutation("post", "/v1/jobs");
  const mayWrite = useMayWrite();
  const [, go] = useLocation();
  const [starting, setStarting] = useState(false);
  const demo = presets.data?.find((preset) => preset.name === "demo");
  const start = async () => {
    if (!demo) return;
    setStarting(true);
    try {
      const accepted = await create.mutateAsync({ body: { config: demo.config } as never });
      go(jobPath(accepted.job.id));
    } catch {
      setStarting(false); // the mutation has the problem
    }
  };
  return (
    <div className="demo">
      {create.error != null && <ProblemNotice error={create.error} what="The demo was not started" />}
      <Loaded query={presets} what="the demo">
        {() => (
          <>
            <button type="button" className="primary" disabled={!mayWrite || starting || !demo} onClick={() => void start()}>
              {starting ? "Starting …" : "Start the demo"}
            </button>
            <p className="quiet">
              {demo?.title}. It takes some minutes on two cores and downloads nothing.
              {!mayWrite && " Starting it needs the scope write."}
            </p>
          </>
        )}
      </Loaded>
    </div>
  );
}
