// The name of a new list; and putting chosen features on a list, an old one or a new one.
import { type FormEvent, useId, useState } from "react";
import { Link } from "wouter";

import { type ListedLatent, useListChanges, useLists } from "../api/lists";
import type { FeatureList } from "../api/schema";
import { listPath } from "../app/paths";
import { whole } from "../format";
import { ProblemNotice } from "./Problem";
import { Loaded } from "./States";
import { useToast } from "./Toasts";

/** Makes a list. The name stays in its field when it is refused. */
export function NewList({ label = "Name of a new list", action = "Make the list", onMade }: { label?: string; action?: string; onMade?: (list: FeatureList) => unknown }) {
  const { create } = useListChanges();
  const id = useId();
  const [name, setName] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const send = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await onMade?.(await create(name));
      setName("");
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
  };
  return (
    <form className="controls" onSubmit={(event) => void send(event)}>
      <label htmlFor={id}>{label}</label> <input id={id} value={name} maxLength={100} autoComplete="off" onChange={(event) => setName(event.target.value)} />
      <button type="submit" disabled={busy || name === ""}>{action}</button>
      {error !== null && <ProblemNotice error={error} what="The list was not made" />}
    </form>
  );
}

/** Puts features on a list that is chosen, or on a new one. */
export function PutOnList({ features, onDone }: { features: ListedLatent[]; onDone: () => void }) {
  const lists = useLists();
  const { add } = useListChanges();
  const toast = useToast();
  const id = useId();
  const [chosen, choose] = useState("");
  const [error, setError] = useState<unknown>(null);
  const put = async (list: string) => {
    setError(null);
    const found = await add(list, features);
    toast(`“${found.name}” has ${whole(found.features)} features now.`);
    onDone();
  };
  return (
    <div className="notice" role="group" aria-label="Put features on a list">
      <strong>{whole(features.length)} chosen</strong> <button type="button" onClick={onDone}>Choose none</button>
      <Loaded query={lists} what="the lists">
        {({ items }) => items.length > 0 && (
          <div className="controls">
            <label htmlFor={id}>List</label>{" "}
            <select id={id} value={chosen} onChange={(event) => choose(event.target.value)}>
              <option value="">choose one</option>
              {items.map((one) => <option key={one.id} value={one.id}>{one.name}</option>)}
            </select>
            <button type="button" className="primary" disabled={chosen === ""} onClick={() => void put(chosen).catch(setError)}>Put them on the list</button>
          </div>
        )}
      </Loaded>
      <NewList action="Make it with them" onMade={(list) => put(list.id).catch(setError)} />
      {error !== null && <ProblemNotice error={error} what="They were not put on the list" />}
      <Link href="/lists">All lists</Link>
    </div>
  );
}

/** Where a list is, for links. */
export const ListLink = ({ list }: { list: FeatureList }) => <Link href={listPath(list.id)}>{list.name}</Link>;
