import { isRecord } from "../client/errors";

export type FieldKind = "text" | "long_text" | "number" | "integer" | "boolean" | "choice" | "json";

/** One argument of a tool call as a person edits it. */
export interface ArgumentField {
  readonly name: string;
  readonly kind: FieldKind;
  readonly title: string;
  readonly description: string;
  readonly choices: readonly string[];
  readonly isRequired: boolean;
}

/** The fields that a JSON schema asks for, then those that the call has besides. What is neither plain nor known is JSON. */
export function fieldsOf(
  schema: Readonly<Record<string, unknown>>,
  values: Readonly<Record<string, unknown>>,
): ArgumentField[] {
  const properties = isRecord(schema["properties"]) ? schema["properties"] : {};
  const required = new Set(Array.isArray(schema["required"]) ? schema["required"] : []);
  const names = [...new Set([...Object.keys(properties), ...Object.keys(values)])];
  return names.map((name) => {
    const shape = isRecord(properties[name]) ? properties[name] : {};
    const choices =
      Array.isArray(shape["enum"]) && shape["enum"].every((one) => typeof one === "string") ? shape["enum"] : [];
    return {
      name,
      kind: kindOf(shape, choices.length > 0, values[name]),
      title: name,
      description: typeof shape["description"] === "string" ? shape["description"] : "",
      choices,
      isRequired: required.has(name),
    };
  });
}

function kindOf(shape: Readonly<Record<string, unknown>>, hasChoices: boolean, value: unknown): FieldKind {
  // Whatever the schema says: a field of another kind would lose what is in it.
  if (typeof value === "object" && value !== null) return "json";
  if (hasChoices) return "choice";
  const type = shape["type"] ?? (value === null ? "null" : typeof value);
  switch (type) {
    case "string":
      return typeof value === "string" && (value.length > 60 || value.includes("\n")) ? "long_text" : "text";
    case "integer":
      return "integer";
    case "number":
      return "number";
    case "boolean":
      return "boolean";
    default:
      return "json";
  }
}

/** The value as its field shows it. */
export function textOfValue(kind: FieldKind, value: unknown): string {
  if (value === undefined) return "";
  if (kind !== "json" && value === null) return "";
  if (kind === "json") return JSON.stringify(value, null, 2);
  return typeof value === "string" ? value : String(value);
}

/** The value that a field's text means; throws an `Error` that says what is wrong. Undefined: the argument is left out. */
export function valueOfText(field: ArgumentField, text: string): unknown {
  if (text.trim() === "" && field.kind !== "text" && field.kind !== "long_text") {
    if (field.isRequired) throw new Error("a value is needed here");
    return undefined;
  }
  switch (field.kind) {
    case "text":
    case "long_text":
      return text === "" && !field.isRequired ? undefined : text;
    case "choice":
      return text;
    case "boolean":
      return text === "true";
    case "integer":
    case "number": {
      const value = Number(text);
      if (!Number.isFinite(value)) throw new Error("this is not a number");
      if (field.kind === "integer" && !Number.isInteger(value)) throw new Error("this is not a whole number");
      return value;
    }
    case "json":
      try {
        return JSON.parse(text) as unknown;
      } catch {
        throw new Error("this is not JSON");
      }
  }
}
