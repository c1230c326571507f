// A table: sorted by its headers, and with only those rows in the document that are seen (100,000 rows scroll).
import {
  type ColumnDef, createSortedRowModel, rowSortingFeature, type SortingState, sortFn_alphanumeric, sortFn_text, tableFeatures, useTable,
} from "@tanstack/react-table";
import { useVirtualizer } from "@tanstack/react-virtual";
import { type ReactNode, useCallback, useEffect, useMemo, useRef, useState } from "react";

export interface Column<Row> {
  id: string;
  header: string;
  /** What it is sorted by; also what is shown, unless `cell` says otherwise. */
  value: (row: Row) => string | number | null | undefined;
  cell?: (row: Row) => ReactNode;
  numeric?: boolean;
  /** Explains the column on hover. */
  title?: string;
  sortable?: boolean;
  /** Hidden on narrow screens. */
  wide?: boolean;
}
export interface Sort {
  id: string;
  desc: boolean;
}
interface Props<Row> {
  /** Says what the table is about to those who do not see it. */
  caption: string;
  columns: Column<Row>[];
  rows: Row[];
  rowKey: (row: Row) => string;
  /** What stands there without rows. */
  empty: ReactNode;
  /** The order at first; with `onSort`, the order that the API has given them in. */
  sort?: Sort | null;
  /** Asks the API for another order; without it, the rows that are there are sorted here. */
  onSort?: (sort: Sort) => void;
  /** Called when the last rows are near: loads more. Such a table is sorted by `onSort` or not at all. */
  onEnd?: () => void;
  /** All rows that there are, if it is more than those that were loaded. */
  total?: number;
  /** Largest height before the table scrolls, in px. */
  height?: number;
}

const FEATURES = tableFeatures({
  rowSortingFeature, sortedRowModel: createSortedRowModel(), sortFns: { alphanumeric: sortFn_alphanumeric, text: sortFn_text },
});
const ROW_PX = 33.5;
const VIRTUAL = 60; // fewer rows are all drawn, so that the browser's own search finds them
const NONE: object[] = [];
/** Rows below the last one drawn at which more are loaded. In a long table a whole page of 200 comes before a person gets there. */
const AHEAD = 30;
const AHEAD_OF_MANY = 250;

export function DataTable<Row>(props: Props<Row>) {
  const { caption, columns, rows, rowKey, empty, sort = null, onSort, onEnd, total, height = 620 } = props;
  // Rows of which more may come are never sorted here: what comes first is known to the API alone.
  const sorts = (column: Column<Row>) => (column.sortable ?? false) && (onSort !== undefined || onEnd === undefined);
  const [sorting, setSorting] = useState<SortingState>(sort === null ? [] : [sort]);
  const defined = useMemo<ColumnDef<typeof FEATURES, object>[]>(
    () =>
      columns.map((column) => ({
        id: column.id,
        accessorFn: (row) => column.value(row as Row) ?? undefined,
        enableSorting: column.sortable ?? false,
        sortUndefined: "last",
        sortDescFirst: column.numeric ?? false,
      })),
    [columns],
  );
  const shown = onSort ? (sort === null ? [] : [sort]) : sorting;
  const table = useTable({
    features: FEATURES,
    columns: defined,
    // The API's order is shown as it is: no model of all rows is made anew with each page of them.
    data: onSort ? NONE : (rows as object[]),
    state: { sorting: shown },
    onSortingChange: (update: SortingState | ((old: SortingState) => SortingState)) => {
      const next = typeof update === "function" ? update(shown) : update;
      if (!onSort) setSorting(next);
      else if (next[0]) onSort(next[0]);
    },
    manualSorting: onSort !== undefined,
    enableSortingRemoval: false,
    enableMultiSort: false,
    getRowId: (row: object) => rowKey(row as Row),
  });
  const sorted = table.getRowModel().rows;
  const byApi = onSort !== undefined;
  const found = useMemo(() => (byApi ? rows : sorted.map((row) => row.original as Row)), [byApi, rows, sorted]);
  const keyOf = useCallback((i: number) => rowKey(found[i]!), [found]); // `rowKey` is another function each time, and gives the same
  const scroller = useRef<HTMLDivElement>(null);
  const virtual = useVirtualizer({
    count: found.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_PX,
    overscan: 20,
    enabled: found.length > VIRTUAL,
    getItemKey: keyOf,
  });
  // Heights differ by a fraction of a pixel. To set the scroll position right for each is to throw back whoever scrolls.
  virtual.shouldAdjustScrollPositionOnItemSizeChange = () => false;
  const items = found.length > VIRTUAL ? virtual.getVirtualItems() : null;
  const last = items ? (items.at(-1)?.index ?? 0) : found.length - 1;
  const ahead = total !== undefined && total > VIRTUAL ? AHEAD_OF_MANY : AHEAD;
  useEffect(() => {
    if (onEnd && found.length > 0 && last >= found.length - ahead) onEnd();
  }, [onEnd, last, found.length, ahead]);
  if (rows.length === 0) return <>{empty}</>;
  const before = items?.[0]?.start ?? 0;
  const after = items ? virtual.getTotalSize() - (items.at(-1)?.end ?? 0) : 0;
  const classes = (column: Column<Row>) => [column.numeric && "num", column.wide && "wide"].filter(Boolean).join(" ") || undefined;
  return (
    <div className="scroll" ref={scroller} style={{ maxHeight: height }} tabIndex={0} role="region" aria-label={caption}>
      <table aria-rowcount={(total ?? found.length) + 1}>
        <caption className="hidden">{caption}</caption>
        <thead>
          <tr aria-rowindex={1}>
            {columns.map((column) => {
              const own = table.getColumn(column.id)!;
              const order = own.getIsSorted();
              return (
                <th
                  key={column.id}
                  scope="col"
                  className={classes(column)}
                  title={column.title}
                  aria-sort={!sorts(column) ? undefined : order === "asc" ? "ascending" : order === "desc" ? "descending" : "none"}
                >
                  {sorts(column) ? (
                    <button type="button" onClick={() => own.toggleSorting()}>
                      {column.header}
                      <span aria-hidden="true">{order === "asc" ? " ▲" : order === "desc" ? " ▼" : ""}</span>
                    </button>
                  ) : (
                    <span>{column.header}</span>
                  )}
                </th>
              );
            })}
          </tr>
        </thead>
        <tbody>
          {before > 0 && <tr aria-hidden="true" style={{ height: before }} />}
          {(items ?? found.map((_, index) => ({ index }))).map(({ index }) => {
            const row = found[index]!;
            return (
              <tr key={rowKey(row)} data-index={index} aria-rowindex={index + 2} ref={items ? virtual.measureElement : undefined}>
                {columns.map((column) => (
                  <td key={column.id} className={classes(column)}>
                    {column.cell ? column.cell(row) : (column.value(row) ?? "–")}
                  </td>
                ))}
              </tr>
            );
          })}
          {after > 0 && <tr aria-hidden="true" style={{ height: after }} />}
        </tbody>
      </table>
    </div>
  );
}
