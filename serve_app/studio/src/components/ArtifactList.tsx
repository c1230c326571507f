// The list of all artifacts of one kind, filtered and sorted by the API; filters and order are in the address.
import type { ReactNode } from "react";
import { Link } from "wouter";

import { useCursorPages } from "../api/pages";
import type { ArtifactItem } from "../api/schema";
import { artifactPath } from "../app/paths";
import { orderOf, sortOf, useUrlState } from "../app/urlState";
import { bytes } from "../format";
import { type Column, DataTable } from "./DataTable";
import { Moment } from "./Facts";
import { ShownText } from "./ShownText";
import { Empty, Loaded } from "./States";

export type ArtifactKind = "datasets" | "models" | "tokens" | "activations" | "saes" | "evaluations" | "probes" | "features" | "labels" | "reports";

interface Props {
  kind: ArtifactKind;
  /** Says what the table is about: "Datasets". */
  caption: string;
  /** Between the name and the size. The API sorts them by their ids. */
  columns: Column<ArtifactItem>[];
  /** What to do where there is none. */
  empty: ReactNode;
  /** The API's filters that are shown beside name and tag. */
  filters?: { name: string; label: string; numeric?: boolean }[];
}

export function ArtifactList({ kind, caption, columns, empty, filters = [] }: Props) {
  const [search, set] = useUrlState();
  const all = [NAME, ...columns, ...COMMON];
  const sort = sortOf(search, NEWEST_FIRST, all.filter((column) => column.sortable).map((column) => column.id));
  const name = search.get("name") ?? "";
  const tag = search.get("tag") ?? "";
  // What is no number yet ("0.") is not sent.
  const given = filters.map((one) => [one, search.get(one.name) ?? ""] as const).filter(([one, value]) => value && !(one.numeric && Number.isNaN(Number(value))));
  const own = Object.fromEntries(given.map(([one, value]) => [one.name, /^(min|max)_/.test(one.name) ? value : [value]]));
  const list = useCursorPages(`/v1/${kind}`, { limit: 100, sort: sort.id, order: orderOf(sort), ...(name && { name }), ...(tag && { tag: [tag] }), ...own } as never);
  const rows = list.rows as ArtifactItem[];
  return (
    <>
      <div className="controls">
        <label>Name <input value={name} autoComplete="off" onChange={(event) => set({ name: event.target.value })} /></label>
        <label>Tag <input value={tag} autoComplete="off" onChange={(event) => set({ tag: event.target.value })} /></label>
        {filters.map((one) => (
          <label key={one.name}>{one.label} <input value={search.get(one.name) ?? ""} autoComplete="off" className={one.numeric ? "narrow" : undefined} inputMode={one.numeric ? "decimal" : "text"} onChange={(event) => set({ [one.name]: event.target.value })} /></label>
        ))}
      </div>
      <Loaded query={list.query} what={`the ${kind}`}>
        {() => (
          <DataTable
            caption={caption}
            columns={all}
            rows={rows}
            rowKey={(row) => row.ref}
            sort={sort}
            onSort={(next) => set({ sort: next.id, order: orderOf(next) })}
            onEnd={list.more}
            empty={name || tag || given.length > 0 ? (
              <Empty title="Nothing is like that.">
                <button type="button" onClick={() => set(null)}>Show all</button>
              </Empty>
            ) : empty}
          />
        )}
      </Loaded>
    </>
  );
}

const NEWEST_FIRST = { id: "created", desc: true };
const NAME: Column<ArtifactItem> = {
  id: "name", header: "Name", value: (row) => row.name ?? row.label, sortable: true,
  cell: (row) => (
    <Link href={artifactPath(row.ref)}>
      <ShownText text={row.name ?? (row.label || row.id)} most={80} />
    </Link>
  ),
};
const COMMON: Column<ArtifactItem>[] = [
  { id: "bytes", header: "Size", value: (row) => row.bytes, cell: (row) => bytes(row.bytes), numeric: true, sortable: true, wide: true },
  { id: "tags", header: "Tags", value: (row) => row.tags.join(", "), cell: (row) => row.tags.map((tag) => <span key={tag} className="chip">{tag}</span>), wide: true },
  { id: "created", header: "Made", value: (row) => row.created_at, cell: (row) => <Moment at={row.created_at} />, sortable: true },
];

/** A column of one of the fields that lists filter by. */
export function fieldColumn(id: string, header: string, cell?: (value: unknown) => ReactNode, title?: string): Column<ArtifactItem> {
  return {
    id, header, sortable: true, ...(title && { title }), ...(cell && { numeric: true }),
    value: (row) => (row.fields[id] ?? null) as string | number | null,
    cell: (row) => (row.fields[id] == null ? "–" : cell ? cell(row.fields[id]) : <ShownText text={String(row.fields[id])} most={60} />),
  };
}
