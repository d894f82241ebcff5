import { act } from "react";
import { createRoot } from "react-dom/client";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type Polled, usePolled } from "../../src/ui/usePolled";

type Read = (signal: AbortSignal) => Promise<number>;

let last: Polled<number>;

function Reader({ read, everyMs }: { readonly read: Read; readonly everyMs: number | null }) {
  last = usePolled(read, everyMs);
  return null;
}

const root = createRoot(document.createElement("div"));

async function draw(read: Read, everyMs: number | null): Promise<void> {
  await act(async () => root.render(<Reader read={read} everyMs={everyMs} />));
}

async function pass(ms: number): Promise<void> {
  await act(async () => {
    await vi.advanceTimersByTimeAsync(ms);
  });
}

beforeEach(() => {
  vi.stubGlobal("IS_REACT_ACT_ENVIRONMENT", true);
  vi.useFakeTimers();
});

afterEach(async () => {
  await act(async () => root.render(null));
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test("reads at once, and again after each pause until it is told to stop", async () => {
  let times = 0;
  const read = async (): Promise<number> => ++times;

  await draw(read, 1_000);
  await pass(2_500);
  await draw(read, null);
  await pass(5_000);

  expect(last.value).toBe(3);
  expect(times).toBe(3);
});

test("a failure is told, what was read before stays, and the next success takes it back", async () => {
  let isBroken = false;
  const read = async (): Promise<number> => {
    if (isBroken) throw new Error("cut");
    return 7;
  };

  await draw(read, 1_000);
  isBroken = true;
  await pass(1_000);

  expect([last.value, last.error?.message]).toEqual([7, "cut"]);
  isBroken = false;
  await pass(60_000);
  expect(last.error).toBeNull();
});

test("the answer to an earlier question is marked until the present one is answered, and comes no more", async () => {
  let answer: (value: number) => void = () => undefined;
  const first = async (): Promise<number> => 1;
  const second = (signal: AbortSignal): Promise<number> =>
    new Promise((resolve, reject) => {
      answer = resolve;
      signal.addEventListener("abort", () => reject(signal.reason));
    });

  await draw(first, null);
  await draw(second, null);

  expect([last.value, last.isOther]).toEqual([1, true]);
  await act(async () => answer(2));
  expect([last.value, last.isOther]).toEqual([2, false]);
});

test("whoever asks again is answered again, while nothing else is read", async () => {
  let times = 0;
  const read = async (): Promise<number> => ++times;

  await draw(read, null);
  await act(async () => last.again());

  expect(last.value).toBe(2);
});
