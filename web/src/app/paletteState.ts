import { Store } from "../client/emitter";

export const isPaletteOpen = new Store(false);

export function openPalette(): void {
  isPaletteOpen.set(true);
}

export function closePalette(): void {
  isPaletteOpen.set(false);
}
