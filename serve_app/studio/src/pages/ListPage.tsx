// One list: its features with links, stars and labels; rename it, take features off it, delete it.
import { type FormEvent, useState } from "react";
import { Link, useLocation, useParams } from "wouter";

import { $api } from "../api/client";
import { useListChanges } from "../api/lists";
import { useCursorPages } from "../api/pages";
import type { FeatureList, ListedFeature } from "../api/schema";
import { useMayWrite } from "../api/session";
import { featurePath } from "../app/paths";
import { ArtifactLink } from "../components/ArtifactLink";
import { Confirm } from "../components/Confirm";
import { CopyJson } from "../components/CopyJson";
import { type Column, DataTable } from "../components/DataTable";
import { JsonLink, Moment } from "../components/Facts";
import { Page, Section } from "../components/Page";
import { ProblemNotice } from "../components/Problem";
import { ShownText } from "../components/ShownText";
import { Empty, Loaded } from "../components/States";
import { useToast } from "../components/Toasts";
import { whole } from "../format";

export default function ListPage() {
  const { id } = useParams<{ id: string }>();
  const list = $api.useQuery("get", "/v1/lists/{id}", { params: { path: { id } } });
  const mayWrite = useMayWrite();
  return (
    <Page title={list.data ? list.data.name : "List"} actions={list.data && mayWrite && <Changes list={list.data} />}
      lead={list.data && <>made by <ShownText text={list.data.created_by} most={60} />, <Moment at={list.data.created_at} /> · <Link href="/lists">all lists</Link> · <JsonLink href={`/v1/lists/${id}`} /></>}>
      <Loaded query={list} what="the list">{(found) => <Features list={found} mayWrite={mayWrite} />}</Loaded>
    </Page>
  );
}

function Changes({ list }: { list: FeatureList }) {
  const { rename, remove } = useListChanges();
  const toast = useToast();
  const [, go] = useLocation();
  const [name, setName] = useState<string | null>(null); // what is typed; null while the form is closed
  const [error, setError] = useState<unknown>(null);
  const save = async (event: FormEvent) => {
    event.preventDefault();
    setError(null);
    try {
      await rename(list.id, name ?? "");
      setName(null);
    } catch (problem) {
      setError(problem);
    }
  };
  const erase = async () => {
    await remove(list.id);
    toast(`“${list.name}” was deleted.`);
    go("/lists");
  };
  return (
    <>
      {name === null ? <button type="button" onClick={() => setName(list.name)}>Rename</button> : (
        <form className="controls" onSubmit={(event) => void save(event)}>
          <label htmlFor="list-name">New name</label> <input id="list-name" value={name} maxLength={100} autoComplete="off" autoFocus onChange={(event) => setName(event.target.value)} />
          <button type="submit" className="primary" disabled={name === ""}>Save</button><button type="button" onClick={() => { setName(null); setError(null); }}>Leave it as it is</button>
        </form>
      )}
      {error !== null && <ProblemNotice error={error} what="It has its old name" />}{" "}
      <Confirm label="Delete" title={`Delete the list “${list.name}”?`} action="Delete the list" onConfirm={erase}>
        It has {whole(list.features)} {list.features === 1 ? "feature" : "features"}. They keep their stars, names and notes.
      </Confirm>
    </>
  );
}

function Features({ list, mayWrite }: { list: FeatureList; mayWrite: boolean }) {
  const { query, rows, more } = useCursorPages("/v1/lists/{id}/features", { limit: 200 }, { id: list.id });
  const { takeOff } = useListChanges();
  const [error, setError] = useState<unknown>(null);
  const columns: Column<ListedFeature>[] = [
    { id: "latent", header: "Feature", value: (row) => row.latent, numeric: true, cell: (row) => <>{row.starred && <span aria-label="starred">★ </span>}{row.features ? <Link href={featurePath(row.features, row.latent)}>{row.latent}</Link> : row.latent}</> },
    { id: "label", header: "Name", value: (row) => row.label, cell: (row) => row.label ? <ShownText text={row.label} most={80} /> : <span className="quiet">–</span> },
    { id: "sae", header: "SAE", value: (row) => row.sae, cell: (row) => <ArtifactLink reference={row.sae} />, wide: true },
    { id: "added", header: "Added", value: (row) => row.added_at, cell: (row) => <Moment at={row.added_at} />, wide: true },
  ];
  if (mayWrite) columns.push({ id: "off", header: "", value: () => null, cell: (row) => <button type="button" aria-label={`Take feature ${row.latent} off the list`} onClick={() => { setError(null); takeOff(list.id, row).catch(setError); }}>Take off</button> });
  return (
    <Section title={`${whole(list.features)} ${list.features === 1 ? "feature" : "features"}`} beside={<>{rows.length > 0 && <CopyJson value={rows} what="The list" />}<JsonLink href={`/v1/lists/${list.id}/features`} /></>}>
      {error !== null && <ProblemNotice error={error} what="It is still on the list" />}
      <Loaded query={query} what="the features of the list">
        {() => (
          <DataTable caption="Features of the list" columns={columns} rows={rows} rowKey={(row) => `${row.sae} ${row.latent}`} onEnd={more}
            empty={<Empty title="No feature is on it yet.">Open a feature, or choose some in the table of all <Link href="/features">features</Link>.</Empty>} />
        )}
      </Loaded>
    </Section>
  );
}
