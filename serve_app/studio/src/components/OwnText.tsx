// A text of one's own: the features that are active on it, the strongest first, and those of each of its tokens.
import { type FormEvent, useState } from "react";
import { Link } from "wouter";

import { $api } from "../api/client";
import type { TextActivations } from "../api/schema";
import { featurePath } from "../app/paths";
import { figures, whole } from "../format";
import { type Column, DataTable } from "./DataTable";
import { Section } from "./Page";
import { ProblemNotice } from "./Problem";
import { Empty } from "./States";
import { ActiveTokens } from "./ActiveTokens";

/** With `latent`: the activations of that feature on the text; else the features that are most active. */
export function OwnText({ sae, features, latent }: { sae: string; features: string; latent?: number }) {
  const [text, setText] = useState("");
  const ask = $api.useMutation("post", "/v1/text/features");
  const send = (event: FormEvent) => {
    event.preventDefault();
    ask.mutate({ body: { sae, text, top: 20, latents: latent === undefined ? [] : [latent] } });
  };
  return (
    <Section title="Your own text">
      <form onSubmit={send} className="own-text">
        <label htmlFor="own-text">A text, up to 1,000 characters</label>
        <textarea id="own-text" rows={3} maxLength={1000} value={text} onChange={(event) => setText(event.target.value)} />
        <div className="buttons"><button type="submit" className="primary" disabled={text === "" || ask.isPending}>{ask.isPending ? "Running the model …" : "Find active features"}</button></div>
      </form>
      {ask.error != null && <ProblemNotice error={ask.error} what="There is no answer; your text is still here" />}
      {ask.data && <Answer found={ask.data} features={features} {...(latent !== undefined && { latent })} />}
    </Section>
  );
}

function Answer({ found, features, latent }: { found: TextActivations; features: string; latent?: number }) {
  const [at, setAt] = useState<number | null>(null);
  const values = found.tokens.map((token, i) => (latent === undefined ? (token.top[0]?.activation ?? 0) : (found.latents[String(latent)]?.[i] ?? 0)));
  const token = at === null ? undefined : found.tokens[at];
  const link = (one: number) => <Link href={featurePath(features, one)}>{one}</Link>;
  const columns: Column<TextActivations["top"][number]>[] = [
    { id: "latent", header: "Feature", value: (row) => row.latent, numeric: true, sortable: true, cell: (row) => link(row.latent) },
    { id: "max", header: "Max", value: (row) => row.max, numeric: true, sortable: true, cell: (row) => figures(row.max) },
    { id: "at", header: "At position", value: (row) => row.at, numeric: true, sortable: true },
    { id: "tokens", header: "Tokens", value: (row) => row.tokens, numeric: true, sortable: true, title: "Tokens on which it is active" },
  ];
  return (
    <>
      <ActiveTokens label={`Your text, ${whole(found.tokens.length)} tokens`} tokens={found.tokens.map((one) => one.text)} activations={values} max={Math.max(...values, 0)} excluded={found.tokens.flatMap((one, i) => (one.excluded ? [i] : []))} onAt={setAt} />
      {token && (
        <p role="status">Position {token.position}: {token.excluded ? `excluded (${token.excluded})` : `${whole(token.active)} active. `}
          {token.top.slice(0, 8).map((one) => <span key={one.latent} className="chip">{link(one.latent)} {figures(one.activation)}</span>)}</p>
      )}
      <DataTable caption="Features that are active on your text" columns={columns} rows={found.top} rowKey={(row) => String(row.latent)} sort={{ id: "max", desc: true }} height={360} empty={<Empty title="No feature is active on this text." />} />
    </>
  );
}
