// Numbers as people read them.

export const whole = (number) => (number == null ? "–" : Math.round(number).toLocaleString("en"));
export const amount = (number) => (number == null ? "–" : Number(number.toPrecision(3)).toLocaleString("en", { maximumSignificantDigits: 3 }));
export const percent = (part) => (part == null ? "–" : `${(part * 100).toFixed(1)}%`);
export const interval = (estimate) => `${percent(estimate.low)} to ${percent(estimate.high)}`;
