// Numbers, sizes, durations, times and text as people read them. Numbers and text are those of the report.
export { figures, fixed, named, percent, short, visible, whole } from "../../../../sae/report/js/dom.js";
import { trim } from "../../../../sae/report/js/dom.js";

const NONE = "–";

/** Bytes in binary units: 1536 is "1.5 KiB". */
export function bytes(count: number | null | undefined): string {
  if (count == null) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = count, unit = 0;
  while (Math.abs(value) >= 1023.5 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const text = unit === 0 ? String(value) : value >= 100 ? value.toFixed(0) : trim(value.toPrecision(3));
  return `${text} ${units[unit]}`;
}

/** Seconds as "2 h 5 min", "3 min 20 s", "12 s", "0.4 s": two units at most. */
export function duration(seconds: number | null | undefined): string {
  if (seconds == null || !Number.isFinite(seconds)) return NONE;
  if (seconds < 9.95) return `${trim(seconds.toFixed(1))} s`;
  const whole = Math.round(seconds);
  const parts: [number, string][] = [
    [Math.floor(whole / 86_400), "d"],
    [Math.floor((whole % 86_400) / 3_600), "h"],
    [Math.floor((whole % 3_600) / 60), "min"],
    [whole % 60, "s"],
  ];
  const first = parts.findIndex(([n]) => n > 0);
  return parts.slice(first, first + 2).filter(([n]) => n > 0).map(([n, unit]) => `${n} ${unit}`).join(" ");
}

/** A moment in the reader's own time zone, to the second. */
export function moment(iso: string | null | undefined): string {
  if (iso == null) return NONE;
  return new Date(iso).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
}

/** How long ago a moment is: "just now", "5 min ago", "3 d ago"; a moment to come is "in 5 min". */
export function ago(iso: string, now: number = Date.now()): string {
  const seconds = (now - new Date(iso).getTime()) / 1000;
  const size = Math.abs(seconds);
  if (size < 5) return "just now";
  const text = size < 60 ? `${Math.round(size)} s` : size < 3_600 ? `${Math.floor(size / 60)} min`
    : size < 86_400 ? `${Math.floor(size / 3_600)} h` : `${Math.floor(size / 86_400)} d`;
  return seconds >= 0 ? `${text} ago` : `in ${text}`;
}

/** "1 row", "2,500 rows". */
export function counted(count: number, noun: string, plural: string = `${noun}s`): string {
  return `${count.toLocaleString("en-US")} ${count === 1 ? noun : plural}`;
}
