// Steering with one feature: the model's answer without the change and with it, side by side, and what the change did.
// All that was entered stands in the address, so that it can be shared.
import { type FormEvent, useEffect, useRef, useState } from "react";
import { Link, useLocation, useParams, useSearch } from "wouter";

import { $api } from "../api/client";
import type { Feature, SteeredAnswer, SteeringAnswer } from "../api/schema";
import { steer } from "../api/steer";
import { featurePath } from "../app/paths";
import { ArtifactLink } from "../components/ArtifactLink";
import { LineChart } from "../components/LineChart";
import { Page, Section } from "../components/Page";
import { ProblemNotice } from "../components/Problem";
import { ShownText } from "../components/ShownText";
import { Loaded } from "../components/States";
import { figures, percent, whole } from "../format";

const CURVE = [0, 0.25, 0.5, 1, 2, 4];
const OPERATIONS = {
  add: "Add to the activations", clamp: "Set the feature to", scale: "Multiply the feature by", ablate: "Set the feature to 0", project: "Set the component along the direction to", project_and_cap: "Cap along the direction at",
} as const;
const UNITS = { max: "times its maximum", norm: "times the activations' length", raw: "in activations" } as const;
const WHERE = { both: "Prompt and answer", prompt: "Prompt only", answer: "Answer only" } as const;

type Op = keyof typeof OPERATIONS;
interface Entered {
  text: string;
  op: Op;
  value: string;
  unit: keyof typeof UNITS;
  where: keyof typeof WHERE;
  tokens: string;
  temperature: string;
  seed: string;
  strength: "as entered" | "curve" | "budget";
  budget: string;
}
const START: Entered = { text: "", op: "add", value: "1", unit: "max", where: "both", tokens: "48", temperature: "0", seed: "0", strength: "as entered", budget: "1" };

export default function SteeringPage() {
  const params = useParams<{ id: string; latent: string }>();
  const path = { id: params.id, latent: Number(params.latent) };
  const feature = $api.useQuery("get", "/v1/features/{id}/latents/{latent}", { params: { path } });
  const features = `features/${path.id}`;
  return (
    <Page
      title={`Steer with feature ${params.latent}`}
      lead={feature.data && <>{feature.data.hook}, <ArtifactLink reference={feature.data.sae} /> · <Link href={featurePath(features, path.latent)}>the feature</Link></>}
    >
      <Loaded query={feature} what="the feature">{(found) => <Lab key={found.latent} feature={found} />}</Loaded>
    </Page>
  );
}

function Lab({ feature }: { feature: Feature }) {
  const search = useSearch();
  const [path, go] = useLocation();
  const [entered, setEntered] = useState<Entered>(() => ({ ...START, ...Object.fromEntries([...new URLSearchParams(search)].filter(([key]) => key in START)) }));
  const [live, setLive] = useState<string[] | null>(null);
  const [found, setFound] = useState<SteeringAnswer | null>(null);
  const [error, setError] = useState<unknown>(null);
  const running = useRef<AbortController | null>(null);
  useEffect(() => () => running.current?.abort(), []);

  const set = <K extends keyof Entered>(key: K, value: Entered[K]) => setEntered((old) => ({ ...old, [key]: value }));
  const send = async (event: FormEvent) => {
    event.preventDefault();
    go(`${path}?${new URLSearchParams({ ...entered }).toString()}`, { replace: true });
    const stop = new AbortController();
    running.current = stop;
    setError(null);
    setFound(null);
    setLive([]);
    try {
      const body = requestOf(entered, feature);
      setFound(await steer(body, ({ number, text }) => setLive((old) => added(old ?? [], number, text)), stop.signal));
    } catch (problem) {
      if (!stop.signal.aborted) setError(problem);
    } finally {
      running.current = null;
      setLive(null);
    }
  };
  const busy = live !== null;
  return (
    <>
      <form className="schema-form" onSubmit={(event) => void send(event)}>
        <div className="field">
          <label htmlFor="steer-text">Prompt</label>
          <textarea id="steer-text" rows={3} required maxLength={20_000} value={entered.text} onChange={(event) => set("text", event.target.value)} />
        </div>
        <div className="steer-fields">
          <Choice label="Change" value={entered.op} choices={OPERATIONS} onChange={(value) => set("op", value)} />
          {entered.op !== "ablate" && <NumberEntry label="Value" value={entered.value} onChange={(value) => set("value", value)} />}
          {entered.op !== "ablate" && entered.op !== "scale" && <Choice label="Unit" value={entered.unit} choices={UNITS} onChange={(value) => set("unit", value)} />}
          <Choice label="Where" value={entered.where} choices={WHERE} onChange={(value) => set("where", value)} />
          <Choice label="Strength" value={entered.strength} choices={{ "as entered": "As entered", curve: "A curve of doses", budget: "By a budget of KL" }} onChange={(value) => set("strength", value)} />
          {entered.strength === "budget" && <NumberEntry label="Budget, nats per token" value={entered.budget} min={0.001} onChange={(value) => set("budget", value)} />}
          <NumberEntry label="Tokens, at most" value={entered.tokens} min={1} max={512} step={1} onChange={(value) => set("tokens", value)} />
          <NumberEntry label="Temperature" value={entered.temperature} min={0} max={10} onChange={(value) => set("temperature", value)} />
          {entered.temperature !== "0" && <NumberEntry label="Seed" value={entered.seed} min={0} step={1} onChange={(value) => set("seed", value)} />}
        </div>
        <p className="quiet">The feature’s largest activation is {figures(feature.max)}. What the SAE does not explain stays as it is.</p>
        <div className="buttons">
          <button type="submit" className="primary" disabled={busy}>{busy ? "The model is answering …" : "Steer"}</button>
          {busy && <button type="button" onClick={() => running.current?.abort()}>Stop</button>}
        </div>
      </form>
      {error !== null && <ProblemNotice error={error} what="There is no answer; what you entered is still here" />}
      {busy && <Section title="Answers"><div className="answers">{live.map((text, i) => <Text key={i} title={i === 0 ? "Without the change" : live.length === 2 ? "With the change" : `Answer ${i}`} text={text} />)}</div></Section>}
      {found && <Found found={found} />}
    </>
  );
}

function Found({ found }: { found: SteeringAnswer }) {
  const curve = found.steered.length > 1;
  const shown = found.steered.filter((one) => one.problem === null); // figures of an answer that broke off are not comparable
  return (
    <Section title="Answers">
      {found.budget && <p>The dose that costs {figures(found.budget.kl)} nats per token on the unsteered answer is {figures(found.budget.dose)} times the change.</p>}
      <div className="answers">
        <Text title="Without the change" text={found.unsteered.text} answer={found.unsteered} control={found.unsteered} />
        {found.steered.map((one) => <Text key={one.dose} title={curve || found.budget ? `${figures(one.dose)} times the change` : "With the change"} text={one.text} answer={one} control={found.unsteered} />)}
      </div>
      {curve && (
        <div className="answers">
          <LineChart title="KL per token, nats" xLabel="dose" x={shown.map((one) => one.dose)} curves={[{ name: "KL", values: shown.map((one) => one.kl) }]} />
          <LineChart title="Perplexity by the unsteered model" xLabel="dose" x={shown.map((one) => one.dose)} curves={[{ name: "steered", values: shown.map((one) => one.perplexity) }, { name: "unsteered", values: shown.map(() => found.unsteered.perplexity), dash: [4, 4] }]} />
          <LineChart title="Repetition" xLabel="dose" x={shown.map((one) => one.dose)} curves={[{ name: "steered", values: shown.map((one) => one.repetition) }, { name: "unsteered", values: shown.map(() => found.unsteered.repetition), dash: [4, 4] }]} />
        </div>
      )}
    </Section>
  );
}

const known = (value: number | null): string => (value === null ? "–" : figures(value));

/** One answer; with its figures each stands beside that of the answer without the change. */
function Text({ title, text, answer, control }: { title: string; text: string; answer?: SteeredAnswer; control?: SteeredAnswer }) {
  const steered = answer !== undefined && answer !== control;
  return (
    <div className="card">
      <h3 className="card-title">{title}</h3>
      <p className="answer"><ShownText text={text} lines /></p>
      {answer?.problem && <p className="notice" role="status">It breaks off: {answer.problem}.</p>}
      {answer && control && (
        <dl className="facts">
          <div><dt>Perplexity, unsteered model</dt><dd>{known(answer.perplexity)}{steered && <span className="quiet"> (without {known(control.perplexity)})</span>}</dd></div>
          <div><dt>Repetition</dt><dd>{percent(answer.repetition)}{steered && <span className="quiet"> (without {percent(control.repetition)})</span>}</dd></div>
          {steered && <div><dt>KL per token</dt><dd>{answer.kl === null ? "–" : `${figures(answer.kl)} nats`}</dd></div>}
          {steered && <div><dt>|change| / |activation|</dt><dd>{figures(answer.change)} at {whole(answer.positions)} positions</dd></div>}
        </dl>
      )}
    </div>
  );
}

function Choice<T extends string>({ label, value, choices, onChange }: { label: string; value: T; choices: Record<T, string>; onChange: (value: T) => void }) {
  const id = `steer-${label.toLowerCase()}`;
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      <select id={id} value={value} onChange={(event) => onChange(event.target.value as T)}>
        {(Object.entries(choices) as [T, string][]).map(([key, words]) => <option key={key} value={key}>{words}</option>)}
      </select>
    </div>
  );
}

function NumberEntry({ label, value, onChange, ...limits }: { label: string; value: string; onChange: (value: string) => void; min?: number; max?: number; step?: number }) {
  const id = `steer-${label.toLowerCase().replace(/\W+/g, "-")}`;
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      <input id={id} type="number" required step="any" {...limits} value={value} onChange={(event) => onChange(event.target.value)} />
    </div>
  );
}

function added(texts: string[], number: number, text: string): string[] {
  const next = [...texts];
  while (next.length <= number) next.push("");
  next[number] += text;
  return next;
}

/** The request, of what was entered. */
export function requestOf(entered: Entered, feature: { sae: string; latent: number }) {
  const valued = entered.op !== "ablate";
  const change = {
    sae: feature.sae, latent: feature.latent, op: entered.op, where: entered.where,
    ...(valued && { value: Number(entered.value) }), ...(valued && entered.op !== "scale" && { unit: entered.unit }),
  };
  return {
    text: entered.text, interventions: [change], max_tokens: Number(entered.tokens), temperature: Number(entered.temperature), seed: Number(entered.seed),
    ...(entered.strength === "curve" && { doses: CURVE }), ...(entered.strength === "budget" && { kl_budget: Number(entered.budget) }),
  } as never;
}
