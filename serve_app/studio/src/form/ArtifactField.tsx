// A choice of an artifact that exists, for a field of a request that names one.
import { useContext } from "react";

import { $api } from "../api/client";
import type { ArtifactItem } from "../api/schema";
import type { ArtifactKind } from "../components/ArtifactList";
import { titleOf } from "../components/ArtifactParts";
import { toProblem } from "../api/problem";
import { type FieldProps, Labelled } from "./Field";
import { FormContext } from "./FormContext";
import { resolve } from "./schema";

export function ArtifactField({ kind, path, schema, value, onChange, required }: FieldProps & { kind: ArtifactKind }) {
  const { schemas } = useContext(FormContext);
  const found = $api.useQuery("get", `/v1/${kind}` as "/v1/datasets", { params: { query: { limit: 200 } } });
  const items = (found.data?.items ?? []) as ArtifactItem[];
  const chosen = typeof value === "string" ? value : "";
  const unknown = chosen && !items.some((item) => item.ref === chosen);
  return (
    <Labelled path={path} schema={resolve(schema, schemas).schema} {...(required && { required })} control={(attributes) => (
      <>
        <select {...attributes} value={chosen} onChange={(event) => onChange(event.target.value || undefined)}>
          <option value="">{found.isPending ? "Loading …" : items.length === 0 ? `there are no ${kind} yet` : "choose …"}</option>
          {unknown && <option value={chosen}>{chosen}</option>}
          {items.map((item) => <option key={item.ref} value={item.ref}>{titleOf(item, item.ref)} ({item.ref})</option>)}
        </select>
        {found.isError && <span className="fault">{toProblem(found.error).detail}</span>}
      </>
    )} />
  );
}
