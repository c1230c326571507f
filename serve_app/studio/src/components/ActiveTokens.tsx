// Tokens with activations, drawn by the report's own script; what is said of the token under the pointer or with the focus is below.
import { useRef, useState } from "react";

import { chipText, tokenKey, tokenRow } from "../../../../sae/report/js/feature_parts.js";
import { Drawn } from "./Drawn";

interface Props {
  label: string;
  tokens: string[];
  /** One a token. */
  activations: number[];
  /** The activation of the darkest shade. */
  max: number;
  /** The example's own position. */
  peak?: number;
  /** Indices of tokens that are no data. */
  excluded?: number[];
  /** Position of the first token in its row. */
  first?: number;
  /** Told which token is under the pointer or has the focus. */
  onAt?: (index: number) => void;
  /** Told which token was clicked, or chosen with Enter. */
  onChoose?: (index: number) => void;
}

export function ActiveTokens({ label, tokens, activations, max, peak, excluded = [], first, onAt, onChoose }: Props) {
  const [said, say] = useState("");
  const told = useRef({ onAt, onChoose });
  told.current = { onAt, onChoose };
  const row = { label, tokens, values: activations, max, peak: peak ?? null, out: excluded, first: first ?? null };
  return (
    <>
      <Drawn
        of={JSON.stringify([row, onChoose !== undefined])}
        draw={() => tokenRow({
          ...row,
          onAt: (index: number, text: string) => { say(text); told.current.onAt?.(index); },
          onChoose: onChoose ? (index: number) => told.current.onChoose?.(index) : null,
        })}
      />
      <p className="quiet token-value" role="status">{said}</p>
    </>
  );
}

/** What the looks of tokens mean; `max` is the darkest. */
export function TokenKey({ max }: { max: number }) {
  return <Drawn of={String(max)} draw={() => tokenKey(max)} />;
}

/** A token by itself, with the spaces at its ends visible. */
export function TokenChip({ token }: { token: string }) {
  const shown = chipText(token);
  return <span className="chip" title={shown}>{shown}</span>;
}
