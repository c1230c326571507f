// What the report and these pages show alike comes from the report's own script: the elements are the same, attribute by attribute.
import { screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { useState } from "react";
import { describe, expect, it, vi } from "vitest";

import { activationHistogram, tokenKey, tokenRow } from "../../../../sae/report/js/feature_parts.js";
import { renderPage } from "../testing/render";
import { ActiveTokens, TokenChip, TokenKey } from "./ActiveTokens";
import { FeatureHistogram } from "./FeatureHistogram";

// White space, control and format characters, a mark without its letter, bytes that are no whole character, a special token.
const TOKENS = ["<|endoftext|>", " km", "  ", "\n", "\t", "\u00a0", "\u202edlrow", "\u0007", "\u0301", "<0xE2>", "\u22ef", "<img src=x onerror=alert(1)>"];
const VALUES = TOKENS.map((_, i) => (i % 3 === 1 ? i / 4 : 0));
const OF = { label: "Example 1", tokens: TOKENS, max: 2.5, peak: 4 };

describe("a row of tokens", () => {
  it("is the report's", () => {
    const { container } = renderPage(<ActiveTokens {...OF} activations={VALUES} excluded={[0]} first={7} />);
    const report = tokenRow({ ...OF, values: VALUES, out: [0], first: 7 }) as HTMLElement;
    expect(container.querySelector(".tokens")!.outerHTML).toBe(report.outerHTML);
    expect(container.querySelector("img")).toBeNull();
  });

  it("says of each token what it is, with white space and other hidden characters as signs", () => {
    renderPage(<ActiveTokens {...OF} activations={VALUES} excluded={[0]} first={7} />);
    const said = within(screen.getByRole("listbox")).getAllByRole("option").map((option) => option.getAttribute("aria-label"));
    expect(said.slice(0, 8)).toEqual([
      "“<|endoftext|>”: not a data position", "“ km”: activation 0.250, 10% of the largest", "“  ” (white space): not active", "“↵”: not active",
      "“⇥”: activation 1.00, 40% of the largest", "“⍽” (white space): not active", "“⟨U+202E⟩dlrow”: not active", "“␇”: activation 1.75, 70% of the largest",
    ]);
    expect(screen.getAllByRole("option")[4]!).toHaveAttribute("data-tip", "“⇥”: activation 1.00, 40% of the largest · position 11");
    expect(screen.getByRole("option", { selected: true })).toHaveTextContent("⇥");
  });

  it("is walked by keys, which do nothing else on the page, and keeps the focus when what it shows stays", async () => {
    const user = userEvent.setup(), elsewhere = vi.fn(), chosen = vi.fn(), at = vi.fn();
    document.addEventListener("keydown", elsewhere);
    const Host = () => { // rendered anew at each token, with lists that are other objects and equal
      const [, again] = useState(0);
      return <ActiveTokens {...OF} tokens={[...TOKENS]} activations={[...VALUES]} onAt={(index) => { at(index); again(index); }} onChoose={chosen} />;
    };
    renderPage(<Host />);
    await user.tab();
    elsewhere.mockClear();
    await user.keyboard("{ArrowRight}{ArrowRight}");
    expect(screen.getAllByRole("option")[5]).toHaveFocus();
    await user.keyboard("{Enter}");
    expect(chosen).toHaveBeenCalledExactlyOnceWith(5);
    await user.keyboard("{Home}{End}");
    expect(at.mock.calls.map(([index]: number[]) => index)).toEqual([4, 5, 0, TOKENS.length - 1]);
    expect(elsewhere).not.toHaveBeenCalled();
    await user.keyboard("{Escape}");
    expect(screen.getByRole("listbox")).toHaveFocus();
    await user.keyboard("{Escape}");
    expect(elsewhere).toHaveBeenCalledOnce();
    document.removeEventListener("keydown", elsewhere);
  });
});

it("chips, the key and the histogram are the report's too", () => {
  const bins = [{ start: 1, stop: 2, count: 3 }, { start: 2, stop: 4, count: 1 }];
  const { container } = renderPage(<><TokenChip token=" km " /><TokenKey max={2.5} /><FeatureHistogram bins={bins} /></>);
  expect(container.querySelector(".chip")).toHaveTextContent("␣km␣");
  expect(container.querySelector(".key")!.outerHTML).toBe((tokenKey(2.5) as HTMLElement).outerHTML);
  const bars = bins.map((bin) => ({ from: Math.log10(bin.start), to: Math.log10(bin.stop), count: bin.count }));
  expect(container.querySelector("figure")!.outerHTML).toBe((activationHistogram(bars, "") as HTMLElement).outerHTML);
});
