// A filter of a table: sent when typing pauses, so that each letter is no request.
import { useEffect, useState } from "react";

const PAUSE_MS = 100;

export function Filter({ label, value, numeric = false, wide = false, onChange }: { label: string; value: string; numeric?: boolean; wide?: boolean; onChange: (value: string) => void }) {
  const [typed, setTyped] = useState(value);
  useEffect(() => setTyped(value), [value]);
  useEffect(() => {
    if (typed === value) return;
    const timer = setTimeout(() => onChange(typed), PAUSE_MS);
    return () => clearTimeout(timer);
  }, [typed, value, onChange]);
  return <label>{label} <input type={wide ? "search" : "text"} value={typed} maxLength={wide ? 500 : 50} autoComplete="off" inputMode={numeric ? "decimal" : "text"} className={numeric ? "narrow" : undefined} onChange={(event) => setTyped(event.target.value)} /></label>;
}
