/** An id by its kind and its end, `user_…mye3nd`; other words as they are. */
export function shortened(text: string): string {
  const found = /^(.*_)[0-9a-z]{20}([0-9a-z]{6})$/.exec(text);
  return found === null ? text : `${found[1]}…${found[2]}`;
}
