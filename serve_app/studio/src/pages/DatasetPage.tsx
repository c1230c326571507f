// One dataset: its documents with search, its statistics, what was made from it.
import { useDeferredValue, useState } from "react";
import { Link, useLocation, useParams, useSearch } from "wouter";

import { $api } from "../api/client";
import { useCursorPages } from "../api/pages";
import type { Dataset, Sample } from "../api/schema";
import { useMayWrite } from "../api/session";
import { ArtifactLead, at, DeleteArtifact, Known, Labels, numberAt, Provenance, titleOf, Users } from "../components/ArtifactParts";
import { type Bar, Bars, histogramBars } from "../components/Bars";
import { JsonLink } from "../components/Facts";
import { Page, Section } from "../components/Page";
import { ShownText } from "../components/ShownText";
import { Empty, Loaded } from "../components/States";
import { bytes, whole } from "../format";

export default function DatasetPage() {
  const { id } = useParams<{ id: string }>();
  const dataset = $api.useQuery("get", "/v1/datasets/{id}", { params: { path: { id } } });
  const data = dataset.data;
  const mayWrite = useMayWrite();
  return (
    <Page
      title={titleOf(data, id)}
      actions={data && <>{mayWrite && <Link href={`/tokens/new?dataset=${data.ref}`} className="button primary">Tokenize it</Link>}<DeleteArtifact item={data} kind="datasets" /></>}
      lead={data && <><ArtifactLead item={data} /> · <JsonLink href={data.url} /></>}
    >
      <Loaded query={dataset} what="the dataset">{(found) => <Details dataset={found} />}</Loaded>
    </Page>
  );
}

function Details({ dataset }: { dataset: Dataset }) {
  const { statistics, summary } = dataset;
  const splits = Object.entries((at(summary, "splits") ?? {}) as Record<string, unknown>);
  const missing = (at(statistics, "missing_splits") ?? []) as string[];
  const count = (name: string) => { const n = numberAt(summary, name); return n === null ? "–" : whole(n); };
  const length = (name: string) => { const n = numberAt(statistics, "document_characters", name); return n === null ? "–" : whole(n); };
  return (
    <>
      <Known facts={[
        ["Documents", count("documents")], ["Text", bytes(numberAt(summary, "text_bytes"))], ["Empty documents left out", count("empty_documents")],
        ["Not UTF-8", count("invalid_documents")], ["Too long", count("long_documents")],
        ...((numberAt(summary, "malformed_chats") ?? 0) > 0 ? [["Malformed chats left out", count("malformed_chats")] as [string, string]] : []),
      ]} />
      <Samples dataset={dataset} splits={splits.map(([name]) => name)} />
      <Section title="Splits">
        <Bars caption="Documents of each split" what="Split" unit="documents" total={numberAt(summary, "documents") ?? 0}
          bars={splits.map(([name, split]): Bar => ({ key: name, label: name, count: numberAt(split, "documents") ?? 0 }))} />
        {missing.length > 0 && <p className="quiet">It has no split {missing.join(" or ")}.</p>}
      </Section>
      <Section title="Lengths of documents">
        <Known facts={[["Shortest", length("min")], ["Mean", length("mean")], ["Median", length("median")], ["95% are shorter than", length("p95")], ["Longest", length("max")]]} />
        <Bars caption="Documents by their length in characters" what="Characters" unit="documents" bars={histogramBars(at(statistics, "document_characters", "histogram"))} />
      </Section>
      <Section title="Scripts">
        <Bars caption="Documents in which a Unicode block has the most letters" what="Unicode block" unit="documents"
          bars={((at(statistics, "scripts") ?? []) as Record<string, unknown>[]).slice(0, 12).map((script): Bar => ({ key: String(script["block"]), label: String(script["block"]), count: Number(script["documents"]) }))} />
      </Section>
      <Section title="Duplicates">
        <Known facts={[
          ["Documents whose text came before", whole(numberAt(statistics, "duplicates", "documents") ?? 0)],
          ["Texts that occur more than once", whole(numberAt(statistics, "duplicates", "texts") ?? 0)],
        ]} />
      </Section>
      <Users kind="tokens" field="dataset" reference={dataset.ref} title="Its tokenizations" />
      <Labels item={dataset} kind="datasets" />
      <Provenance item={dataset} />
    </>
  );
}

function Samples({ dataset, splits }: { dataset: Dataset; splits: string[] }) {
  const search = new URLSearchParams(useSearch());
  const [path, go] = useLocation();
  const split = splits.find((one) => one === search.get("split"));
  const [typed, setTyped] = useState(search.get("contains") ?? "");
  const contains = useDeferredValue(typed);
  const set = (name: string, value: string) => {
    if (value) search.set(name, value);
    else search.delete(name);
    go(search.size ? `${path}?${search.toString()}` : path, { replace: true });
  };
  const query = { limit: 5, characters: 400, ...(split && { split: [split] }), ...(contains && { contains: [contains] }) };
  const samples = useCursorPages("/v1/datasets/{id}/samples", query as never, { id: dataset.id });
  const rows = samples.rows as Sample[];
  return (
    <Section title="Documents" beside={<JsonLink href={`${dataset.url}/samples`} />}>
      <div className="controls">
        <label>Text contains <input value={typed} autoComplete="off" onChange={(event) => { setTyped(event.target.value); set("contains", event.target.value); }} /></label>
        <label>Split{" "}
          <select value={split ?? ""} onChange={(event) => set("split", event.target.value)}>
            <option value="">all</option>
            {splits.map((one) => <option key={one}>{one}</option>)}
          </select>
        </label>
      </div>
      <Loaded query={samples.query} what="the documents">
        {() => rows.length === 0 && !samples.hasMore ? <Empty title="No document is like that." /> : (
          <ul className="samples">
            {rows.map((row) => (
              <li key={row.doc} className="card">
                <p className="quiet">Document {whole(row.doc)}, {row.split}, {bytes(row.text_bytes)}{row.text_start > 0 && `, from character ${whole(row.text_start)}`}
                  {Object.entries(row.columns).map(([name, value]) => <span key={name}> · {name}: <ShownText text={String(value)} most={60} /></span>)}
                </p>
                {row.messages ? row.messages.map((message, i) => <p key={i}><b>{message.role}</b> <ShownText text={String(message.content ?? "")} lines most={600} /></p>) : <p><ShownText text={row.text} lines /></p>}
              </li>
            ))}
          </ul>
        )}
      </Loaded>
      {samples.hasMore && <button type="button" disabled={samples.loadingMore} onClick={samples.more}>{samples.loadingMore ? "Loading …" : "More documents"}</button>}
    </Section>
  );
}
