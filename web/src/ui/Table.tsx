import type { ReactNode } from "react";

export interface Column<T> {
  readonly title: string;
  readonly cell: (row: T) => ReactNode;
  readonly isNumber?: boolean;
  /** Its values are short, and are not broken into lines. */
  readonly isShort?: boolean;
}

/** Rows under column names; on a narrow page each row becomes a card that names its values. */
export function Table<T>(props: {
  readonly label: string;
  readonly columns: readonly Column<T>[];
  readonly rows: readonly T[];
  readonly keyOf: (row: T) => string;
  readonly classOf?: (row: T) => string;
}) {
  const { label, columns, rows, keyOf, classOf } = props;
  return (
    <div className="table-place" role="region" aria-label={label} tabIndex={0}>
      <table className="table">
        <caption className="visually-hidden">{label}</caption>
        <thead>
          <tr>
            {columns.map((column) => (
              <th key={column.title} scope="col" className={column.isNumber === true ? "number" : undefined}>
                {column.title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={keyOf(row)} className={classOf?.(row)}>
              {columns.map((column) => (
                <td key={column.title} data-name={column.title} className={classOfCell(column)}>
                  <div>{column.cell(row)}</div>
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function classOfCell<T>(column: Column<T>): string | undefined {
  if (column.isNumber === true) return "number";
  return column.isShort === true ? "short" : undefined;
}
