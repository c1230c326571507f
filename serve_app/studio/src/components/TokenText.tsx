// Tokens of a row as text. Those that are no data (BOS, separators, padding, ...) say what they are in a word, not by colour alone.
import { Fragment } from "react";

import { visible } from "../format";

export interface ShownToken {
  id: number;
  text: string;
  role: string;
  /** Who said it, in a chat. */
  speaker?: string;
  /** Ids on hover, and the mask if there is one. */
  mask?: number;
}

/** `starts`: positions at which a document begins, shown by a line of its own. */
export function TokenText({ tokens, starts }: { tokens: ShownToken[]; starts?: Map<number, string> }) {
  return (
    <div className="tokens">
      {tokens.map((token, i) => (
        <Fragment key={i}>
          {starts?.has(i) && <span className="document-start">{starts.get(i)}</span>}
          <span
            className={token.role === "data" ? "t token" : `t token other ${token.role}`}
            title={`${i}: id ${token.id}, ${token.role}${token.speaker && token.speaker !== "none" ? `, ${token.speaker}` : ""}${token.mask === undefined ? "" : `, mask ${token.mask}`}`}
          >
            {visible(token.text)}
            {token.role !== "data" && <small className="role">{token.role}</small>}
          </span>
          {/\n$/.test(token.text) && token.role === "data" ? <br /> : <wbr />}
        </Fragment>
      ))}
    </div>
  );
}
