// Tokens with activations, as the report shows them: shade, weight and underline say how active each one is; arrow keys walk them.
import { type KeyboardEvent, useState } from "react";

import { figures, named, visible } from "../format";

interface Props {
  label: string;
  tokens: string[];
  /** One a token. */
  activations: number[];
  /** The activation of the darkest shade. */
  max: number;
  /** The example's own position. */
  peak?: number;
  /** Told which token is under the pointer or has the focus. */
  onAt?: (index: number | null) => void;
  /** Told which token was clicked, or chosen with Enter. */
  onChoose?: (index: number) => void;
}

export function ActiveTokens({ label, tokens, activations, max, peak, onAt, onChoose }: Props) {
  const [at, setAt] = useState<number | null>(null);
  const show = (index: number | null) => { setAt(index); onAt?.(index); };
  const keys = (event: KeyboardEvent<HTMLDivElement>) => {
    if (event.key === "Enter" && onChoose) return onChoose(at ?? peak ?? 0);
    const steps: Record<string, number> = { ArrowLeft: (at ?? (peak ?? 0) + 1) - 1, ArrowRight: (at ?? (peak ?? 0) - 1) + 1, Home: 0, End: tokens.length - 1 };
    const to = steps[event.key];
    if (to === undefined) return;
    event.preventDefault();
    show(Math.max(0, Math.min(tokens.length - 1, to)));
  };
  return (
    <>
      <div className={onChoose ? "tokens choosable" : "tokens"} role="group" tabIndex={0} aria-label={`${label}. Arrow keys walk the tokens.${onChoose ? " Enter shows all features of a token." : ""}`} onKeyDown={keys}>
        {tokens.map((text, i) => {
          const value = activations[i] ?? 0;
          const share = max > 0 ? Math.min(1, value / max) : 0;
          const shade = { "--a": share.toFixed(3), "--u": 1 + Math.round(share * 3), "--w": share > 0.66 ? 700 : share > 0.33 ? 600 : 400 };
          return (
            <span key={i} className={["t", value > 0 && "on", i === peak && "peak", i === at && "here"].filter(Boolean).join(" ")}
              style={(value > 0 ? shade : {}) as React.CSSProperties} onPointerEnter={() => show(i)} onClick={onChoose && (() => { show(i); onChoose(i); })}>{visible(text)}</span>
          );
        })}
      </div>
      <p className="quiet token-value" role="status">{at !== null && tokens[at] !== undefined && `${named(tokens[at])}: ${activations[at] ? `activation ${figures(activations[at])}` : "not active"}`}</p>
    </>
  );
}
