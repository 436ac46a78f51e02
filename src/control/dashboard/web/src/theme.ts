// Light, dark, or as the system has it.

import { useEffect, useState } from "preact/hooks";

export type Theme = "auto" | "light" | "dark";

const KEPT_AS = "millrace.theme";
const watchers = new Set<() => void>();
const system = matchMedia("(prefers-color-scheme: dark)");

/** What the reader chose. */
export function theme(): Theme {
  const kept = localStorage.getItem(KEPT_AS);
  return kept === "light" || kept === "dark" ? kept : "auto";
}

/** Puts the choice into force. */
export function apply(): void {
  const chosen = theme();
  if (chosen === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
  watchers.forEach((watcher) => watcher());
}

/** Chooses. */
export function choose(next: Theme): void {
  if (next === "auto") localStorage.removeItem(KEPT_AS);
  else localStorage.setItem(KEPT_AS, next);
  apply();
}

system.addEventListener("change", apply);

/** The choice, and a number that changes whenever colours do. */
export function useTheme(): [Theme, number] {
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const changed = () => setTurn((now) => now + 1);
    watchers.add(changed);
    return () => void watchers.delete(changed);
  }, []);
  return [theme(), turn];
}

/** A colour of the style sheet as it is now, for what is drawn on a canvas. */
export function colour(name: string): string {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const now = getComputedStyle(probe).color;
  probe.remove();
  return now;
}
