// One tokenization: what was chosen, its statistics, its rows.
import { useDeferredValue, useState } from "react";
import { Link, useParams } from "wouter";

import { $api } from "../api/client";
import { useCursorPages } from "../api/pages";
import type { TokenRow, TokensArtifact } from "../api/schema";
import { useMayWrite } from "../api/session";
import { ArtifactLead, at, DeleteArtifact, Known, Labels, numberAt, Provenance, Users } from "../components/ArtifactParts";
import { type Bar, Bars, histogramBars } from "../components/Bars";
import { Facts, JsonLink } from "../components/Facts";
import { Page, Section } from "../components/Page";
import { ShownText } from "../components/ShownText";
import { Empty, Loaded } from "../components/States";
import { TokenText } from "../components/TokenText";
import { percent, whole } from "../format";

export default function TokensPage() {
  const { id } = useParams<{ id: string }>();
  const tokens = $api.useQuery("get", "/v1/tokens/{id}", { params: { path: { id } } });
  const data = tokens.data;
  const mayWrite = useMayWrite();
  return (
    <Page
      title={data?.name ?? (data ? `Tokens, ${data.label}` : id)}
      actions={data && <>{mayWrite && <Link href={`/saes/new?model=${data.inputs["model"]}&tokens=${data.ref}`} className="button primary">Train SAEs on them</Link>}<DeleteArtifact item={data} kind="tokens" /></>}
      lead={data && <><ArtifactLead item={data} /> · <JsonLink href={data.url} /></>}
    >
      <Loaded query={tokens} what="the tokens">{(found) => <Details tokens={found} />}</Loaded>
    </Page>
  );
}

const onOff = (value: boolean) => (value ? "on" : "off");

function Details({ tokens }: { tokens: TokensArtifact }) {
  const { statistics, config } = tokens;
  const number = (...path: string[]) => { const n = numberAt(statistics, ...path); return n === null ? "–" : whole(n); };
  const splits = Object.entries((at(statistics, "splits") ?? {}) as Record<string, unknown>);
  const roles = new Map<string, number>();
  for (const [, split] of splits) {
    for (const [role, count] of Object.entries((at(split, "roles") ?? {}) as Record<string, number>)) roles.set(role, (roles.get(role) ?? 0) + count);
  }
  const missing = (at(statistics, "missing_splits") ?? []) as string[];
  const top = ((at(statistics, "top_tokens") ?? []) as { count: number; id: number; text: string }[]).slice(0, 30);
  const text = (name: string) => String(at(config, name) ?? "–");
  return (
    <>
      <Known facts={[
        ["Tokens", number("tokens")], ["of these data", number("data_tokens")], ["Rows", number("rows")], ["Documents", number("documents")],
        ["Different tokens", number("unique_tokens")], ["of the vocabulary", percent((numberAt(statistics, "unique_percent") ?? 0) / 100)],
      ]} />
      <Section title="What was chosen">
        <Facts facts={[
          ["Add special tokens", onOff(tokens.add_special_tokens)], ["Return attention mask", onOff(tokens.return_attention_mask)],
          ["Row length", text("context_length")], ["Packing", text("packing")], ["BOS", text("bos")], ["Separator", text("separator")],
          ["Truncation", text("truncation")], ["Stride", text("stride")], ["Padding", `${text("padding")}, ${text("padding_side")}`],
          ["Attention", text("attention")], ["Special strings", text("special_strings")], ["Seed", text("seed")],
        ]} />
      </Section>
      <Rows tokens={tokens} splits={splits.map(([name]) => name)} />
      <Section title="Tokens by role">
        <Bars caption="Tokens by role" what="Role" unit="tokens" total={[...roles.values()].reduce((a, b) => a + b, 0)}
          bars={[...roles].filter(([, count]) => count > 0).sort(([, a], [, b]) => b - a).map(([role, count]): Bar => ({ key: role, label: role, count }))} />
      </Section>
      <Section title="Splits">
        <Bars caption="Rows of each split" what="Split" unit="rows" total={numberAt(statistics, "rows") ?? 0}
          bars={splits.map(([name, split]): Bar => ({ key: name, label: name, count: numberAt(split, "rows") ?? 0 }))} />
        {missing.length > 0 && <p className="quiet">It has no split {missing.join(" or ")}.</p>}
      </Section>
      <Section title="Lengths of documents before packing">
        <Known facts={["min", "mean", "median", "p95", "max"].map((name) => [name, number("document_tokens", name)])} />
        <Bars caption="Documents by their length in tokens" what="Tokens" unit="documents" bars={histogramBars(at(statistics, "document_tokens", "histogram"))} />
      </Section>
      <Section title="Tokens that occur most">
        <Bars caption="Tokens that occur most" what="Token" unit="times" total={numberAt(statistics, "tokens") ?? 0}
          bars={top.map((token): Bar => ({ key: String(token.id), label: <><code><ShownText text={token.text} most={40} /></code> <span className="quiet">{token.id}</span></>, count: token.count }))} />
      </Section>
      <Users kind="saes" field="tokens" reference={tokens.ref} title="SAEs that were trained on it" />
      <Labels item={tokens} kind="tokens" />
      <Provenance item={tokens} />
    </>
  );
}

function Rows({ tokens, splits }: { tokens: TokensArtifact; splits: string[] }) {
  const [split, setSplit] = useState("");
  const [contains, setContains] = useState("");
  const wanted = useDeferredValue(contains);
  const query = { limit: 5, ...(split && { split: [split] }), ...(wanted && { contains: [wanted] }) };
  const found = useCursorPages("/v1/tokens/{id}/rows", query as never, { id: tokens.id });
  const rows = found.rows as TokenRow[];
  const dataset = tokens.inputs["dataset"];
  return (
    <Section title="Rows" beside={<JsonLink href={`${tokens.url}/rows`} />}>
      <div className="controls">
        <label>Text contains <input value={contains} autoComplete="off" onChange={(event) => setContains(event.target.value)} /></label>
        <label>Split{" "}
          <select value={split} onChange={(event) => setSplit(event.target.value)}>
            <option value="">all</option>
            {splits.map((one) => <option key={one}>{one}</option>)}
          </select>
        </label>
      </div>
      <Loaded query={found.query} what="the rows">
        {() => rows.length === 0 && !found.hasMore ? <Empty title="No row is like that." /> : (
          <ul className="samples">
            {rows.map((row) => (
              <li key={`${row.split}-${row.row}`} className="card">
                <p className="quiet">
                  Row {whole(row.row)} of {row.split}: documents{" "}
                  {row.documents.map((part, i) => <span key={i}>{i > 0 && ", "}{dataset ? <Link href={`/${dataset}`}>{whole(part.doc)}</Link> : whole(part.doc)}</span>)}
                </p>
                <TokenText
                  tokens={row.ids.map((id, i) => ({ id, text: row.texts[i]!, role: row.roles[i]!, ...(row.speakers[i] && { speaker: row.speakers[i] }) }))}
                  starts={new Map(row.documents.map((part) => [part.start, `document ${whole(part.doc)}${part.offset > 0 ? ", continued" : ""}`]))}
                />
              </li>
            ))}
          </ul>
        )}
      </Loaded>
      {found.hasMore && <button type="button" disabled={found.loadingMore} onClick={found.more}>{found.loadingMore ? "Loading …" : "More rows"}</button>}
    </Section>
  );
}
