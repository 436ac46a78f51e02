import { bytes } from "../format";
import { shown } from "../payload";
import { Copy, Dialog, Id } from "../ui";

const KINDS = { empty: "empty", text: "text", json: "JSON", binary: "binary" };

/** A payload in a dialog. */
export function PayloadView({ topic, payload, close }: { topic: string; payload: Uint8Array; close: () => void }) {
  const view = shown(payload);
  return (
    <Dialog title="Payload" close={close} wide>
      <p class="payload-head"><Id whole>{topic}</Id></p>
      <p class="note">{bytes(view.size)}, {KINDS[view.kind]}{view.cut && "; the beginning is shown"} <Copy text={view.text} label="Copy" /></p>
      {view.kind === "empty" ? <div class="empty">The payload is empty.</div> : <pre class="payload" tabIndex={0}>{view.text}</pre>}
    </Dialog>
  );
}
