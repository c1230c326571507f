// Adds a hook point of the chosen model to a list of hooks.
import { $api } from "../api/client";

export function HookChoice({ model, hooks, onAdd }: { model: string; hooks: string[]; onAdd: (hook: string) => void }) {
  const found = $api.useQuery("get", "/v1/models/{id}", { params: { path: { id: model.split("/")[1] ?? "" } } });
  const known = (found.data?.hooks ?? []).filter((hook) => !hooks.includes(hook));
  if (known.length === 0) return null;
  return (
    <select aria-label="Add a hook of the model" value="" onChange={(event) => event.target.value && onAdd(event.target.value)}>
      <option value="">add one of the model’s {known.length} …</option>
      {known.map((hook) => <option key={hook} value={hook}>{hook}</option>)}
    </select>
  );
}
