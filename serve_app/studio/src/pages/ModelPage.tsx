// One language model: architecture, hook points by block, special tokens, memory by number format.
import { useState } from "react";
import { Link, useParams } from "wouter";

import { $api } from "../api/client";
import type { Model } from "../api/schema";
import { useMayWrite } from "../api/session";
import { ArtifactLead, DeleteArtifact, Known, Labels, Provenance, titleOf, Users } from "../components/ArtifactParts";
import { JsonLink } from "../components/Facts";
import { Page, Section } from "../components/Page";
import { ShownText } from "../components/ShownText";
import { Loaded } from "../components/States";
import { bytes, short, whole } from "../format";

export default function ModelPage() {
  const { id } = useParams<{ id: string }>();
  const model = $api.useQuery("get", "/v1/models/{id}", { params: { path: { id } } });
  const data = model.data;
  const mayWrite = useMayWrite();
  return (
    <Page
      title={titleOf(data, id)}
      actions={data && <>{mayWrite && <Link href={`/tokens/new?model=${data.ref}`} className="button primary">Tokenize for it</Link>}<DeleteArtifact item={data} kind="models" /></>}
      lead={data && <><ArtifactLead item={data} /> · <JsonLink href={data.url} /></>}
    >
      <Loaded query={model} what="the model">{(found) => <Details model={found} />}</Loaded>
    </Page>
  );
}

function Details({ model }: { model: Model }) {
  const number = (value: number | null) => (value === null ? "–" : whole(value));
  return (
    <>
      <Known facts={[
        ["Architecture", model.architecture ?? "–"], ["Parameters", model.parameters === null ? "–" : short(model.parameters)], ["Blocks", number(model.n_layers)],
        ["Residual stream", number(model.d_model)], ["Vocabulary", number(model.vocab_size)], ["Longest row", number(model.context_length)],
      ]} />
      <Section title="Hook points">
        {model.hooks_unknown ? <p><ShownText text={model.hooks_unknown} /></p> : <Block hooks={model.hooks} layers={model.n_layers ?? 1} />}
      </Section>
      <Section title="Memory of the weights">
        {model.memory.length === 0 ? <p className="quiet">The number of parameters is not known.</p> : (
          <div className="scroll" tabIndex={0} role="region" aria-label="Memory of the weights">
            <table>
              <caption className="hidden">Memory of the weights by number format</caption>
              <thead><tr><th scope="col"><span>Format</span></th><th scope="col" className="num"><span>Memory</span></th><th scope="col" className="num"><span>Nodes that have it</span></th><th scope="col" className="num"><span>have it free</span></th></tr></thead>
              <tbody>{model.memory.map((row) => <tr key={row.dtype}><th scope="row">{row.dtype}</th><td className="num">{bytes(row.bytes)}</td><td className="num">{row.nodes}</td><td className="num">{row.free_nodes}</td></tr>)}</tbody>
            </table>
          </div>
        )}
      </Section>
      <Section title="Special tokens">
        {model.special_tokens.length === 0 ? <p className="quiet">The tokenizer has none, or cannot be read.</p> : (
          <ul className="plain">{model.special_tokens.map((token) => <li key={`${token.role}-${token.id}`}>{token.role}: <code><ShownText text={token.text} most={60} /></code> <span className="quiet">id {token.id}</span></li>)}</ul>
        )}
      </Section>
      <Users kind="tokens" field="model" reference={model.ref} title="Tokens for it" />
      <Users kind="saes" field="model" reference={model.ref} title="SAEs of it" />
      <Labels item={model} kind="models" />
      <Provenance item={model} />
    </>
  );
}

// What a block does, from its input to its output; hooks that are not in it come after.
const ORDER = ["hook_resid_pre", "ln1.hook_normalized", "attn.hook_z", "hook_attn_out", "hook_resid_mid", "ln2.hook_normalized", "mlp.hook_post", "hook_mlp_out", "hook_resid_post"];
const ABOUT: Record<string, string> = {
  hook_resid_pre: "the residual stream before the block", "ln1.hook_normalized": "normalised input of attention", "attn.hook_z": "outputs of the heads, side by side",
  hook_attn_out: "what attention adds", hook_resid_mid: "the residual stream between attention and MLP", "ln2.hook_normalized": "normalised input of the MLP",
  "mlp.hook_post": "neurons of the MLP", hook_mlp_out: "what the MLP adds", hook_resid_post: "the residual stream after the block",
};

function Block({ hooks, layers }: { hooks: string[]; layers: number }) {
  const [layer, setLayer] = useState(Math.floor(layers / 4));
  const prefix = `blocks.${layer}.`;
  const own = hooks.filter((hook) => hook.startsWith(prefix)).map((hook) => hook.slice(prefix.length));
  const place = (name: string) => { const i = ORDER.indexOf(name); return i < 0 ? ORDER.length : i; };
  const rest = hooks.filter((hook) => !hook.startsWith("blocks."));
  return (
    <>
      <div className="controls">
        <label>Block{" "}
          <select value={layer} onChange={(event) => setLayer(Number(event.target.value))}>
            {Array.from({ length: layers }, (_, i) => <option key={i} value={i}>{i}</option>)}
          </select>
        </label>
      </div>
      <ol className="block-diagram" aria-label={`Hook points of block ${layer}, in order`}>
        {own.sort((a, b) => place(a) - place(b)).map((name) => (
          <li key={name} className={name.startsWith("hook_resid") ? "stream" : "branch"}>
            <code>{prefix}{name}</code> <span className="quiet">{ABOUT[name]}</span>
          </li>
        ))}
      </ol>
      {rest.length > 0 && <p className="quiet">Outside the blocks: {rest.map((hook) => <code key={hook}>{hook} </code>)}</p>}
    </>
  );
}
