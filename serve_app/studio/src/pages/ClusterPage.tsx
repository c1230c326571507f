// Nodes with what is free, and what each stage needs and whether it fits.
import { useState } from "react";
import { Link } from "wouter";

import { $api } from "../api/client";
import type { ClusterNode, StageFit } from "../api/schema";
import { jobPath } from "../app/paths";
import { type Column, DataTable } from "../components/DataTable";
import { Facts, JsonLink } from "../components/Facts";
import { Page, Section } from "../components/Page";
import { ShownText } from "../components/ShownText";
import { Empty, Loaded } from "../components/States";
import { bytes } from "../format";

const PROFILES = ["auto", "local", "gpu"] as const;
type Profile = (typeof PROFILES)[number];

export default function ClusterPage() {
  const [profile, setProfile] = useState<Profile>("auto");
  const cluster = $api.useQuery("get", "/v1/cluster", {}, { refetchInterval: 5_000 });
  const fit = $api.useQuery("get", "/v1/cluster/fit", { params: { query: { profile } } }, { refetchInterval: 10_000 });
  return (
    <Page title="Cluster" lead="The nodes, and whether each stage fits on them." actions={<JsonLink href="/v1/cluster" />}>
      <Loaded query={cluster} what="the cluster">
        {(data) => (
          <>
            <Facts
              facts={[
                ["Dispatcher", data.up ? "admits jobs" : "away: jobs wait"],
                ["Store free", bytes(data.store_free)],
                ["Running", <Names key="r" ids={data.running} />],
                ["Pending", <Names key="w" ids={data.waiting} />],
              ]}
            />
            <Section title="Nodes">
              <DataTable
                caption="Nodes"
                columns={NODES}
                rows={data.nodes.map((node, i) => ({ ...node, number: i + 1 }))}
                rowKey={(node) => String(node.number)}
                empty={<Empty title="No node has been seen."><p>Start a cluster: <code>python -m cluster up</code>.</p></Empty>}
              />
            </Section>
            {data.node_types.length > 0 && (
              <Section title="What the autoscaler can add">
                <ul className="plain">
                  {data.node_types.map((type) => (
                    <li key={type.name}>
                      {type.name}: {type.cpus} CPU, {type.gpus} GPU, {bytes(type.memory)}
                      {type.more === null ? "" : `, ${type.more} more`}
                    </li>
                  ))}
                </ul>
              </Section>
            )}
          </>
        )}
      </Loaded>
      <Section
        title="Stages"
        beside={
          <label className="beside">
            Profile{" "}
            <select value={profile} onChange={(event) => setProfile(event.target.value as Profile)}>
              {PROFILES.map((one) => <option key={one}>{one}</option>)}
            </select>
          </label>
        }
      >
        <Loaded query={fit} what="what fits">
          {(data) => <DataTable caption="Whether each stage fits" columns={STAGES} rows={data.stages} rowKey={(row) => row.stage} empty={<Empty title="The profile has no stages." />} />}
        </Loaded>
      </Section>
    </Page>
  );
}

function Names({ ids }: { ids: string[] }) {
  if (ids.length === 0) return <>none</>;
  return <>{ids.map((id, i) => <span key={id}>{i > 0 && ", "}<Link href={jobPath(id)}>{id}</Link></span>)}</>;
}

type NumberedNode = ClusterNode & { number: number };
const NODES: Column<NumberedNode>[] = [
  { id: "number", header: "Node", value: (node) => node.number, numeric: true },
  { id: "cpus", header: "CPUs free", value: (node) => node.free_cpus, cell: (node) => `${node.free_cpus} of ${node.cpus}`, numeric: true },
  { id: "gpus", header: "GPUs free", value: (node) => node.free_gpus, cell: (node) => `${node.free_gpus} of ${node.gpus}`, numeric: true },
  { id: "memory", header: "Memory free", value: (node) => node.free_memory, cell: (node) => `${bytes(node.free_memory)} of ${bytes(node.memory)}`, numeric: true },
  {
    id: "labels", header: "Labels", value: () => null,
    cell: (node) => Object.entries(node.labels).map(([key, value]) => <span key={key} className="chip">{key}={value}</span>),
  },
];

const FITS: Record<string, string> = { now: "✓ fits now", later: "◔ when other jobs finish", grow: "＋ when nodes are added", never: "✕ never" };
const STAGES: Column<StageFit>[] = [
  { id: "stage", header: "Stage", value: (row) => row.stage },
  { id: "fits", header: "Fits", value: (row) => row.fits, cell: (row) => FITS[row.fits] ?? row.fits },
  { id: "workers", header: "Workers at once", value: (row) => row.largest_workers, numeric: true },
  {
    id: "reason", header: "Why", value: (row) => row.reason,
    cell: (row) => <span className="wrap"><ShownText text={row.reason} />{row.suggestion && <> <b><ShownText text={row.suggestion} /></b></>}</span>,
  },
];
