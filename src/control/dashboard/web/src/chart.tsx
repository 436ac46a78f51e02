// A line chart of figures over time.

import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { clock } from "./format";
import { colour, useTheme } from "./theme";

/** Colours of lines, in their order. */
const LINES = ["line-1", "line-2", "line-3", "line-4", "line-5", "line-6", "line-7", "line-8"];
const lineOf = (at: number): string => LINES[at % LINES.length] ?? "line-1";
const HEIGHT = 180;

export function Chart({ names, data, version, write, top, filled }: {
  names: readonly string[];
  /** Seconds, then a column for each name. The arrays may be changed in place. */
  data: [number[], ...(number | null)[][]];
  /** Changes with the data. */
  version: unknown;
  /** How values are written. */
  write: (value: number) => string;
  /** The scale goes at least so far. */
  top: number;
  filled?: boolean;
}) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const [, turn] = useTheme();
  // The row under the pointer; else the last one is told below the chart.
  const [pointed, setPointed] = useState<number | null>(null);
  const key = names.join("\n");
  useEffect(() => {
    const host = place.current;
    if (!host) return;
    const ink = colour("ink-2");
    const grid = { stroke: colour("grid"), width: 1 };
    const axis = { stroke: ink, grid, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const lines = names.map((_, at) => {
      const stroke = colour(lineOf(at));
      // One area only: one over the other would have a colour of neither.
      const fill = filled && at === 0 ? { fill: stroke.replace("rgb(", "rgba(").replace(")", ", 0.12)") } : {};
      return { stroke, width: 1.5, points: { show: false }, ...fill };
    });
    const chart = new uPlot(
      {
        width: host.clientWidth,
        height: HEIGHT,
        padding: [8, 26, 0, 0],
        cursor: { points: { size: 5 }, drag: { x: false, y: false }, sync: { key: "time" } },
        legend: { show: false },
        hooks: { setCursor: [(chart) => setPointed(chart.cursor.idx ?? null)] },
        scales: { y: { range: (_, _min, max) => [0, Math.max(top, (max ?? 0) * 1.1)] } },
        axes: [
          { ...axis, space: 70, size: 26, values: (_, at) => at.map((time) => clock(time * 1000)) },
          { ...axis, size: 62, space: 34, values: (_, at) => at.map(write) },
        ],
        series: [{}, ...lines],
      },
      data as uPlot.AlignedData,
      host,
    );
    plot.current = chart;
    const watch = new ResizeObserver(() => {
      if (host.clientWidth > 0 && host.clientWidth !== chart.width) chart.setSize({ width: host.clientWidth, height: HEIGHT });
    });
    watch.observe(host);
    return () => {
      watch.disconnect();
      chart.destroy();
      plot.current = undefined;
    };
  }, [key, turn]);
  useEffect(() => plot.current?.setData(data as uPlot.AlignedData), [version]);
  const [times, ...columns] = data;
  const row = pointed !== null && pointed < times.length ? pointed : times.length - 1;
  return (
    <>
      <div class="chart" ref={place} />
      <ul class="legend">
        {names.map((name, at) => {
          const value = columns[at]?.[row];
          return (
            <li key={name}>
              <span class="legend-mark" style={{ background: `var(--${lineOf(at)})` }} />
              {name} <strong>{value == null ? "-" : write(value)}</strong>
            </li>
          );
        })}
        {pointed !== null && row >= 0 && <li class="legend-time">{clock((times[row] ?? 0) * 1000)}</li>}
      </ul>
    </>
  );
}
