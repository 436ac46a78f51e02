// Payloads for people: text where it is text, hex where not. Pure; tested in payload.test.ts.

/** Bytes that are shown of one payload. */
export const SHOWN_MAX = 16 * 1024;

/** What a payload looks like. */
export interface Shown {
  kind: "empty" | "text" | "json" | "binary";
  text: string;
  size: number;
  cut: boolean;
}

/** Base64 to bytes. */
export function fromBase64(text: string): Uint8Array {
  const raw = atob(text);
  return Uint8Array.from(raw, (c) => c.charCodeAt(0));
}

/** Rows of 16 bytes: offset, hex, and what is printable. */
export function hexDump(bytes: Uint8Array): string {
  const rows: string[] = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const row = [...bytes.subarray(at, at + 16)];
    const hex = row.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const text = row.map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : ".")).join("");
    rows.push(`${at.toString(16).padStart(6, "0")}  ${hex.padEnd(47)}  ${text}`);
  }
  return rows.join("\n");
}

/** The last byte of a character may lie beyond the cut. */
function withoutHalf(bytes: Uint8Array): Uint8Array {
  let end = bytes.length;
  while (end > 0 && end > bytes.length - 4 && ((bytes[end - 1] ?? 0) & 0xc0) === 0x80) end -= 1;
  return (bytes[end - 1] ?? 0) >= 0xc0 ? bytes.subarray(0, end - 1) : bytes;
}

/** How a payload is shown. */
export function shown(bytes: Uint8Array): Shown {
  const size = bytes.length;
  if (size === 0) return { kind: "empty", text: "", size, cut: false };
  const cut = size > SHOWN_MAX;
  const part = cut ? bytes.subarray(0, SHOWN_MAX) : bytes;
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(cut ? withoutHalf(part) : part);
    // eslint-disable-next-line no-control-regex
    if (/[\u0000-\u0008\u000e-\u001f]/.test(text)) throw new Error("control characters");
    if (!cut && /^\s*[[{]/.test(text)) {
      try {
        return { kind: "json", text: JSON.stringify(JSON.parse(text), null, 2), size, cut };
      } catch {
        return { kind: "text", text, size, cut };
      }
    }
    return { kind: "text", text, size, cut };
  } catch {
    return { kind: "binary", text: hexDump(part), size, cut };
  }
}
