// A training run: the curves of all its SAEs while it trains and after, beside those of earlier runs; its checkpoints.
import { useQueries } from "@tanstack/react-query";
import { useEffect, useMemo, useRef, useState } from "react";
import { useLocation, useSearch } from "wouter";

import { $api, client } from "../api/client";
import { toProblem } from "../api/problem";
import type { Job, SaeCurves, Training } from "../api/schema";
import { useLiveEvents } from "../live/LiveProvider";
import { bytes, counted, whole } from "../format";
import { ArtifactLink } from "./ArtifactLink";
import { JsonLink } from "./Facts";
import { type Curve, LineChart } from "./LineChart";
import { Section } from "./Page";
import { Loaded } from "./States";

const CHARTS = [["mse", "Mean squared error"], ["l0", "L0"], ["dead", "Dead latents"], ["lr", "Learning rate"], ["aux", "Auxiliary loss"]] as const;
const AGAIN_MS = 1000; // between readings while it trains

export default function TrainingRun({ job, live }: { job: Job; live: boolean }) {
  const query = $api.useQuery("get", "/v1/jobs/{id}/training", { params: { path: { id: job.id } } });
  useGrowing(job.id, live, () => void query.refetch());
  return (
    <>
      <Section title="Curves" beside={<><JsonLink href={`/v1/jobs/${job.id}/training`} />{live && <span className="quiet">They grow as it trains.</span>}</>}>
        <Loaded query={query} what="the curves">{(found) => <Compared job={job.id} training={found} live={live} />}</Loaded>
      </Section>
      {query.data && <Checkpoints training={query.data} live={live} />}
    </>
  );
}

/** Calls `read` when the job's progress changes, at most once a second, and once more when it ends. */
function useGrowing(job: string, live: boolean, read: () => void) {
  const latest = useRef(read), last = useRef(0), before = useRef(live);
  latest.current = read;
  useLiveEvents(job, () => {
    if (Date.now() - last.current < AGAIN_MS) return;
    last.current = Date.now();
    latest.current();
  });
  useEffect(() => {
    if (before.current && !live) latest.current();
    before.current = live;
  }, [live]);
}

function Compared({ job, training, live }: { job: string; training: Training; live: boolean }) {
  const search = new URLSearchParams(useSearch());
  const [path, go] = useLocation();
  const chosen = search.get("with")?.split(",").filter(Boolean) ?? [];
  const runs = $api.useQuery("get", "/v1/jobs", { params: { query: { stage: "train", limit: 50 } } });
  const others = (runs.data?.items ?? []).filter((one) => one.id !== job);
  const found = useQueries({
    queries: chosen.map((id) => ({
      queryKey: ["get", "/v1/jobs/{id}/training", { params: { path: { id } } }],
      queryFn: async (): Promise<Training> => {
        const { data, error } = await client.GET("/v1/jobs/{id}/training", { params: { path: { id } } });
        if (data === undefined) throw toProblem(error);
        return data;
      },
    })),
  });
  const set = (ids: string[]) => go(ids.length > 0 ? `${path}?with=${ids.join(",")}` : path, { replace: true });
  const shown: { run: string | null; saes: SaeCurves[] }[] = [{ run: null, saes: training.saes }, ...chosen.map((run, i) => ({ run, saes: found[i]?.data?.saes ?? [] }))];
  const [log, setLog] = useState(true);
  return (
    <>
      <div className="controls">
        <label className="check"><input type="checkbox" checked={log} onChange={(event) => setLog(event.target.checked)} /> Loss on a logarithmic axis</label>
        <label>Compare with{" "}
          <select value="" onChange={(event) => event.target.value && set([...chosen, event.target.value])}>
            <option value="">{others.length === 0 ? "there is no other run" : "another run …"}</option>
            {others.filter((one) => !chosen.includes(one.id)).map((one) => <option key={one.id} value={one.id}>{one.name ?? one.id}</option>)}
          </select>
        </label>
        {chosen.map((id) => <button key={id} type="button" aria-label={`Without ${id}`} onClick={() => set(chosen.filter((one) => one !== id))}>{id} ✕</button>)}
      </div>
      {found.map((one, i) => one.isError && <p key={chosen[i]} className="fault">{chosen[i]}: {toProblem(one.error).detail}</p>)}
      {shown.every(({ saes }) => saes.every((sae) => sae.steps === 0)) ? (
        <p className="quiet" role="status">{live ? "There are no steps yet. Curves begin with the first block." : "It made no step: there are no curves."}</p>
      ) : <Charts shown={shown} log={log} />}
      <ul className="plain">
        {training.saes.map((sae) => (
          <li key={sae.sae}>{sae.finished ? <ArtifactLink reference={sae.sae} label={sae.label} /> : sae.label} <span className="quiet">{counted(sae.steps, "step")}{sae.finished ? ", in the store" : ""}</span></li>
        ))}
      </ul>
    </>
  );
}

function Charts({ shown, log }: { shown: { run: string | null; saes: SaeCurves[] }[]; log: boolean }) {
  const saes = useMemo(() => shown.flatMap(({ run, saes: all }) => all.filter((sae) => sae.steps > 0).map((sae) => ({ run, sae }))), [shown]);
  const place = placeOf(saes.map(({ sae }) => sae.label));
  const x = useMemo(() => joined(saes.map(({ sae }) => sae)), [saes]);
  return (
    <div className="charts">
      {CHARTS.map(([column, title]) => {
        const curves = saes.map(({ run, sae }): Curve => ({
          name: `${run === null ? "" : `${run}: `}${sae.label.replace(place, "")}`, values: onto(x, sae, column), ...(run !== null && { dash: [6, 4] }),
        }));
        if (column === "aux" && !curves.some((curve) => curve.values.some((value) => value))) return null;
        return <LineChart key={column} title={title} xLabel="step" x={x} curves={curves} syncKey="run" log={column === "mse" && log} />;
      })}
    </div>
  );
}

/** What all labels end with, such as " at blocks.7.hook_resid_post": a legend need not repeat it. */
export function placeOf(labels: string[]): string {
  const place = / at .*$/.exec(labels[0] ?? "")?.[0] ?? "";
  return labels.every((label) => label.endsWith(place)) ? place : "";
}

/** All steps that any curve has, in order. */
export function joined(saes: Pick<SaeCurves, "columns">[]): number[] {
  return [...new Set(saes.flatMap((sae) => (sae.columns["step"] ?? []) as number[]))].sort((a, b) => a - b);
}

/** A column of a curve at the steps `x`; null where it has none. */
export function onto(x: number[], sae: Pick<SaeCurves, "columns">, column: string): (number | null)[] {
  const values = new Map((sae.columns["step"] ?? []).map((step, i) => [step, sae.columns[column]?.[i] ?? null]));
  return x.map((step) => values.get(step) ?? null);
}

function Checkpoints({ training, live }: { training: Training; live: boolean }) {
  return (
    <Section title="Checkpoints">
      {training.checkpoints.length === 0 ? (
        <p className="quiet">{live ? "None yet: “Stop” writes one." : training.saes.every((sae) => sae.finished) ? "None is left: all SAEs are in the store." : "There is none: a new attempt begins at the start."}</p>
      ) : (
        <ul className="plain">
          {training.checkpoints.map((one) => <li key={one.block}>Before block {whole(one.block)} <span className="quiet">{counted(one.saes, "SAE")}, {bytes(one.bytes)}</span></li>)}
        </ul>
      )}
    </Section>
  );
}
