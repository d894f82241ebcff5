/** The browser saves what the server gives under this address. */
export function download(path: string): void {
  const link = document.createElement("a");
  link.href = path;
  link.download = "";
  document.body.append(link);
  link.click();
  link.remove();
}

export function exportThread(threadId: string, format: "markdown" | "json"): void {
  download(`/v1/threads/${threadId}/export?format=${format}`);
}
