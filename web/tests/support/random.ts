/** Numbers that look like chance and are the same each time: a property that fails, fails again with its seed. */
export class Chance {
  private state: number;

  constructor(seed: number) {
    this.state = seed >>> 0;
  }

  /** From 0 up to 1. */
  fraction(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let mixed = this.state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number from 0 up to below `bound`. */
  below(bound: number): number {
    return Math.floor(this.fraction() * bound);
  }

  oneOf<T>(choices: readonly T[]): T {
    const found = choices[this.below(choices.length)];
    if (found === undefined) throw new Error("there is nothing to choose from");
    return found;
  }

  /** The row in pieces of 1 to `longest`, in order. */
  pieces<T>(row: readonly T[], longest: number): T[][] {
    const pieces: T[][] = [];
    for (let at = 0; at < row.length; ) {
      const length = 1 + this.below(longest);
      pieces.push(row.slice(at, at + length));
      at += length;
    }
    return pieces;
  }
}
