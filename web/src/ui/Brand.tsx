export function Brand() {
  return (
    <span className="brand">
      <svg width="26" height="26" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
        <path className="brand-bell" d="M6 24h20M8 24v-6a8 8 0 0 1 16 0v6M16 10V7" />
        <circle className="brand-knob" cx="16" cy="6" r="1.8" />
      </svg>
      Cloche
    </span>
  );
}
