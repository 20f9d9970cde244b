// The table: a column for each peer, then what ours is of each other's.

import { type Figures, ROWS } from "./figures.ts";

/** A column. */
export interface Column {
  readonly name: string;
  readonly figures: Figures;
}

/** Three digits or so. */
export function digits(value: number): string {
  if (value >= 100) return value.toFixed(0);
  if (value >= 10) return value.toFixed(1);
  return value.toFixed(value >= 1 ? 2 : 3);
}

function cell(value: number | undefined, isTime: boolean): string {
  if (value === undefined) return "–";
  return isTime ? digits(value) : value.toFixed(0);
}

function ratio(ours: number | undefined, theirs: number | undefined): string {
  if (ours === undefined || theirs === undefined || theirs === 0) return "–";
  const value = ours / theirs;
  return value >= 10 ? value.toFixed(1) : value.toFixed(value >= 0.1 ? 2 : 3);
}

/**
 * The lines of the table.
 *
 * @param title of its first column
 * @param ours the column that others are compared with, which comes first
 */
export function tableLines(
  title: string,
  ours: Column | undefined,
  others: readonly Column[],
): string[] {
  const columns = ours === undefined ? others : [ours, ...others];
  const compared = ours === undefined ? [] : others;
  const names = [
    ...columns.map(({ name }) => name),
    ...compared.map(({ name }) => `of ${name}`),
  ];
  const rows = ROWS.filter(({ name }) =>
    columns.some(({ figures }) => figures.has(name))
  );
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [
    line([title, ...names]),
    line(["---", ...names.map(() => "---:")]),
    ...rows.map(({ name, isTime }) =>
      line([
        name,
        ...columns.map(({ figures }) => cell(figures.get(name), isTime)),
        ...compared.map(({ figures }) =>
          ratio(ours?.figures.get(name), figures.get(name))
        ),
      ])
    ),
  ];
}
