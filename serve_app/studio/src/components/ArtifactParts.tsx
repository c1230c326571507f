// What the page of every artifact has: who made it from what, its names, its files, its config; deleting it.
import { useQueryClient } from "@tanstack/react-query";
import { type FormEvent, type ReactNode, useId, useState } from "react";
import { Link, useLocation } from "wouter";

import { $api, client } from "../api/client";
import { useCursorPages } from "../api/pages";
import { toProblem } from "../api/problem";
import type { Artifact, ArtifactItem } from "../api/schema";
import { useMayWrite } from "../api/session";
import { jobPath, refPath } from "../app/paths";
import { bytes, counted } from "../format";
import { ArtifactLink } from "./ArtifactLink";
import type { ArtifactKind } from "./ArtifactList";
import { Confirm } from "./Confirm";
import { Facts, Json, Moment } from "./Facts";
import { Section } from "./Page";
import { ProblemNotice } from "./Problem";
import { ShownText } from "./ShownText";
import { Loaded } from "./States";
import { useToast } from "./Toasts";

/** Calls a route of a kind. Throws the API's problem. */
async function call(method: "PATCH" | "DELETE", kind: ArtifactKind, id: string, body?: Record<string, unknown>): Promise<void> {
  const options = { params: { path: { id } }, ...(body && { body }) };
  // All kinds have the same two routes; the types know each by its own path.
  const path = `/v1/${kind}/{id}` as "/v1/datasets/{id}";
  const { error, response } = await (method === "DELETE" ? client.DELETE(path, options as never) : client.PATCH(path, options as never));
  if (!response.ok) throw toProblem(error);
}

/** The title of an artifact's page. */
export const titleOf = (item: Pick<ArtifactItem, "name" | "label" | "id"> | undefined, id: string): string => item?.name ?? (item?.label || id);

export function ArtifactLead({ item }: { item: Artifact }) {
  return (
    <>
      <code>{item.ref}</code>, made <Moment at={item.created_at} /> by <ShownText text={item.created_by} most={60} />
      {item.job && <> in <Link href={jobPath(item.job)}>{item.job}</Link></>}, {bytes(item.bytes)}
    </>
  );
}

/** Deletes it, after a question that names it and what refers to it. */
export function DeleteArtifact({ item, kind }: { item: Artifact; kind: ArtifactKind }) {
  const toast = useToast();
  const queries = useQueryClient();
  const [, go] = useLocation();
  if (!useMayWrite()) return null;
  return (
    <Confirm
      label="Delete" title={`Delete ${titleOf(item, item.id)}?`} action="Delete it"
      onConfirm={async () => {
        await call("DELETE", kind, item.id);
        await queries.invalidateQueries({ queryKey: ["get", `/v1/${kind}`] });
        toast(`${item.ref} was deleted.`);
        go(`/${kind}`);
      }}
    >
      <p>{counted(item.files.length, "file")} of {bytes(item.bytes)} are removed. This cannot be undone; the same request makes it again.</p>
      <Referrers kind={kind} id={item.id} />
    </Confirm>
  );
}

/** What keeps an artifact from being deleted, by name. */
function Referrers({ kind, id }: { kind: ArtifactKind; id: string }) {
  const found = $api.useQuery("get", "/v1/artifacts/{kind}/{id}/referrers", { params: { path: { kind, id } } }, { staleTime: 0 });
  return (
    <Loaded query={found} what="what refers to it">
      {({ artifacts, jobs }) => artifacts.length + jobs.length === 0 ? <p>Nothing refers to it.</p> : (
        <div className="notice problem">
          <strong>It cannot be deleted while these need it:</strong>
          <ul>{[...artifacts, ...jobs].map((name) => <li key={name}><Link href={refPath(name)}>{name}</Link></li>)}</ul>
          <p className="advice">Delete what was made from it first, or wait for the jobs.</p>
        </div>
      )}
    </Loaded>
  );
}

/** Name, tags and notes, to read and to change. */
export function Labels({ item, kind }: { item: Artifact; kind: ArtifactKind }) {
  const mayWrite = useMayWrite();
  const queries = useQueryClient();
  const [open, setOpen] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const id = useId();
  const save = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const text = (name: string) => String(form.get(name) ?? "").trim();
    setError(null);
    try {
      await call("PATCH", kind, item.id, { name: text("name"), notes: text("notes"), tags: text("tags").split(/[\s,]+/).filter(Boolean) });
      await queries.invalidateQueries({ queryKey: ["get", `/v1/${kind}/{id}`] });
      setOpen(false);
    } catch (problem) {
      setError(problem);
    }
  };
  return (
    <Section title="Names and notes" beside={mayWrite && !open && <button type="button" onClick={() => setOpen(true)}>Edit</button>}>
      {!open ? (
        <>
          <p>{item.tags.map((tag) => <span key={tag} className="chip">{tag}</span>)}{item.tags.length === 0 && <span className="quiet">No tags.</span>}</p>
          {item.notes && <p><ShownText text={item.notes} lines /></p>}
        </>
      ) : (
        <form className="schema-form" onSubmit={(event) => void save(event)}>
          {error !== null && <ProblemNotice error={error} what="It was not saved; what you typed is still here" />}
          <div className="field"><label htmlFor={`${id}-n`}>Name</label><input id={`${id}-n`} name="name" defaultValue={item.name ?? ""} autoComplete="off" /></div>
          <div className="field"><label htmlFor={`${id}-t`}>Tags</label><input id={`${id}-t`} name="tags" defaultValue={item.tags.join(", ")} autoComplete="off" /><p className="about quiet">Separated by commas.</p></div>
          <div className="field"><label htmlFor={`${id}-o`}>Notes</label><textarea id={`${id}-o`} name="notes" defaultValue={item.notes} rows={3} /></div>
          <div className="buttons"><button type="submit" className="primary">Save</button><button type="button" onClick={() => setOpen(false)}>Leave it as it is</button></div>
        </form>
      )}
    </Section>
  );
}

/** Artifacts of a kind that have this one as an input. */
export function Users({ kind, field, reference, title }: { kind: ArtifactKind; field: string; reference: string; title: string }) {
  const list = useCursorPages(`/v1/${kind}`, { limit: 50, [field]: [reference] } as never);
  const rows = list.rows as ArtifactItem[];
  return (
    <Section title={title}>
      <Loaded query={list.query} what={title.toLowerCase()}>
        {() => rows.length === 0 ? <p className="quiet">None yet.</p> : (
          <ul className="plain">
            {rows.map((row) => (
              <li key={row.ref}><ArtifactLink reference={row.ref} label={titleOf(row, row.ref)} /> <span className="quiet">{row.name || row.label ? row.ref : ""} · <Moment at={row.created_at} /></span></li>
            ))}
          </ul>
        )}
      </Loaded>
    </Section>
  );
}

export function Provenance({ item }: { item: Artifact }) {
  return (
    <Section title="Made from">
      {Object.keys(item.inputs).length > 0 && (
        <ul className="plain">
          {Object.entries(item.inputs).map(([role, ref]) => <li key={role}>{role}: <ArtifactLink reference={ref} /></li>)}
        </ul>
      )}
      <details><summary>Config</summary><Json value={item.config} /></details>
      <details><summary>Machine and versions</summary><Json value={item.provenance} /></details>
      <details>
        <summary>{counted(item.files.length, "file")}</summary>
        <ul className="plain">
          {item.files.map((file) => <li key={file.name}><a href={`${item.url}/files/${encodeURIComponent(file.name)}`} download><ShownText text={file.name} most={120} /></a> <span className="quiet">{bytes(file.size)}</span></li>)}
        </ul>
      </details>
      <p><a href={`${item.url}/archive`} download>Download all as a folder</a></p>
    </Section>
  );
}

/** A number of an object of unknown shape; null if it is not there. */
export function numberAt(value: unknown, ...path: string[]): number | null {
  const found = at(value, ...path);
  return typeof found === "number" ? found : null;
}
export function at(value: unknown, ...path: string[]): unknown {
  return path.reduce<unknown>((found, key) => (found !== null && typeof found === "object" ? (found as Record<string, unknown>)[key] : undefined), value);
}

/** Facts with the ones that are unknown left out. */
export function Known({ facts }: { facts: [string, ReactNode][] }) {
  return <Facts facts={facts.filter(([, value]) => value !== "–")} />;
}
