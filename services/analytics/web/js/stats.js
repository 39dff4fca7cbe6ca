// Is it better or worse, or just noise?

/**
 * The difference of two proportions with its 95 % interval, from each one's Wilson interval: Newcombe's hybrid score
 * method (Statistics in Medicine 17, 1998, method 10). Null where either is unknown.
 */
export function difference(now, before) {
  if (now?.satisfaction == null || before?.satisfaction == null) return null;
  const [p, l, u] = [now.satisfaction, now.satisfaction_low, now.satisfaction_high];
  const [q, m, v] = [before.satisfaction, before.satisfaction_low, before.satisfaction_high];
  const low = p - q - Math.hypot(p - l, v - q);
  const high = p - q + Math.hypot(u - p, q - m);
  return { value: p - q, low, high, verdict: low > 0 ? "better" : high < 0 ? "worse" : "unclear" };
}
