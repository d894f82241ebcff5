import { Store } from "../client/emitter";

/** Whether the list of conversations lies over a narrow page. */
export const isSidebarShown = new Store(false);

export function showSidebar(isShown: boolean): void {
  isSidebarShown.set(isShown);
}
