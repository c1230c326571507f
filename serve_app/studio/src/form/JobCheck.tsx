// What submitting a form would do, said before it: whether an equal result exists, and whether it fits, waits or can never run.
import { type ReactNode, useEffect, useState } from "react";
import { Link } from "wouter";

import { client } from "../api/client";
import { toProblem } from "../api/problem";
import type { JobCheck as Checked, StepCheck, TrainingPlan } from "../api/schema";
import { jobPath } from "../app/paths";
import { ArtifactLink } from "../components/ArtifactLink";
import { Facts } from "../components/Facts";
import { ProblemNotice } from "../components/Problem";
import { ShownText } from "../components/ShownText";
import { bytes } from "../format";

type Body = Record<string, unknown>;
const SUBMIT = ["profile", "wait_s", "project", "name", "tags", "notes"];
const KINDS: Record<string, string> = { tokenize: "tokenization", train: "set of SAEs", download: "artifact", extract: "set of features", evaluate: "evaluation", probe: "set of probes" };

/** The body of `POST /v1/jobs` that asks for the same as a request for one stage. `what`: of a download, dataset or model. */
export function jobRequest(stage: string, body: Body, what?: "dataset" | "model"): Body {
  const entries = Object.entries(body);
  const own = Object.fromEntries(entries.filter(([name]) => !SUBMIT.includes(name)));
  const { options, ...download } = own;
  const config = what === undefined ? { stage, ...own } : { stage, what, ...download, ...(options !== undefined && { dataset: options }) };
  // Labels have a check of their own when they are sent: a name that is taken says nothing about the cluster.
  return { config, ...Object.fromEntries(entries.filter(([name]) => ["profile", "wait_s", "project"].includes(name))) };
}

interface Props {
  stage: string;
  body: Body;
  /** Whether enough is filled in to ask. */
  ready: boolean;
  what?: "dataset" | "model";
  /** Asks only when a button is pressed: for sources that the server has to read, or to ask a hub for. */
  manual?: boolean;
  children?: (plan: TrainingPlan) => ReactNode;
}

export function JobCheck({ stage, body, ready, what, manual = false, children }: Props) {
  const request = JSON.stringify(jobRequest(stage, body, what));
  const [wanted, setWanted] = useState<string | null>(null);
  const [found, setFound] = useState<{ request: string; check: Checked | null; problem: unknown } | null>(null);
  const asked = manual ? wanted === request : ready;
  useEffect(() => {
    if (!asked) return;
    const stop = new AbortController();
    const timer = setTimeout(() => {
      const answered = (check: Checked | null, problem: unknown) => { if (!stop.signal.aborted) setFound({ request, check, problem }); };
      void client.POST("/v1/jobs/check", { body: JSON.parse(request) as never, signal: stop.signal }).then(
        ({ data, error }) => answered(data ?? null, data === undefined ? toProblem(error) : null),
        (error: unknown) => answered(null, error),
      );
    }, manual ? 0 : 400);
    return () => { clearTimeout(timer); stop.abort(); };
  }, [request, asked, manual]);
  const current = found !== null && (!manual || found.request === request) ? found : null;
  return (
    <div className="job-check">
      {manual && <p><button type="button" disabled={!ready || (asked && current === null)} onClick={() => setWanted(request)}>{asked && current === null ? "Reading the source …" : "Check it first"}</button></p>}
      {asked && current === null && !manual && <p className="quiet" role="status">Asking whether it fits …</p>}
      {asked && current?.problem != null && <ProblemNotice error={current.problem} what="It could not be submitted like that" />}
      {asked && current?.check && <Verdict check={current.check} stage={stage} />}
      {asked && current?.check?.plan && children?.(current.check.plan)}
    </div>
  );
}

/** In words, and with where to go. */
export function Verdict({ check, stage }: { check: Checked; stage: string }) {
  const worst = check.steps.find((step) => step.fits === check.fits);
  const exist = check.existing.length > 0 && check.existing.length === check.artifacts.length;
  return (
    <div className={check.fits === "can_never_fit" ? "notice problem" : "notice"} role="status">
      {exist ? (
        <>
          <strong>An equal {KINDS[stage] ?? "result"} exists: open it.</strong>
          <Refs refs={check.existing} />
        </>
      ) : check.job !== null ? (
        <><strong>An equal job is under way: open it.</strong><p><Link href={jobPath(check.job)}>{check.job}</Link></p></>
      ) : (
        <>
          <strong>{TITLES[check.fits]}</strong>
          {check.existing.length > 0 && <><p>{check.existing.length} of {check.artifacts.length} exist already:</p><Refs refs={check.existing} /></>}
          {worst && check.fits !== "fits" && <Why step={worst} />}
          {check.steps.length > 1 && <p className="quiet">It runs {check.steps.map((step) => step.stage).join(", then ")}.</p>}
          {check.disk_bytes !== null && <p className="quiet">It writes up to {bytes(check.disk_bytes)} to the store.</p>}
        </>
      )}
    </div>
  );
}

const TITLES = { fits: "It fits: it would start now.", waits: "It would wait.", can_never_fit: "This can never run here." };

function Why({ step }: { step: StepCheck }) {
  return (
    <>
      <Facts facts={[[`${step.stage} needs`, <ShownText key="n" text={step.requires} />], ["There is", step.capacity && <ShownText key="c" text={step.capacity} />]]} />
      {step.capacity === null && <p><ShownText text={step.reason} /></p>}
      {step.suggestion && <p><ShownText text={step.suggestion} /></p>}
      {step.blocked_by.length > 0 && <p>It waits for {step.blocked_by.map((id, i) => <span key={id}>{i > 0 && ", "}<Link href={jobPath(id)}>{id}</Link></span>)}.</p>}
    </>
  );
}

function Refs({ refs }: { refs: string[] }) {
  return <ul className="plain">{refs.map((ref) => <li key={ref}><ArtifactLink reference={ref} /></li>)}</ul>;
}
