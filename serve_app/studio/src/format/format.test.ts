import { describe, expect, it } from "vitest";

import { ago, bytes, counted, duration, percent, short, visible } from ".";

describe("numbers as people read them", () => {
  it.each([
    [0, "0 B"], [1023, "1023 B"], [1024, "1 KiB"], [1536, "1.5 KiB"], [1048575, "1 MiB"], [50 * 2 ** 30, "50 GiB"],
    [123 * 2 ** 20, "123 MiB"], [null, "–"],
  ])("%s bytes are %s", (count, text) => expect(bytes(count)).toBe(text));

  it.each([
    [0, "0 s"], [0.44, "0.4 s"], [9.96, "10 s"], [59.6, "1 min"], [61, "1 min 1 s"], [3600, "1 h"], [3661, "1 h 1 min"],
    [86_400 * 2 + 5, "2 d"], [null, "–"], [Infinity, "–"],
  ])("%s seconds are %s", (seconds, text) => expect(duration(seconds)).toBe(text));

  it("says how long ago", () => {
    const now = Date.parse("2026-11-26T12:00:00Z");
    const at = (iso: string) => ago(iso, now);
    expect(at("2026-11-26T11:59:58Z")).toBe("just now");
    expect(at("2026-11-26T11:59:20Z")).toBe("40 s ago");
    expect(at("2026-11-26T09:30:00Z")).toBe("2 h ago");
    expect(at("2026-11-20T12:00:00Z")).toBe("6 d ago");
    expect(at("2026-11-26T12:10:00Z")).toBe("in 10 min");
  });

  it("has the report's numbers and text", () => {
    expect(short(123456)).toBe("123k");
    expect(percent(0.0123)).toBe("1.23%");
    expect(counted(1, "row")).toBe("1 row");
    expect(counted(2500, "row")).toBe("2,500 rows");
    expect(visible("a\u202eb\u0007\n")).toBe("a⟨U+202E⟩b␇↵");
  });
});
