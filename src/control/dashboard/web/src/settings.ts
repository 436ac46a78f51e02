// Changing a setting: what was typed as a value, and a section with that value in it. Pure; tested in
// settings.test.ts.

/** What was typed, in the type that the setting has now. */
export function typed(text: string, now: unknown): unknown {
  const trimmed = text.trim();
  if (typeof now === "boolean") return trimmed === "true";
  if (Array.isArray(now)) {
    try {
      const value: unknown = JSON.parse(trimmed);
      if (Array.isArray(value)) return value;
    } catch {
      // Words with commas between.
    }
    return trimmed === "" ? [] : trimmed.split(",").map((word) => word.trim());
  }
  if (typeof now === "number" && /^-?\d+(\.\d+)?$/.test(trimmed)) return Number(trimmed);
  return trimmed;
}

/** A copy of a section in which the value at `keys` is another. */
export function withValue(section: Record<string, unknown>, keys: string[], value: unknown): Record<string, unknown> {
  const [key, ...rest] = keys;
  if (key === undefined) return section;
  const below = section[key];
  const inner = typeof below === "object" && below !== null ? (below as Record<string, unknown>) : {};
  return { ...section, [key]: rest.length === 0 ? value : withValue(inner, rest, value) };
}
