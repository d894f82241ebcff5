import { expect, test } from "vitest";
import { type ArgumentField, fieldsOf, textOfValue, valueOfText } from "../src/chat/argumentFields";

const SCHEMA = {
  type: "object",
  properties: {
    name: { type: "string", description: "Who it is" },
    letter: { type: "string" },
    amount: { type: "number" },
    count: { type: "integer" },
    urgent: { type: "boolean" },
    way: { type: "string", enum: ["post", "mail"] },
    level: { enum: [1, 2] },
    lines: { type: "array", items: { type: "string" } },
    either: { anyOf: [{ type: "string" }, { type: "null" }] },
    both: { type: ["string", "null"] },
  },
  required: ["name", "amount"],
};
const VALUES = {
  name: "Ann",
  letter: "two\nlines",
  amount: 1.5,
  count: 3,
  urgent: false,
  way: "post",
  level: 2,
  lines: ["a"],
  either: "x",
  both: "y",
  more: { deep: true },
};

const field = (kind: ArgumentField["kind"], isRequired = false): ArgumentField => ({
  name: "a",
  kind,
  title: "a",
  description: "",
  choices: [],
  isRequired,
});

test("each argument of the schema has its field, in the schema's order, and then those that the call has besides", () => {
  const fields = fieldsOf(SCHEMA, VALUES);

  expect(fields.map(({ name, kind }) => [name, kind])).toEqual([
    ["name", "text"],
    ["letter", "long_text"],
    ["amount", "number"],
    ["count", "integer"],
    ["urgent", "boolean"],
    ["way", "choice"],
    ["level", "number"],
    ["lines", "json"],
    ["either", "text"],
    ["both", "json"],
    ["more", "json"],
  ]);
  expect(fields[0]).toEqual({ ...field("text", true), name: "name", title: "name", description: "Who it is" });
  expect(fields.filter(({ isRequired }) => isRequired).map(({ name }) => name)).toEqual(["name", "amount"]);
  expect(fields[5]?.choices).toEqual(["post", "mail"]);
});

test("what a person does not touch is what it was", () => {
  for (const one of fieldsOf(SCHEMA, VALUES)) {
    const value = VALUES[one.name as keyof typeof VALUES];

    expect(valueOfText(one, textOfValue(one.kind, value)), one.name).toEqual(value);
  }
});

test("an argument that the call does not have is left out unless it is needed", () => {
  for (const one of fieldsOf(SCHEMA, {})) {
    expect(textOfValue(one.kind, undefined)).toBe("");
    if (one.isRequired && one.kind !== "text") expect(() => valueOfText(one, "")).toThrow("a value is needed here");
    else if (one.kind !== "choice") expect(valueOfText(one, ""), one.name).toBe(one.isRequired ? "" : undefined);
  }
});

test("nothing, where a text or a number should be, is an empty field and not the word null", () => {
  const [name, amount] = fieldsOf(SCHEMA, { name: null, amount: null }).filter(({ isRequired }) => isRequired);

  expect([name?.kind, amount?.kind]).toEqual(["text", "number"]);
  expect(textOfValue("text", null) + textOfValue("number", null)).toBe("");
  expect(textOfValue("json", null)).toBe("null");
  expect(fieldsOf({}, { a: null })[0]?.kind).toBe("json");
});

test("a value that its schema did not foresee is JSON, and stays what it is", () => {
  const [name] = fieldsOf({ properties: { name: { type: "string", enum: ["a"] } } }, { name: { deep: 1 } });

  expect(name?.kind).toBe("json");
});

test.for([{}, { properties: 3 }, { properties: { a: 3 }, required: "a" }, { properties: { a: { enum: [] } } }])(
  "a schema that says little is no obstacle: %j",
  (schema) => {
    expect(fieldsOf(schema, { a: "x" })).toEqual([field("text")]);
  },
);

test("a long text has room", () => {
  expect(fieldsOf({}, { a: "x".repeat(61) })[0]?.kind).toBe("long_text");
  expect(fieldsOf({}, { a: "x".repeat(60) })[0]?.kind).toBe("text");
});

test.for([
  ["text", " a ", " a "],
  ["long_text", "a\nb", "a\nb"],
  ["choice", "post", "post"],
  ["boolean", "true", true],
  ["boolean", "false", false],
  ["integer", " 12 ", 12],
  ["integer", "-3", -3],
  ["integer", "1e3", 1_000],
  ["number", "0.5", 0.5],
  ["json", ' {"a": [1, null]} ', { a: [1, null] }],
  ["json", '"x"', "x"],
] as const)("a field's text means its value: %s %j", ([kind, text, value]) => {
  expect(valueOfText(field(kind), text)).toEqual(value);
});

test.for([
  ["integer", "1.5", "this is not a whole number"],
  ["integer", "one", "this is not a number"],
  ["number", "1,5", "this is not a number"],
  ["number", "1e999", "this is not a number"],
  ["number", "NaN", "this is not a number"],
  ["json", "{a: 1}", "this is not JSON"],
] as const)("what a field cannot take is said: %s %j", ([kind, text, reason]) => {
  expect(() => valueOfText(field(kind), text)).toThrow(reason);
});

test.for(["number", "integer", "boolean", "choice", "json"] as const)(
  "%s without a text is left out, or asked for",
  (kind) => {
    expect(valueOfText(field(kind), "  ")).toBeUndefined();
    expect(() => valueOfText(field(kind, true), "  ")).toThrow("a value is needed here");
  },
);
