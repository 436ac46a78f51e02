import { expect, it } from "vitest";
import { fromBase64, hexDump, shown, SHOWN_MAX } from "./payload";

const utf8 = (text: string) => new TextEncoder().encode(text);

it("tells text, JSON, bytes and nothing apart", () => {
  expect(shown(utf8("hello \u6c34")).kind).toBe("text");
  expect(shown(utf8('{"a":1}'))).toMatchObject({ kind: "json", text: '{\n  "a": 1\n}' });
  expect(shown(utf8("{not json")).kind).toBe("text");
  expect(shown(new Uint8Array([0, 1, 2])).kind).toBe("binary");
  expect(shown(new Uint8Array([0xff, 0xfe])).kind).toBe("binary");
  expect(shown(new Uint8Array()).kind).toBe("empty");
});

it("cuts long ones between characters", () => {
  for (const lead of ["", "a", "ab"]) {
    const long = shown(utf8(lead + "\u6c34".repeat(SHOWN_MAX)));
    expect(long).toMatchObject({ kind: "text", cut: true });
    expect(long.text.endsWith("\u6c34")).toBe(true);
  }
});

it("dumps in hex", () => {
  expect(hexDump(utf8("AB\n"))).toBe("000000  41 42 0a                                         AB.");
  expect(fromBase64("QUI=")).toEqual(utf8("AB"));
});
