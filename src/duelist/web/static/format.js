// Numbers in words; a dash stands for what is not known.

const NONE = "–";

export function number(value, digits = 0) {
  if (!Number.isFinite(value)) return NONE;
  return value.toLocaleString(undefined, { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

export function percent(value) {
  return Number.isFinite(value) ? `${Math.round(100 * value)} %` : NONE;
}

export function duration(seconds) {
  if (!Number.isFinite(seconds)) return NONE;
  if (seconds < 60) return `${number(seconds, seconds < 10 ? 1 : 0)} s`;
  if (seconds < 3600) return `${number(seconds / 60, 1)} min`;
  return `${number(seconds / 3600, 1)} h`;
}

export function money(value, currency) {
  return Number.isFinite(value) ? `${number(value, 2)} ${currency}` : NONE;
}
