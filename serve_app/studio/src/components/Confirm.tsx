// Asks before something that cannot be undone, and names what goes.
import { AlertDialog } from "radix-ui";
import { type ReactNode, useState } from "react";

import { ProblemNotice } from "./Problem";

interface Props {
  /** The button that asks. */
  label: string;
  title: string;
  /** What goes, by name. */
  children: ReactNode;
  /** The button that does it: "Cancel the job". */
  action: string;
  /** Does it. The dialog stays open, with the problem, if that fails. */
  onConfirm: () => Promise<unknown>;
  disabled?: boolean;
}

// No AlertDialog.Overlay: it locks scrolling by a style element, which the pages' policy does not allow.
export function Confirm({ label, title, children, action, onConfirm, disabled }: Props) {
  const [open, setOpen] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  async function confirm() {
    setBusy(true);
    setError(null);
    try {
      await onConfirm();
      setOpen(false);
    } catch (problem) {
      setError(problem);
    } finally {
      setBusy(false);
    }
  }
  return (
    <AlertDialog.Root open={open} onOpenChange={(next) => { setOpen(next); setError(null); }}>
      <AlertDialog.Trigger asChild>
        <button type="button" disabled={disabled}>{label}</button>
      </AlertDialog.Trigger>
      <AlertDialog.Portal>
        <div className="backdrop">
          <AlertDialog.Content className="dialog">
            <AlertDialog.Title>{title}</AlertDialog.Title>
            <AlertDialog.Description asChild>
              <div>{children}</div>
            </AlertDialog.Description>
            {error !== null && <ProblemNotice error={error} what="That did not work" />}
            <div className="buttons">
              <AlertDialog.Cancel asChild>
                <button type="button">Leave it as it is</button>
              </AlertDialog.Cancel>
              <button type="button" className="danger" disabled={busy} onClick={() => void confirm()}>
                {busy ? "Working …" : action}
              </button>
            </div>
          </AlertDialog.Content>
        </div>
      </AlertDialog.Portal>
    </AlertDialog.Root>
  );
}
