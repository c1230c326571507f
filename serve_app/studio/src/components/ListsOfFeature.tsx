// The lists that a feature is on, and those that it could be on.
import { useState } from "react";

import { $api } from "../api/client";
import { type ListedLatent, useListChanges, useLists } from "../api/lists";
import { useMayWrite } from "../api/session";
import { ListLink, NewList } from "./ListForms";
import { ProblemNotice } from "./Problem";
import { Loaded } from "./States";

export function ListsOfFeature({ sae, latent }: ListedLatent) {
  const on = $api.useQuery("get", "/v1/lists", { params: { query: { sae, latent, limit: 200 } } });
  const [open, setOpen] = useState(false);
  const mayWrite = useMayWrite();
  return (
    <div className="lists-of">
      <Loaded query={on} what="its lists">
        {({ items }) => (
          <>
            <p>
              {items.length > 0 && <>On {items.map((one, i) => <span key={one.id}>{i > 0 && ", "}<ListLink list={one} /></span>)} </>}
              {mayWrite && <button type="button" aria-expanded={open} onClick={() => setOpen(!open)}>Lists</button>}
            </p>
            {open && <Choices sae={sae} latent={latent} on={new Set(items.map((one) => one.id))} />}
          </>
        )}
      </Loaded>
    </div>
  );
}

function Choices({ sae, latent, on }: ListedLatent & { on: ReadonlySet<string> }) {
  const lists = useLists();
  const { add, takeOff } = useListChanges();
  const [error, setError] = useState<unknown>(null);
  const [wanted, setWanted] = useState<Record<string, boolean>>({}); // until the server has answered
  const change = async (id: string, put: boolean) => {
    setError(null);
    setWanted((old) => ({ ...old, [id]: put }));
    try {
      await (put ? add(id, [{ sae, latent }]) : takeOff(id, { sae, latent }));
    } catch (problem) {
      setError(problem);
    }
    setWanted(({ [id]: _, ...others }) => others);
  };
  return (
    <div className="card">
      <Loaded query={lists} what="the lists">
        {({ items }) => items.length === 0 ? <p className="quiet">There are no lists yet.</p> : (
          <fieldset className="choices">
            <legend>This feature is on</legend>
            {items.map((one) => (
              <label key={one.id} className="check"><input type="checkbox" checked={wanted[one.id] ?? on.has(one.id)} onChange={(event) => void change(one.id, event.target.checked)} /> {one.name}</label>
            ))}
          </fieldset>
        )}
      </Loaded>
      {error !== null && <ProblemNotice error={error} what="The list is as it was" />}
      <NewList action="Make it with this feature" onMade={(list) => change(list.id, true)} />
    </div>
  );
}
