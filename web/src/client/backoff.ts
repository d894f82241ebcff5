/** How long to wait before each next try: doubling, with full jitter above half, so that many clients spread out. */
export class Backoff {
  private tries = 0;

  constructor(
    private readonly firstMs = 500,
    private readonly mostMs = 20_000,
    private readonly random: () => number = Math.random,
  ) {}

  /** The next wait in milliseconds; at least `leastMs`, where the server asked for that. */
  next(leastMs = 0): number {
    const bound = Math.min(this.mostMs, this.firstMs * 2 ** Math.min(this.tries, 16));
    this.tries += 1;
    return Math.max(leastMs, bound / 2 + (bound / 2) * this.random());
  }

  /** It worked: the next failure waits as the first one. */
  reset(): void {
    this.tries = 0;
  }
}
