import { expect, test } from "vitest";
import { deviceOf } from "../../src/settings/devices";

test("a browser is known by its own name, not by those that it also says", () => {
  const chrome =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36";

  expect(deviceOf(chrome)).toBe("Chrome on Linux");
  expect(deviceOf(`${chrome.replace("X11; Linux x86_64", "Windows NT 10.0")} Edg/156.0`)).toBe("Edge on Windows");
  expect(deviceOf("Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Version/19.0 Safari/604.1")).toBe(
    "Safari on iPhone",
  );
});

test("another program is called what it calls itself", () => {
  expect(deviceOf("cloche-cli/0.1.0")).toBe("cloche-cli/0.1.0");
  expect(deviceOf("")).toBe("Unknown program");
  expect(deviceOf("x".repeat(200))).toHaveLength(60);
});
