// Text that others wrote, shown as text: control and format characters by signs, and not more of it than a page can take.
import { useState } from "react";

import { visible, whole } from "../format";

const SHOWN = 2_000;
const MORE = 20_000;

interface Props {
  text: string;
  /** Characters shown at first; the rest by a button. */
  most?: number;
  /** Keep line ends. */
  lines?: boolean;
}

export function ShownText({ text, most = SHOWN, lines = false }: Props) {
  const [limit, setLimit] = useState(most);
  const part = text.length > limit ? text.slice(0, limit) : text;
  return (
    <bdi className={lines ? "shown lines" : "shown"}>
      {lines ? part.split("\n").map((line) => visible(line)).join("\n") : visible(part)}
      {text.length > limit && (
        <>
          …{" "}
          <button type="button" className="inline" onClick={() => setLimit(limit + MORE)}>
            more ({whole(text.length - limit)} characters)
          </button>
        </>
      )}
    </bdi>
  );
}
