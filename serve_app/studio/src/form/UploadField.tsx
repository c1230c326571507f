// Files of one's own for a request: they are sent to the server in pieces, and a file whose sending broke off goes on where it ended.
import { type ChangeEvent, useContext, useRef, useState } from "react";

import { client } from "../api/client";
import { PAGE_HEADERS } from "../api/early";
import { toProblem } from "../api/problem";
import { ProblemNotice } from "../components/Problem";
import { bytes } from "../format";
import { type FieldProps, Labelled } from "./Field";
import { FormContext } from "./FormContext";
import { resolve } from "./schema";

const PIECE = 8 << 20;

interface Sending {
  upload: string;
  files: File[];
  sent: number;
}

export function UploadField({ path, schema, value, onChange, required }: FieldProps) {
  const { schemas } = useContext(FormContext);
  const [sending, setSending] = useState<Sending | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [done, setDone] = useState("");
  const again = useRef<Sending | null>(null);

  const send = async (state: Sending) => {
    setError(null);
    again.current = state;
    try {
      const sums: Record<string, string> = {};
      let before = 0;
      for (const file of state.files) {
        sums[file.name] = await sendFile(state.upload, file, (sent) => setSending({ ...state, sent: before + sent }));
        before += file.size;
      }
      const { error: problem, response } = await client.POST("/v1/uploads/{id}/finish", { params: { path: { id: state.upload } }, body: { files: sums } });
      if (!response.ok) throw toProblem(problem);
      setDone(`${state.files.map((file) => file.name).join(", ")} (${bytes(before)})`);
      setSending(null);
      onChange(state.upload);
    } catch (problem) {
      setError(problem);
    }
  };
  const choose = async (event: ChangeEvent<HTMLInputElement>) => {
    const files = [...(event.target.files ?? [])];
    if (files.length === 0) return;
    setError(null);
    const { data, error: problem } = await client.POST("/v1/uploads", { body: { name: files[0]!.name } });
    if (data === undefined) return setError(toProblem(problem));
    const state = { upload: data.id, files, sent: 0 };
    setSending(state);
    await send(state);
  };
  const total = sending?.files.reduce((sum, file) => sum + file.size, 0) ?? 0;
  return (
    <>
      <Labelled path={path} schema={resolve(schema, schemas).schema} label="Files of this computer" {...(required && { required })} control={(attributes) => (
        <input {...attributes} type="file" multiple onChange={(event) => void choose(event)} />
      )} />
      {sending && (
        <div className="progress">
          <progress aria-label="Sending the files" max={Math.max(1, total)} value={sending.sent} />
          <span className="quiet">{bytes(sending.sent)} of {bytes(total)} are sent</span>
        </div>
      )}
      {typeof value === "string" && value && <p role="status">{done || `Upload ${value}`} is on the server.</p>}
      {error !== null && <ProblemNotice error={error} what="Sending the files broke off" {...(again.current && { onRetry: () => void send(again.current!) })} />}
    </>
  );
}

/** Sends what of a file is not on the server yet; gives its SHA-256. */
async function sendFile(upload: string, file: File, told: (sent: number) => void): Promise<string> {
  const found = await client.GET("/v1/uploads/{id}", { params: { path: { id: upload } } });
  if (found.data === undefined) throw toProblem(found.error);
  let offset = found.data.files.find((one) => one.name === file.name)?.bytes ?? 0;
  while (offset < file.size || file.size === 0) {
    const piece = file.slice(offset, offset + PIECE);
    const answer = await fetch(`/v1/uploads/${upload}/files/${encodeURIComponent(file.name)}`, {
      method: "PATCH", body: piece,
      headers: { ...PAGE_HEADERS, "Content-Type": "application/octet-stream", "Upload-Offset": String(offset) },
    });
    const body: unknown = await answer.json();
    if (!answer.ok) throw toProblem(body);
    offset = (body as { bytes: number }).bytes;
    told(offset);
    if (file.size === 0) break;
  }
  if (!("subtle" in crypto)) throw new Error("This page can compute the SHA-256 of files only over https or at localhost: upload them with curl, as docs/data.md shows.");
  const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
