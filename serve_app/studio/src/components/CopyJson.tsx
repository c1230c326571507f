// Copies what the API says, as JSON text.
import { useToast } from "./Toasts";

export function CopyJson({ value, what }: { value: unknown; what: string }) {
  const toast = useToast();
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(JSON.stringify(value, null, 2));
      toast(`${what} was copied as JSON.`);
    } catch {
      toast("This browser does not let a page copy: open “as JSON” and copy it there.");
    }
  };
  return <button type="button" onClick={() => void copy()}>Copy as JSON</button>;
}
